//! What only Redis promises: a hash that people can read, what expires, and what happens when the
//! server loses its data, is full, is misconfigured or is away.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::{TaskKey, WorkerId};
use reelmill_ledger::{Claim, Completion, Lease, Ledger, RedisLedger};

mod job;
mod shared;

use job::{chunk, job, new_job, worker};
use shared::Part;

const LONG: Duration = Duration::from_secs(600);

async fn with_chunks(part: &Part, chunks: u32) -> RedisLedger {
    let ledger = RedisLedger::connect(&part.options).await.unwrap();
    ledger.create_job(&new_job()).await.unwrap();
    let tasks: Vec<_> = (0..chunks).map(|index| (chunk(index).key, 100)).collect();
    ledger.extend(&job(), &tasks, &[], &[]).await.unwrap();
    ledger
}

async fn claimed(ledger: &RedisLedger, index: u32) -> Lease {
    let claim = ledger.claim(&chunk(index), &worker(), LONG, 9).await;
    match claim.unwrap() {
        Claim::Claimed { lease, .. } => lease,
        other => panic!("{other:?}"),
    }
}

fn hash(part: &Part, key: &str) -> BTreeMap<String, String> {
    let key = format!("{}{key}", part.options.prefix);
    redis::cmd("HGETALL")
        .arg(key)
        .query(&mut part.look())
        .unwrap()
}

/// Each key and for how many milliseconds it will be there; -1 for one that stays.
fn expiries(part: &Part) -> HashMap<String, i64> {
    let keys = part
        .keys()
        .into_iter()
        .filter(|key| key.starts_with("job:"));
    keys.map(|key| {
        let full = format!("{}{key}", part.options.prefix);
        let left = redis::cmd("PTTL")
            .arg(full)
            .query(&mut part.look())
            .unwrap();
        (key, left)
    })
    .collect()
}

/// Numbers as they are said, one thing to a field, no JSON but what the submitter chose.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn the_hash_of_a_job_reads_well() {
    let part = Part::new();
    let ledger = with_chunks(&part, 3).await;
    let lease = claimed(&ledger, 0).await;
    ledger.set_phase(&job(), Phase::Transcoding).await.unwrap();
    ledger.renew(&[(lease, 40)], LONG).await.unwrap();
    ledger.complete(&chunk(1)).await.unwrap();

    let shown = hash(&part, "job:j1");
    let is_time = |field: &str| shown[field].parse::<u64>().unwrap() > 1_600_000_000_000;
    for field in ["created_at", "started_at", "updated_at"] {
        assert!(is_time(field), "{shown:?}");
    }
    let phases = &shown["phases"];
    assert!(phases.starts_with("transcoding 1"), "{phases}");
    let rest: Vec<_> = shown
        .iter()
        .map(|(field, value)| (field.as_str(), value.as_str()))
        .filter(|(field, _)| !field.ends_with("_at") && *field != "phases")
        .collect();
    let expected = [
        ("attempts", "1"),
        ("completed_chunks", "1"),
        ("completed_frames", "140"),
        ("name", "a film.mp4"),
        ("options", r#"{"priority":"normal"}"#),
        ("phase", "transcoding"),
        ("profile", "web"),
        ("status", "running"),
        ("total_chunks", "3"),
        ("total_frames", "300"),
        ("version", "1"),
    ];
    assert_eq!(rest, expected);
    assert_eq!(shown.len(), expected.len() + 4, "{shown:?}");
    assert_eq!(hash(&part, "job:j1:tasks")["chunk-001"], "100 done");
    assert!(hash(&part, "job:j1:leases")["chunk-000"].starts_with("w1 "));

    let error = JobError {
        code: "encoder-failed".to_owned(),
        message: "chunk 2 failed 4 times".to_owned(),
        retryable: true,
        detail: "no space left".to_owned(),
        task: Some(chunk(2).key),
    };
    let end = ledger.finish(&job(), JobStatus::Failed, Some(&error)).await;
    assert_eq!(end.unwrap(), Some(JobStatus::Failed));
    let shown = hash(&part, "job:j1");
    let errors: Vec<_> = shown
        .iter()
        .map(|(field, value)| (field.as_str(), value.as_str()))
        .filter(|(field, _)| field.starts_with("error"))
        .collect();
    let expected = [
        ("error", "chunk 2 failed 4 times"),
        ("error_code", "encoder-failed"),
        ("error_detail", "no space left"),
        ("error_retryable", "true"),
        ("error_task", "chunk-002"),
    ];
    assert_eq!(errors, expected);
    assert_eq!(shown["status"], "failed");
    assert!(!shown.contains_key("phase"), "{shown:?}");
    assert_eq!(shown["ended_at"], shown["updated_at"]);
}

