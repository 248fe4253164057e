//! Uploads by tus: what is offered, taken and refused.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reelmill_common::JobId;
use reqwest::{Client, Method, Response};
use sha2::Digest as _;

use crate::harness::{SEGMENT, Service, pattern, problem};

fn request(service: &Service, method: Method, path: &str) -> reqwest::RequestBuilder {
    Client::new()
        .request(method, service.url(path))
        .header("tus-resumable", "1.0.0")
}

async fn create(service: &Service, headers: &[(&str, &str)]) -> String {
    let mut begin = request(service, Method::POST, "/v1/uploads");
    for (name, value) in headers {
        begin = begin.header(*name, *value);
    }
    let answer = begin.send().await.unwrap();
    assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

pub(crate) async fn create_of(service: &Service, len: usize) -> String {
    create(service, &[("upload-length", &len.to_string())]).await
}

pub(crate) fn patch(
    service: &Service,
    path: &str,
    offset: usize,
    data: &[u8],
) -> reqwest::RequestBuilder {
    request(service, Method::PATCH, path)
        .header("content-type", "application/offset+octet-stream")
        .header("upload-offset", offset)
        .body(data.to_vec())
}

pub(crate) async fn head(service: &Service, path: &str) -> Response {
    request(service, Method::HEAD, path).send().await.unwrap()
}

pub(crate) fn offset(answer: &Response) -> usize {
    let Some(value) = answer.headers().get("upload-offset") else {
        panic!("no offset in {answer:?}");
    };
    value.to_str().unwrap().parse().unwrap()
}

pub(crate) fn job_of(path: &str) -> JobId {
    JobId::new(path.rsplit('/').next().unwrap()).unwrap()
}

/// The answer to the last bytes.
pub(crate) fn is_done(answer: &Response, path: &str, len: usize) {
    assert_eq!(answer.status(), 204);
    assert_eq!(offset(answer), len);
    let job = answer.headers()["reelmill-job"].to_str().unwrap();
    assert_eq!(job, format!("/v1/jobs/{}", job_of(path)));
}

#[tokio::test]
async fn an_upload_in_pieces_becomes_one_job() {
    let service = Service::start();
    let lens = [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 5];
    for len in lens {
        let data = pattern(len, len as u64);
        let path = create_of(&service, len).await;
        let mut at = 0;
        for cut in [0, len / 3, len / 3, len - 1, len] {
            let cut = cut.max(at);
            let answer = patch(&service, &path, at, &data[at..cut])
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 204);
            assert_eq!(answer.headers()["tus-resumable"], "1.0.0");
            assert_eq!(offset(&answer), cut);
            if cut == len {
                is_done(&answer, &path, len);
            } else {
                assert_eq!(offset(&head(&service, &path).await), cut);
            }
            at = cut;
        }
        service.holds(&job_of(&path), &data).await;
        // The whole upload goes on answering, for a client whose last answer was lost.
        let answer = head(&service, &path).await;
        assert_eq!((answer.status().as_u16(), offset(&answer)), (200, len));
        let answer = patch(&service, &path, len, b"").send().await.unwrap();
        is_done(&answer, &path, len);
    }
    assert_eq!(service.scratch_files(), 0);
}

