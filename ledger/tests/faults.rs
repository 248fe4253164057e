//! Answers that get lost: a caller that tries again loses at most the time of a lease. Every
//! backend runs all of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use reelmill_common::Retryable as _;
use reelmill_common::job::JobStatus;
use reelmill_ledger::conformance::{Guard, Time};
use reelmill_ledger::{Claim, Completion, Faults, FaultyLedger, Ledger, When};

mod backends;
mod job;
mod retrying;
mod shared;

use backends::Backend;
use job::{chunk, job, new_job, worker};
use retrying::Retrying;

/// Longer than a test is between two calls, and no longer than one may wait.
const LEASE: Duration = Duration::from_secs(2);

struct Place {
    time: Time,
    ledger: Arc<dyn Ledger>,
    _guard: Box<dyn Guard>,
}

impl Place {
    async fn pass(&self, duration: Duration) {
        match &self.time {
            Time::Real => tokio::time::sleep(duration).await,
            Time::Moved(advance) => advance(duration),
        }
    }
}

async fn faulty(open: impl AsyncFn() -> Backend, faults: Faults) -> Place {
    let Backend {
        ledger,
        time,
        guard,
    } = open().await;
    Place {
        time,
        ledger: Arc::new(FaultyLedger::new(ledger, faults)),
        _guard: guard,
    }
}

async fn two_chunks(ledger: &dyn Ledger) {
    ledger.create_job(&new_job()).await.unwrap();
    let tasks = [(chunk(0).key, 100), (chunk(1).key, 100)];
    ledger.extend(&job(), &tasks, &[], &[]).await.unwrap();
}

async fn a_call_that_fails_before_its_effect_changes_nothing(open: impl AsyncFn() -> Backend) {
    let place = faulty(open, Faults::first(1, When::Before).only("complete")).await;
    two_chunks(&*place.ledger).await;
    assert!(
        place
            .ledger
            .complete(&chunk(0))
            .await
            .unwrap_err()
            .is_retryable()
    );
    let record = place.ledger.job(&job()).await.unwrap().unwrap();
    assert_eq!(record.completed_chunks, 0);
}

async fn a_claim_whose_answer_was_lost_is_held_until_its_lease_ends(
    open: impl AsyncFn() -> Backend,
) {
    let place = faulty(open, Faults::first(1, When::After).only("claim")).await;
    two_chunks(&*place.ledger).await;
    let claim = async || place.ledger.claim(&chunk(0), &worker(), LEASE, 9).await;
    assert!(claim().await.is_err());
    let Claim::Held { remaining } = claim().await.unwrap() else {
        panic!("it is held by the claim whose answer was lost");
    };
    assert!(remaining <= LEASE, "{remaining:?}");
    place.pass(remaining).await;
    assert!(matches!(
        claim().await.unwrap(),
        Claim::Claimed { attempt: 2, .. }
    ));
}

async fn a_creation_whose_answer_was_lost_was_a_creation(open: impl AsyncFn() -> Backend) {
    let place = faulty(open, Faults::first(1, When::After)).await;
    let ledger = Retrying::new(Arc::clone(&place.ledger));
    assert!(!ledger.create_job(&new_job()).await.unwrap());
    assert!(ledger.job(&job()).await.unwrap().is_some());
}

async fn whole_is_told_although_its_answer_was_lost(open: impl AsyncFn() -> Backend) {
    let place = faulty(open, Faults::first(3, When::After)).await;
    let ledger = Retrying::new(Arc::clone(&place.ledger));
    two_chunks(&ledger).await;
    assert_eq!(
        ledger.complete(&chunk(0)).await.unwrap(),
        Completion::Partial
    );
    assert_eq!(ledger.complete(&chunk(1)).await.unwrap(), Completion::Whole);
}

async fn a_third_of_all_calls_failing_either_way_ends_right(open: impl AsyncFn() -> Backend) {
    for seed in 0..4 {
        let place = faulty(&open, Faults::fraction(333, seed, When::Either)).await;
        let ledger = Retrying::new(Arc::clone(&place.ledger));
        two_chunks(&ledger).await;
        let mut told = Completion::Partial;
        for index in 0..2 {
            // One whose answer is lost is held by its own worker: wait for the lease to end.
            let lease = loop {
                match ledger
                    .claim(&chunk(index), &worker(), LEASE / 10, 99)
                    .await
                    .unwrap()
                {
                    Claim::Claimed { lease, .. } => break lease,
                    Claim::Held { remaining } => place.pass(remaining).await,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(ledger.renew(&[(lease, 50)], LEASE).await.unwrap(), []);
            told = ledger.complete(&chunk(index)).await.unwrap();
        }
        assert_eq!(told, Completion::Whole);
        let end = ledger
            .finish(&job(), JobStatus::Completed, None)
            .await
            .unwrap();
        assert_eq!(end, Some(JobStatus::Completed));
        let record = ledger.job(&job()).await.unwrap().unwrap();
        assert_eq!((record.completed_chunks, record.completed_frames), (2, 200));
    }
}

/// One test for each case and backend.
macro_rules! cases {
    ($($backend:ident $attributes:tt)*) => {
        $(
            mod $backend {
                cases! { @in $backend $attributes:
                    a_call_that_fails_before_its_effect_changes_nothing
                    a_claim_whose_answer_was_lost_is_held_until_its_lease_ends
                    a_creation_whose_answer_was_lost_was_a_creation
                    whole_is_told_although_its_answer_was_lost
                    a_third_of_all_calls_failing_either_way_ends_right
                }
            }
        )*
    };
    (@in $backend:ident $attributes:tt: $($case:ident)*) => {
        $( cases! { @one $backend $attributes $case } )*
    };
    (@one $backend:ident { $($attribute:tt)* } $case:ident) => {
        $($attribute)*
        #[tokio::test]
        async fn $case() {
            super::$case(super::backends::$backend).await;
        }
    };
}

cases! {
    sqlite {}
    redis { #[ignore = "needs REELMILL_TEST_REDIS"] }
}
