use reelmill_common::TaskKey;
use reelmill_common::job::{JobError, JobStatus};
use reelmill_common::manifest::Location;
use reelmill_common::message::Topic;
use serde_json::{Value, json};
use std::time::Duration;

use crate::fixture::{NOTE, Options, Service, golden, problem};

fn ids(page: &Value) -> Vec<&str> {
    let jobs = page["jobs"].as_array().unwrap().iter();
    jobs.map(|job| job["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_is_read_page_by_page_with_the_newest_first() {
    let service = Service::start().await;
    for number in 0..7 {
        service.job(&format!("job-{number}")).await;
    }
    let first = service.json("/v1/jobs?limit=3").await;
    assert_eq!(ids(&first), ["job-6", "job-5", "job-4"]);
    // A job that comes in between moves no page.
    service.job("job-new").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = service
        .json(&format!("/v1/jobs?limit=3&cursor={cursor}"))
        .await;
    assert_eq!(ids(&second), ["job-3", "job-2", "job-1"]);
    let cursor = second["next_cursor"].as_str().unwrap();
    let third = service
        .json(&format!("/v1/jobs?limit=3&cursor={cursor}"))
        .await;
    assert_eq!(ids(&third), ["job-0"]);
    assert_eq!(third["next_cursor"], Value::Null);
    let exact = service.json("/v1/jobs?limit=8").await;
    assert_eq!(ids(&exact).len(), 8);
    assert_eq!(exact["next_cursor"], Value::Null);
}

#[tokio::test]
async fn a_list_holds_one_status_where_one_is_asked_for() {
    let service = Service::start().await;
    service.job("waits").await;
    let ended = service.job("ended").await;
    service.finish(&ended, JobStatus::Failed, None).await;
    assert_eq!(
        ids(&service.json("/v1/jobs?status=failed").await),
        ["ended"]
    );
    assert_eq!(
        ids(&service.json("/v1/jobs?status=pending").await),
        ["waits"]
    );
    assert!(ids(&service.json("/v1/jobs?status=running").await).is_empty());
}

#[tokio::test]
async fn a_query_that_means_nothing_is_refused() {
    let service = Service::start().await;
    service.job("a").await;
    let statuses = "use pending, running, completed, failed or cancelled";
    let no_place = "`cursor` names no place in the list any more: begin without it".to_owned();
    let limit = |limit: &str| format!("`limit` is `{limit}`: use 1 to 200");
    for (query, code, sentence) in [
        ("limit=0", "query-invalid", limit("0")),
        ("limit=201", "query-invalid", limit("201")),
        ("limit=-1", "query-invalid", limit("-1")),
        ("limit=t%65n%0a", "query-invalid", limit("ten")),
        ("limit=", "query-invalid", limit("")),
        (
            "limit=1&limit=2",
            "query-invalid",
            "`limit` is given twice: give it once".to_owned(),
        ),
        (
            "status=finished",
            "query-invalid",
            format!("`status` is `finished`: {statuses}"),
        ),
        (
            "status=",
            "query-invalid",
            format!("`status` is ``: {statuses}"),
        ),
        (
            "status=%ff",
            "query-malformed",
            "the query is not UTF-8".to_owned(),
        ),
        ("cursor=", "cursor-invalid", no_place.clone()),
        ("cursor=../x", "cursor-invalid", no_place.clone()),
        ("cursor=no-such-job", "cursor-invalid", no_place),
    ] {
        let response = service
            .get(&format!("/v1/jobs?{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(problem(response, 400, code).await, sentence, "{query}");
    }
}

#[tokio::test]
async fn a_waiting_job_shows_what_its_submitter_chose() {
    let service = Service::start().await;
    service.job("a").await;
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(job["status"], "pending");
    assert_eq!(job["priority"], "high");
    assert_eq!(job["metadata"], json!({"customer": "7"}));
    assert_eq!(job["time_limit_s"], 600);
    assert_eq!(job["percent"], 0.0);
    for unknown in [
        "phase",
        "fps",
        "speed",
        "remaining_s",
        "started_at",
        "ended_at",
        "expires_at",
        "source",
        "outputs",
        "error",
    ] {
        assert_eq!(job[unknown], Value::Null, "{unknown}");
        assert!(job.get(unknown).is_some(), "{unknown}");
    }
    assert_eq!(job["links"]["self"], "/v1/jobs/a");
}

/// The plan's notes while the job runs, the certificate's when it is completed.
#[tokio::test]
async fn a_job_has_its_notes_as_soon_as_they_are_known() {
    let service = Service::start().await;
    service.job("waits").await;
    assert_eq!(service.json("/v1/jobs/waits").await["notes"], json!([]));

    let planned = golden("manifest_v1.json")["deviations"].clone();
    assert!(planned[0].is_string(), "{planned}");
    service.running("runs").await;
    assert_eq!(service.json("/v1/jobs/runs").await["notes"], planned);
    assert_eq!(service.json("/v1/jobs").await["jobs"][0]["notes"], planned);

    service.completed("done", &[]).await;
    assert_eq!(service.json("/v1/jobs/done").await["notes"], json!([NOTE]));
}

#[tokio::test]
async fn a_running_job_counts_by_frames() {
    let service = Service::start().await;
    let (id, lease) = service.running("a").await;
    let ledger = &service.ports.ledger;
    let report = [(lease, 25)];
    ledger
        .renew(&report, Duration::from_secs(60))
        .await
        .unwrap();
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(
        (&job["status"], &job["phase"]),
        (&json!("running"), &json!("transcoding"))
    );
    assert_eq!(job["frames"], json!({"done": 25, "total": 100}));
    assert_eq!(job["chunks"], json!({"done": 0, "total": 3}));
    assert_eq!(job["percent"], 25.0);
    assert_eq!(job["attempts"], 1);
    assert_eq!(job["source"]["name"], "movie.mp4");
    assert_eq!(job["source"]["bytes"], 1_000_000);
    assert!(job["timings"]["transcoding"].is_number());
    // Every frame is encoded, but nothing is joined yet.
    for index in 0..2 {
        service
            .complete(
                &id,
                TaskKey::Chunk {
                    index,
                    generation: 0,
                },
            )
            .await;
    }
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(job["frames"], json!({"done": 100, "total": 100}));
    assert_eq!(job["percent"], 99.9);
}

#[tokio::test]
async fn speed_settles_while_a_job_is_watched() {
    let service = Service::start().await;
    let (_, lease) = service.running("a").await;
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(
        (&job["fps"], &job["remaining_s"]),
        (&Value::Null, &Value::Null)
    );
    // Ten frames a second for as long as it takes to know.
    let began = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    let job = loop {
        ticks.tick().await;
        let frames = u64::try_from(began.elapsed().as_millis() / 100)
            .unwrap()
            .min(50);
        let report = [(lease.clone(), frames)];
        let ledger = &service.ports.ledger;
        ledger
            .renew(&report, Duration::from_secs(60))
            .await
            .unwrap();
        let job = service.json("/v1/jobs/a").await;
        if job["fps"].is_number() {
            break job;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "no speed: {job}");
    };
    let fps = job["fps"].as_f64().unwrap();
    assert!((7.0..=13.0).contains(&fps), "{fps}");
    // The source has 25 frames in a second.
    let speed = job["speed"].as_f64().unwrap();
    assert!((fps / 25.0 - speed).abs() < 0.02, "{speed} of {fps}");
    let remaining = job["remaining_s"].as_u64().unwrap();
    assert!((5..=11).contains(&remaining), "{remaining}");
}

#[tokio::test]
async fn a_completed_job_shows_its_outputs_and_when_it_goes() {
    let service = Service::with(Options {
        change: Box::new(|api| api.settings.retention = Some(Duration::from_secs(24 * 3600))),
        ..Options::default()
    })
    .await;
    let outputs = [
        ("output_1080p.mp4", b"film".to_vec()),
        ("hls/master.m3u8", b"#EXTM3U".to_vec()),
        ("hls/1080p.m3u8", b"#EXTM3U".to_vec()),
        ("hls/1080p.mp4", b"film".to_vec()),
    ];
    service.completed("a", &outputs).await;
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(
        (&job["status"], &job["percent"]),
        (&json!("completed"), &json!(100.0))
    );
    let main: Vec<&Value> = job["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["url"])
        .collect();
    assert_eq!(
        main,
        [
            "/v1/jobs/a/outputs/output_1080p.mp4",
            "/v1/jobs/a/outputs/hls/master.m3u8"
        ]
    );
    let (ended, expires) = (
        job["ended_at"].as_str().unwrap(),
        job["expires_at"].as_str().unwrap(),
    );
    assert_eq!(ended[10..], expires[10..], "one day later at the same time");
    assert_ne!(ended[..10], expires[..10]);
}

#[tokio::test]
async fn a_failed_job_says_why_and_where() {
    let service = Service::start().await;
    let (id, _) = service.running("a").await;
    let error = JobError {
        code: "encode-failed".to_owned(),
        message: "ffmpeg ended with 1".to_owned(),
        retryable: true,
        detail: "No space left".to_owned(),
        task: Some(TaskKey::Chunk {
            index: 3,
            generation: 1,
        }),
    };
    service.finish(&id, JobStatus::Failed, Some(&error)).await;
    let job = service.json("/v1/jobs/a").await;
    assert_eq!(
        job["error"],
        json!({
            "code": "encode-failed", "message": "ffmpeg ended with 1", "task": "chunk-003.g1",
            "chunk": 3, "retryable": true, "detail": "No space left",
        })
    );
}

#[tokio::test]
async fn a_job_is_cancelled_once() {
    let service = Service::start().await;
    service.running("a").await;
    let cancel = || service.client.delete(service.url("/v1/jobs/a")).send();
    let response = cancel().await.unwrap();
    assert_eq!(response.status(), 200);
    let job: Value = response.json().await.unwrap();
    assert_eq!(job["status"], "cancelled");
    let sentence = problem(cancel().await.unwrap(), 409, "job-ended").await;
    assert!(sentence.contains("cancelled"), "{sentence}");
    let unknown = service.client.delete(service.url("/v1/jobs/b")).send();
    problem(unknown.await.unwrap(), 404, "job-unknown").await;
}

#[tokio::test]
async fn a_job_that_has_not_failed_is_not_retried() {
    let service = Service::start().await;
    let (id, _) = service.running("a").await;
    service
        .request(&id, "movie.mp4", Location::Path("/films/movie.mp4".into()))
        .await;
    let retry = || service.client.post(service.url("/v1/jobs/a/retry")).send();
    problem(retry().await.unwrap(), 409, "job-not-retryable").await;
    service.finish(&id, JobStatus::Failed, None).await;
    let response = retry().await.unwrap();
    assert_eq!(response.status(), 202);
    let job: Value = response.json().await.unwrap();
    assert_eq!(job["status"], "running");
    let backlog = service
        .ports
        .queue
        .backlog(Topic::Chunks)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(backlog.messages, 3, "every task is asked for again");
    problem(retry().await.unwrap(), 409, "job-not-retryable").await;
}
