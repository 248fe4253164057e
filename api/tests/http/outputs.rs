use reelmill_common::{Sha256, key};
use serde_json::{Value, json};

use crate::fixture::{Service, problem};

/// Longer than two pieces, and each byte tells its place.
fn film() -> Vec<u8> {
    (0..1_500_000_u32).map(|at| (at * 31 / 7) as u8).collect()
}

async fn with_film() -> (Service, Vec<u8>) {
    let service = Service::start().await;
    let film = film();
    let outputs = [
        ("output_1080p.mp4", film.clone()),
        ("hls/master.m3u8", b"#EXTM3U\n".to_vec()),
        ("hls/audio_0.mp4", b"sound".to_vec()),
        ("empty_1080p.mp4", vec![]),
    ];
    service.completed("a", &outputs).await;
    (service, film)
}

const FILM: &str = "/v1/jobs/a/outputs/output_1080p.mp4";

#[tokio::test]
async fn every_file_is_listed_and_is_what_the_list_says() {
    let (service, _) = with_film().await;
    let list = service.json("/v1/jobs/a/outputs").await;
    let outputs = list["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 4);
    for output in outputs {
        let response = service
            .get(output["url"].as_str().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"].to_str().unwrap(),
            output["content_type"]
        );
        assert_eq!(
            response.headers()["etag"].to_str().unwrap(),
            format!("\"{}\"", output["sha256"].as_str().unwrap())
        );
        let bytes = response.bytes().await.unwrap();
        assert_eq!(json!(bytes.len()), output["bytes"]);
        assert_eq!(json!(Sha256::of(&bytes)), output["sha256"]);
    }
    let kinds: Vec<&Value> = outputs
        .iter()
        .map(|output| &output["content_type"])
        .collect();
    assert_eq!(
        kinds,
        [
            "video/mp4",
            "application/vnd.apple.mpegurl",
            "audio/mp4",
            "video/mp4"
        ]
    );
}

#[tokio::test]
async fn every_range_gives_its_bytes() {
    let (service, film) = with_film().await;
    let size = film.len();
    let piece = 512 * 1024;
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=0-".to_owned(), 0, size),
        ("bytes=5-99".to_owned(), 5, 100),
        (
            format!("bytes={}-{}", piece - 1, piece),
            piece - 1,
            piece + 1,
        ),
        (format!("bytes={piece}-{}", 2 * piece - 1), piece, 2 * piece),
        (format!("bytes={}-", size - 1), size - 1, size),
        (format!("bytes=7-{}", size * 2), 7, size),
        ("bytes=-1".to_owned(), size - 1, size),
        ("bytes=-1000000".to_owned(), size - 1_000_000, size),
        (format!("bytes=-{}", size * 2), 0, size),
    ] {
        let response = service
            .get(FILM)
            .header("Range", &range)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 206, "{range}");
        let says = response.headers()["content-range"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(says, format!("bytes {from}-{}/{size}", to - 1), "{range}");
        let length = response.headers()["content-length"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(length, (to - from).to_string(), "{range}");
        assert!(response.bytes().await.unwrap() == film[from..to], "{range}");
    }
}

#[tokio::test]
async fn a_range_that_is_not_there_is_refused_and_nonsense_gives_the_whole() {
    let (service, film) = with_film().await;
    let size = film.len();
    for range in [format!("bytes={size}-"), "bytes=-0".to_owned()] {
        let response = service
            .get(FILM)
            .header("Range", &range)
            .send()
            .await
            .unwrap();
        let says = response.headers()["content-range"].to_str().unwrap();
        assert_eq!(says, format!("bytes */{size}"), "{range}");
        problem(response, 416, "range-beyond").await;
    }
    for range in [
        "bytes=9-1",
        "bytes=0-1,3-4",
        "frames=0-1",
        "bytes",
        "bytes=--1",
    ] {
        let response = service
            .get(FILM)
            .header("Range", range)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{range}");
        assert!(response.bytes().await.unwrap() == film, "{range}");
    }
    let empty = service.get("/v1/jobs/a/outputs/empty_1080p.mp4");
    let response = empty.header("Range", "bytes=0-").send().await.unwrap();
    problem(response, 416, "range-beyond").await;
}

#[tokio::test]
async fn conditions_are_kept() {
    let (service, film) = with_film().await;
    let etag = format!("\"{}\"", Sha256::of(&film));
    for known in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"x\", {etag}"),
        "*".to_owned(),
    ] {
        let response = service
            .get(FILM)
            .header("If-None-Match", &known)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 304, "{known}");
        assert_eq!(response.headers()["etag"].to_str().unwrap(), etag);
        assert!(response.bytes().await.unwrap().is_empty());
    }
    let response = service
        .get(FILM)
        .header("If-None-Match", "\"x\"")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    for (condition, status) in [
        (etag.clone(), 206),
        ("\"x\"".to_owned(), 200),
        (format!("W/{etag}"), 200),
        ("Tue, 24 Nov 2026 10:00:00 GMT".to_owned(), 200),
    ] {
        let request = service
            .get(FILM)
            .header("Range", "bytes=0-9")
            .header("If-Range", &condition);
        assert_eq!(
            request.send().await.unwrap().status(),
            status,
            "{condition}"
        );
    }
}

