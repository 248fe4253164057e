//! Answers that break off, stall or never come, and objects that are replaced meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reelmill_common::Retryable as _;
use reelmill_faultproxy::http::Message;
use reelmill_store::{S3Options, S3Store, Store};
use tokio::sync::Semaphore;

use super::harness::{MIB, connect, impatient, key, options, pattern, server, through, told};
use super::proxy::{Fate, Proxy, SLOW_DOWN};

fn is_get(request: &Message) -> bool {
    request.first.starts_with("GET") && request.first.contains("x-id=GetObject")
}

fn is_read(request: &str) -> bool {
    request.starts_with("GET") && request.contains("x-id=GetObject")
}

/// A store, and the same behind a proxy that gives each read the next of these fates, and then
/// lets all pass.
async fn stores(fates: Vec<Fate>) -> (S3Store, Proxy, S3Store) {
    stores_with(fates, |options| options).await
}

async fn stores_with(
    fates: Vec<Fate>,
    client: impl FnOnce(S3Options) -> S3Options,
) -> (S3Store, Proxy, S3Store) {
    let options = options();
    let direct = connect(&options).await;
    let next = AtomicUsize::new(0);
    let proxy = Proxy::start(server(), move |request| match is_get(request) {
        true => {
            let fate = fates.get(next.fetch_add(1, Ordering::SeqCst));
            fate.cloned().unwrap_or(Fate::Pass)
        }
        false => Fate::Pass,
    })
    .await;
    let store = connect(&client(through(&proxy, &options))).await;
    (direct, proxy, store)
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_file_whose_download_breaks_is_read_on_from_there() {
    let cuts = vec![Fate::Cut(MIB), Fate::Cut(0), Fate::Cut(3 * MIB + 7)];
    let (direct, proxy, store) = stores(cuts).await;
    let bytes = pattern(6 * MIB + 5, 1);
    direct.put(&key("a"), bytes.clone()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    store.get_file(&key("a"), &file).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    assert_eq!(proxy.count(is_read), 4);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn what_is_read_into_memory_is_read_on_too() {
    let cuts = vec![Fate::Cut(1000), Fate::Lost, Fate::Cut(2000), SLOW_DOWN];
    let (direct, _proxy, store) = stores(cuts).await;
    let bytes = pattern(MIB, 2);
    direct.put(&key("a"), bytes.clone()).await.unwrap();
    let read = store.get_range(&key("a"), 500..700_000).await.unwrap();
    assert!(read == bytes.slice(500..700_000));
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_download_that_stalls_is_read_on() {
    let (direct, proxy, store) = stores_with(vec![Fate::Hang, Fate::Stall(MIB)], impatient).await;
    let bytes = pattern(2 * MIB, 3);
    direct.put(&key("a"), bytes.clone()).await.unwrap();
    assert!(store.get(&key("a")).await.unwrap() == bytes);
    assert!(proxy.count(is_read) >= 3);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_download_that_always_breaks_ends_as_an_error() {
    let (direct, proxy, store) = stores(vec![Fate::Cut(100); 50]).await;
    direct.put(&key("a"), pattern(MIB, 4)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "old").unwrap();
    let error = store.get_file(&key("a"), &file).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let told = told(&error);
    assert!(told.starts_with("cannot copy `a`: bucket `"), "{told}");
    assert!(proxy.count(is_read) < 10, "{:?}", proxy.requests());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn an_object_that_is_replaced_meanwhile_is_read_from_its_beginning() {
    let gate = Arc::new(Semaphore::new(0));
    let fates = vec![Fate::Cut(MIB), Fate::Hold(Arc::clone(&gate))];
    let (direct, proxy, store) = stores(fates).await;
    direct.put(&key("a"), pattern(2 * MIB, 5)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let (target, reader) = (file.clone(), store.clone());
    let reading = tokio::spawn(async move { reader.get_file(&key("a"), &target).await });
    proxy.wait_for(2, is_read).await;
    // Half of the first object has been read.
    let second = pattern(MIB + 100, 6);
    direct.put(&key("a"), second.clone()).await.unwrap();
    gate.add_permits(1);
    reading.await.unwrap().unwrap();
    assert!(std::fs::read(&file).unwrap() == second);
    assert_eq!(proxy.count(is_read), 3);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_service_that_asks_for_patience_gets_it_within_bounds() {
    let three_attempts = |options| S3Options {
        attempts: 3,
        ..options
    };
    let (direct, proxy, store) = stores_with(vec![SLOW_DOWN; 50], three_attempts).await;
    direct.put(&key("a"), "x".into()).await.unwrap();
    let error = store.get(&key("a")).await.unwrap_err();
    assert!(error.is_retryable());
    let told = told(&error);
    let end =
        "answers `SlowDown`: Please reduce your request rate. (status 503, request from-the-proxy)";
    assert!(told.ends_with(end), "{told}");
    assert_eq!(
        proxy.count(is_read),
        3,
        "as many attempts as the options say"
    );
}
