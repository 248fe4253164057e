//! Answers that get lost: the store's idempotence lets a caller try again.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use reelmill_common::{ObjectKey, Retryable as _};
use reelmill_store::{DirectoryStore, Faults, FaultyStore, Store, StoreError, When};
use tempfile::TempDir;

mod retrying;
use retrying::Retrying;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn faulty(folder: &Path, faults: Faults) -> Arc<dyn Store> {
    Arc::new(FaultyStore::new(
        Arc::new(DirectoryStore::open(folder).unwrap()),
        faults,
    ))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_call_that_fails_before_its_effect_changes_nothing() {
    let folder = folder();
    let store = faulty(folder.path(), Faults::first(1, When::Before));
    let error = store.put(&key("a"), "x".into()).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(store.get(&key("a")).await.unwrap_err().is_retryable());
    assert!(matches!(
        store.get(&key("a")).await,
        Err(StoreError::NotFound(_))
    ));
    store.put(&key("a"), "x".into()).await.unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap(), "x");
}

#[tokio::test]
async fn every_call_whose_answer_is_lost_can_be_made_again() {
    let (folder, scratch) = (folder(), folder());
    let store = Retrying::new(faulty(folder.path(), Faults::first(2, When::After)));
    store.put(&key("a/put"), "put".into()).await.unwrap();
    assert_eq!(store.get(&key("a/put")).await.unwrap(), "put");
    let file = scratch.path().join("file");
    std::fs::write(&file, "file").unwrap();
    store.put_file(&key("a/file"), &file).await.unwrap();
    assert_eq!(store.get_range(&key("a/file"), 1..9).await.unwrap(), "ile");
    store.get_file(&key("a/put"), &file).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "put");
    assert_eq!(store.list("a/", None, 10).await.unwrap().len(), 2);
    assert_eq!(store.head(&key("a/put")).await.unwrap().size, 3);
    store.delete(&key("a/put")).await.unwrap();
    assert!(matches!(
        store.head(&key("a/put")).await,
        Err(StoreError::NotFound(_))
    ));
    assert_eq!(
        std::fs::read_dir(scratch.path()).unwrap().count(),
        1,
        "no copy is left behind"
    );
}

#[tokio::test]
async fn a_first_writer_whose_answer_was_lost_finds_its_own_object() {
    let folder = folder();
    let store = Retrying::new(faulty(folder.path(), Faults::first(1, When::After)));
    match store.put_new(&key("marker"), "mine".into()).await {
        Err(StoreError::AlreadyExists(taken)) => assert_eq!(taken, key("marker")),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.get(&key("marker")).await.unwrap(), "mine");
}

#[tokio::test]
async fn a_file_is_still_there_after_an_error() {
    for when in [When::Before, When::After] {
        let (folder, scratch) = (folder(), folder());
        let store = faulty(folder.path(), Faults::first(1, when));
        let file = scratch.path().join("file");
        std::fs::write(&file, "bytes").unwrap();
        assert!(store.put_file(&key("a"), &file).await.is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "bytes");
        // Writing to it again must not reach the object that may be there.
        std::fs::write(&file, "other").unwrap();
        match DirectoryStore::open(folder.path())
            .unwrap()
            .get(&key("a"))
            .await
        {
            Ok(bytes) => assert!(when == When::After && bytes == "bytes"),
            Err(error) => assert!(when == When::Before, "{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_third_of_all_calls_failing_either_way_is_survived() {
    for seed in 0..4 {
        let folder = folder();
        let faults = Faults::fraction(333, seed, When::Either);
        let store = Retrying::new(faulty(folder.path(), faults));
        for i in 0..20 {
            let key = key(&format!("many/{i:02}"));
            match store.put_new(&key, format!("{i}").into()).await {
                Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(store.get(&key).await.unwrap(), format!("{i}"));
            if i % 2 == 0 {
                store.delete(&key).await.unwrap();
            }
        }
        assert_eq!(store.list("", None, 100).await.unwrap().len(), 10);
    }
}