/// All that belongs to a job goes when it does, whatever is written late; a retried one stays.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn keys_of_a_job_expire_from_its_end_to_its_retry() {
    let mut part = Part::new();
    part.options.retention = LONG;
    let ledger = with_chunks(&part, 3).await;
    let lease = claimed(&ledger, 0).await;
    let stays = |part: &Part| expiries(part).values().all(|left| *left == -1);
    assert!(stays(&part), "{:?}", expiries(&part));

    for end in [JobStatus::Failed, JobStatus::Cancelled] {
        ledger.finish(&job(), end, None).await.unwrap();
        // Late messages of workers that have not heard of the end.
        ledger.complete(&chunk(1)).await.unwrap();
        let late = [(TaskKey::Audio { track: 0 }, 0)];
        ledger
            .extend(&job(), &late, &[], &[chunk(2).key])
            .await
            .unwrap();
        ledger.release(&lease, true).await.unwrap();
        let left = expiries(&part);
        assert!(left.len() >= 3, "{left:?}");
        let retention = i64::try_from(LONG.as_millis()).unwrap();
        for (key, left) in left {
            assert!((1..=retention).contains(&left), "`{key}` has {left}");
        }
        assert!(ledger.retry(&job()).await.unwrap());
        assert!(stays(&part), "{:?}", expiries(&part));
    }
    let record = ledger.job(&job()).await.unwrap().unwrap();
    assert_eq!((record.total_chunks, record.completed_chunks), (3, 1));
}

/// The lists do not keep what has expired, and its id is free for another.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn a_job_that_expired_is_forgotten_by_all_lists() {
    let mut part = Part::new();
    part.options.retention = Duration::from_millis(20);
    let ledger = with_chunks(&part, 1).await;
    ledger
        .finish(&job(), JobStatus::Completed, None)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(ledger.job(&job()).await.unwrap(), None);
    assert_eq!(
        ledger.complete(&chunk(0)).await.unwrap(),
        Completion::Unknown
    );
    // Also where it comes back before anybody has looked at a list.
    assert!(ledger.create_job(&new_job()).await.unwrap());
    let counts = ledger.counts().await.unwrap();
    assert_eq!(counts.values().sum::<u64>(), 1, "{counts:?}");
    assert_eq!(ledger.jobs(None, None, 9).await.unwrap().len(), 1);

    ledger
        .finish(&job(), JobStatus::Completed, None)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert_eq!(ledger.jobs(None, None, 9).await.unwrap(), []);
    let counts = ledger.counts().await.unwrap();
    assert!(counts.values().all(|jobs| *jobs == 0), "{counts:?}");
    assert_eq!(part.keys(), [""; 0], "nothing is left");
}

