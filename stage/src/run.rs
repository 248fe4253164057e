//! The loop that every worker runs: receive, claim, work, settle.

use std::sync::Arc;
use std::time::Duration;

use reelmill_common::job::JobStatus;
use reelmill_common::key;
use reelmill_common::message::{Message, Topic};
use reelmill_common::request::JobRequest;
use reelmill_common::{TaskId, TaskKey, WorkerId};
use reelmill_ledger::{Claim, Completion, Lease, NewJob};
use reelmill_queue::{Consumer, Delivery, Settlement};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::rebuild::{load_json, publish, rebuild};
use crate::work::{Handler, Outcome, Work};
use crate::{Ports, StageError};

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In whose name leases are held.
    pub worker: WorkerId,
    /// How many tasks are worked on at once.
    pub slots: usize,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How often leases are renewed and progress is reported; well under `lease`.
    pub renew_every: Duration,
    /// How many attempts a task has.
    pub max_attempts: u32,
    /// The wait before the second attempt; it grows fourfold with each, up to ten minutes.
    pub retry_delay: Duration,
}

/// Tells loops to take no more work.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A switch and its receiving end.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether the switch was thrown.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the switch is thrown or gone.
    pub async fn wait(&mut self) {
        // An error means that whoever could throw the switch is gone: that is an end as well.
        self.0.wait_for(|set| *set).await.ok();
    }
}

/// Works on the messages of `topics` until shutdown. Tasks in hand are then dropped, their leases
/// given back with refund, so that another worker may begin at once.
///
/// # Errors
/// A port that fails for good while no task is in hand, and a port on a disk that is full: nothing
/// can be recorded there any more, not even that a job failed.
pub async fn run(
    ports: Ports,
    handler: Arc<dyn Handler>,
    topics: &[Topic],
    settings: Settings,
    mut shutdown: Shutdown,
) -> Result<(), StageError> {
    let consumer: Arc<dyn Consumer> = Arc::from(ports.queue.subscribe(topics).await?);
    let stage = Arc::new(Stage {
        ports,
        handler,
        settings,
        consumer,
    });
    let mut tasks = JoinSet::new();
    let mut out_of_room = None;
    while !shutdown.is_set() && out_of_room.is_none() {
        while let Some(ended) = tasks.try_join_next() {
            out_of_room = out_of_room.or(no_room(ended));
        }
        let free = stage.settings.slots.saturating_sub(tasks.len());
        if free == 0 {
            tokio::select! {
                Some(ended) = tasks.join_next() => out_of_room = out_of_room.or(no_room(ended)),
                () = shutdown.wait() => break,
            }
            continue;
        }
        let deliveries = tokio::select! {
            deliveries = stage.consumer.receive(free, Duration::from_secs(1)) => deliveries,
            () = shutdown.wait() => break,
        };
        match deliveries {
            Ok(deliveries) => {
                for delivery in deliveries {
                    tasks.spawn(Arc::clone(&stage).process(delivery));
                }
            }
            Err(error) => {
                let error = StageError::of(&error);
                tracing::warn!(%error, "cannot receive");
                if error.is_disk_full() {
                    out_of_room = Some(error);
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    () = shutdown.wait() => break,
                }
            }
        }
    }
    tasks.shutdown().await;
    if let Some(error) = out_of_room {
        return Err(error);
    }
    stage
        .ports
        .ledger
        .release_all(&stage.settings.worker)
        .await?;
    stage.consumer.close().await?;
    Ok(())
}

/// The error of a task that ended because a port has no room left.
fn no_room(ended: Result<Option<StageError>, tokio::task::JoinError>) -> Option<StageError> {
    ended.ok().flatten()
}

#[derive(Debug)]
struct Stage {
    ports: Ports,
    handler: Arc<dyn Handler>,
    settings: Settings,
    consumer: Arc<dyn Consumer>,
}

impl Stage {
    /// Does one delivery and settles it. A delivery that cannot be settled appears again. The answer
    /// is the error of a port that has no room left.
    async fn process(self: Arc<Self>, delivery: Delivery) -> Option<StageError> {
        let mut out_of_room = None;
        let settlement = match self.decide(&delivery).await {
            Ok(settlement) => settlement,
            Err(error) => {
                // A port failed: nothing was decided, so nothing is lost by another delivery.
                tracing::warn!(message = delivery.key, %error, "cannot work on a message now");
                out_of_room = Some(error).filter(StageError::is_disk_full);
                Settlement::Retry {
                    delay: self.settings.retry_delay,
                }
            }
        };
        if let Err(error) = self.consumer.settle(&delivery.receipt, settlement).await {
            let error = StageError::of(&error);
            tracing::warn!(message = delivery.key, %error, "cannot settle");
            out_of_room = out_of_room.or(Some(error).filter(StageError::is_disk_full));
        }
        out_of_room
    }

