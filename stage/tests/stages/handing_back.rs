//! Work that this worker cannot do is left to another, at no cost; a bug costs an attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::TaskKey;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_queue::{Cause, DeadLetter};
use reelmill_stage::{Handler, Outcome, Settings, StageError, Work, submit};

use crate::toy::{Place, Running, Toy, job, request, settings};

/// Refuses the first chunk some times.
#[derive(Debug)]
pub(crate) struct Refusing {
    toy: Arc<Toy>,
    refusals: u32,
    with: fn() -> StageError,
    tries: AtomicU32,
    attempts: AtomicU32,
}

impl Refusing {
    pub(crate) fn new(toy: Arc<Toy>, refusals: u32, with: fn() -> StageError) -> Arc<Self> {
        Arc::new(Self {
            toy,
            refusals,
            with,
            tries: AtomicU32::new(0),
            attempts: AtomicU32::new(0),
        })
    }
}

#[async_trait]
impl Handler for Refusing {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        if matches!(work.task.key, TaskKey::Chunk { .. }) {
            self.attempts.fetch_max(work.attempt, Ordering::SeqCst);
            if self.tries.fetch_add(1, Ordering::SeqCst) < self.refusals {
                return Err((self.with)());
            }
        }
        self.toy.handle(work).await
    }
}

async fn refused(refusals: u32, with: fn() -> StageError) -> (JobStatus, u32) {
    let settings = Settings {
        max_attempts: 2,
        ..settings()
    };
    refused_with(refusals, with, settings).await
}

/// How a job ends whose first chunk fails so many times, and after how many attempts.
async fn refused_with(
    refusals: u32,
    with: fn() -> StageError,
    settings: Settings,
) -> (JobStatus, u32) {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    let handler = Refusing::new(Toy::new(&place.ports, 1, None), refusals, with);
    let dynamic: Arc<dyn Handler> = Arc::<Refusing>::clone(&handler);
    let running = Running::start(&place.ports, dynamic, settings);
    let status = place.ended(&job).await.status;
    running.stop().await;
    (status, handler.attempts.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_back_costs_no_attempt() {
    let ended = refused(4, || {
        StageError::hand_back("ffmpeg-differs", "use another ffmpeg")
    })
    .await;
    assert_eq!(ended, (JobStatus::Completed, 1));
}

/// With six attempts allowed, as in earnest.
#[tokio::test(flavor = "multi_thread")]
async fn what_blames_the_input_fails_with_the_second_of_a_kind() {
    let settings = || Settings {
        max_attempts: 6,
        retry_delay: Duration::ZERO,
        ..settings()
    };
    let same = || StageError::of_the_input("mp4-frames-differ", "frame 1 is late");
    let ended = refused_with(6, same, settings()).await;
    assert_eq!(ended, (JobStatus::Failed, 2));
    let ended = refused_with(1, same, settings()).await;
    assert_eq!(ended, (JobStatus::Completed, 2));
    // An outage says the same again and again, and passes.
    let outage = || StageError::passing("store-failed", "cannot write");
    let ended = refused_with(5, outage, settings()).await;
    assert_eq!(ended, (JobStatus::Completed, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_passing_costs_one_each_time() {
    let fail = || StageError::passing("flaky", "it may work next time");
    assert_eq!(refused(1, fail).await, (JobStatus::Completed, 2));
    assert_eq!(refused(2, fail).await, (JobStatus::Failed, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_an_attempt_and_not_the_job() {
    let ended = refused(1, || panic!("a bug, for the test")).await;
    assert_eq!(ended, (JobStatus::Completed, 2));
}

#[tokio::test]
async fn a_dead_letter_has_the_command_that_failed_and_its_last_words() {
    let place = Place::new();
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    let fail = || {
        StageError::permanent("ffmpeg-failed", "ffmpeg failed to encode")
            .with_command("ffmpeg -i 'a b.mp4'")
            .with_detail("Conversion failed!")
    };
    let handler = Refusing::new(Toy::new(&place.ports, 1, None), 1, fail);
    let running = Running::start(&place.ports, handler, settings());
    assert_eq!(place.ended(&job).await.status, JobStatus::Failed);
    let dead = place.ports.queue.subscribe(&[Topic::DeadLetters]).await;
    let dead = dead.unwrap();
    let letters = dead.receive(1, Duration::from_secs(20)).await.unwrap();
    let letter = DeadLetter::decode(&letters[0].payload).unwrap();
    assert_eq!(letter.topic, Topic::Chunks);
    let cause = Cause {
        reason: "ffmpeg failed to encode".to_owned(),
        command: "ffmpeg -i 'a b.mp4'".to_owned(),
        detail: "Conversion failed!".to_owned(),
    };
    assert_eq!(letter.cause, cause);
    dead.close().await.unwrap();
    running.stop().await;
}