#[tokio::test]
async fn head_says_what_get_would() {
    let (service, film) = with_film().await;
    for path in [FILM, "/v1/jobs/a/certificate", "/v1/jobs/a"] {
        let got = service.get(path).send().await.unwrap();
        let head = service.client.head(service.url(path)).send().await.unwrap();
        assert_eq!(head.status(), 200, "{path}");
        for name in ["content-type", "content-length", "etag", "accept-ranges"] {
            assert_eq!(
                head.headers().get(name),
                got.headers().get(name),
                "{path} {name}"
            );
        }
        assert!(head.bytes().await.unwrap().is_empty());
    }
    let head = service
        .client
        .head(service.url(FILM))
        .header("Range", "bytes=0-1");
    let head = head.send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(
        head.headers()["content-length"].to_str().unwrap(),
        film.len().to_string()
    );
}

#[tokio::test]
async fn a_browser_may_show_and_keep_a_film() {
    let (service, _) = with_film().await;
    let response = service.get(FILM).send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(
        header("content-disposition"),
        "inline; filename=\"output_1080p.mp4\""
    );
    assert_eq!(header("cache-control"), "private, max-age=86400, immutable");
    assert!(header("content-security-policy").contains("media-src 'self'"));
    assert_eq!(header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn the_certificate_is_there_under_both_names() {
    let (service, _) = with_film().await;
    let key = key::certificate(&"a".to_owned().try_into().unwrap());
    let stored = service.ports.store.get(&key).await.unwrap();
    for path in [
        "/v1/jobs/a/certificate",
        "/v1/jobs/a/outputs/certificate.json",
    ] {
        let response = service.get(path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        let etag = response.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(response.bytes().await.unwrap(), stored);
        let again = service.get(path).header("If-None-Match", etag);
        assert_eq!(again.send().await.unwrap().status(), 304);
    }
}

#[tokio::test]
async fn a_job_without_a_certificate_has_no_outputs() {
    let service = Service::start().await;
    let (id, _) = service.running("a").await;
    let store = &service.ports.store;
    // Put there by the merger, and not proven yet.
    let early = key::output(&id, "output_1080p.mp4").unwrap();
    store.put(&early, "film".into()).await.unwrap();
    let response = service.get("/v1/jobs/a/outputs").send().await.unwrap();
    let sentence = problem(response, 409, "job-not-completed").await;
    assert!(sentence.contains("running"), "{sentence}");
    let response = service.get(FILM).send().await.unwrap();
    problem(response, 404, "output-unknown").await;
    let response = service.get("/v1/jobs/a/certificate").send().await.unwrap();
    problem(response, 404, "certificate-missing").await;
}

#[tokio::test]
async fn outputs_that_were_removed_are_gone_at_once() {
    let (service, _) = with_film().await;
    assert_eq!(service.get(FILM).send().await.unwrap().status(), 200);
    let id = "a".to_owned().try_into().unwrap();
    let store = &service.ports.store;
    store
        .delete(&key::output(&id, "output_1080p.mp4").unwrap())
        .await
        .unwrap();
    problem(
        service.get(FILM).send().await.unwrap(),
        404,
        "output-unknown",
    )
    .await;
    reelmill_stage::remove(&service.ports, &id).await.unwrap();
    let response = service.get("/v1/jobs/a/outputs").send().await.unwrap();
    problem(response, 404, "job-unknown").await;
}

#[tokio::test]
async fn outputs_outlive_the_ledger() {
    let (service, film) = with_film().await;
    let id = "a".to_owned().try_into().unwrap();
    service.ports.ledger.forget(&id).await.unwrap();
    let response = service.get("/v1/jobs/a").send().await.unwrap();
    let job: serde_json::Value = response.json().await.unwrap();
    assert_eq!(job["status"], "completed");
    let response = service.get(FILM).send().await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), film);
}

#[tokio::test]
async fn a_file_that_lost_its_end_is_not_taken_for_whole() {
    let (service, film) = with_film().await;
    let id = "a".to_owned().try_into().unwrap();
    let key = key::output(&id, "output_1080p.mp4").unwrap();
    service
        .ports
        .store
        .put(&key, film[..1_000_000].to_vec().into())
        .await
        .unwrap();
    let response = service.get(FILM).send().await.unwrap();
    assert!(response.bytes().await.is_err());
}