#[tokio::test]
async fn what_is_offered_is_said() {
    let service = Service::start_with(|settings| settings.max_upload_bytes = 1000);
    let answer = Client::new()
        .request(Method::OPTIONS, service.url("/v1/uploads"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    let wanted = [
        ("tus-resumable", "1.0.0"),
        ("tus-version", "1.0.0"),
        ("tus-max-size", "1000"),
        ("tus-checksum-algorithm", "sha1,sha256"),
        (
            "tus-extension",
            "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum",
        ),
    ];
    for (name, value) in wanted {
        assert_eq!(answer.headers()[name], value);
    }
}

#[tokio::test]
async fn metadata_decides_and_is_said_back() {
    let service = Service::start();
    let pairs = [
        ("filename", "Мой фильм.mp4"),
        ("filetype", "video/mp4"),
        ("name", "Мой фильм.mp4"),
        ("priority", "low"),
        ("profile", "lossless"),
    ];
    let said: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name} {}", STANDARD.encode(value)))
        .collect();
    let said = said.join(",");
    let begin = [("upload-length", "3"), ("upload-metadata", said.as_str())];
    let path = create(&service, &begin).await;
    let answer = head(&service, &path).await;
    assert_eq!(answer.headers()["upload-metadata"], said.as_str());
    assert_eq!(answer.headers()["upload-length"], "3");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    is_done(
        &patch(&service, &path, 0, b"abc").send().await.unwrap(),
        &path,
        3,
    );
    let made = service.holds(&job_of(&path), b"abc").await;
    assert_eq!(made.name, "Мой фильм.mp4");
    assert_eq!(made.profile.name, "lossless");
    assert_eq!(made.options.priority.as_str(), "low");
    assert_eq!(made.options.metadata["filetype"], "video/mp4");
    assert_eq!(made.options.metadata.len(), 1);
}

#[tokio::test]
async fn an_upload_may_begin_with_bytes_and_without_a_length() {
    let service = Service::start();
    let all_at_once = request(&service, Method::POST, "/v1/uploads")
        .header("content-type", "application/offset+octet-stream")
        .header("upload-length", 3)
        .body("abc");
    let answer = all_at_once.send().await.unwrap();
    assert_eq!((answer.status().as_u16(), offset(&answer)), (201, 3));
    let path = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(answer.headers().contains_key("reelmill-job"));
    service.holds(&job_of(&path), b"abc").await;

    let path = create(&service, &[("upload-defer-length", "1")]).await;
    let answer = head(&service, &path).await;
    assert_eq!(answer.headers()["upload-defer-length"], "1");
    let answer = patch(&service, &path, 0, b"abc").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), offset(&answer)), (204, 3));
    let short = patch(&service, &path, 3, b"").header("upload-length", 2);
    assert_eq!(problem(short.send().await.unwrap()).await.0, 400);
    // The length may come with the last bytes, or after them.
    let last = patch(&service, &path, 3, b"").header("upload-length", 3);
    is_done(&last.send().await.unwrap(), &path, 3);
    service.holds(&job_of(&path), b"abc").await;
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let service = Service::start_with(|settings| settings.max_upload_bytes = 100);
    let path = create_of(&service, 10).await;
    let begin = || request(&service, Method::POST, "/v1/uploads");
    let gone = "/v1/uploads/0190aaaabbbbccccddddeeeeffff0000";
    let cases = [
        (begin(), 400, "upload-length"),
        (
            begin().header("upload-length", "-1"),
            400,
            "header-malformed",
        ),
        (
            begin()
                .header("upload-length", "5")
                .header("upload-defer-length", "1"),
            400,
            "upload-length",
        ),
        (begin().header("upload-length", "0"), 400, "upload-empty"),
        (
            begin().header("upload-length", "101"),
            413,
            "upload-too-large",
        ),
        (
            begin()
                .header("upload-length", "5")
                .header("upload-metadata", "a ###"),
            400,
            "metadata-malformed",
        ),
        (
            begin()
                .header("upload-length", "5")
                .header("upload-metadata", "profile eA=="),
            400,
            "profile-unknown",
        ),
        (
            begin()
                .header("upload-length", "5")
                .header("upload-concat", "partial"),
            400,
            "tus-extension",
        ),
        (patch(&service, &path, 4, b"abc"), 409, "upload-offset"),
        (patch(&service, &path, 0, &[0; 11]), 413, "upload-too-large"),
        (
            patch(&service, &path, 0, b"abc").header("upload-length", 9),
            400,
            "upload-length",
        ),
        (
            patch(&service, &path, 0, b"abc").header("upload-checksum", "md5 AAAA"),
            400,
            "checksum-malformed",
        ),
        (
            request(&service, Method::PATCH, &path).header("upload-offset", 0),
            415,
            "upload-content-type",
        ),
        (patch(&service, gone, 0, b"abc"), 404, "upload-unknown"),
        (
            patch(&service, "/v1/uploads/..%2f..%2fetc", 0, b"abc"),
            404,
            "upload-unknown",
        ),
        (
            request(&service, Method::DELETE, gone),
            404,
            "upload-unknown",
        ),
        (
            request(&service, Method::POST, &path),
            405,
            "method-not-allowed",
        ),
        (
            Client::new().post(service.url("/v1/uploads")),
            412,
            "tus-version",
        ),
    ];
    for (request, status, code) in cases {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["tus-resumable"], "1.0.0");
        let said = problem(answer).await;
        assert_eq!((said.0, said.1.as_str()), (status, code), "{}", said.2);
    }
    assert_eq!(head(&service, gone).await.status(), 404);
    assert_eq!(offset(&head(&service, &path).await), 0);
    // None of it left anything beside the one upload.
    assert_eq!(
        service.objects().await,
        [format!("uploads/{}.json", job_of(&path))]
    );
}

