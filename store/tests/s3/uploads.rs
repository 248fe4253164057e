//! Uploads in parts: whole, few at a time, and without leftovers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reelmill_common::Retryable as _;
use reelmill_store::{S3Options, S3Store, Store, StoreError};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::harness::{MIB, connect, key, options, pattern, server, through, told};
use super::proxy::{Fate, Proxy, SLOW_DOWN, is_abort, is_begin, is_complete, is_part};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store, and the same behind a proxy: of the requests that `is_one` means, each gets the next
/// of these fates, and then they pass.
async fn stores(
    is_one: impl Fn(&str) -> bool + Send + Sync + 'static,
    fates: Vec<Fate>,
) -> (S3Store, Proxy, S3Store) {
    let options = options();
    let direct = connect(&options).await;
    let next = AtomicUsize::new(0);
    let proxy = Proxy::start(server(), move |request| match is_one(&request.first) {
        true => {
            let fate = fates.get(next.fetch_add(1, Ordering::SeqCst));
            fate.cloned().unwrap_or(Fate::Pass)
        }
        false => Fate::Pass,
    })
    .await;
    let client = S3Options {
        attempts: 5,
        ..through(&proxy, &options)
    };
    let store = connect(&client).await;
    (direct, proxy, store)
}

fn file(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    path
}

async fn assert_nothing_left(store: &S3Store) {
    assert_eq!(store.clear_unfinished(Duration::ZERO).await.unwrap(), 0);
}

/// Puts a file in a task, to be given up.
fn putting(store: &S3Store, file: &Path) -> tokio::task::JoinHandle<Result<(), StoreError>> {
    let (store, file) = (store.clone(), file.to_owned());
    tokio::spawn(async move { store.put_file(&key("a"), &file).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_large_file_goes_in_parts_three_at_a_time() {
    let (direct, proxy, store) = stores(|_| false, vec![]).await;
    let bytes = pattern(50 * MIB + 3, 1);
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &bytes);
    store.put_file(&key("a"), &file).await.unwrap();
    assert!(
        !file.try_exists().unwrap(),
        "a stored file takes up no room"
    );
    assert_eq!(proxy.count(is_part), 7);
    assert!(
        (2..=3).contains(&proxy.most_at_once(is_part)),
        "{}",
        proxy.most_at_once(is_part)
    );
    assert_eq!(
        direct.head(&key("a")).await.unwrap().size,
        bytes.len() as u64
    );
    assert!(direct.get(&key("a")).await.unwrap() == bytes);
    assert_nothing_left(&direct).await;
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn what_is_in_memory_goes_in_parts_from_eight_mebibytes_on() {
    let (direct, proxy, store) = stores(|_| false, vec![]).await;
    for (len, parts) in [(8 * MIB - 1, 0), (8 * MIB, 1), (16 * MIB + 1, 3)] {
        let before = proxy.count(is_part);
        let bytes = pattern(len, 2);
        store.put(&key("a"), bytes.clone()).await.unwrap();
        assert_eq!(proxy.count(is_part) - before, parts, "{len} bytes");
        assert!(direct.get(&key("a")).await.unwrap() == bytes);
    }
    // One request decides who is first, whatever the length.
    let (new, bytes) = (key("new"), pattern(9 * MIB, 3));
    store.put_new(&new, bytes.clone()).await.unwrap();
    store.put_new(&new, bytes.clone()).await.unwrap_err();
    assert_eq!(proxy.count(is_part), 4);
    assert!(direct.get(&new).await.unwrap() == bytes);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn parts_that_meet_with_trouble_are_sent_again() {
    let fates = vec![Fate::Lost, Fate::ResponseLost, SLOW_DOWN, Fate::Lost];
    let (direct, proxy, store) = stores(is_part, fates).await;
    let bytes = pattern(20 * MIB, 4);
    store.put(&key("a"), bytes.clone()).await.unwrap();
    assert!(direct.get(&key("a")).await.unwrap() == bytes);
    assert_eq!(proxy.count(is_part), 3 + 4);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn an_upload_whose_last_answer_was_lost_is_known_to_be_complete() {
    let (direct, proxy, store) = stores(is_complete, vec![Fate::ResponseLost]).await;
    let bytes = pattern(9 * MIB, 5);
    store.put(&key("a"), bytes.clone()).await.unwrap();
    assert_eq!(proxy.count(is_complete), 2);
    assert!(direct.get(&key("a")).await.unwrap() == bytes);
    assert_nothing_left(&direct).await;
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn an_upload_that_fails_is_cleared_and_the_file_stays() {
    let (direct, proxy, store) = stores(is_part, vec![SLOW_DOWN; 100]).await;
    direct.put(&key("a"), "old".into()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &pattern(20 * MIB, 6));
    let error = store.put_file(&key("a"), &file).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(told(&error).contains("SlowDown"), "{}", told(&error));
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 20 * MIB as u64);
    assert_eq!(proxy.count(is_abort), 1);
    assert_nothing_left(&direct).await;
    assert_eq!(direct.get(&key("a")).await.unwrap(), "old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn an_upload_given_up_in_the_middle_is_cleared() {
    // One part is stored, and one arrives only after the upload was cleared.
    let gate = Arc::new(Semaphore::new(0));
    let late = Fate::Hold(Arc::clone(&gate));
    let fates = vec![Fate::Pass, late, Fate::Hang, Fate::Hang];
    let (direct, proxy, store) = stores(is_part, fates).await;
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &pattern(40 * MIB, 7));
    let putting = putting(&store, &file);
    proxy.wait_for(4, is_part).await;
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    proxy.wait_for_responses(1, is_abort).await;
    gate.add_permits(1);
    proxy.wait_for_responses(2, is_part).await;
    proxy.wait_for_responses(2, is_abort).await;
    assert_nothing_left(&direct).await;
    assert!(matches!(
        direct.head(&key("a")).await,
        Err(StoreError::NotFound(_))
    ));
    assert!(file.try_exists().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn an_upload_given_up_while_it_is_being_made_is_cleared() {
    let gate = Arc::new(Semaphore::new(0));
    let (direct, proxy, store) = stores(is_begin, vec![Fate::Hold(Arc::clone(&gate))]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &pattern(9 * MIB, 8));
    let putting = putting(&store, &file);
    proxy.wait_for(1, is_begin).await;
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    proxy.wait_for_responses(1, is_abort).await;
    assert_nothing_left(&direct).await;
    assert_eq!(proxy.count(is_part), 0);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn what_a_dead_writer_left_is_cleared_by_its_age() {
    let is_part_or_abort = |request: &str| is_part(request) || is_abort(request);
    let (direct, _proxy, store) = stores(is_part_or_abort, vec![SLOW_DOWN; 100]).await;
    let (a, b, c) = (key("a/1"), key("a/2"), key("b"));
    let put = |key| store.put(key, pattern(8 * MIB, 9));
    let (a, b, c) = tokio::join!(put(&a), put(&b), put(&c));
    for failed in [a, b, c] {
        failed.unwrap_err();
    }
    assert_eq!(direct.clear_unfinished(DAY).await.unwrap(), 0);
    assert_eq!(direct.clear_unfinished(Duration::ZERO).await.unwrap(), 3);
    assert_nothing_left(&direct).await;
}
