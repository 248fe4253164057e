use crate::fixture::Service;
use crate::raw::Raw;

/// Names that are no job's.
const IDS: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2E%2E",
    "A",
    "a%00",
    "%00",
    "a%2f..",
    "..%2fa",
    "a%5c",
    "a%20",
    "%ff",
    "%c3%28",
    "-a",
    "a.b",
    "a_b",
    "é",
    "%C3%A9",
    "a;b",
    "a:b",
    "*",
    "{id}",
    "%7Bid%7D",
    "null",
    "%",
    "%a",
    "%zz",
    "a%",
    "certificate.json",
    "a'--",
    "a%27%3b",
    "a%0d%0aX:%20y",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Names that are no output's of the job `a`, though many lead to a file that is there.
const OUTPUTS: &[&str] = &[
    "",
    "/",
    ".",
    "..",
    "../a/output_1080p.mp4",
    "../../transcoded/a/output_1080p.mp4",
    "../../../etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "%252e%252e%252fetc",
    "hls/../output_1080p.mp4",
    "hls/./master.m3u8",
    "hls//master.m3u8",
    "hls%2fmaster.m3u8",
    "hls%2Fmaster.m3u8",
    "hls%5Cmaster.m3u8",
    "hls/",
    "hls",
    "hls/master.m3u8/",
    "hls/master.m3u8/..",
    "output_1080p.mp4/",
    "output_1080p.mp4%00",
    "output_1080p.mp4%00.json",
    "%00",
    "output_1080p.mp4%20",
    "output_1080p.mp4.",
    "OUTPUT_1080P.MP4",
    "output_1080p.mp4::$DATA",
    "output_1080p%ff.mp4",
    "output_1080p.mp4%0a",
    "./certificate.json",
    "certificate.json/",
    "%2e/certificate.json",
    "x/../certificate.json",
    "certificate.json%00",
    // In the store, and none of a client's business.
    "chunk_000.json",
    "chunk_000/7-w1/1080p.mp4",
    "audio_0.json",
    "../b/output_1080p.mp4",
    "../../raw/a/request.json",
    "../../chunks/a/manifest.json",
    ".staging",
    ".staging/x",
];

/// The status of the answer to a path as it is written, which clients would tidy up.
async fn status(service: &Service, path: &str) -> String {
    let mut client = Raw::to(service.address).await;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.send(head).await;
    let answer = client.rest().await;
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(!answer.contains("secret"), "{path} gave it away: {answer}");
    status
}

async fn with_secrets() -> Service {
    let service = Service::start().await;
    let film = b"film".to_vec();
    let outputs = [
        ("output_1080p.mp4", film.clone()),
        ("hls/master.m3u8", film),
    ];
    service.completed("a", &outputs).await;
    service
        .completed("b", &[("output_1080p.mp4", b"secret".to_vec())])
        .await;
    for key in [
        "transcoded/a/chunk_000.json",
        "transcoded/a/chunk_000/7-w1/1080p.mp4",
        "transcoded/a/audio_0.json",
        "raw/a/secret",
        "uploads/a.json",
    ] {
        let key = reelmill_common::ObjectKey::new(key).unwrap();
        service
            .ports
            .store
            .put(&key, "secret".into())
            .await
            .unwrap();
    }
    std::fs::write(service.folder.path().join("secret"), "secret").unwrap();
    service
}

#[tokio::test]
async fn no_name_leads_out_of_a_jobs_outputs() {
    let service = with_secrets().await;
    assert_eq!(
        status(&service, "/v1/jobs/a/outputs/output_1080p.mp4").await,
        "200"
    );
    assert_eq!(
        status(&service, "/v1/jobs/a/outputs/hls/master.m3u8").await,
        "200"
    );
    // Encoded where it need not be, it is still the same name.
    assert_eq!(
        status(&service, "/v1/jobs/a/outputs/hls/m%61ster.m3u8").await,
        "200"
    );
    for path in OUTPUTS {
        let got = status(&service, &format!("/v1/jobs/a/outputs/{path}")).await;
        // Not even an HTTP path, for bytes that may not stand in one.
        let expected: &[&str] = if path.is_ascii() {
            &["404"]
        } else {
            &["400", "404"]
        };
        assert!(
            expected.contains(&got.as_str()),
            "{path:?} was answered with {got}"
        );
    }
}

#[tokio::test]
async fn no_other_name_is_a_jobs() {
    let service = with_secrets().await;
    for id in IDS {
        for rest in [
            "",
            "/events",
            "/outputs",
            "/outputs/output_1080p.mp4",
            "/source",
            "/certificate",
        ] {
            let got = status(&service, &format!("/v1/jobs/{id}{rest}")).await;
            let expected: &[&str] = if id.is_ascii() {
                &["404"]
            } else {
                &["400", "404"]
            };
            assert!(
                expected.contains(&got.as_str()),
                "{id:?}{rest} was answered with {got}"
            );
        }
    }
}
