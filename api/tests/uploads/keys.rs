//! `Idempotency-Key`: the same request, the same job.

use reqwest::{Client, RequestBuilder};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::forms::{form, post_form};
use crate::harness::{SEGMENT, Service, accepted, pattern, problem};

fn put(service: &Service, key: &str, query: &str, data: &[u8]) -> RequestBuilder {
    Client::new()
        .put(service.url(&format!("/v1/jobs{query}")))
        .header("idempotency-key", key)
        .body(data.to_vec())
}

#[tokio::test]
async fn a_request_that_is_sent_again_gives_the_same_job() {
    let service = Service::start();
    let first = accepted(put(&service, "k1", "?name=a", b"abc").send().await.unwrap()).await;
    let answer = put(&service, "k1", "?name=a", b"abc").send().await.unwrap();
    assert_eq!(answer.headers()["idempotency-replayed"], "true");
    assert_eq!(accepted(answer).await, first);

    // Another request with the key: other options, another length, another form.
    let others = [
        put(&service, "k1", "?name=b", b"abc"),
        put(&service, "k1", "?name=a", b"abcd"),
        post_form(&service, "?name=a", form(&[("file", None, b"abc")]))
            .header("idempotency-key", "k1"),
    ];
    for other in others {
        let (status, code, _) = problem(other.send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (422, "idempotency-key-reused"));
    }
    let another = accepted(put(&service, "k2", "?name=a", b"abc").send().await.unwrap()).await;
    assert_ne!(another, first);

    let twice =
        || post_form(&service, "", form(&[("file", None, b"abc")])).header("idempotency-key", "k3");
    let one = accepted(twice().send().await.unwrap()).await;
    assert_eq!(accepted(twice().send().await.unwrap()).await, one);

    // It outlives the process.
    let folder = service.kill();
    let service = Service::start_on(folder, |_| {}, |store| store);
    let again = accepted(put(&service, "k1", "?name=a", b"abc").send().await.unwrap()).await;
    assert_eq!(again, first);
    service.holds(&first, b"abc").await;
}

#[tokio::test]
async fn a_key_is_free_again_after_a_request_that_failed() {
    let service = Service::start();
    let broken = put(&service, "k", "", b"abc").header(
        "content-digest",
        "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
    );
    let (status, ..) = problem(broken.send().await.unwrap()).await;
    assert_eq!(status, 400);
    accepted(put(&service, "k", "", b"abc").send().await.unwrap()).await;
}

#[tokio::test]
async fn a_request_under_way_is_not_begun_twice_and_a_kill_frees_its_key() {
    let service = Service::start();
    let data = pattern(SEGMENT + 10, 8);
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    let head = format!(
        "PUT /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nIdempotency-Key: k\r\n\r\n",
        data.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&data[..SEGMENT]).await.unwrap();
    service.gets_a_segment().await;
    let answer = put(&service, "k", "", &data).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "5");
    let (status, code, _) = problem(answer).await;
    assert_eq!((status, code.as_str()), (409, "idempotency-in-progress"));
    let (status, ..) = problem(put(&service, "k", "", b"x").send().await.unwrap()).await;
    assert_eq!(status, 422);

    let folder = tokio::task::spawn_blocking(|| service.kill())
        .await
        .unwrap();
    drop(stream);
    let service = Service::start_on(folder, |_| {}, |store| store);
    assert!(!service.objects().await.is_empty());
    let job = accepted(put(&service, "k", "", &data).send().await.unwrap()).await;
    service.holds(&job, &data).await;
    let objects = service.objects().await;
    assert!(
        objects.iter().all(|key| key.contains(job.as_str())),
        "{objects:?}"
    );
}
