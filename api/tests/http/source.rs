use reelmill_common::Sha256;
use reelmill_common::manifest::Location;

use crate::fixture::{Service, problem};

#[tokio::test]
async fn a_source_is_read_across_its_segments() {
    let service = Service::start().await;
    let id = service.job("a").await;
    let bytes: Vec<u8> = (0..1000_u32).map(|at| at as u8).collect();
    service.uploaded(&id, "My \"film\".MP4", &bytes, 300).await;
    let response = service.get("/v1/jobs/a/source").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "video/mp4");
    assert_eq!(header("etag"), format!("\"{}\"", Sha256::of(&bytes)));
    assert!(header("content-disposition").starts_with("attachment;"));
    assert_eq!(response.bytes().await.unwrap(), bytes);
    for (range, from, to) in [
        ("bytes=299-300", 299, 301),
        ("bytes=300-599", 300, 600),
        ("bytes=100-950", 100, 951),
        ("bytes=-150", 850, 1000),
    ] {
        let request = service.get("/v1/jobs/a/source").header("Range", range);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(response.bytes().await.unwrap(), bytes[from..to], "{range}");
    }
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(job["source"]["bytes"], 1000);
}

#[tokio::test]
async fn a_source_that_a_browser_would_run_is_only_bytes() {
    let service = Service::start().await;
    let id = service.job("a").await;
    service
        .uploaded(&id, "film.html", b"<script>alert(1)</script>", 300)
        .await;
    let response = service.get("/v1/jobs/a/source").send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(header("content-disposition").starts_with("attachment;"));
}

#[tokio::test]
async fn a_source_by_its_path_is_not_given_away() {
    let service = Service::start().await;
    let id = service.job("a").await;
    service
        .request(&id, "passwd", Location::Path("/etc/passwd".into()))
        .await;
    let response = service.get("/v1/jobs/a/source").send().await.unwrap();
    problem(response, 404, "source-not-stored").await;
    let response = service.get("/v1/jobs/b/source").send().await.unwrap();
    problem(response, 404, "job-unknown").await;
}