    async fn decide(&self, delivery: &Delivery) -> Result<Settlement, StageError> {
        let message = match Message::decode(&delivery.payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(message = delivery.key, %error, "a message cannot be understood");
                return Ok(Settlement::DeadLetter {
                    reason: error.to_string(),
                });
            }
        };
        let task = message.task_id();
        let Settings {
            worker,
            lease,
            max_attempts,
            ..
        } = &self.settings;
        let mut claim = self
            .ports
            .ledger
            .claim(&task, worker, *lease, *max_attempts)
            .await?;
        if claim == Claim::Unknown && self.make_known(&message).await? {
            claim = self
                .ports
                .ledger
                .claim(&task, worker, *lease, *max_attempts)
                .await?;
        }
        match claim {
            Claim::Claimed { lease, attempt } => {
                self.attempt(Work::new(task, message, lease, attempt)).await
            }
            Claim::Done => {
                // Said again to whoever asks, should the one it was said to have died.
                self.complete(&message).await?;
                Ok(Settlement::Ack)
            }
            Claim::Held { remaining } => Ok(Settlement::Retry {
                delay: remaining.min(Duration::from_secs(5)),
            }),
            Claim::Over(_) | Claim::Unknown => Ok(Settlement::Ack),
            Claim::Exhausted { attempts } => {
                let error = StageError::permanent(
                    "attempts-exhausted",
                    format!("`{}` did not succeed in {attempts} attempts", task.key),
                );
                self.fail(&task, &error).await
            }
        }
    }

    /// Brings a job that the ledger has forgotten back from the store.
    async fn make_known(&self, message: &Message) -> Result<bool, StageError> {
        let store = self.ports.store.as_ref();
        if rebuild(&self.ports, &message.job).await? {
            return Ok(true);
        }
        if message.task != TaskKey::Ingest {
            // No manifest and not about to get one: the job was removed.
            return Ok(false);
        }
        // Not planned yet: all that is known is what was asked for.
        let request = load_json::<JobRequest>(store, &key::request(&message.job)).await?;
        let Some(request) = request else {
            return Ok(false);
        };
        let job = NewJob::of(&message.job, &request);
        self.ports.ledger.create_job(&job).await?;
        Ok(true)
    }

    async fn attempt(&self, work: Work) -> Result<Settlement, StageError> {
        tracing::debug!(job = %work.task.job, task = %work.task.key, attempt = work.attempt, "begun");
        let result = tokio::select! {
            result = self.handler.handle(&work) => result,
            () = self.keep(&work) => {
                // The job has ended, or another worker has finished the task: nothing to add.
                return Ok(Settlement::Ack);
            }
        };
        match result {
            Ok(Outcome::Complete) => {
                self.complete(&work.message).await?;
                Ok(Settlement::Ack)
            }
            Ok(Outcome::Yielded) => {
                self.ports.ledger.release(&work.lease, true).await?;
                Ok(Settlement::Ack)
            }
            Err(error) if error.retryable && work.attempt < self.settings.max_attempts => {
                tracing::warn!(
                    job = %work.task.job, task = %work.task.key, attempt = work.attempt,
                    code = error.code, %error, "an attempt failed and is repeated"
                );
                self.ports.ledger.release(&work.lease, false).await?;
                Ok(Settlement::Retry {
                    delay: self.backoff(work.attempt),
                })
            }
            Err(error) => self.fail(&work.task, &error).await,
        }
    }

    /// Renews the lease until it is lost for good. An error of the ledger is no loss: the work goes
    /// on, and the marker decides who was first.
    async fn keep(&self, work: &Work) {
        let lease: &Lease = &work.lease;
        loop {
            tokio::time::sleep(self.settings.renew_every).await;
            let renewal = [(lease.clone(), work.frames())];
            match self.ports.ledger.renew(&renewal, self.settings.lease).await {
                Ok(lost) if lost.is_empty() => {}
                Ok(_) => match self.ports.ledger.job(&work.task.job).await {
                    Ok(Some(job)) if !job.status.is_terminal() => {
                        // Another worker holds it. Both finish, one marker wins.
                        tracing::warn!(job = %work.task.job, task = %work.task.key, "lease lost");
                    }
                    Ok(_) => return,
                    Err(error) => tracing::warn!(error = %StageError::of(&error), "cannot ask"),
                },
                Err(error) => tracing::warn!(error = %StageError::of(&error), "cannot renew"),
            }
        }
    }

    async fn complete(&self, done: &Message) -> Result<(), StageError> {
        let task = done.task_id();
        match self.ports.ledger.complete(&task).await? {
            Completion::Whole if task.key != TaskKey::Finalize => {
                let finalize = TaskId {
                    job: task.job.clone(),
                    key: TaskKey::Finalize,
                };
                let message = Message {
                    priority: done.priority,
                    ..Message::new(finalize)
                };
                publish(&self.ports, &[message]).await
            }
            Completion::Unknown => rebuild(&self.ports, &task.job).await.map(|_known| ()),
            _ => Ok(()),
        }
    }

    async fn fail(&self, task: &TaskId, error: &StageError) -> Result<Settlement, StageError> {
        tracing::error!(job = %task.job, task = %task.key, code = error.code, %error, "the job fails");
        let job_error = error.job_error(task.key);
        self.ports
            .ledger
            .finish(&task.job, JobStatus::Failed, Some(&job_error))
            .await?;
        Ok(Settlement::DeadLetter {
            reason: error.message.clone(),
        })
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let factor = 4_u32.saturating_pow(attempt.saturating_sub(1));
        self.settings
            .retry_delay
            .saturating_mul(factor)
            .min(Duration::from_secs(600))
    }
}
