//! One task in hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use reelmill_common::TaskId;
use reelmill_common::message::Message;
use reelmill_ledger::Lease;

use crate::StageError;

/// A task that this process has claimed.
#[derive(Clone, Debug)]
pub struct Work {
    /// What is to be done.
    pub task: TaskId,
    /// The message that asked for it.
    pub message: Message,
    /// The right to do it; its epoch names what the attempt writes.
    pub lease: Lease,
    /// Which try this is, from 1.
    pub attempt: u32,
    frames: Arc<AtomicU64>,
}

impl Work {
    pub(crate) fn new(task: TaskId, message: Message, lease: Lease, attempt: u32) -> Self {
        Self {
            task,
            message,
            lease,
            attempt,
            frames: Arc::default(),
        }
    }

    /// Records how many frames are done; the next renewal of the lease reports it.
    pub fn report_frames(&self, frames: u64) {
        self.frames.store(frames, Ordering::Relaxed);
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

/// How a handler ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The task's marker exists: the ledger is told.
    Complete,
    /// The handler has told the ledger all there is to tell: the job has ended, or waits for tasks
    /// that were sent back. The task itself may be claimed again.
    Yielded,
}

/// Does the tasks of one stage.
///
/// A handler must be safe to run twice for the same task, also at once: a lease may be lost while
/// it works. Its future may be dropped at any await point.
#[async_trait]
pub trait Handler: std::fmt::Debug + Send + Sync {
    /// Does one task.
    ///
    /// # Errors
    /// [`StageError`]: retryable ones lead to another attempt until the attempts are used up, the
    /// others end the job.
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError>;
}
