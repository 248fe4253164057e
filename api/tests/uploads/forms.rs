//! One request, one job: bodies and forms.

use reelmill_common::request::Priority;
use reqwest::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{SEGMENT, Service, accepted, pattern, problem};

const BOUNDARY: &str = "----reelmill";

/// A form as curl writes it: `Some` name is a file's.
pub(crate) fn form(fields: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file_name, value) in fields {
        let file = file_name.map_or(String::new(), |name| format!("; filename=\"{name}\""));
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

pub(crate) fn post_form(service: &Service, query: &str, body: Vec<u8>) -> reqwest::RequestBuilder {
    Client::new()
        .post(service.url(&format!("/v1/jobs{query}")))
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(body)
}

fn chunked(data: &[u8]) -> reqwest::Body {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = data
        .chunks(70_001)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    reqwest::Body::wrap_stream(futures::stream::iter(pieces))
}

#[tokio::test]
async fn every_form_keeps_every_byte() {
    let service = Service::start();
    let client = Client::new();
    let url = service.url("/v1/jobs?profile=h264-abr&name=a.mp4");
    for len in [1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 5] {
        let data = pattern(len, len as u64);
        let requests = [
            ("put", client.put(&url).body(data.clone())),
            ("put in chunks", client.put(&url).body(chunked(&data))),
            ("post", client.post(&url).body(data.clone())),
            (
                "form",
                post_form(
                    &service,
                    "",
                    form(&[
                        ("profile", None, b"h264-abr"),
                        ("file", Some("a.mp4"), &data),
                    ]),
                ),
            ),
            (
                "form, fields last",
                post_form(
                    &service,
                    "",
                    form(&[
                        ("file", Some("a.mp4"), &data),
                        ("profile", None, b"h264-abr"),
                    ]),
                ),
            ),
        ];
        for (form, request) in requests {
            let job = accepted(request.send().await.unwrap()).await;
            let made = service.holds(&job, &data).await;
            assert_eq!(made.profile.name, "h264-abr", "{form} of {len}");
            assert_eq!(made.name, "a.mp4", "{form} of {len}");
            assert_eq!(made.slots, 2);
        }
    }
    assert_eq!(service.scratch_files(), 0);
}

#[tokio::test]
async fn what_was_chosen_arrives() {
    let service = Service::start();
    let client = Client::new();
    let query = "/v1/jobs?profile=lossless&name=My%20film.mp4&priority=high&time_limit_s=60\
                 &video_stream=2&audio_streams=3,1\
                 &metadata.show=42&metadata%5Bcue%5D=a%26b";
    let by_query = client.put(service.url(query)).body("x");
    let by_form = post_form(
        &service,
        "?priority=high",
        form(&[
            ("metadata", None, br#"{"show": "42", "cue": "a&b"}"#),
            ("file", Some("ignored.mp4"), b"x"),
            ("name", None, b"My film.mp4"),
            ("time_limit_s", None, b"60"),
            ("video_stream", None, b"2"),
            ("audio_streams", None, b"3,1"),
            ("profile", None, b"lossless"),
        ]),
    );
    for request in [by_query, by_form] {
        let job = accepted(request.send().await.unwrap()).await;
        let made = service.holds(&job, b"x").await;
        assert_eq!(made.profile.name, "lossless");
        assert_eq!(made.name, "My film.mp4");
        assert_eq!(made.options.priority, Priority::High);
        assert_eq!(made.options.time_limit_s, Some(60));
        let video = made.options.video_stream.map(|stream| stream.to_string());
        assert_eq!(video.as_deref(), Some("2"));
        let audio = made
            .options
            .audio_streams
            .map(|streams| streams.to_string());
        assert_eq!(audio.as_deref(), Some("3,1"));
        let metadata: Vec<_> = made.options.metadata.into_iter().collect();
        let wanted = [("cue", "a&b"), ("show", "42")];
        assert_eq!(metadata, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    // What `curl -T movie.mp4 http://host/v1/jobs/` sends.
    let named = client.put(service.url("/v1/jobs/my%20movie.mp4")).body("x");
    let job = accepted(named.send().await.unwrap()).await;
    let made = service.holds(&job, b"x").await;
    assert_eq!(made.name, "my movie.mp4");
    assert_eq!(made.profile.name, "h264-1080p");
    let unnamed = client.put(service.url("/v1/jobs/")).body("x");
    let job = accepted(unnamed.send().await.unwrap()).await;
    assert_eq!(service.holds(&job, b"x").await.name, "upload");
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_kept() {
    let service = Service::start();
    let client = Client::new();
    let put = |query: &str| {
        client
            .put(service.url(&format!("/v1/jobs{query}")))
            .body("abc")
    };
    let file: (&str, Option<&str>, &[u8]) = ("file", Some("a.mp4"), b"abc");
    let send = |fields: &[(&str, Option<&str>, &[u8])]| post_form(&service, "", form(fields));
    let long = vec![b'x'; 70_000];
    let cases = [
        (
            put("?profile=h264-arb"),
            400,
            "profile-unknown",
            "did you mean `h264-abr`?",
        ),
        (
            put("?profile=zzzzzzzz"),
            400,
            "profile-unknown",
            "/v1/profiles",
        ),
        (
            put("?profil=h264-abr"),
            400,
            "parameter-unknown",
            "did you mean `profile`?",
        ),
        (
            put("?priority=urgent"),
            400,
            "priority-unknown",
            "`low`, `normal` or `high`",
        ),
        (
            put("?time_limit_s=0"),
            400,
            "parameter-invalid",
            "`time_limit_s`",
        ),
        (
            put("?video_stream=1,2"),
            400,
            "parameter-invalid",
            "one stream index or `none`",
        ),
        (
            put("?audio_streams=english"),
            400,
            "parameter-invalid",
            "stream indices as ffprobe prints them",
        ),
        (
            put("?name=a&name=b"),
            400,
            "parameter-repeated",
            "`name` is given twice",
        ),
        (
            put("?metadata=%5B%5D"),
            400,
            "parameter-invalid",
            "a JSON object of strings",
        ),
        (
            put("?metadata.a=1&metadata.a=2"),
            400,
            "parameter-repeated",
            "`metadata.a`",
        ),
        (put("?name=%ff"), 400, "query-malformed", "UTF-8"),
        (
            client.put(service.url("/v1/jobs")).body(""),
            400,
            "upload-empty",
            "no bytes",
        ),
        (
            client.put(service.url("/v1/jobs")).body(chunked(b"")),
            400,
            "upload-empty",
            "no bytes",
        ),
        (
            put("").header("content-encoding", "gzip"),
            415,
            "upload-encoding-unsupported",
            "`content-encoding`",
        ),
        (
            put("").header("content-range", "bytes 0-2/9"),
            415,
            "upload-encoding-unsupported",
            "/v1/uploads",
        ),
        (
            put("").header("content-digest", "sha-256=abc"),
            400,
            "digest-malformed",
            "base64",
        ),
        (
            put("").header("idempotency-key", ""),
            400,
            "idempotency-key-malformed",
            "1 to 255",
        ),
        (
            client
                .post(service.url("/v1/jobs"))
                .json(&serde_json::json!({"source_url": "http://x"})),
            501,
            "source-url-unsupported",
            "not fetched from a URL yet",
        ),
        (
            send(&[("profile", None, b"h264-abr")]),
            400,
            "file-missing",
            "no field `file`",
        ),
        (
            send(&[file, file]),
            400,
            "file-repeated",
            "two fields `file`",
        ),
        (
            send(&[("file", Some("a.mp4"), b"")]),
            400,
            "upload-empty",
            "no bytes",
        ),
        (
            send(&[file, ("profle", None, b"x")]),
            400,
            "parameter-unknown",
            "`profile`",
        ),
        (
            send(&[file, ("profile", None, b"h264-arb")]),
            400,
            "profile-unknown",
            "`h264-abr`",
        ),
        (
            send(&[file, ("name", None, &long)]),
            400,
            "field-too-long",
            "the field `name`",
        ),
        (
            post_form(&service, "", b"--other\r\n".to_vec()),
            400,
            "form-malformed",
            "cannot be read",
        ),
    ];
    for (request, status, code, detail) in cases {
        let said = problem(request.send().await.unwrap()).await;
        assert_eq!((said.0, said.1.as_str()), (status, code), "{}", said.2);
        assert!(said.2.contains(detail), "{code}: {}", said.2);
        assert_eq!(service.objects().await, [""; 0], "{code}");
    }
    assert_eq!(service.scratch_files(), 0);
}

#[tokio::test]
async fn a_client_that_asks_first_is_answered_before_it_sends() {
    let service = Service::start();
    let ask = async |query: &str| {
        let mut stream = TcpStream::connect(service.addr).await.unwrap();
        let head = format!(
            "PUT /v1/jobs{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        (stream, String::from_utf8(first.to_vec()).unwrap())
    };
    let (_refused, first) = ask("?profile=none-such").await;
    assert_eq!(first, "HTTP/1.1 400");

    let (mut stream, first) = ask("?profile=h264-abr").await;
    assert_eq!(first, "HTTP/1.1 100");
    stream.write_all(b"abc").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("HTTP/1.1 202"), "{rest}");
}
