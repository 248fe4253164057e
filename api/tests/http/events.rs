use std::time::Duration;

use reelmill_common::TaskKey;
use reelmill_common::job::JobStatus;

use crate::fixture::{Service, problem};
use crate::raw::Raw;

const WATCH: &str = "GET /v1/jobs/a/events HTTP/1.1\r\nHost: localhost\r\n";

/// The ids of the events in a text, in order.
fn ids(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect()
}

/// The kinds of the events in a text, in order.
fn kinds(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect()
}

#[tokio::test]
async fn a_watcher_sees_a_snapshot_then_changes_then_the_end() {
    let service = Service::start().await;
    let (id, lease) = service.running("a").await;
    let mut client = Raw::to(service.address).await;
    client.send(format!("{WATCH}\r\n")).await;
    let text = client.until("event: snapshot").await + &client.until("\n\n").await;
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(!text.contains("event: update"), "{text}");

    let report = [(lease, 25)];
    let ledger = &service.ports.ledger;
    ledger
        .renew(&report, Duration::from_secs(60))
        .await
        .unwrap();
    let text = client.until("\"done\":25").await;
    assert!(text.contains("event: update"), "{text}");

    service.finish(&id, JobStatus::Cancelled, None).await;
    // The last chunk of the answer.
    let text = client.until("0\r\n\r\n").await;
    assert_eq!(kinds(&text), ["end"]);
    assert!(text.contains("\"status\":\"cancelled\""), "{text}");
}

#[tokio::test]
async fn a_stream_without_news_shows_that_it_lives() {
    let service = Service::start().await;
    service.job("a").await;
    let mut client = Raw::to(service.address).await;
    client.send(format!("{WATCH}\r\n")).await;
    let text = client.until("\n:\n\n").await + &client.until("\n:\n\n").await;
    assert_eq!(kinds(&text), ["snapshot"]);
}

#[tokio::test]
async fn who_comes_back_is_told_only_what_is_new() {
    let service = Service::start().await;
    let (id, _) = service.running("a").await;
    let mut client = Raw::to(service.address).await;
    client.send(format!("{WATCH}\r\n")).await;
    let text = client.until("id: ").await + &client.until("\n:\n\n").await;
    let seen = ids(&text)[0].to_owned();
    drop(client);

    // Nothing happened: heartbeats alone, until something does.
    let mut client = Raw::to(service.address).await;
    client
        .send(format!("{WATCH}Last-Event-ID: {seen}\r\n\r\n"))
        .await;
    let text = client.until("\n:\n\n").await;
    assert!(kinds(&text).is_empty(), "{text}");
    service.complete(&id, TaskKey::Audio { track: 0 }).await;
    let text = client.until("\n:\n\n").await;
    assert_eq!(kinds(&text), ["update"]);
    drop(client);

    // Something happened meanwhile.
    let mut client = Raw::to(service.address).await;
    client
        .send(format!("{WATCH}Last-Event-ID: {seen}\r\n\r\n"))
        .await;
    let text = client.until("\n:\n\n").await;
    assert_eq!(kinds(&text), ["snapshot"]);
}

#[tokio::test]
async fn an_ended_job_ends_its_stream_and_keeps_nobody_coming_back() {
    let service = Service::start().await;
    let id = service.job("a").await;
    service.finish(&id, JobStatus::Failed, None).await;
    let response = service.get("/v1/jobs/a/events").send().await.unwrap();
    let text = response.text().await.unwrap();
    assert_eq!(kinds(&text), ["snapshot", "end"]);
    let last = ids(&text).pop().unwrap().to_owned();
    let again = service
        .get("/v1/jobs/a/events")
        .header("Last-Event-ID", last);
    assert_eq!(again.send().await.unwrap().status(), 204);
    let other = service
        .get("/v1/jobs/a/events")
        .header("Last-Event-ID", "\u{e9}");
    assert_eq!(other.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn there_are_no_events_of_no_job() {
    let service = Service::start().await;
    let response = service.get("/v1/jobs/a/events").send().await.unwrap();
    problem(response, 404, "job-unknown").await;
}

#[tokio::test]
async fn a_job_that_is_removed_ends_its_stream() {
    let service = Service::start().await;
    let id = service.job("a").await;
    let mut client = Raw::to(service.address).await;
    client.send(format!("{WATCH}\r\n")).await;
    client.until("event: snapshot").await;
    service.ports.ledger.forget(&id).await.unwrap();
    client.until("0\r\n\r\n").await;
}
