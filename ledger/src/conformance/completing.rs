//! The set of a job's tasks: what it holds, what is done, and when it is whole.

use std::sync::Arc;

use reelmill_common::TaskKey;
use reelmill_common::job::JobStatus;
use tokio::task::JoinSet;

use super::{Fixture, LONG, OVER, SHORT, chunk, task};
use crate::{Claim, Completion};

/// The others are told that more is missing, in whatever order they come.
pub async fn the_last_completion_makes_it_whole(fixture: &Fixture) {
    let job = fixture.job("j1", 3).await;
    for (done, index) in (1..).zip([2, 0, 1]) {
        let expected = if done == 3 {
            Completion::Whole
        } else {
            Completion::Partial
        };
        assert_eq!(
            fixture
                .ledger
                .complete(&task(&job, chunk(index)))
                .await
                .unwrap(),
            expected
        );
        let record = fixture.record(&job).await;
        assert_eq!((record.completed_chunks, record.total_chunks), (done, 3));
        assert_eq!(
            fixture.claim(&task(&job, chunk(index)), "w1", LONG).await,
            Claim::Done
        );
    }
}

/// Whoever was told may have died: all are told, again and again, until the job has ended.
pub async fn whole_is_told_until_the_end(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 2).await;
    assert_eq!(
        ledger.complete(&task(&job, chunk(0))).await.unwrap(),
        Completion::Partial
    );
    for _ in 0..2 {
        for index in [1, 0] {
            let told = ledger.complete(&task(&job, chunk(index))).await.unwrap();
            assert_eq!(told, Completion::Whole);
        }
        let again = [(chunk(0), 100), (chunk(1), 100)];
        let told = ledger.extend(&job, &again, &[], &[]).await.unwrap();
        assert_eq!(told, Completion::Whole);
        // Somebody is merging: that may fail too.
        let finalize = task(&job, TaskKey::Finalize);
        let (lease, _) = fixture.claimed(&finalize, "w1", LONG).await;
        assert_eq!(
            ledger.complete(&task(&job, chunk(0))).await.unwrap(),
            Completion::Whole
        );
        ledger.release(&lease, false).await.unwrap();
    }
    ledger
        .finish(&job, JobStatus::Completed, None)
        .await
        .unwrap();
    let over = Completion::Over(JobStatus::Completed);
    assert_eq!(ledger.complete(&task(&job, chunk(1))).await.unwrap(), over);
    assert_eq!(ledger.extend(&job, &[], &[], &[]).await.unwrap(), over);
}

/// Not twice, and it does not stand in for another task.
pub async fn completing_again_counts_once(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    for _ in 0..3 {
        let told = fixture
            .ledger
            .complete(&task(&job, chunk(0)))
            .await
            .unwrap();
        assert_eq!(told, Completion::Partial);
    }
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.completed_frames), (1, 100));
}

/// The marker in the store chose the winner, lease or not.
pub async fn a_completion_needs_no_lease(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    let (never, expired) = (task(&job, chunk(0)), task(&job, chunk(1)));
    assert_eq!(
        fixture.ledger.complete(&never).await.unwrap(),
        Completion::Partial
    );
    fixture.claimed(&expired, "w1", SHORT).await;
    fixture.pass(OVER).await;
    assert_eq!(
        fixture.ledger.complete(&expired).await.unwrap(),
        Completion::Whole
    );
}

/// Whoever took over a task whose first worker then finished it after all is told by its next
/// renewal, and has no effect by completing it too.
pub async fn a_late_completion_ends_the_lease_of_another(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    let task = task(&job, chunk(0));
    fixture.claimed(&task, "w1", SHORT).await;
    fixture.pass(OVER).await;
    let (second, _) = fixture.claimed(&task, "w2", LONG).await;
    assert_eq!(
        fixture.ledger.complete(&task).await.unwrap(),
        Completion::Partial
    );
    assert!(!fixture.renewed(&second, 50, LONG).await);
    assert_eq!(
        fixture.ledger.complete(&task).await.unwrap(),
        Completion::Partial
    );
    fixture.ledger.release(&second, true).await.unwrap();
    assert_eq!(fixture.claim(&task, "w3", LONG).await, Claim::Done);
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.completed_frames), (1, 100));
}

/// None is lost, and at least one is told that the set is whole.
pub async fn completions_at_once_all_count(fixture: &Fixture) {
    const CHUNKS: u32 = 24;
    let job = fixture.job("j1", CHUNKS).await;
    let mut workers = JoinSet::new();
    for index in (0..CHUNKS).chain(0..CHUNKS) {
        let (ledger, task) = (Arc::clone(&fixture.ledger), task(&job, chunk(index)));
        workers.spawn(async move { ledger.complete(&task).await.unwrap() });
    }
    let told = workers.join_all().await;
    assert!(told.contains(&Completion::Whole));
    let record = fixture.record(&job).await;
    assert_eq!(
        (record.completed_chunks, record.total_chunks),
        (CHUNKS, CHUNKS)
    );
}

