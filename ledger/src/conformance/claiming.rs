//! Leases: who has the right to work.

use std::sync::Arc;
use std::time::Duration;

use reelmill_common::job::JobStatus;
use reelmill_common::{JobId, TaskKey};
use tokio::task::JoinSet;

use super::{Fixture, LONG, OVER, SHORT, chunk, task, worker};
use crate::{Claim, Lease};

/// The first claim is the first attempt, and makes the job running.
pub async fn a_claim_gives_a_lease(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    assert_eq!(fixture.record(&job).await.status, JobStatus::Pending);
    let wanted = task(&job, chunk(0));
    let (lease, attempt) = fixture.claimed(&wanted, "w1", LONG).await;
    assert_eq!(
        (&lease.task, &lease.worker, attempt),
        (&wanted, &worker("w1"), 1)
    );
    assert!(lease.epoch > 0);
    assert_eq!(fixture.record(&job).await.status, JobStatus::Running);
}

/// Also for the holder itself; the answer says for how long.
pub async fn a_held_task_is_held_for_everybody(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    fixture.claimed(&task, "w1", LONG).await;
    for by in ["w2", "w1"] {
        match fixture.claim(&task, by, LONG).await {
            Claim::Held { remaining } => {
                assert!(remaining > LONG / 2 && remaining <= LONG, "{remaining:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Exactly one of many that ask at once.
pub async fn of_eight_claimers_one_wins(fixture: &Fixture) {
    let job = fixture.job("j1", 5).await;
    for index in 0..5 {
        let mut claimers = JoinSet::new();
        for number in 0..8 {
            let (ledger, task) = (Arc::clone(&fixture.ledger), task(&job, chunk(index)));
            let worker = worker(&format!("w{number}"));
            claimers.spawn(async move {
                match ledger.claim(&task, &worker, LONG, 3).await.unwrap() {
                    Claim::Claimed { attempt, .. } => {
                        assert_eq!(attempt, 1);
                        1
                    }
                    Claim::Held { .. } => 0,
                    other => panic!("{other:?}"),
                }
            });
        }
        assert_eq!(claimers.join_all().await.into_iter().sum::<u32>(), 1);
    }
}

/// A lease on one task, or on the same task of another job, is no lease on another.
pub async fn tasks_are_claimed_one_by_one(fixture: &Fixture) {
    let (one, two) = (fixture.job("j1", 2).await, fixture.job("j2", 1).await);
    let generation = TaskKey::Chunk {
        index: 0,
        generation: 1,
    };
    let audio = TaskKey::Audio { track: 0 };
    fixture
        .ledger
        .extend(&one, &[(generation, 0), (audio, 0)], &[], &[])
        .await
        .unwrap();
    for (job, key) in [
        (&one, chunk(0)),
        (&one, chunk(1)),
        (&one, generation),
        (&one, audio),
        (&two, chunk(0)),
    ] {
        let (_, attempt) = fixture.claimed(&task(job, key), "w1", LONG).await;
        assert_eq!(attempt, 1);
    }
}

/// They exist for every job, before its plan does.
pub async fn ingest_and_finalize_may_be_claimed_unnamed(fixture: &Fixture) {
    let job = fixture.empty_job("j1").await;
    for key in [TaskKey::Ingest, TaskKey::Finalize] {
        let task = task(&job, key);
        let (lease, attempt) = fixture.claimed(&task, "w1", LONG).await;
        assert_eq!(attempt, 1);
        assert!(matches!(
            fixture.claim(&task, "w2", LONG).await,
            Claim::Held { .. }
        ));
        assert!(fixture.renewed(&lease, 0, LONG).await);
    }
    let record = fixture.record(&job).await;
    assert_eq!(
        (record.status, record.total_chunks),
        (JobStatus::Running, 0)
    );
}

/// A ledger that was flushed and rebuilt only in part says so, and does not guess.
pub async fn a_chunk_that_nobody_named_is_unknown(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let unnamed = task(&job, chunk(1));
    assert_eq!(fixture.claim(&unnamed, "w1", LONG).await, Claim::Unknown);
    fixture
        .ledger
        .extend(&job, &[(chunk(1), 100)], &[], &[])
        .await
        .unwrap();
    let (_, attempt) = fixture.claimed(&unnamed, "w1", LONG).await;
    assert_eq!(attempt, 1);
}

/// The next holder has a greater epoch and one attempt more; the last one has lost.
pub async fn an_expired_lease_gives_way_to_a_higher_epoch(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (old, _) = fixture.claimed(&task, "w1", SHORT).await;
    fixture.pass(OVER).await;
    let (new, attempt) = fixture.claimed(&task, "w2", LONG).await;
    assert_eq!(attempt, 2);
    assert!(new.epoch > old.epoch, "{} after {}", new.epoch, old.epoch);
    assert!(!fixture.renewed(&old, 10, LONG).await);
    assert!(fixture.renewed(&new, 10, LONG).await);
}

/// A worker that was away for a while goes on where nobody has taken over.
pub async fn an_expired_lease_that_nobody_wanted_is_renewed(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (lease, _) = fixture.claimed(&task, "w1", SHORT).await;
    fixture.pass(OVER).await;
    assert!(fixture.renewed(&lease, 10, LONG).await);
    assert!(matches!(
        fixture.claim(&task, "w2", LONG).await,
        Claim::Held { .. }
    ));
}

/// A lease lasts from its last renewal, not from its claim.
pub async fn a_renewed_lease_holds(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (lease, _) = fixture.claimed(&task, "w1", SHORT).await;
    assert!(fixture.renewed(&lease, 0, LONG).await);
    fixture.pass(OVER).await;
    assert!(matches!(
        fixture.claim(&task, "w2", LONG).await,
        Claim::Held { .. }
    ));
    // And not longer than the last renewal says, though an earlier one said more.
    assert!(fixture.renewed(&lease, 0, SHORT).await);
    fixture.pass(OVER).await;
    fixture.claimed(&task, "w2", LONG).await;
}

/// One call renews what it can and names the rest, whatever the reason.
pub async fn a_renewal_tells_which_leases_are_lost(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let (job, ended) = (fixture.job("j1", 5).await, fixture.job("j2", 1).await);
    let lease = async |job: &JobId, index, ttl| {
        fixture.claimed(&task(job, chunk(index)), "w1", ttl).await.0
    };
    let taken = lease(&job, 0, SHORT).await;
    let kept = lease(&job, 1, LONG).await;
    let complete = lease(&job, 2, LONG).await;
    let released = lease(&job, 3, LONG).await;
    let of_ended_job = lease(&ended, 0, LONG).await;
    fixture.pass(OVER).await;
    fixture.claimed(&taken.task, "w2", LONG).await;
    ledger.complete(&complete.task).await.unwrap();
    ledger.release(&released, false).await.unwrap();
    ledger
        .finish(&ended, JobStatus::Cancelled, None)
        .await
        .unwrap();
    let of_no_job = Lease {
        task: task(&JobId::new("j3").unwrap(), chunk(0)),
        worker: worker("w1"),
        epoch: 1,
    };
    let never_given = Lease {
        epoch: kept.epoch + 1,
        ..kept.clone()
    };
    let of_another = Lease {
        worker: worker("w2"),
        ..kept.clone()
    };
    let lost = [
        taken,
        complete,
        released,
        of_ended_job,
        of_no_job,
        never_given,
        of_another,
    ];
    let mut all: Vec<_> = lost.iter().map(|lease| (lease.clone(), 0)).collect();
    all.insert(3, (kept.clone(), 0));
    let mut told = ledger.renew(&all, LONG).await.unwrap();
    let mut expected = lost.to_vec();
    let order = |lease: &Lease| (lease.task.clone(), lease.worker.clone(), lease.epoch);
    told.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(told, expected);
    assert!(matches!(
        fixture.claim(&kept.task, "w3", LONG).await,
        Claim::Held { .. }
    ));
}

/// An idle worker may renew what it has.
pub async fn renewing_nothing_loses_nothing(fixture: &Fixture) {
    assert_eq!(fixture.ledger.renew(&[], LONG).await.unwrap(), []);
}

/// However often and fast a task changes hands.
pub async fn epochs_always_grow(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let mut last = 0;
    for round in 0..10 {
        let (lease, _) = fixture.claimed(&task, "w1", LONG).await;
        assert!(lease.epoch > last, "{} after {last}", lease.epoch);
        last = lease.epoch;
        if round % 3 == 2 {
            fixture
                .ledger
                .finish(&job, JobStatus::Failed, None)
                .await
                .unwrap();
            assert!(fixture.ledger.retry(&job).await.unwrap());
        } else {
            fixture
                .ledger
                .release(&lease, round % 2 == 0)
                .await
                .unwrap();
        }
    }
}

/// Counted when the work begins, so that work which kills its worker is counted too.
pub async fn attempts_run_out(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    let id = task(&job, chunk(0));
    let claim = |by, ttl| fixture.ledger.claim(&id, by, ttl, 2);
    let (one, two) = (worker("w1"), worker("w2"));
    assert!(matches!(
        claim(&one, SHORT).await.unwrap(),
        Claim::Claimed { attempt: 1, .. }
    ));
    fixture.pass(OVER).await;
    let Claim::Claimed { lease, attempt: 2 } = claim(&two, LONG).await.unwrap() else {
        panic!("the second of two attempts is given");
    };
    assert!(
        matches!(claim(&one, LONG).await.unwrap(), Claim::Held { .. }),
        "not over yet"
    );
    fixture.ledger.release(&lease, false).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            claim(&one, LONG).await.unwrap(),
            Claim::Exhausted { attempts: 2 }
        );
    }
    // The limit is the claimer's, and other tasks have attempts of their own.
    assert_eq!(fixture.claimed(&id, "w1", LONG).await.1, 3);
    assert_eq!(
        fixture.claimed(&task(&job, chunk(1)), "w1", LONG).await.1,
        1
    );
}

/// The attempt stays counted.
pub async fn a_release_frees_at_once(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (lease, _) = fixture.claimed(&task, "w1", LONG).await;
    fixture.ledger.release(&lease, false).await.unwrap();
    let (next, attempt) = fixture.claimed(&task, "w2", LONG).await;
    assert_eq!(attempt, 2);
    assert!(next.epoch > lease.epoch);
}

/// A shutdown is not a failure.
pub async fn a_refund_takes_the_attempt_back(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    for _ in 0..3 {
        let (lease, attempt) = fixture.claimed(&task, "w1", LONG).await;
        assert_eq!(attempt, 1);
        fixture.ledger.release(&lease, true).await.unwrap();
    }
}

/// However often it is given back.
pub async fn a_lease_is_refunded_once(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (first, _) = fixture.claimed(&task, "w1", LONG).await;
    fixture.ledger.release(&first, false).await.unwrap();
    let (second, _) = fixture.claimed(&task, "w1", LONG).await;
    for _ in 0..3 {
        fixture.ledger.release(&second, true).await.unwrap();
        fixture.ledger.release(&first, true).await.unwrap();
    }
    assert_eq!(fixture.claimed(&task, "w1", LONG).await.1, 2);
}

/// It is another's lease that would end.
pub async fn a_lost_lease_cannot_be_released(fixture: &Fixture) {
    let job = fixture.job("j1", 1).await;
    let task = task(&job, chunk(0));
    let (old, _) = fixture.claimed(&task, "w1", SHORT).await;
    fixture.pass(OVER).await;
    let (new, _) = fixture.claimed(&task, "w1", LONG).await;
    for refund in [true, false] {
        fixture.ledger.release(&old, refund).await.unwrap();
    }
    assert!(fixture.renewed(&new, 0, LONG).await);
    fixture.ledger.release(&new, false).await.unwrap();
    assert_eq!(
        fixture.claimed(&task, "w2", LONG).await.1,
        3,
        "nothing was refunded"
    );
}

/// Of every job, with the attempts, and nothing of others.
pub async fn a_dead_worker_gives_all_back(fixture: &Fixture) {
    let (one, two) = (fixture.job("j1", 2).await, fixture.job("j2", 1).await);
    let dead = [
        task(&one, chunk(0)),
        task(&two, chunk(0)),
        task(&two, TaskKey::Ingest),
    ];
    let mut leases = vec![];
    for task in &dead {
        leases.push(fixture.claimed(task, "w1", LONG).await.0);
    }
    let (living, _) = fixture.claimed(&task(&one, chunk(1)), "w2", LONG).await;
    for _ in 0..2 {
        fixture.ledger.release_all(&worker("w1")).await.unwrap();
    }
    fixture.ledger.release_all(&worker("nobody")).await.unwrap();
    assert!(fixture.renewed(&living, 0, LONG).await);
    for (task, lease) in dead.iter().zip(&leases) {
        assert!(!fixture.renewed(lease, 0, LONG).await);
        assert_eq!(
            fixture.claimed(task, "w3", Duration::from_secs(60)).await.1,
            1
        );
    }
}

/// Of a name's holder there is one, until it gives it back or is silent for too long.
pub async fn a_name_has_one_holder(fixture: &Fixture) {
    let hold = async |name: &str, by: &str, ttl| {
        let held = fixture.ledger.hold(name, &worker(by), ttl).await;
        held.unwrap()
    };
    assert!(hold("sweeper", "w1", LONG).await);
    assert!(hold("sweeper", "w1", LONG).await, "it has it already");
    assert!(!hold("sweeper", "w2", LONG).await);
    assert!(hold("other", "w2", LONG).await, "another name");
    assert!(!hold("sweeper", "w2", Duration::ZERO).await);
    assert!(hold("sweeper", "w1", Duration::ZERO).await);
    assert!(hold("sweeper", "w2", SHORT).await, "it was given back");
    fixture.pass(OVER).await;
    assert!(hold("sweeper", "w1", LONG).await, "it was let go");
    assert!(!hold("sweeper", "w2", LONG).await);
}

/// With everything else that a dead worker had.
pub async fn a_dead_worker_holds_nothing(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    assert!(ledger.hold("sweeper", &worker("w1"), LONG).await.unwrap());
    ledger.release_all(&worker("w2")).await.unwrap();
    assert!(!ledger.hold("sweeper", &worker("w2"), LONG).await.unwrap());
    ledger.release_all(&worker("w1")).await.unwrap();
    assert!(ledger.hold("sweeper", &worker("w2"), LONG).await.unwrap());
}
