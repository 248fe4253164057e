//! Digests, sizes, full disks and clients that go away.

use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reelmill_common::ObjectKey;
use reelmill_store::{Faults, FaultyStore, ObjectMeta, Store, StoreError, When};
use reqwest::Client;
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::forms::{form, post_form};
use crate::harness::{SEGMENT, Service, accepted, pattern, problem};

fn digest(data: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha2::Sha256::digest(data)))
}

#[tokio::test]
async fn a_digest_that_does_not_hold_leaves_nothing() {
    let service = Service::start();
    let data = pattern(SEGMENT + 9, 3);
    let body = form(&[("file", Some("a.mp4"), &data), ("priority", None, b"low")]);
    let put = || {
        Client::new()
            .put(service.url("/v1/jobs"))
            .body(data.clone())
    };
    let post = || post_form(&service, "", body.clone());
    let wrong = digest(b"something else");
    for request in [put(), post()] {
        let answer = request
            .header("content-digest", &wrong)
            .send()
            .await
            .unwrap();
        let (status, code, _) = problem(answer).await;
        assert_eq!((status, code.as_str()), (400, "digest-mismatch"));
        service.becomes_empty().await;
    }
    // A form's digest is that of the form.
    for (request, digest) in [(put(), digest(&data)), (post(), digest(&body))] {
        let digests = format!("sha-512=:AAAA:, {digest}");
        let answer = request
            .header("content-digest", digests)
            .send()
            .await
            .unwrap();
        let job = accepted(answer).await;
        service.holds(&job, &data).await;
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_unread_or_cut() {
    let limit = SEGMENT as u64 + 100;
    let service = Service::start_with(|settings| settings.max_upload_bytes = limit);
    // Nothing of the body is sent: the answer comes all the same.
    let mut stream = TcpStream::connect(service.addr).await.unwrap();
    let length = limit + 1;
    let head = format!("PUT /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");

    let data = pattern(SEGMENT + 101, 4);
    let pieces: Vec<Result<Vec<u8>, Error>> = data
        .chunks(50_000)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let chunked = Client::new().put(service.url("/v1/jobs")).body(body);
    let in_form = post_form(&service, "", form(&[("file", Some("a"), &data)]));
    for request in [chunked, in_form] {
        let (status, code, detail) = problem(request.send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (413, "upload-too-large"));
        assert!(detail.contains(&limit.to_string()), "{detail}");
        service.becomes_empty().await;
    }
    let fits = Client::new()
        .put(service.url("/v1/jobs"))
        .body(data[..SEGMENT + 100].to_vec());
    accepted(fits.send().await.unwrap()).await;
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let service = Service::start();
    let data = pattern(2 * SEGMENT + 77, 5);
    for (kind, end) in [
        ("application/octet-stream", 0),
        ("multipart/form-data; boundary=b", 1),
    ] {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 99999999\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        if end == 1 {
            let part = b"--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n";
            stream.write_all(part).await.unwrap();
        }
        stream.write_all(&data).await.unwrap();
        // It is under way: there is something to clear.
        service.gets_a_segment().await;
        drop(stream);
        service.becomes_empty().await;
    }
}

/// A disk with room for so many segments.
#[derive(Debug)]
struct FullStore {
    inner: Arc<dyn Store>,
    segments: usize,
}

#[async_trait]
impl Store for FullStore {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put(key, bytes).await
    }
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put_new(key, bytes).await
    }
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        let index = key
            .as_str()
            .rsplit('_')
            .next()
            .and_then(|index| index.parse().ok());
        if index.is_some_and(|index: usize| index >= self.segments) {
            let source = Box::new(Error::from(ErrorKind::StorageFull));
            let key = key.clone();
            return Err(StoreError::Full { key, source });
        }
        self.inner.put_file(key, file).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }
    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        self.inner.get_file(key, file).await
    }
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_cleared() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let service = Service::start_on(
        folder,
        |_| {},
        |inner| Arc::new(FullStore { inner, segments: 1 }),
    );
    let data = pattern(3 * SEGMENT, 6);
    let put = Client::new()
        .put(service.url("/v1/jobs"))
        .body(data.clone());
    let post = post_form(&service, "", form(&[("file", Some("a"), &data)]));
    for request in [put, post] {
        let (status, code, detail) = problem(request.send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (507, "disk-full"), "{detail}");
        service.becomes_empty().await;
    }
    let fits = Client::new()
        .put(service.url("/v1/jobs"))
        .body(data[..SEGMENT].to_vec());
    accepted(fits.send().await.unwrap()).await;
}

#[tokio::test]
async fn a_store_that_fails_now_and_then_costs_no_upload() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let faults = Faults::first(2, When::Either).only("put_file");
    let service = Service::start_on(
        folder,
        |_| {},
        |inner| Arc::new(FaultyStore::new(inner, faults)),
    );
    let data = pattern(2 * SEGMENT + 1, 7);
    let put = Client::new()
        .put(service.url("/v1/jobs"))
        .body(data.clone());
    let job = accepted(put.send().await.unwrap()).await;
    service.holds(&job, &data).await;
}
