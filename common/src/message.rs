//! What travels through the queue: small, versioned, readable JSON that names work and never
//! carries media.

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::request::Priority;
use crate::retry::Retryable;
use crate::task::{TaskId, TaskKey};
use crate::time::Window;

/// The version that this build writes; it reads this one and all before it.
pub const VERSION: u32 = 1;

/// A stream of messages; on Kafka, a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Sources to probe, scan and plan.
    Ingest,
    /// Chunks and audio tracks to encode.
    Chunks,
    /// Jobs whose set is whole.
    Merges,
    /// Messages that ended without success, with the reason.
    DeadLetters,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Chunks, Self::Merges, Self::DeadLetters];

    /// The topic's name on the broker.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "video-ingest",
            Self::Chunks => "video-chunks",
            Self::Merges => "video-merges",
            Self::DeadLetters => "video-dead-letters",
        }
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message: somebody should do this task.
///
/// Everything needed to do it stands in the manifest; what is repeated here is for the people who
/// read the topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// [`VERSION`] of the writer.
    pub v: u32,
    /// The job.
    pub job: JobId,
    /// What is to be done.
    pub task: TaskKey,
    /// The chunk's window, for chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The profile's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// Whose turn it is first.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// Estimated work in milliseconds of one core; 0 where unknown.
    #[serde(default)]
    pub cost_ms: u64,
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or not of this shape.
    #[error("cannot read the message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Written by a newer reelmill.
    #[error("the message has version {0}, this reelmill reads up to {VERSION}: update the worker")]
    Version(u32),
}

impl Retryable for MessageError {
    fn is_retryable(&self) -> bool {
        false
    }

    fn code(&self) -> &'static str {
        "message-malformed"
    }
}

impl Message {
    /// A message that names a task and nothing more.
    #[must_use]
    pub fn new(task: TaskId) -> Self {
        Self {
            v: VERSION,
            job: task.job,
            task: task.key,
            window: None,
            profile: String::new(),
            priority: Priority::default(),
            cost_ms: 0,
        }
    }

    /// The task that the message names.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        TaskId {
            job: self.job.clone(),
            key: self.task,
        }
    }

    /// The topic that carries this kind of task.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match self.task {
            TaskKey::Ingest => Topic::Ingest,
            TaskKey::Chunk { .. } | TaskKey::Audio { .. } => Topic::Chunks,
            TaskKey::Finalize => Topic::Merges,
        }
    }

    /// The message as it is sent.
    ///
    /// # Errors
    /// [`MessageError::Malformed`] should JSON ever refuse a field; no field does.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads a message as it was sent.
    ///
    /// # Errors
    /// [`MessageError`] when the bytes are no message or a newer one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let message: Self = serde_json::from_slice(bytes)?;
        if message.v > VERSION {
            Err(MessageError::Version(message.v))
        } else {
            Ok(message)
        }
    }
}