/// A server that evicts keys with an expiry when it is full may take any key of an ended job.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn an_ended_job_that_lost_a_key_is_no_half_job() {
    for lost in ["job:j1", "job:j1:tasks", "job:j1:attempts", "job:j1:epochs"] {
        let part = Part::new();
        let ledger = with_chunks(&part, 2).await;
        claimed(&ledger, 1).await;
        ledger.complete(&chunk(0)).await.unwrap();
        ledger
            .finish(&job(), JobStatus::Failed, None)
            .await
            .unwrap();
        let key = format!("{}{lost}", part.options.prefix);
        redis::cmd("DEL").arg(key).exec(&mut part.look()).unwrap();

        if !ledger.retry(&job()).await.unwrap() {
            // As after any loss: whoever meets the job rebuilds it.
            assert_eq!(ledger.job(&job()).await.unwrap(), None, "{lost}");
            assert_eq!(ledger.jobs(None, None, 9).await.unwrap(), [], "{lost}");
            assert!(ledger.create_job(&new_job()).await.unwrap(), "{lost}");
            let tasks = [(chunk(0).key, 100), (chunk(1).key, 100)];
            let done = [chunk(0).key];
            ledger.extend(&job(), &tasks, &done, &[]).await.unwrap();
        }
        let record = ledger.job(&job()).await.unwrap().unwrap();
        assert_eq!(
            (record.total_chunks, record.completed_chunks),
            (2, 1),
            "{lost}"
        );
        claimed(&ledger, 1).await;
        assert_eq!(ledger.complete(&chunk(1)).await.unwrap(), Completion::Whole);
        assert_eq!(ledger.counts().await.unwrap()[&JobStatus::Running], 1);
    }
}

/// Neither in the lists nor in the sets of its workers.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn a_forgotten_job_leaves_nothing_behind() {
    let part = Part::new();
    let ledger = with_chunks(&part, 5).await;
    let leases = [
        claimed(&ledger, 0).await,
        claimed(&ledger, 1).await,
        claimed(&ledger, 2).await,
    ];
    let brief = ledger.claim(&chunk(4), &worker(), Duration::ZERO, 9).await;
    assert!(matches!(brief.unwrap(), Claim::Claimed { .. }));
    let heir = WorkerId::new("w2").unwrap();
    let taken = ledger.claim(&chunk(4), &heir, LONG, 9).await;
    assert!(matches!(taken.unwrap(), Claim::Claimed { .. }));
    ledger.release(&leases[0], false).await.unwrap();
    ledger.complete(&chunk(1)).await.unwrap();
    ledger
        .extend(&job(), &[], &[], &[chunk(3).key])
        .await
        .unwrap();
    ledger.hold("sweeper", &worker(), LONG).await.unwrap();
    ledger.forget(&job()).await.unwrap();
    ledger
        .hold("sweeper", &worker(), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(part.keys(), [""; 0]);
}

/// A server that keeps this ledger keeps others, and what another wrote is not this one's.
#[tokio::test]
#[ignore = "needs REELMILL_TEST_REDIS"]
async fn prefixes_keep_ledgers_apart() {
    let (one, two) = (Part::new(), Part::new());
    let ledger = with_chunks(&one, 1).await;
    let other = RedisLedger::connect(&two.options).await.unwrap();
    assert_eq!(other.job(&job()).await.unwrap(), None);
    claimed(&ledger, 0).await;
    other.release_all(&worker()).await.unwrap();
    let claim = ledger.claim(&chunk(0), &worker(), LONG, 9).await.unwrap();
    assert!(matches!(claim, Claim::Held { .. }), "{claim:?}");
}

/// The server's own words name what is wrong; the password is in none.
#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    for url in [
        "localhost:6379",
        "http://:secret@localhost",
        "redis://:secret@/",
    ] {
        let mut options = reelmill_ledger::RedisOptions::new(url);
        options.connect_timeout = Duration::from_millis(200);
        let error = RedisLedger::connect(&options).await.unwrap_err();
        let said = format!("{error}: {} {error:?}", error.source);
        assert!(said.starts_with("cannot connect to the ledger: "), "{said}");
        assert!(said.contains("use `redis://host:6379`"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(!error.retryable, "{said}");
    }
}
