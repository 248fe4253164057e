//! What a job tells of itself: choices, times, attempts, phases; and how many jobs there are.

use std::collections::BTreeMap;
use std::time::Duration;

use reelmill_common::job::{JobStatus, Phase};
use reelmill_common::request::{JobOptions, Priority};
use reelmill_common::{JobId, TaskKey};

use super::{Fixture, LONG, OVER, chunk, task};
use crate::{JobRecord, NewJob};

/// What the submitter chose is given back, and each life of a job has its own times.
pub async fn a_job_tells_what_was_chosen_and_when_it_was_busy(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let new = NewJob {
        id: JobId::new("j1").unwrap(),
        profile: "web".to_owned(),
        name: "a.mp4".to_owned(),
        options: JobOptions {
            priority: Priority::High,
            metadata: [("k\u{e9}y".to_owned(), "v\"1\"".to_owned())].into(),
            time_limit_s: Some(3600),
            video_stream: "none".parse().ok(),
            audio_streams: "2,1".parse().ok(),
        },
    };
    ledger.create_job(&new).await.unwrap();
    let record = fixture.record(&new.id).await;
    assert_eq!(record.options, new.options);
    let times = |record: &JobRecord| (record.started_at, record.ended_at);
    assert_eq!(times(&record), (None, None));
    assert_eq!((record.attempts, record.phases), (0, vec![]));

    fixture.pass(OVER).await;
    let job = &new.id;
    fixture
        .claimed(&task(job, TaskKey::Ingest), "w1", LONG)
        .await;
    let started = fixture.record(job).await;
    assert!(started.started_at.unwrap() > record.created_at);
    fixture.pass(OVER).await;
    let tasks = [(chunk(0), 100)];
    ledger.extend(job, &tasks, &[], &[]).await.unwrap();
    fixture.claimed(&task(job, chunk(0)), "w1", LONG).await;
    let record = fixture.record(job).await;
    assert_eq!(
        times(&record),
        (started.started_at, None),
        "the first claim"
    );

    let end = ledger.finish(job, JobStatus::Failed, None).await.unwrap();
    assert_eq!(end, Some(JobStatus::Failed));
    let ended = fixture.record(job).await;
    assert!(ended.ended_at.unwrap() > started.started_at.unwrap());
    fixture.pass(OVER).await;
    ledger
        .finish(job, JobStatus::Cancelled, None)
        .await
        .unwrap();
    assert_eq!(fixture.record(job).await, ended, "the first end stays");

    ledger.retry(job).await.unwrap();
    let again = fixture.record(job).await;
    assert_eq!(
        times(&again),
        (None, None),
        "waiting in line does not count"
    );
    assert_eq!((again.attempts, again.phases), (0, vec![]));
    fixture.claimed(&task(job, chunk(0)), "w1", LONG).await;
    let again = fixture.record(job).await;
    assert!(again.started_at > ended.ended_at);
    assert_eq!(again.attempts, 1);
}

/// Those of all tasks that count, with every try; a refund takes one back.
pub async fn attempts_are_added_up(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    for (index, refund) in [(0, false), (0, false), (1, true), (1, false)] {
        let (lease, _) = fixture.claimed(&task(&job, chunk(index)), "w1", LONG).await;
        fixture.ledger.release(&lease, refund).await.unwrap();
    }
    assert_eq!(fixture.record(&job).await.attempts, 3);
}

/// In order, with when each began; one that is said again does not begin again, one that it comes
/// back to does.
pub async fn phases_are_kept_in_order(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 1).await;
    fixture
        .claimed(&task(&job, TaskKey::Ingest), "w1", LONG)
        .await;
    let said = [
        Phase::Scanning,
        Phase::Transcoding,
        Phase::Transcoding,
        Phase::Merging,
        Phase::Transcoding,
    ];
    for phase in said {
        fixture.pass(Duration::from_millis(5)).await;
        ledger.set_phase(&job, phase).await.unwrap();
    }
    let record = fixture.record(&job).await;
    let phases: Vec<_> = record.phases.iter().map(|start| start.phase).collect();
    let expected = [
        Phase::Scanning,
        Phase::Transcoding,
        Phase::Merging,
        Phase::Transcoding,
    ];
    assert_eq!(phases, expected);
    let begins: Vec<_> = record.phases.iter().map(|start| start.at).collect();
    assert!(begins.is_sorted_by(|a, b| a < b), "{begins:?}");
    assert!(record.started_at.unwrap() <= begins[0]);
    ledger.finish(&job, JobStatus::Failed, None).await.unwrap();
    assert_eq!(fixture.record(&job).await.phases, record.phases);
    ledger.retry(&job).await.unwrap();
    assert_eq!(fixture.record(&job).await.phases, []);
}

/// Of each status as many as the lists have.
pub async fn jobs_are_counted_by_status(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let counts = async || {
        let mut counts = ledger.counts().await.unwrap();
        // One that no job has may be told or not.
        counts.retain(|_, count| *count > 0);
        counts
    };
    assert_eq!(counts().await, BTreeMap::new());
    for id in ["a", "b", "c", "d"] {
        fixture.job(id, 1).await;
    }
    let [a, b, c] = ["a", "b", "c"].map(|id| JobId::new(id).unwrap());
    fixture.claimed(&task(&a, chunk(0)), "w1", LONG).await;
    for (job, end) in [(&b, JobStatus::Failed), (&c, JobStatus::Completed)] {
        ledger.finish(job, end, None).await.unwrap();
    }
    let expected = [
        (JobStatus::Pending, 1),
        (JobStatus::Running, 1),
        (JobStatus::Completed, 1),
        (JobStatus::Failed, 1),
    ];
    assert_eq!(counts().await, expected.into());
    ledger.retry(&b).await.unwrap();
    ledger.forget(&c).await.unwrap();
    let expected = [(JobStatus::Pending, 1), (JobStatus::Running, 2)];
    assert_eq!(counts().await, expected.into());
}
