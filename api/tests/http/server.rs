use std::time::{Duration, Instant};

use rcgen::generate_simple_self_signed;
use reelmill_api::server::{self, Limits};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::fixture::{Options, Service, client};
use crate::raw::Raw;

async fn with_limits(limits: Limits) -> Service {
    Service::with(Options {
        limits,
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let service = with_limits(Limits {
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let began = Instant::now();
    let mut silent = Raw::to(service.address).await;
    let mut slow = Raw::to(service.address).await;
    slow.send("GET /livez HTTP/1.1\r\nHost: a\r\n").await;
    // A byte now and then is no way round it.
    let dripping = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            use tokio::io::AsyncWriteExt as _;
            if slow.0.write_all(b"X: y\r\n").await.is_err() {
                break;
            }
        }
    };
    let ((), rest) = tokio::join!(dripping, silent.rest());
    assert_eq!(rest, "");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    service.json("/livez").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let service = with_limits(Limits {
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut client = Raw::to(service.address).await;
    client.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until("{\"status\":\"ok\"}").await;
    client.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.until("{\"status\":\"ok\"}").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let service = with_limits(Limits {
        max_header_bytes: 8 * 1024,
        ..Limits::default()
    })
    .await;
    let mut client = Raw::to(service.address).await;
    let long = "a".repeat(9000);
    client
        .send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"))
        .await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let service = with_limits(Limits {
        stall_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    // More than all buffers between the two hold.
    service
        .completed("a", &[("output_1080p.mp4", vec![7; 64 << 20])])
        .await;
    let mut client = Raw::to(service.address).await;
    client
        .send("GET /v1/jobs/a/outputs/output_1080p.mp4 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let began = Instant::now();
    // The kernel reports the cut although nothing is read.
    loop {
        use tokio::io::AsyncWriteExt as _;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if client.0.write_all(b"\r\n").await.is_err() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "never cut off");
    }
}

#[tokio::test]
async fn more_connections_than_there_may_be_wait_their_turn() {
    let service = with_limits(Limits {
        max_connections: 2,
        ..Limits::default()
    })
    .await;
    let get = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut held = vec![];
    for _ in 0..2 {
        let mut client = Raw::to(service.address).await;
        client.send(get).await;
        client.until("\"ok\"").await;
        held.push(client);
    }
    let mut third = Raw::to(service.address).await;
    third.send(get).await;
    let early = tokio::time::timeout(Duration::from_millis(300), third.until("\"ok\"")).await;
    assert!(early.is_err(), "{early:?}");
    held.pop();
    third.until("\"ok\"").await;
}

#[tokio::test]
async fn tls_is_spoken_by_certificate_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    drop(client());
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let trusting = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
    let service = Service::with(Options {
        tls: Some(server::tls(&certificate, &key).unwrap()),
        client: trusting.build().unwrap(),
        ..Options::default()
    })
    .await;
    service
        .completed("a", &[("output_1080p.mp4", vec![7; 3 << 20])])
        .await;
    let film = service
        .get("/v1/jobs/a/outputs/output_1080p.mp4")
        .send()
        .await
        .unwrap();
    assert_eq!(film.bytes().await.unwrap(), vec![7; 3 << 20]);
    // Whoever speaks plainly is not answered, and spoils nothing.
    let mut plain = Raw::to(service.address).await;
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!plain.rest().await.contains("HTTP/1.1 200"));
    service.json("/livez").await;

    let error = server::tls(&key, &certificate).unwrap_err().to_string();
    assert!(
        error.contains("key.pem") && error.contains("certificate"),
        "{error}"
    );
    let error = server::tls(&folder.path().join("none"), &key)
        .unwrap_err()
        .to_string();
    assert!(error.contains("none"), "{error}");
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_lets_requests_finish() {
    let mut service = Service::start().await;
    service.job("a").await;
    service
        .completed("b", &[("output_1080p.mp4", vec![7; 8 << 20])])
        .await;
    let mut watcher = Raw::to(service.address).await;
    watcher
        .send("GET /v1/jobs/a/events HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    watcher.until("event: snapshot").await;
    let film = service
        .get("/v1/jobs/b/outputs/output_1080p.mp4")
        .send()
        .await
        .unwrap();
    service.close();
    // The stream ends as it should, and the film comes to its end.
    assert!(watcher.rest().await.ends_with("0\r\n\r\n"));
    assert_eq!(film.bytes().await.unwrap().len(), 8 << 20);
    service.closed().await;
    assert!(TcpStream::connect(service.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_client_that_takes_nothing() {
    let mut service = with_limits(Limits {
        grace: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    service
        .completed("b", &[("output_1080p.mp4", vec![7; 64 << 20])])
        .await;
    let mut client = Raw::to(service.address).await;
    client
        .send("GET /v1/jobs/b/outputs/output_1080p.mp4 HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    client.until("\r\n\r\n").await;
    service.close();
    service.closed().await;
}

/// Requests that are whole, cut short, mangled or noise.
fn nonsense(state: &mut u64) -> Vec<u8> {
    // The same numbers in every run: splitmix64.
    let mut below = |limit: usize| {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    };
    let methods = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "OPTIONS", "TRACE", "", "G\0T", "get",
    ];
    let paths = [
        "/",
        "/v1/jobs",
        "/v1/jobs/a",
        "/v1/jobs/a/events",
        "/v1/jobs/a/outputs/hls/x",
        "/v1/jobs?limit=9&cursor=a",
        "//",
        "*",
        "http://x/",
        "/%",
        "/v1/jobs/%00",
        "?",
    ];
    let headers = [
        "Host: a",
        "Content-Length: 5",
        "Content-Length: -1",
        "Content-Length: 99999999999",
        "Transfer-Encoding: chunked",
        "Range: bytes=0-",
        "Expect: 100-continue",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Content-Type: multipart/form-data",
        "Authorization: Bearer",
        "X-Request-Id: \u{1}",
        ": empty",
        "no colon",
        "A:\tb",
    ];
    let (method, path) = (methods[below(10)], paths[below(12)]);
    let mut text = format!("{method} {path} HTTP/1.{}\r\n", below(3));
    if matches!(method, "POST" | "PUT") {
        // Never whole: a whole body may well be a source, whatever is in it.
        text += "Content-Length: 99999999999\r\n";
    }
    for _ in 0..below(6) {
        text += headers[below(15)];
        text += "\r\n";
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    for _ in 0..below(40) {
        bytes.push(u8::try_from(below(256)).unwrap());
    }
    match below(4) {
        0 => bytes.truncate(below(bytes.len() + 1)),
        1 => {
            for _ in 0..=below(4) {
                let at = below(bytes.len());
                bytes[at] = u8::try_from(below(256)).unwrap();
            }
        }
        _ => {}
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_nonsensical_requests_change_nothing() {
    let service = with_limits(Limits {
        header_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_millis(200),
        ..Limits::default()
    })
    .await;
    service
        .completed("a", &[("output_1080p.mp4", b"film".to_vec())])
        .await;
    service.job("b").await;
    let before = (service.objects().await, service.json("/v1/jobs").await);
    let mut state = 1;
    for _ in 0..20 {
        let mut clients = vec![];
        for _ in 0..50 {
            let bytes = nonsense(&mut state);
            let address = service.address;
            clients.push(tokio::spawn(async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut stream = TcpStream::connect(address).await.unwrap();
                // It may be refused before all of it was read.
                stream.write_all(&bytes).await.ok();
                let mut answer = vec![0; 4096];
                let read = stream.read(&mut answer);
                let read = tokio::time::timeout(Duration::from_secs(10), read);
                let length = read.await.unwrap().unwrap_or(0);
                let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
                let sent = String::from_utf8_lossy(&bytes).into_owned();
                assert!(!answer.starts_with("HTTP/1.1 5"), "{sent:?} got {answer}");
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
    }
    let after: (_, Value) = (service.objects().await, service.json("/v1/jobs").await);
    assert!(before == after, "{} then {}", before.1, after.1);
}
