//! What the stages count. Names and labels are an interface: dashboards and alerts read them.

use std::time::Instant;

use metrics::{Unit, counter, gauge, histogram};
use reelmill_common::message::Topic;

use crate::Work;

/// Tasks that ended, by `stage` and `outcome`.
pub const TASKS: &str = "reelmill_tasks_total";
/// Seconds that attempts at tasks took, by `stage`.
pub const TASK_SECONDS: &str = "reelmill_task_seconds";
/// Slots that are at work, by `stage`.
pub const SLOTS_BUSY: &str = "reelmill_slots_busy";
/// Slots that there are, by `stage`; stages that run together share theirs.
pub const SLOTS: &str = "reelmill_slots";
/// Frames encoded, also by attempts that came to nothing.
pub const FRAMES: &str = "reelmill_frames_total";

/// Tells the recorder that is installed what each metric is. To be called once, after that.
pub fn describe() {
    metrics::describe_counter!(
        TASKS,
        "Tasks that ended, by stage (ingest, chunk, merge) and outcome (completed, yielded, retried, failed, dropped)"
    );
    metrics::describe_histogram!(TASK_SECONDS, Unit::Seconds, "Time of one attempt at a task");
    metrics::describe_gauge!(SLOTS_BUSY, "Slots that are at work on a task");
    metrics::describe_gauge!(SLOTS, "Slots that there are");
    metrics::describe_counter!(FRAMES, "Frames encoded");
}

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

fn stage(topic: Topic) -> &'static str {
    match topic {
        Topic::Ingest => "ingest",
        Topic::Chunks => "chunk",
        Topic::Merges => "merge",
        Topic::DeadLetters => "dead-letter",
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
        counter!(TASKS, "stage" => self.stage, "outcome" => ended.as_str()).increment(1);
        histogram!(TASK_SECONDS, "stage" => self.stage).record(self.began.elapsed());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        gauge!(SLOTS_BUSY, "stage" => self.stage).decrement(1);
    }
}
