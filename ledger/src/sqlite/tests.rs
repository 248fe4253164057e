//! What only this backend promises: exact times, several processes, and what outlives them.

use reelmill_common::request::JobOptions;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;

const START: Millis = 1_700_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);

struct Place {
    folder: TempDir,
    now: Arc<AtomicU64>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            now: Arc::new(AtomicU64::new(START)),
        }
    }

    /// Every call is like another process: nothing is shared but the file and the time.
    fn open(&self) -> SqliteLedger {
        let now = Arc::clone(&self.now);
        let clock = Clock::new(move || now.load(Ordering::SeqCst));
        SqliteLedger::open_with_clock(self.folder.path().join("ledger.db"), clock).unwrap()
    }

    fn set(&self, now: Millis) {
        self.now.store(now, Ordering::SeqCst);
    }
}

fn task() -> TaskId {
    TaskId {
        job: JobId::new("j1").unwrap(),
        key: TaskKey::Chunk {
            index: 0,
            generation: 0,
        },
    }
}

fn worker(id: &str) -> WorkerId {
    WorkerId::new(id).unwrap()
}

async fn job(ledger: &SqliteLedger) {
    let (profile, name) = ("web".to_owned(), "a.mp4".to_owned());
    ledger
        .create_job(&NewJob {
            id: task().job,
            profile,
            name,
            options: JobOptions::default(),
        })
        .await
        .unwrap();
    ledger
        .extend(&task().job, &[(task().key, 100)], &[], &[])
        .await
        .unwrap();
}

async fn epoch(ledger: &SqliteLedger) -> u64 {
    match ledger
        .claim(&task(), &worker("w1"), MINUTE, 100)
        .await
        .unwrap()
    {
        Claim::Claimed { lease, .. } => lease.epoch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lease_ends_on_the_millisecond() {
    let place = Place::new();
    let ledger = place.open();
    job(&ledger).await;
    epoch(&ledger).await;
    place.set(START + 59_999);
    let remaining = Duration::from_millis(1);
    let claim = ledger
        .claim(&task(), &worker("w2"), MINUTE, 9)
        .await
        .unwrap();
    assert_eq!(claim, Claim::Held { remaining });
    place.set(START + 60_000);
    let claim = ledger
        .claim(&task(), &worker("w2"), MINUTE, 9)
        .await
        .unwrap();
    assert!(matches!(claim, Claim::Claimed { attempt: 2, .. }));
}

#[tokio::test]
async fn an_epoch_is_the_time_or_one_more_than_the_last() {
    let place = Place::new();
    let ledger = place.open();
    job(&ledger).await;
    let release = async || ledger.release_all(&worker("w1")).await.unwrap();
    assert_eq!(epoch(&ledger).await, START);
    release().await;
    assert_eq!(epoch(&ledger).await, START + 1);
    release().await;
    place.set(START + 500);
    assert_eq!(epoch(&ledger).await, START + 500);
    release().await;
    place.set(START - 3_600_000);
    assert_eq!(
        epoch(&ledger).await,
        START + 501,
        "although the clock stepped back"
    );
    // A flushed ledger has only the clock.
    ledger.forget(&task().job).await.unwrap();
    place.set(START + 1000);
    job(&ledger).await;
    assert_eq!(epoch(&ledger).await, START + 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_share_one_ledger() {
    let place = Place::new();
    let ledgers: Vec<_> = (0..4).map(|_| place.open()).collect();
    job(&ledgers[0]).await;
    let mut claimers = tokio::task::JoinSet::new();
    for (number, ledger) in ledgers.iter().cloned().enumerate() {
        claimers.spawn(async move {
            let worker = worker(&format!("w{number}"));
            let claim = ledger.claim(&task(), &worker, MINUTE, 3).await.unwrap();
            matches!(claim, Claim::Claimed { .. })
        });
    }
    let winners = claimers
        .join_all()
        .await
        .into_iter()
        .filter(|won| *won)
        .count();
    assert_eq!(winners, 1);
    assert_eq!(
        ledgers[3].complete(&task()).await.unwrap(),
        Completion::Whole
    );
    assert_eq!(
        ledgers[1]
            .job(&task().job)
            .await
            .unwrap()
            .unwrap()
            .completed_chunks,
        1
    );
}

#[tokio::test]
async fn everything_outlives_a_restart() {
    let place = Place::new();
    let ledger = place.open();
    job(&ledger).await;
    let Claim::Claimed { lease, .. } = ledger
        .claim(&task(), &worker("w1"), MINUTE, 9)
        .await
        .unwrap()
    else {
        panic!("the task is free");
    };
    ledger.renew(&[(lease.clone(), 40)], MINUTE).await.unwrap();
    let before = ledger.job(&task().job).await.unwrap();
    drop(ledger);
    let ledger = place.open();
    assert_eq!(ledger.job(&task().job).await.unwrap(), before);
    assert_eq!(before.unwrap().completed_frames, 40);
    assert_eq!(ledger.renew(&[(lease, 50)], MINUTE).await.unwrap(), []);
}

#[tokio::test]
async fn only_an_end_ends_a_job() {
    let place = Place::new();
    let ledger = place.open();
    job(&ledger).await;
    let error = ledger
        .finish(&task().job, JobStatus::Running, None)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot finish a job in the ledger");
    assert_eq!(error.source.to_string(), "`running` does not end a job");
    assert!(!error.retryable);
}

#[tokio::test]
async fn an_ended_job_keeps_the_time_of_its_end() {
    let place = Place::new();
    let ledger = place.open();
    job(&ledger).await;
    place.set(START + 10);
    ledger
        .finish(&task().job, JobStatus::Failed, None)
        .await
        .unwrap();
    place.set(START + 20);
    ledger.complete(&task()).await.unwrap();
    let record = ledger.job(&task().job).await.unwrap().unwrap();
    assert_eq!((record.created_at, record.updated_at), (START, START + 10));
    // What was completed late need not be done again by a retry.
    ledger.retry(&task().job).await.unwrap();
    assert_eq!(
        ledger
            .job(&task().job)
            .await
            .unwrap()
            .unwrap()
            .completed_chunks,
        1
    );
}

#[tokio::test]
async fn workers_are_forgotten_after_a_week() {
    let place = Place::new();
    let ledger = place.open();
    let report = |id: &str| WorkerRecord {
        id: worker(id),
        slots: 1,
        version: String::new(),
        ffmpeg: String::new(),
        yt_dlp: None,
        last_heartbeat: 0,
    };
    ledger.heartbeat(&report("old")).await.unwrap();
    place.set(START + 8 * 24 * 3_600_000);
    ledger.heartbeat(&report("new")).await.unwrap();
    let known = ledger.workers(Duration::MAX).await.unwrap();
    assert_eq!(
        known
            .iter()
            .map(|worker| worker.id.as_str())
            .collect::<Vec<_>>(),
        ["new"]
    );
}
