//! Links that clients follow without us.

use std::time::Duration;

use reelmill_faultproxy::http::fetch;
use reelmill_store::{S3Options, Store};

use super::harness::{connect, endpoint, key, options, pattern};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn whoever_holds_a_link_can_read_the_object_and_no_other() {
    let store = connect(&options()).await;
    let bytes = pattern(10_000, 1);
    let name = key("transcoded/j1/output_1080p.mp4");
    store.put(&name, bytes.clone()).await.unwrap();
    store
        .put(&key("transcoded/j2/x"), "x".into())
        .await
        .unwrap();
    let link = store.link(&name, Some("video/mp4"), HOUR).await;
    let link = link.unwrap().expect("this store has links");

    let answer = fetch(&link, &[]).await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("video/mp4"));
    assert!(answer.body == bytes);

    let answer = fetch(&link, &[("range", "bytes=100-199")]).await;
    assert_eq!(answer.status(), 206, "{answer:?}");
    assert!(answer.body == bytes.slice(100..200));

    let other = link.replace("j1/output_1080p.mp4", "j2/x");
    assert_eq!(fetch(&other, &[]).await.status(), 403);
    let longer = link.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000");
    assert_ne!(longer, link);
    assert_eq!(fetch(&longer, &[]).await.status(), 403);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_link_to_nothing_gives_the_stores_answer() {
    let store = connect(&options()).await;
    let link = store.presigned_get(&key("a"), HOUR, None).await.unwrap();
    assert_eq!(fetch(&link, &[]).await.status(), 404);
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn links_are_short_lived_and_lead_where_clients_are() {
    let outside = S3Options {
        link_endpoint: Some("https://videos.example.org".to_owned()),
        ..options()
    };
    let store = connect(&outside).await;
    let link = store.presigned_get(&key("a/b"), HOUR, None).await.unwrap();
    let begin = format!("https://videos.example.org/{}/a/b?", outside.bucket);
    assert!(link.starts_with(&begin), "{link}");
    assert!(!link.contains(&endpoint()), "{link}");
    let week = 7 * 24 * HOUR;
    store.presigned_get(&key("a"), week, None).await.unwrap();
    let error = store.presigned_get(&key("a"), week + HOUR, None).await;
    assert_eq!(error.unwrap_err().to_string(), "cannot make a link to `a`");
}
