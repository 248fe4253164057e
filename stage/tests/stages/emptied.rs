//! A ledger that is emptied in mid-run loses nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reelmill_common::TaskKey;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_stage::{Settings, cancel, known};

use crate::toy::{At, Gate, Place, at_work, chunk, settings, until};

/// No renewal comes in time to notice anything.
fn without_renewal() -> Settings {
    Settings {
        renew_every: Duration::from_secs(3600),
        lease: Duration::from_secs(7200),
        ..settings()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mid_attempt_the_work_goes_on_and_counts() {
    let place = Place::new();
    let gate = Gate::new(chunk(1), At::Start);
    let (job, toy, running) = at_work(&place, 3, Some(&gate), settings()).await;
    gate.reached.notified().await;
    place.ports.ledger.forget(&job).await.unwrap();
    // The worker notices by itself, and the others do their part.
    place.done(&job, 3).await;
    gate.open.notify_one();
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    assert_eq!(gate.dropped.load(Ordering::SeqCst), 0);
    assert_eq!(toy.begun.load(Ordering::SeqCst), 4, "each task once");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mid_scan_the_job_is_planned_all_the_same() {
    let place = Place::new();
    let gate = Gate::new(TaskKey::Ingest, At::Start);
    let (job, _toy, running) = at_work(&place, 1, Some(&gate), settings()).await;
    gate.reached.notified().await;
    place.ports.ledger.forget(&job).await.unwrap();
    until("the job is known again", async || {
        place.ports.ledger.job(&job).await.unwrap()
    })
    .await;
    gate.open.notify_one();
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_last_completion_the_merger_is_told() {
    let place = Place::new();
    let gate = Gate::new(chunk(2), At::Marked);
    let (job, _toy, running) = at_work(&place, 3, Some(&gate), without_renewal()).await;
    gate.reached.notified().await;
    place.done(&job, 3).await;
    place.ports.ledger.forget(&job).await.unwrap();
    gate.open.notify_one();
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
}

/// Whoever makes the job known again may be the last to hear of it.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_marker_whoever_makes_it_known_asks_for_the_joining() {
    let place = Place::new();
    let gate = Gate::new(chunk(0), At::Marked);
    let (job, _toy, running) = at_work(&place, 1, Some(&gate), settings()).await;
    gate.reached.notified().await;
    place.done(&job, 1).await;
    running.stop().await;
    let place = place.emptied();
    assert!(known(&place.ports, &job).await.unwrap().is_some());
    assert_eq!(place.messages(Topic::Merges).await, 1);
    assert_eq!(place.messages(Topic::Chunks).await, 0);

    // And not when there is nothing to be joined any more.
    cancel(&place.ports, &job).await.unwrap();
    let place = place.emptied();
    assert!(known(&place.ports, &job).await.unwrap().is_some());
    assert_eq!(place.messages(Topic::Merges).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_end_is_told_the_end_is_known() {
    let place = Place::new();
    let gate = Gate::new(TaskKey::Finalize, At::Marked);
    let (job, _toy, running) = at_work(&place, 1, Some(&gate), without_renewal()).await;
    gate.reached.notified().await;
    place.ports.ledger.forget(&job).await.unwrap();
    gate.open.notify_one();
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_job_is_not_brought_back() {
    let place = Place::new();
    let gate = Gate::new(chunk(0), At::Made);
    let (job, _toy, running) = at_work(&place, 1, Some(&gate), settings()).await;
    gate.reached.notified().await;
    place.done(&job, 1).await;
    for key in place.keys("").await {
        let key = reelmill_common::ObjectKey::new(key).unwrap();
        place.ports.store.delete(&key).await.unwrap();
    }
    place.ports.ledger.forget(&job).await.unwrap();
    gate.was_dropped().await;
    running.stop().await;
    assert_eq!(place.ports.ledger.job(&job).await.unwrap(), None);
    assert_eq!(place.keys("").await, Vec::<String>::new());
}
