//! The suite over SQLite, bare and behind the decorator, which without faults, and with faults and
//! a caller that tries again, must look the same.
#![expect(clippy::unwrap_used, reason = "fixtures fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use reelmill_queue::conformance::Fixture;
use reelmill_queue::{Faults, FaultyQueue, Queue, SqliteQueue, When, queue_conformance};

mod retrying;
use retrying::Retrying;

fn over(wrap: impl FnOnce(Arc<dyn Queue>) -> Arc<dyn Queue>) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let queue = SqliteQueue::open(folder.path().join("queue.db")).unwrap();
    Fixture::new(wrap(Arc::new(queue)), folder)
}

async fn sqlite() -> Fixture {
    over(|queue| queue)
}

async fn faultless_decorator() -> Fixture {
    let faults = Faults::none().with_latency(Duration::from_micros(100));
    over(|queue| Arc::new(FaultyQueue::new(queue, faults)))
}

async fn failing_before_and_tried_again() -> Fixture {
    over(|queue| {
        let faulty = FaultyQueue::new(queue, Faults::first(2, When::Before));
        Arc::new(Retrying::new(Arc::new(faulty)))
    })
}

async fn settling_without_an_answer_and_tried_again() -> Fixture {
    over(|queue| {
        let faults = Faults::fraction(500, 1, When::Either).only("settle");
        Arc::new(Retrying::new(Arc::new(FaultyQueue::new(queue, faults))))
    })
}

async fn receiving_without_an_answer_and_tried_again() -> Fixture {
    over(|queue| {
        let faults = Faults::fraction(300, 2, When::Either).only("receive");
        Arc::new(Retrying::new(Arc::new(FaultyQueue::new(queue, faults))))
    })
}

queue_conformance!(sqlite_backend, sqlite);
queue_conformance!(decorator_without_faults, faultless_decorator);
queue_conformance!(faults_before_the_effect, failing_before_and_tried_again);
queue_conformance!(
    settles_whose_answer_is_lost,
    settling_without_an_answer_and_tried_again
);
queue_conformance!(
    receives_whose_answer_is_lost,
    receiving_without_an_answer_and_tried_again
);
