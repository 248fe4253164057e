//! What an operator is told when a bucket cannot be used, and how it is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reelmill_common::Retryable as _;
use reelmill_store::{S3Options, S3Store, Store, StoreError};

use super::harness::{SECRET_KEY, connect, endpoint, key, options, server, through, told};
use super::proxy::{Fate, NO_BUCKET, Proxy};

async fn refused(options: &S3Options) -> StoreError {
    let error = S3Store::connect(options).await.unwrap_err();
    let shown = format!("{error:?} {}", told(&error));
    let secret = &options.credentials.secret_key;
    assert!(!shown.contains(secret), "{shown}");
    error
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_missing_bucket_is_named_with_the_way_out() {
    let missing = S3Options {
        create_bucket: false,
        ..options()
    };
    let error = refused(&missing).await;
    assert!(!error.is_retryable());
    let told = told(&error);
    let begin = format!(
        "cannot open `s3://{0}`: bucket `{0}` at `{1}` answers `NoSuchBucket`: ",
        missing.bucket,
        endpoint()
    );
    assert!(told.starts_with(&begin), "{told}");
    let end = ": make it, or let `create_bucket` do so";
    assert!(told.ends_with(end), "{told}");
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn any_number_may_make_the_bucket() {
    let options = options();
    let (a, b, c) = tokio::join!(connect(&options), connect(&options), connect(&options));
    for store in [&a, &b, &c] {
        store.put(&key("a"), "x".into()).await.unwrap();
    }
    let there = S3Options {
        create_bucket: false,
        ..options
    };
    let again = connect(&there).await;
    assert_eq!(again.get(&key("a")).await.unwrap(), "x");
    let shown = format!("{again:?}");
    assert!(shown.contains(&there.bucket), "{shown}");
    assert!(!shown.contains(SECRET_KEY), "{shown}");
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn wrong_keys_are_told_apart() {
    let bucket = options();
    connect(&bucket).await;
    let mut wrong_secret = bucket.clone();
    wrong_secret.credentials.secret_key = "a-wrong-secret".to_owned();
    let mut wrong_access = bucket.clone();
    wrong_access.credentials.access_key = "nobody".to_owned();
    for (options, way_out) in [
        (wrong_secret, ": check the secret key"),
        (wrong_access, ": check the access key"),
    ] {
        let error = refused(&options).await;
        assert!(!error.is_retryable());
        let told = told(&error);
        assert!(told.ends_with(way_out), "{told}");
        assert!(
            told.contains(&bucket.bucket) && told.contains(&endpoint()),
            "{told}"
        );
    }
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_may_come_back() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let credentials = reelmill_store::S3Credentials::new("who", SECRET_KEY);
    let options = S3Options {
        endpoint: Some(format!("http://{address}")),
        attempts: 2,
        ..S3Options::new("videos", credentials)
    };
    let error = refused(&options).await;
    assert!(error.is_retryable());
    let told = told(&error);
    let begin = format!(
        "cannot open `s3://videos`: bucket `videos` at `http://{address}` cannot be reached: "
    );
    assert!(told.starts_with(&begin), "{told}");
    assert!(
        told.ends_with(": see that the service runs, the endpoint is right and, over TLS, this machine trusts it"),
        "{told}"
    );
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn nothing_is_left_of_the_opening() {
    let options = options();
    let proxy = Proxy::start(server(), |_| Fate::Pass).await;
    let store = connect(&through(&proxy, &options)).await;
    assert!(store.creates_atomically());
    let probes = |method: &'static str| {
        proxy.count(move |request| request.starts_with(method) && request.contains("/.reelmill/"))
    };
    assert_eq!((probes("PUT"), probes("DELETE")), (2, 1));
    assert_eq!(store.clear_unfinished(Duration::ZERO).await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_bucket_that_goes_away_is_not_a_missing_object() {
    let is_gone = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_gone);
    let proxy = Proxy::start(server(), move |_| match flag.load(Ordering::SeqCst) {
        true => NO_BUCKET,
        false => Fate::Pass,
    })
    .await;
    let store = connect(&through(&proxy, &options())).await;
    let missing = key("a");
    for _ in 0..2 {
        let answers = [
            store.head(&missing).await.map(drop),
            store.get(&missing).await.map(drop),
            store.get_range(&missing, 5..5).await.map(drop),
        ];
        for answer in answers {
            match answer {
                Err(StoreError::NotFound(_)) => assert!(!is_gone.load(Ordering::SeqCst)),
                Err(StoreError::Backend { retryable, .. }) => {
                    assert!(is_gone.load(Ordering::SeqCst) && !retryable);
                }
                other => panic!("{other:?}"),
            }
        }
        is_gone.store(true, Ordering::SeqCst);
    }
    store.delete(&missing).await.unwrap_err();
    store.list("", None, 10).await.unwrap_err();
}
