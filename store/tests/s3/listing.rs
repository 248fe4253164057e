//! Listings that are longer than what the service gives at a time, and what is in a bucket besides
//! our objects.

use std::time::Duration;

use reelmill_store::{S3Options, Store};
use tokio::task::JoinSet;

use super::harness::{connect, key, options, server, through};
use super::proxy::{Fate, Proxy, SLOW_DOWN};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_listing_longer_than_a_page_is_whole() {
    let store = connect(&options()).await;
    let names: Vec<String> = (0..1003).map(|i| format!("many/{i:04}")).collect();
    let mut writers = JoinSet::new();
    for some in names.chunks(100) {
        let (store, some) = (store.clone(), some.to_vec());
        writers.spawn(async move {
            for name in some {
                store.put(&key(&name), "x".into()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    for limit in [1000, 1001, 1003, 5000] {
        let listed = store.list("many/", None, limit).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|meta| meta.key.as_str()).collect();
        assert_eq!(listed, names[..limit.min(1003)]);
    }
    assert_eq!(store.list("", None, 0).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_probe_that_was_left_is_no_object_and_is_cleared() {
    let options = options();
    let proxy = Proxy::start(server(), |request| {
        match request.first.starts_with("DELETE") {
            true => SLOW_DOWN,
            false => Fate::Pass,
        }
    })
    .await;
    let hasty = S3Options {
        attempts: 1,
        ..through(&proxy, &options)
    };
    connect(&hasty).await;
    let store = connect(&options).await;
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(store.clear_unfinished(hour).await.unwrap(), 0);
    assert_eq!(store.clear_unfinished(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(store.clear_unfinished(Duration::ZERO).await.unwrap(), 0);
}
