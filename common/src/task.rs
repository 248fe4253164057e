//! The units that a worker may own: what a lease is held on and what a completion set counts.

use serde::{Deserialize, Serialize};

use crate::id::JobId;

/// One piece of a job's work, unique within the job.
///
/// Its text form (`ingest`, `chunk-003`, `chunk-003.g1`, `audio-0`, `finalize`) is what the ledger
/// stores and what operators read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TaskKey {
    /// Probe, scan, plan.
    Ingest,
    /// Encode one window into every rendition.
    Chunk {
        /// The window's place in the plan, from 0.
        index: u32,
        /// 0 at first; one more each time a seam sends the chunk back.
        generation: u32,
    },
    /// Encode one audio track, whole.
    Audio {
        /// The output track, from 0.
        track: u32,
    },
    /// Compare seams, join, certify, publish.
    Finalize,
}

/// Why a string is not a task.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a task: expected `ingest`, `chunk-N`, `chunk-N.gM`, `audio-N` or `finalize`")]
pub struct InvalidTask(String);

impl std::fmt::Display for TaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ingest => f.write_str("ingest"),
            Self::Chunk {
                index,
                generation: 0,
            } => write!(f, "chunk-{index:03}"),
            Self::Chunk { index, generation } => write!(f, "chunk-{index:03}.g{generation}"),
            Self::Audio { track } => write!(f, "audio-{track}"),
            Self::Finalize => f.write_str("finalize"),
        }
    }
}

impl std::str::FromStr for TaskKey {
    type Err = InvalidTask;

    fn from_str(text: &str) -> Result<Self, InvalidTask> {
        let invalid = || InvalidTask(text.to_owned());
        let number = |digits: &str| digits.parse::<u32>().map_err(|_source| invalid());
        match text {
            "ingest" => return Ok(Self::Ingest),
            "finalize" => return Ok(Self::Finalize),
            _ => {}
        }
        if let Some(track) = text.strip_prefix("audio-") {
            return Ok(Self::Audio {
                track: number(track)?,
            });
        }
        let chunk = text.strip_prefix("chunk-").ok_or_else(invalid)?;
        match chunk.split_once(".g") {
            Some((index, generation)) => Ok(Self::Chunk {
                index: number(index)?,
                generation: number(generation)?,
            }),
            None => Ok(Self::Chunk {
                index: number(chunk)?,
                generation: 0,
            }),
        }
    }
}

impl TryFrom<String> for TaskKey {
    type Error = InvalidTask;
    fn try_from(value: String) -> Result<Self, InvalidTask> {
        value.parse()
    }
}

impl From<TaskKey> for String {
    fn from(key: TaskKey) -> Self {
        key.to_string()
    }
}

/// A task of a job, unique everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job it belongs to.
    pub job: JobId,
    /// Which of the job's tasks it is.
    pub key: TaskKey,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.job, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for key in [
            TaskKey::Ingest,
            TaskKey::Finalize,
            TaskKey::Audio { track: 2 },
            TaskKey::Chunk {
                index: 7,
                generation: 0,
            },
            TaskKey::Chunk {
                index: 1234,
                generation: 3,
            },
        ] {
            assert_eq!(key.to_string().parse::<TaskKey>().unwrap(), key);
        }
        assert_eq!(
            TaskKey::Chunk {
                index: 7,
                generation: 1
            }
            .to_string(),
            "chunk-007.g1"
        );
        for bad in ["", "chunk", "chunk-", "chunk-1.g", "audio--1", "Ingest"] {
            assert!(bad.parse::<TaskKey>().is_err(), "{bad}");
        }
    }
}
