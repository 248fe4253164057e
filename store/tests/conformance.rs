//! The suite over the directory, bare and behind the decorator, which without faults, and with
//! faults and a caller that tries again, must look the same.
#![expect(clippy::unwrap_used, reason = "fixtures fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use reelmill_store::conformance::Fixture;
use reelmill_store::{DirectoryStore, Faults, FaultyStore, Store, When, store_conformance};

mod retrying;
use retrying::Retrying;

fn over(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(folder.path().join("store")).unwrap());
    Fixture::new(wrap(store), folder)
}

async fn directory() -> Fixture {
    over(|store| store)
}

async fn faultless_decorator() -> Fixture {
    let faults = Faults::none().with_latency(Duration::from_micros(100));
    over(|store| Arc::new(FaultyStore::new(store, faults)))
}

async fn failing_before_and_tried_again() -> Fixture {
    over(|store| {
        let faulty = FaultyStore::new(store, Faults::first(2, When::Before));
        Arc::new(Retrying::new(Arc::new(faulty)))
    })
}

store_conformance!(directory_backend, directory);
store_conformance!(decorator_without_faults, faultless_decorator);
store_conformance!(faults_before_the_effect, failing_before_and_tried_again);