/// A job whose plan is not known yet has nothing missing and is not whole either.
pub async fn nothing_is_whole_without_a_plan(fixture: &Fixture) {
    let job = fixture.empty_job("j1").await;
    assert_eq!(
        fixture.ledger.extend(&job, &[], &[], &[]).await.unwrap(),
        Completion::Partial
    );
    let ingest = task(&job, TaskKey::Ingest);
    assert_eq!(
        fixture.ledger.complete(&ingest).await.unwrap(),
        Completion::Partial
    );
    assert_eq!(fixture.claim(&ingest, "w1", LONG).await, Claim::Done);
    assert_eq!(fixture.record(&job).await.total_chunks, 0);
}

/// The first frames of a task stay, whatever is said later; new tasks are added.
pub async fn extending_again_changes_nothing(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 2).await;
    let (lease, _) = fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
    ledger.complete(&task(&job, chunk(1))).await.unwrap();
    for _ in 0..2 {
        let tasks = [
            (chunk(0), 7),
            (chunk(1), 8),
            (TaskKey::Audio { track: 0 }, 0),
        ];
        let told = ledger.extend(&job, &tasks, &[], &[]).await.unwrap();
        assert_eq!(told, Completion::Partial);
        let record = fixture.record(&job).await;
        assert_eq!((record.completed_chunks, record.total_chunks), (1, 3));
        assert_eq!((record.completed_frames, record.total_frames), (100, 200));
    }
    assert!(fixture.renewed(&lease, 0, LONG).await, "leases stay");
}

/// Two splitters, or ten workers that rebuild a flushed ledger.
pub async fn many_may_extend_at_once(fixture: &Fixture) {
    let job = fixture.empty_job("j1").await;
    let mut callers = JoinSet::new();
    for caller in 0..6_u32 {
        let (ledger, job) = (Arc::clone(&fixture.ledger), job.clone());
        callers.spawn(async move {
            // Overlapping parts, in different orders.
            let mut tasks: Vec<_> = (0..20).map(|i| (chunk((i + caller) % 24), 10)).collect();
            tasks.rotate_left(caller as usize);
            ledger
                .extend(&job, &tasks, &[chunk(caller % 3)], &[chunk(23)])
                .await
                .unwrap();
        });
    }
    callers.join_all().await;
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.total_chunks), (3, 23));
    assert_eq!((record.completed_frames, record.total_frames), (30, 230));
}

/// A rebuilt ledger takes over what the store shows, and is whole at once where all is done.
pub async fn extending_knows_what_is_done(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.empty_job("j1").await;
    let tasks = [(chunk(0), 100), (chunk(1), 50)];
    for _ in 0..2 {
        let told = ledger.extend(&job, &tasks, &[chunk(1)], &[]).await.unwrap();
        assert_eq!(told, Completion::Partial);
        let record = fixture.record(&job).await;
        assert_eq!((record.completed_chunks, record.total_chunks), (1, 2));
        assert_eq!((record.completed_frames, record.total_frames), (50, 150));
    }
    assert_eq!(
        fixture.claim(&task(&job, chunk(1)), "w1", LONG).await,
        Claim::Done
    );
    let (lease, _) = fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
    let told = ledger.extend(&job, &tasks, &[chunk(0)], &[]).await.unwrap();
    assert_eq!(told, Completion::Whole);
    assert!(
        !fixture.renewed(&lease, 0, LONG).await,
        "a task that is done is held by nobody"
    );
}

/// A worker that finishes while others still rebuild the ledger is not forgotten.
pub async fn completions_may_come_before_the_plan(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.empty_job("j1").await;
    assert_eq!(
        ledger.complete(&task(&job, chunk(1))).await.unwrap(),
        Completion::Partial
    );
    assert_eq!(
        ledger.extend(&job, &[], &[chunk(2)], &[]).await.unwrap(),
        Completion::Partial
    );
    assert_eq!(
        fixture.record(&job).await.completed_chunks,
        0,
        "nothing is needed yet"
    );
    let tasks = [(chunk(0), 10), (chunk(1), 20), (chunk(2), 30)];
    assert_eq!(
        ledger.extend(&job, &tasks, &[], &[]).await.unwrap(),
        Completion::Partial
    );
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.total_chunks), (2, 3));
    assert_eq!((record.completed_frames, record.total_frames), (50, 60));
    assert_eq!(
        ledger.complete(&task(&job, chunk(0))).await.unwrap(),
        Completion::Whole
    );
}

