//! One delivery: claim its task, keep the lease while the handler works, record, settle.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Message;
use reelmill_common::{TaskId, TaskKey};
use reelmill_ledger::{Claim, Completion, Lease};
use reelmill_queue::{Cause, Consumer, Delivery, Settlement};
use tracing::{Instrument as _, Span, field};

use crate::leftovers::clear_attempt;
use crate::lifecycle::end;
use crate::metrics::{Attempt, Ended};
use crate::rebuild::{publish, rebuild, restore};
use crate::work::{Handler, Outcome, Work};
use crate::{Ports, Settings, StageError};

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) ports: Ports,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) settings: Settings,
    pub(crate) consumer: Arc<dyn Consumer>,
    /// Codes of the tasks whose last attempt here failed for a reason that blames the input.
    pub(crate) blamed: Mutex<HashMap<TaskId, String>>,
}

/// Tasks whose last failure is remembered.
const MOST_BLAMED: usize = 1024;

/// Why work in hand is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// Another worker has completed the task, or the plan no longer has it.
    Done,
    /// The job has ended or was removed.
    Over,
}

impl Stage {
    /// Does one delivery and settles it. A delivery that cannot be settled appears again. The answer
    /// is the error of a port that has no room left.
    pub(crate) async fn process(self: Arc<Self>, delivery: Delivery) -> Option<StageError> {
        let message = match Message::decode(&delivery.payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(message = delivery.key, %error, "a message cannot be understood");
                let cause = Cause::new(error.to_string());
                return self.settle(&delivery, Settlement::DeadLetter(cause)).await;
            }
        };
        // Of the highest level, so that no filter takes a line's job away.
        let span = tracing::error_span!(
            "task", job = %message.job, task = %message.task, attempt = field::Empty
        );
        let process = async {
            let (settlement, out_of_room) = self.decide_or_retry(&message).await;
            let unsettled = self.settle(&delivery, settlement).await;
            out_of_room.or(unsettled)
        };
        process.instrument(span).await
    }

    /// Settles a delivery. The queue keeps it for this consumer as long as that lives, so there is no
    /// giving up while it may still help.
    async fn settle(&self, delivery: &Delivery, settlement: Settlement) -> Option<StageError> {
        let mut tries = 1;
        loop {
            let settled = self.consumer.settle(&delivery.receipt, settlement.clone());
            let error = StageError::of(&settled.await.err()?);
            tracing::warn!(message = delivery.key, tries, %error, "cannot settle");
            if error.is_disk_full() {
                return Some(error);
            }
            if !error.retryable {
                return None;
            }
            tokio::time::sleep(self.backoff(tries)).await;
            tries += 1;
        }
    }

    async fn decide_or_retry(&self, message: &Message) -> (Settlement, Option<StageError>) {
        match self.decide(message).await {
            Ok(settlement) => (settlement, None),
            Err(error) => {
                // A port failed: nothing was decided, so nothing is lost by another delivery.
                tracing::warn!(%error, "cannot work on a message now");
                let delay = match error.retryable {
                    true => self.settings.retry_delay,
                    false => self.patience(),
                };
                let out_of_room = Some(error).filter(StageError::is_disk_full);
                (Settlement::Retry { delay }, out_of_room)
            }
        }
    }

    async fn decide(&self, message: &Message) -> Result<Settlement, StageError> {
        match self.claim(message).await? {
            Claim::Claimed { lease, attempt } => {
                Span::current().record("attempt", attempt);
                let work = Work::new(message.task_id(), message.clone(), lease, attempt);
                self.attempt(work).await
            }
            Claim::Done => {
                // Said again to whoever asks, should the one it was said to have died.
                self.complete(message).await?;
                Ok(Settlement::Ack)
            }
            Claim::Held { remaining } => Ok(Settlement::Retry {
                delay: remaining.min(Duration::from_secs(5)),
            }),
            Claim::Over(_) | Claim::Unknown => Ok(Settlement::Ack),
            Claim::Exhausted { attempts } => {
                let error = StageError::permanent(
                    "attempts-exhausted",
                    format!("`{}` did not succeed in {attempts} attempts", message.task),
                );
                self.fail(message, &error).await
            }
        }
    }

    /// Claims a message's task, also of a job that the ledger has forgotten.
    async fn claim(&self, message: &Message) -> Result<Claim, StageError> {
        let (ledger, task) = (&self.ports.ledger, message.task_id());
        let Settings {
            worker,
            lease,
            max_attempts,
            ..
        } = &self.settings;
        let mut claim = ledger.claim(&task, worker, *lease, *max_attempts).await?;
        if claim == Claim::Unknown && self.make_known(message).await? {
            claim = ledger.claim(&task, worker, *lease, *max_attempts).await?;
        }
        Ok(claim)
    }

    /// Brings a job that the ledger has forgotten back from the store; `false` when the store does
    /// not know it either.
    async fn make_known(&self, message: &Message) -> Result<bool, StageError> {
        if message.task != TaskKey::Ingest {
            // No manifest and not about to get one: the job was removed.
            return rebuild(&self.ports, &message.job).await;
        }
        restore(&self.ports, &message.job).await
    }

    async fn attempt(&self, work: Work) -> Result<Settlement, StageError> {
        tracing::debug!("begun");
        let message = &work.message;
        let mut attempt = Attempt::begin(&work);
        let mut lease = work.lease.clone();
        let result = tokio::select! {
            result = self.handle(&work) => Ok(result),
            gone = self.keep(&work, &mut lease, &mut attempt) => Err(gone),
        };
        let repeats = match &result {
            Ok(Err(error)) => self.may_repeat(&work, error),
            _ => false,
        };
        let ended = match &result {
            Ok(Ok(Outcome::Complete)) => Ended::Completed,
            Ok(Ok(Outcome::Yielded)) => Ended::Yielded,
            Ok(Err(_)) if repeats => Ended::Retried,
            Ok(Err(_)) => Ended::Failed,
            Err(_) => Ended::Dropped,
        };
        attempt.end(&work, ended);
        match result {
            Ok(Ok(Outcome::Complete)) => {
                self.complete(message).await?;
                Ok(Settlement::Ack)
            }
            Ok(Ok(Outcome::Yielded)) => {
                self.ports.ledger.release(&lease, true).await?;
                if self.ports.ledger.job(&message.job).await?.is_none() {
                    // What the handler told a ledger that was emptied meanwhile is lost: an end,
                    // say. The store has it.
                    self.make_known(message).await?;
                }
                Ok(Settlement::Ack)
            }
            Ok(Err(error)) if repeats => {
                let delay = match error.hand_back {
                    true => self.patience(),
                    false => self.backoff(work.attempt),
                };
                tracing::warn!(
                    code = error.code, hand_back = error.hand_back, ?delay, %error,
                    "an attempt failed and is repeated"
                );
                self.ports.ledger.release(&lease, error.hand_back).await?;
                Ok(Settlement::Retry { delay })
            }
            Ok(Err(error)) => self.fail(message, &error).await,
            Err(gone) => {
                tracing::debug!(?gone, "dropped");
                clear_attempt(self.ports.store.as_ref(), &work).await;
                if gone == Gone::Done {
                    self.complete(message).await?;
                }
                Ok(Settlement::Ack)
            }
        }
    }

    /// Whether another attempt is made. Remembers the failure where it blames the input.
    fn may_repeat(&self, work: &Work, error: &StageError) -> bool {
        if error.hand_back {
            return true;
        }
        let mut blamed = self.blamed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = blamed.remove(&work.task);
        let is_same = error.blames_input && before.as_ref() == Some(&error.code);
        let repeats = error.retryable && work.attempt < self.settings.max_attempts && !is_same;
        if repeats && error.blames_input {
            // What is forgotten costs a task more attempts, no more.
            if blamed.len() >= MOST_BLAMED {
                blamed.clear();
            }
            blamed.insert(work.task.clone(), error.code.clone());
        }
        repeats
    }

    /// A handler that panics must settle its message all the same: nobody else would be given it.
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let handled = AssertUnwindSafe(self.handler.handle(work)).catch_unwind();
        handled.await.unwrap_or_else(|_panic| {
            let message = format!("`{}` met a bug: see the log of the worker", work.task.key);
            Err(StageError::passing("panicked", message))
        })
    }

    /// Renews the lease until there is nothing left to work for. An error of the ledger is no loss,
    /// nor is a lease that another has: the work goes on, and the marker decides who was first.
    async fn keep(&self, work: &Work, lease: &mut Lease, attempt: &mut Attempt) -> Gone {
        let mut was_told = false;
        loop {
            tokio::time::sleep(self.settings.renew_every).await;
            attempt.frames(work);
            let renewal = [(lease.clone(), work.frames())];
            match self.ports.ledger.renew(&renewal, self.settings.lease).await {
                Ok(lost) if lost.is_empty() => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = %StageError::of(&error), "cannot renew the lease");
                    continue;
                }
            }
            // A claim tells why, and takes the lease anew where the ledger was emptied.
            match self.claim(&work.message).await {
                Ok(Claim::Claimed { lease: new, .. }) => {
                    tracing::info!("the lease was lost and taken anew");
                    *lease = new;
                }
                Ok(Claim::Done) => return Gone::Done,
                Ok(Claim::Over(_) | Claim::Unknown) => return Gone::Over,
                Ok(Claim::Held { .. } | Claim::Exhausted { .. }) if !was_told => {
                    tracing::warn!("another worker has the lease: the first to finish counts");
                    was_told = true;
                }
                Ok(Claim::Held { .. } | Claim::Exhausted { .. }) => {}
                Err(error) => tracing::warn!(%error, "cannot ask why the lease is lost"),
            }
        }
    }

    /// Tells the ledger that a task's marker exists, and the merger when the set is whole.
    async fn complete(&self, done: &Message) -> Result<(), StageError> {
        let (ledger, task) = (&self.ports.ledger, done.task_id());
        let mut completion = ledger.complete(&task).await?;
        if completion == Completion::Unknown && self.make_known(done).await? {
            completion = ledger.complete(&task).await?;
        }
        if completion != Completion::Whole || task.key == TaskKey::Finalize {
            return Ok(());
        }
        let finalize = TaskId {
            job: task.job,
            key: TaskKey::Finalize,
        };
        let message = Message {
            priority: done.priority,
            ..Message::new(finalize)
        };
        publish(&self.ports, &[message]).await
    }

    async fn fail(&self, message: &Message, error: &StageError) -> Result<Settlement, StageError> {
        let job = &message.job;
        let job_error = error.job_error(message.task);
        let (failed, job_error) = (JobStatus::Failed, Some(&job_error));
        let mut status = end(&self.ports, job, failed, job_error).await?;
        if status.is_none() && self.make_known(message).await? {
            status = end(&self.ports, job, failed, job_error).await?;
        }
        if status != Some(failed) {
            // It ended another way before: what failed was in vain.
            return Ok(Settlement::Ack);
        }
        tracing::error!(code = error.code, %error, "the job fails");
        Ok(Settlement::DeadLetter(Cause {
            reason: error.message.clone(),
            command: error.command.clone(),
            detail: error.detail.clone(),
        }))
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let factor = 4_u32.saturating_pow(attempt.saturating_sub(1));
        self.settings
            .retry_delay
            .saturating_mul(factor)
            .min(Duration::from_secs(600))
    }

    /// The wait before somebody else is asked: what is in the way does not pass within moments.
    fn patience(&self) -> Duration {
        self.backoff(3)
    }
}
