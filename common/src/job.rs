//! A job's life as operators see it.

use serde::{Deserialize, Serialize};

use crate::task::TaskKey;

/// Where a job stands. Terminal states never change, except by an explicit retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Accepted, nothing started.
    Pending,
    /// Somebody works on it.
    Running,
    /// Its certificate exists.
    Completed,
    /// It ended without outputs; the error says why.
    Failed,
    /// Somebody asked for its end.
    Cancelled,
}

impl JobStatus {
    /// Whether the job has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for JobStatus {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [
            Self::Pending,
            Self::Running,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// What a running job is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The source is being fetched.
    Downloading,
    /// The source is being probed and scanned.
    Scanning,
    /// Chunks are being encoded.
    Transcoding,
    /// Pieces are being joined.
    Merging,
    /// Outputs are being put into the store.
    Storing,
}

impl Phase {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Scanning => "scanning",
            Self::Transcoding => "transcoding",
            Self::Merging => "merging",
            Self::Storing => "storing",
        }
    }
}

impl std::str::FromStr for Phase {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [
            Self::Downloading,
            Self::Scanning,
            Self::Transcoding,
            Self::Merging,
            Self::Storing,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == text)
        .ok_or_else(|| UnknownWord(text.to_owned()))
    }
}

/// A stored word that no status or phase has.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither a job status nor a phase")]
pub struct UnknownWord(String);

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A stable code in kebab-case, such as `not-media`.
    pub code: String,
    /// One sentence that names the thing and the way out.
    pub message: String,
    /// Whether the same job may succeed when it is run again.
    #[serde(default)]
    pub retryable: bool,
    /// The tail of ffmpeg's own words where they help, else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The task that failed for good, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskKey>,
}

/// The version of [`JobEnd`] that this build writes.
pub const END_VERSION: u32 = 1;

/// How a job ended that has no certificate: a ledger that was emptied must not begin it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// [`END_VERSION`] of the writer.
    pub version: u32,
    /// Failed or cancelled.
    pub status: JobStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for status in [JobStatus::Pending, JobStatus::Running, JobStatus::Completed] {
            assert_eq!(status.as_str().parse::<JobStatus>().unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for phase in [Phase::Downloading, Phase::Scanning, Phase::Storing] {
            assert_eq!(phase.as_str().parse::<Phase>().unwrap(), phase);
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
    }
}