/// They leave the totals with their frames, done or not; what is left may be whole.
pub async fn retired_tasks_are_not_needed(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 3).await;
    ledger.complete(&task(&job, chunk(0))).await.unwrap();
    ledger.complete(&task(&job, chunk(1))).await.unwrap();
    let redo = TaskKey::Chunk {
        index: 0,
        generation: 1,
    };
    // A seam sent chunk 0 back.
    let told = ledger
        .extend(&job, &[(redo, 100)], &[], &[chunk(0)])
        .await
        .unwrap();
    assert_eq!(told, Completion::Partial);
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.total_chunks), (1, 3));
    assert_eq!((record.completed_frames, record.total_frames), (100, 300));
    // Another chunk took over the window of chunk 2.
    let told = ledger
        .extend(&job, &[], &[redo], &[chunk(2)])
        .await
        .unwrap();
    assert_eq!(told, Completion::Whole);
    let record = fixture.record(&job).await;
    assert_eq!((record.completed_chunks, record.total_chunks), (2, 2));
    assert_eq!((record.completed_frames, record.total_frames), (200, 200));
}

/// Also where somebody names them who has not heard of it, or names them first.
pub async fn retired_tasks_stay_retired(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 2).await;
    for _ in 0..2 {
        ledger
            .extend(&job, &[], &[], &[chunk(1), chunk(2)])
            .await
            .unwrap();
        let stale: Vec<_> = (0..3).map(|index| (chunk(index), 100)).collect();
        ledger.extend(&job, &stale, &[chunk(2)], &[]).await.unwrap();
        let record = fixture.record(&job).await;
        assert_eq!((record.completed_chunks, record.total_chunks), (0, 1));
        assert_eq!((record.completed_frames, record.total_frames), (0, 100));
    }
    assert_eq!(
        ledger.complete(&task(&job, chunk(1))).await.unwrap(),
        Completion::Partial
    );
    assert_eq!(
        ledger.complete(&task(&job, chunk(0))).await.unwrap(),
        Completion::Whole
    );
}

/// Its message is to be dropped, and whoever works on it is to stop.
pub async fn a_retired_task_is_no_work(fixture: &Fixture) {
    let job = fixture.job("j1", 2).await;
    let retired = task(&job, chunk(0));
    let (lease, _) = fixture.claimed(&retired, "w1", LONG).await;
    fixture
        .ledger
        .extend(&job, &[], &[], &[chunk(0)])
        .await
        .unwrap();
    assert_eq!(fixture.claim(&retired, "w2", LONG).await, Claim::Done);
    assert!(!fixture.renewed(&lease, 10, LONG).await);
}

/// Reported frames count while their lease runs, at most as many as the task has; a task that is
/// complete counts all of its frames and nothing else.
pub async fn frames_are_those_of_complete_and_of_running_tasks(fixture: &Fixture) {
    let ledger = &fixture.ledger;
    let job = fixture.job("j1", 3).await;
    let frames = async || fixture.record(&job).await.completed_frames;
    let (one, _) = fixture.claimed(&task(&job, chunk(0)), "w1", LONG).await;
    let (two, _) = fixture.claimed(&task(&job, chunk(1)), "w1", LONG).await;
    assert_eq!(frames().await, 0);
    let reports = [(one.clone(), 30), (two.clone(), 12)];
    assert_eq!(ledger.renew(&reports, LONG).await.unwrap(), []);
    assert_eq!(frames().await, 42);
    assert!(fixture.renewed(&one, 1000, LONG).await);
    assert_eq!(frames().await, 112, "a report cannot exceed the task");
    ledger.complete(&one.task).await.unwrap();
    assert_eq!(frames().await, 112);
    assert!(!fixture.renewed(&one, 55, LONG).await);
    assert_eq!(frames().await, 112, "a lost lease reports nothing");
    ledger.release(&two, false).await.unwrap();
    assert_eq!(frames().await, 100, "what was given back is begun anew");
    let (two, _) = fixture.claimed(&two.task, "w2", LONG).await;
    assert_eq!(frames().await, 100);
    assert!(fixture.renewed(&two, 20, SHORT).await);
    fixture.pass(OVER).await;
    assert_eq!(frames().await, 100, "a lease that ended is not running");
    fixture.claimed(&two.task, "w3", LONG).await;
    assert_eq!(
        frames().await,
        100,
        "the next holder has reported nothing yet"
    );
    assert_eq!(fixture.record(&job).await.total_frames, 300);
}
