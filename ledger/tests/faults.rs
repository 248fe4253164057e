//! Answers that get lost: a caller that tries again loses at most the time of a lease.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reelmill_common::job::JobStatus;
use reelmill_common::request::JobOptions;
use reelmill_common::{JobId, Retryable as _, TaskId, TaskKey, WorkerId};
use reelmill_ledger::{
    Claim, Clock, Completion, Faults, FaultyLedger, Ledger, NewJob, SqliteLedger, When,
};
use tempfile::TempDir;

mod retrying;
use retrying::Retrying;

const MINUTE: Duration = Duration::from_secs(60);

struct Place {
    _folder: TempDir,
    now: Arc<AtomicU64>,
    ledger: Arc<dyn Ledger>,
}

fn faulty(faults: Faults) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let shown = Arc::clone(&now);
    let clock = Clock::new(move || shown.load(Ordering::SeqCst));
    let ledger = SqliteLedger::open_with_clock(folder.path().join("ledger.db"), clock).unwrap();
    let ledger = Arc::new(FaultyLedger::new(Arc::new(ledger), faults));
    Place {
        _folder: folder,
        now,
        ledger,
    }
}

fn new_job() -> NewJob {
    let (profile, name) = ("web".to_owned(), "a.mp4".to_owned());
    NewJob {
        id: JobId::new("j1").unwrap(),
        profile,
        name,
        options: JobOptions::default(),
    }
}

fn task(index: u32) -> TaskId {
    TaskId {
        job: new_job().id,
        key: TaskKey::Chunk {
            index,
            generation: 0,
        },
    }
}

fn worker() -> WorkerId {
    WorkerId::new("w1").unwrap()
}

async fn two_chunks(ledger: &dyn Ledger) {
    ledger.create_job(&new_job()).await.unwrap();
    let tasks = [(task(0).key, 100), (task(1).key, 100)];
    ledger
        .extend(&new_job().id, &tasks, &[], &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_call_that_fails_before_its_effect_changes_nothing() {
    let place = faulty(Faults::first(1, When::Before).only("complete"));
    two_chunks(&*place.ledger).await;
    assert!(
        place
            .ledger
            .complete(&task(0))
            .await
            .unwrap_err()
            .is_retryable()
    );
    let record = place.ledger.job(&new_job().id).await.unwrap().unwrap();
    assert_eq!(record.completed_chunks, 0);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_held_until_its_lease_ends() {
    let place = faulty(Faults::first(1, When::After).only("claim"));
    two_chunks(&*place.ledger).await;
    let claim = async || place.ledger.claim(&task(0), &worker(), MINUTE, 9).await;
    assert!(claim().await.is_err());
    assert_eq!(claim().await.unwrap(), Claim::Held { remaining: MINUTE });
    place.now.fetch_add(60_000, Ordering::SeqCst);
    assert!(matches!(
        claim().await.unwrap(),
        Claim::Claimed { attempt: 2, .. }
    ));
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_was_a_creation() {
    let place = faulty(Faults::first(1, When::After));
    let ledger = Retrying::new(Arc::clone(&place.ledger));
    assert!(!ledger.create_job(&new_job()).await.unwrap());
    assert!(ledger.job(&new_job().id).await.unwrap().is_some());
}

#[tokio::test]
async fn whole_is_told_although_its_answer_was_lost() {
    let place = faulty(Faults::first(3, When::After));
    let ledger = Retrying::new(Arc::clone(&place.ledger));
    two_chunks(&ledger).await;
    assert_eq!(
        ledger.complete(&task(0)).await.unwrap(),
        Completion::Partial
    );
    assert_eq!(ledger.complete(&task(1)).await.unwrap(), Completion::Whole);
}

#[tokio::test]
async fn a_third_of_all_calls_failing_either_way_ends_right() {
    for seed in 0..4 {
        let place = faulty(Faults::fraction(333, seed, When::Either));
        let ledger = Retrying::new(Arc::clone(&place.ledger));
        two_chunks(&ledger).await;
        let mut told = Completion::Partial;
        for index in 0..2 {
            // One whose answer is lost is held by its own worker: wait for the lease to end.
            let lease = loop {
                match ledger
                    .claim(&task(index), &worker(), MINUTE, 99)
                    .await
                    .unwrap()
                {
                    Claim::Claimed { lease, .. } => break lease,
                    Claim::Held { remaining } => {
                        let millis = u64::try_from(remaining.as_millis()).unwrap();
                        place.now.fetch_add(millis, Ordering::SeqCst);
                    }
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(ledger.renew(&[(lease, 50)], MINUTE).await.unwrap(), []);
            told = ledger.complete(&task(index)).await.unwrap();
        }
        assert_eq!(told, Completion::Whole);
        let end = ledger
            .finish(&new_job().id, JobStatus::Completed, None)
            .await
            .unwrap();
        assert_eq!(end, Some(JobStatus::Completed));
        let record = ledger.job(&new_job().id).await.unwrap().unwrap();
        assert_eq!((record.completed_chunks, record.completed_frames), (2, 200));
    }
}
