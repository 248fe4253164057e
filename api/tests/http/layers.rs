use std::sync::Arc;
use std::time::Duration;

use axum::routing;
use reqwest::Method;
use serde_json::Value;

use reelmill_api::Keys;

use crate::fixture::{Options, Service, problem};
use crate::lines::Lines;
use crate::slow::Slow;

async fn for_pages_of(origins: &'static [&'static str]) -> Service {
    Service::with(Options {
        change: Box::new(|api| {
            api.settings.cors_origins = origins.iter().map(|&it| it.to_owned()).collect();
        }),
        ..Options::default()
    })
    .await
}

#[tokio::test]
async fn a_callers_id_is_kept_where_it_is_one() {
    let service = Service::start().await;
    let id_for = async |theirs: &str| {
        let answer = service
            .get("/livez")
            .header("X-Request-Id", theirs)
            .send()
            .await
            .unwrap();
        answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        id_for("Root=1-5e.a_b").await.len(),
        36,
        "an equals sign is not one of them"
    );
    assert_eq!(id_for("1-5e.a_b").await, "1-5e.a_b");
    for bad in ["", "a b", "a\"b", &"a".repeat(65), "\u{e9}"] {
        assert_eq!(id_for(bad).await.len(), 36, "{bad}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_done_are_problems() {
    let service = Service::start().await;
    for path in ["/nothing", "/v1", "/v2/jobs", "/v1/jobs/a/nothing"] {
        problem(service.get(path).send().await.unwrap(), 404, "not-found").await;
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/jobs/a/outputs", "GET,HEAD"),
        (Method::GET, "/v1/jobs/", "PUT"),
        (Method::POST, "/livez", "GET,HEAD"),
        (Method::TRACE, "/v1/jobs/a/retry", "POST"),
        (
            Method::from_bytes(b"BREW").unwrap(),
            "/v1/profiles",
            "GET,HEAD",
        ),
    ] {
        let answer = service
            .client
            .request(method, service.url(path))
            .send()
            .await
            .unwrap();
        let says = answer.headers()["allow"].to_str().unwrap().to_owned();
        let sorted = |list: &str| {
            let mut all: Vec<String> = list.split(',').map(|it| it.trim().to_owned()).collect();
            all.sort();
            all
        };
        assert_eq!(sorted(&says), sorted(allow), "{path}");
        problem(answer, 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn every_answer_is_safe_to_open_in_a_browser() {
    let service = Service::start().await;
    for path in [
        "/",
        "/v1/jobs",
        "/metrics",
        "/openapi.json",
        "/nothing",
        "/v1/jobs/a",
    ] {
        let answer = service.get(path).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        let csp = header("content-security-policy");
        assert_eq!(csp, "default-src 'none'; frame-ancestors 'none'", "{path}");
        assert_eq!(header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn pages_on_the_list_may_call_and_read_what_they_need() {
    let service = for_pages_of(&["https://films.example"]).await;
    let preflight = |origin: &'static str| {
        service
            .client
            .request(Method::OPTIONS, service.url("/v1/jobs"))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type, x-api-key")
            .send()
    };
    let answer = preflight("https://films.example").await.unwrap();
    assert_eq!(answer.status(), 204);
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(
        header("access-control-allow-origin"),
        "https://films.example"
    );
    assert_eq!(
        header("access-control-allow-headers"),
        "content-type, x-api-key"
    );
    assert!(header("access-control-allow-methods").contains("PATCH"));
    assert_eq!(header("vary"), "Origin");
    let answer = preflight("https://evil.example").await.unwrap();
    assert!(!answer.headers().contains_key("access-control-allow-origin"));

    // A page must be able to read an error too.
    let answer = service
        .get("/v1/jobs/a")
        .header("Origin", "https://films.example");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(
        header("access-control-allow-origin"),
        "https://films.example"
    );
    for exposed in [
        "Location",
        "ETag",
        "X-Request-Id",
        "Content-Range",
        "Upload-Offset",
    ] {
        assert!(
            header("access-control-expose-headers").contains(exposed),
            "{exposed}"
        );
    }
}

#[tokio::test]
async fn a_page_of_a_foreign_origin_changes_nothing() {
    for service in [
        for_pages_of(&[]).await,
        for_pages_of(&["https://films.example"]).await,
    ] {
        service.running("a").await;
        let delete = |origin: String| {
            let request = service.client.delete(service.url("/v1/jobs/a"));
            request.header("Origin", origin).send()
        };
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost",
            "https://films.example.evil",
        ] {
            let answer = delete(origin.to_owned()).await.unwrap();
            problem(answer, 403, "origin-refused").await;
        }
        assert_eq!(service.json("/v1/jobs/a").await["status"], "running");
        // A page of the service's own origin, such as one behind the same proxy.
        let own = service.url("");
        assert_eq!(delete(own).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn any_page_may_call_where_every_origin_is_on_the_list() {
    let service = for_pages_of(&["*"]).await;
    let answer = service
        .get("/livez")
        .header("Origin", "https://films.example");
    let answer = answer.send().await.unwrap();
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://films.example"
    );
}

#[tokio::test]
async fn more_requests_than_there_is_room_for_are_told_to_come_again() {
    let (slow, gate) = Slow::at("manifest.json");
    let service = Service::with(Options {
        change: Box::new(|api| {
            api.settings.max_requests = 1;
            slow(api);
        }),
        ..Options::default()
    })
    .await;
    service.job("a").await;
    let first = tokio::spawn(service.get("/v1/jobs/a").send());
    gate.came.notified().await;
    let second = service.get("/v1/jobs").send().await.unwrap();
    assert_eq!(second.headers()["retry-after"], "1");
    problem(second, 503, "too-busy").await;
    // Whoever watches the service must not take this for its death.
    assert_eq!(service.get("/livez").send().await.unwrap().status(), 200);
    gate.open.notify_waiters();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    assert_eq!(
        service.get("/v1/profiles").send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn a_panic_ends_its_request_and_nothing_else() {
    let service = Service::with(Options {
        change: Box::new(|api| api.metrics = Arc::new(|| panic!("a bug"))),
        ..Options::default()
    })
    .await;
    let sentence = problem(
        service.get("/metrics").send().await.unwrap(),
        500,
        "internal",
    )
    .await;
    assert!(!sentence.contains("a bug"), "{sentence}");
    assert_eq!(service.get("/livez").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_port_that_fails_is_not_described_to_strangers() {
    let service = Service::start().await;
    let (id, _) = service.running("a").await;
    let key = reelmill_common::key::certificate(&id);
    service
        .ports
        .store
        .put(&key, "not JSON".into())
        .await
        .unwrap();
    let answer = service.get("/v1/jobs/a/outputs").send().await.unwrap();
    let sentence = problem(answer, 500, "object-malformed").await;
    assert!(!sentence.contains("transcoded"), "{sentence}");
}

#[tokio::test]
async fn a_body_that_stalls_is_told_so() {
    use reelmill_api::Problem;
    let echo = axum::Router::new().route(
        "/",
        routing::post(async |body: axum::body::Body| {
            let mut body = body.into_data_stream();
            while let Some(bytes) = futures::StreamExt::next(&mut body).await {
                bytes
                    .map_err(|error| Problem::of_body(&error))
                    .map_err(|problem| problem.code)?;
            }
            Ok::<_, String>("whole")
        }),
    );
    let service = Service::with(Options {
        router: Some(echo),
        limits: reelmill_api::server::Limits {
            stall_timeout: Duration::from_millis(200),
            ..reelmill_api::server::Limits::default()
        },
        ..Options::default()
    })
    .await;
    let whole = service
        .client
        .post(service.url("/"))
        .body("abc")
        .send()
        .await
        .unwrap();
    assert_eq!(whole.text().await.unwrap(), "whole");
    let mut client = crate::raw::Raw::to(service.address).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    let answer = client.rest().await;
    assert!(answer.ends_with("body-stalled"), "{answer}");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // The only test here that looks at what is recorded for the whole process.
    metrics::set_global_recorder(recorder).unwrap();
    let service = Service::with(Options {
        change: Box::new(move |api| api.metrics = Arc::new(move || handle.render())),
        ..Options::default()
    })
    .await;
    service
        .get("/v1/jobs/only-here?secret=1")
        .send()
        .await
        .unwrap();
    service.get("/only-here").send().await.unwrap();
    let brew = Method::from_bytes(b"BREW").unwrap();
    service
        .client
        .request(brew, service.url("/livez"))
        .send()
        .await
        .unwrap();
    let answer = service.get("/metrics").send().await.unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    for line in [
        r#"reelmill_http_requests_total{method="GET",route="/v1/jobs/{id}",status="404"}"#,
        r#"reelmill_http_requests_total{method="GET",route="unmatched",status="404"}"#,
        r#"reelmill_http_requests_total{method="other",route="/livez",status="405"}"#,
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(text.contains("reelmill_http_request_seconds"), "{text}");
    assert!(
        !text.contains("only-here") && !text.contains("secret"),
        "{text}"
    );
    let _: Value = service.json("/").await;
}

#[tokio::test]
async fn the_log_names_requests_and_no_secrets() {
    // On this thread, on which everything of this test runs.
    let lines = Lines::catch(tracing::Level::TRACE);
    let service = Service::with(Options {
        change: Box::new(|api| api.keys = Some(Keys::single("hidden-key-of-the-service").unwrap())),
        ..Options::default()
    })
    .await;
    let get = service.get("/v1/jobs/hidden-id?token=hidden-token");
    let get = get.header("X-Request-Id", "request-7");
    let answer = get
        .bearer_auth("hidden-key-of-the-service")
        .send()
        .await
        .unwrap();
    problem(answer, 404, "job-unknown").await;
    let other = service
        .get("/v1/jobs/hidden-id")
        .header("X-Api-Key", "hidden-wrong-key");
    problem(other.send().await.unwrap(), 401, "key-unknown").await;
    let text = lines.text();
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("reelmill_api"))
        .collect();
    let line = ours.iter().find(|line| line.contains("request-7"));
    let line = line.unwrap_or_else(|| panic!("no line of the request in:\n{text}"));
    for part in ["/v1/jobs/{id}", "status=404", "--api-key"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!ours.concat().contains("hidden"), "{ours:?}");
}
