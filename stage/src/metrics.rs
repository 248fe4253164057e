//! What the stages count. Names and labels are an interface: dashboards and alerts read them.

use std::time::Instant;

use metrics::{counter, gauge, histogram};
use reelmill_common::TaskKey;
use reelmill_common::message::Topic;

use crate::Work;

/// Tasks that ended, by `task` and `outcome`.
pub const TASKS: &str = "reelmill_tasks_total";
/// Seconds that attempts at tasks took, by `task`.
pub const TASK_SECONDS: &str = "reelmill_task_seconds";
/// Slots that are at work, by `stage`.
pub const SLOTS_BUSY: &str = "reelmill_slots_busy";
/// Slots that there are, by `stage`; stages that run together share theirs.
pub const SLOTS: &str = "reelmill_slots";
/// Frames encoded, also by attempts that came to nothing.
pub const FRAMES: &str = "reelmill_frames_encoded_total";

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Completed,
    /// The handler has told the ledger all there is to tell.
    Yielded,
    /// It is attempted again, here or elsewhere.
    Retried,
    /// The job failed with it.
    Failed,
    /// It was not needed any more.
    Dropped,
}

impl Ended {
    fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Yielded => "yielded",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// What a stage is called in logs and metrics.
#[must_use]
pub fn stage(topic: Topic) -> &'static str {
    match topic {
        Topic::Ingest => "ingest",
        Topic::Chunks => "chunks",
        Topic::Merges => "merges",
        Topic::DeadLetters => "dead-letters",
    }
}

/// What a task is called in metrics.
fn kind(task: TaskKey) -> &'static str {
    match task {
        TaskKey::Ingest => "ingest",
        TaskKey::Chunk { .. } => "chunk",
        TaskKey::Audio { .. } => "audio",
        TaskKey::Finalize => "finalize",
    }
}

/// Slots that work on the tasks of some topics.
pub(crate) fn slots(topics: &[Topic], slots: usize) {
    for topic in topics {
        gauge!(SLOTS, "stage" => stage(*topic)).set(u32::try_from(slots).unwrap_or(u32::MAX));
        gauge!(SLOTS_BUSY, "stage" => stage(*topic)).increment(0);
    }
}

/// An attempt that is being made: busy until dropped.
#[derive(Debug)]
pub(crate) struct Attempt {
    stage: &'static str,
    began: Instant,
    frames: u64,
}

impl Attempt {
    pub(crate) fn begin(work: &Work) -> Self {
        let stage = stage(work.message.topic());
        gauge!(SLOTS_BUSY, "stage" => stage).increment(1);
        Self {
            stage,
            began: Instant::now(),
            frames: 0,
        }
    }

    /// Counts the frames that were encoded since the last time.
    pub(crate) fn frames(&mut self, work: &Work) {
        let frames = work.frames();
        counter!(FRAMES).increment(frames.saturating_sub(self.frames));
        self.frames = self.frames.max(frames);
    }

    pub(crate) fn end(mut self, work: &Work, ended: Ended) {
        self.frames(work);
        let task = kind(work.task.key);
        counter!(TASKS, "task" => task, "outcome" => ended.as_str()).increment(1);
        histogram!(TASK_SECONDS, "task" => task).record(self.began.elapsed());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        gauge!(SLOTS_BUSY, "stage" => self.stage).decrement(1);
    }
}