#[tokio::test]
async fn a_checksum_that_does_not_hold_changes_nothing() {
    let service = Service::start();
    let data = pattern(2 * SEGMENT + 30, 9);
    let path = create_of(&service, data.len()).await;
    let answer = patch(&service, &path, 0, &data[..10]).send().await.unwrap();
    assert_eq!(offset(&answer), 10);
    let sha1 = |data: &[u8]| format!("sha1 {}", STANDARD.encode(sha1::Sha1::digest(data)));
    let sha256 = |data: &[u8]| format!("sha256 {}", STANDARD.encode(sha2::Sha256::digest(data)));
    let rest = &data[10..SEGMENT + 20];
    for wrong in [sha1(b"x"), sha256(b"x")] {
        // Long enough that a segment would have become whole.
        let mut broken = rest.to_vec();
        broken[5] ^= 1;
        let send = patch(&service, &path, 10, &broken).header("upload-checksum", wrong);
        let (status, code, _) = problem(send.send().await.unwrap()).await;
        assert_eq!((status, code.as_str()), (460, "checksum-mismatch"));
        assert_eq!(offset(&head(&service, &path).await), 10);
    }
    let answer = patch(&service, &path, 10, rest).header("upload-checksum", sha1(rest));
    assert_eq!(offset(&answer.send().await.unwrap()), SEGMENT + 20);
    let rest = &data[SEGMENT + 20..];
    let answer = patch(&service, &path, SEGMENT + 20, rest).header("upload-checksum", sha256(rest));
    is_done(&answer.send().await.unwrap(), &path, data.len());
    service.holds(&job_of(&path), &data).await;
}

#[tokio::test]
async fn an_upload_can_be_ended_and_expires() {
    let service = Service::start();
    let path = create_of(&service, 2 * SEGMENT).await;
    let data = pattern(SEGMENT + 3, 10);
    patch(&service, &path, 0, &data).send().await.unwrap();
    let answer = request(&service, Method::DELETE, &path)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    service.becomes_empty().await;
    assert_eq!(head(&service, &path).await.status(), 404);

    // By clients that can only post.
    let path = create_of(&service, 3).await;
    let posted = |method: &str| {
        request(&service, Method::POST, &path)
            .header("x-http-method-override", method)
            .header("content-type", "application/offset+octet-stream")
            .header("upload-offset", 0)
    };
    assert_eq!(
        posted("PATCH").body("ab").send().await.unwrap().status(),
        204
    );
    assert_eq!(offset(&posted("HEAD").send().await.unwrap()), 2);
    assert_eq!(posted("DELETE").send().await.unwrap().status(), 204);
    service.becomes_empty().await;

    // A job is not an upload any more.
    let path = create_of(&service, 3).await;
    is_done(
        &patch(&service, &path, 0, b"abc").send().await.unwrap(),
        &path,
        3,
    );
    let answer = request(&service, Method::DELETE, &path)
        .send()
        .await
        .unwrap();
    assert_eq!(problem(answer).await.1, "upload-whole");
    service.holds(&job_of(&path), b"abc").await;

    let service = Service::start_with(|settings| settings.upload_expiry = Duration::ZERO);
    let begin = request(&service, Method::POST, "/v1/uploads").header("upload-length", 3);
    let answer = begin.send().await.unwrap();
    let expires = answer.headers()["upload-expires"].to_str().unwrap();
    let expires = httpdate::parse_http_date(expires).unwrap();
    let age = std::time::SystemTime::now()
        .duration_since(expires)
        .unwrap();
    assert!(age < Duration::from_secs(60));
    let path = answer.headers()["location"].to_str().unwrap();
    assert_eq!(head(&service, path).await.status(), 410);
    let late = patch(&service, path, 0, b"abc").send().await.unwrap();
    assert_eq!(problem(late).await.1, "upload-expired");
}
