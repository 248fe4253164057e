use std::time::{Duration, Instant};

use reelmill_common::WorkerId;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_common::request::Priority;
use reelmill_ledger::WorkerRecord;
use reelmill_queue::Outgoing;
use serde_json::{Value, json};

use crate::fixture::{Options, Service, problem};
use crate::slow::Slow;

#[tokio::test]
async fn the_root_names_the_way() {
    let service = Service::start().await;
    let index = service.json("/").await;
    assert_eq!(index["name"], "reelmill");
    for link in ["openapi", "jobs", "profiles"] {
        service.json(index[link].as_str().unwrap()).await;
    }
}

#[tokio::test]
async fn a_healthy_service_is_live_and_ready() {
    let service = Service::start().await;
    assert_eq!(service.json("/livez").await, json!({"status": "ok"}));
    assert_eq!(service.json("/readyz").await, json!({"status": "ok"}));
}

#[tokio::test]
async fn a_service_whose_store_hangs_is_live_and_names_it() {
    let (slow, _gate) = Slow::at("ready");
    let service = Service::with(Options {
        change: Box::new(slow),
        ..Options::default()
    })
    .await;
    let began = Instant::now();
    let answer = service.get("/readyz").send().await.unwrap();
    let sentence = problem(answer, 503, "not-ready").await;
    assert_eq!(sentence, "no answer from the store");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(service.json("/livez").await, json!({"status": "ok"}));
}

#[tokio::test]
async fn workers_are_listed_while_they_live() {
    let service = Service::start().await;
    let worker = WorkerRecord {
        id: WorkerId::new("w1").unwrap(),
        slots: 4,
        version: "0.1.0".to_owned(),
        ffmpeg: "5.1.9".to_owned(),
        yt_dlp: Some("2026.11.01".to_owned()),
        last_heartbeat: 0,
    };
    service.ports.ledger.heartbeat(&worker).await.unwrap();
    let list = service.json("/v1/workers").await;
    let one = &list["workers"][0];
    assert_eq!((&one["id"], &one["slots"]), (&json!("w1"), &json!(4)));
    assert_eq!(
        (&one["yt_dlp"], &one["active"]),
        (&json!("2026.11.01"), &json!(true))
    );
    assert!(one["last_heartbeat"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn profiles_are_those_to_choose_from() {
    let service = Service::start().await;
    let list = service.json("/v1/profiles").await;
    let profiles = list["profiles"].as_array().unwrap();
    let default: Vec<&Value> = profiles.iter().filter(|it| it["default"] == true).collect();
    assert_eq!(default.len(), 1);
    assert_eq!(default[0]["name"], "h264-1080p");
    assert_eq!(
        default[0]["renditions"][0],
        json!({"name": "1080p", "short_side": 1080, "codec": "h264"})
    );
    assert!(
        profiles
            .iter()
            .any(|it| it["name"] == "audio" && it["renditions"] == json!([]))
    );
}

#[tokio::test]
async fn stats_count_jobs_work_and_workers() {
    let service = Service::start().await;
    service.job("a").await;
    let ended = service.job("b").await;
    service.finish(&ended, JobStatus::Cancelled, None).await;
    let message = Outgoing {
        job: ended,
        priority: Priority::Normal,
        key: "b/ingest".to_owned(),
        spread: 0,
        payload: b"{}".to_vec(),
        delay: Duration::ZERO,
    };
    service
        .ports
        .queue
        .publish(Topic::Ingest, &[message])
        .await
        .unwrap();
    let stats = service.json("/v1/stats").await;
    assert_eq!(
        stats["jobs"],
        json!({
            "pending": 1, "running": 0, "completed": 0, "failed": 0, "cancelled": 1,
        })
    );
    assert_eq!(stats["queue"]["video-ingest"]["messages"], 1);
    assert_eq!(stats["queue"]["video-merges"]["messages"], 0);
    assert_eq!(stats["workers"], json!({"active": 0, "slots": 0}));
}
