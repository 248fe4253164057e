//! How a source is opened.

use serde::{Deserialize, Serialize};

/// How ffmpeg looks for the streams of a source. Every run of a job opens the source the same way,
/// since the indices of streams depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// How far to read for streams and their parameters, where ffmpeg's default is not far enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<ProbeBounds>,
}

/// How far ffmpeg reads for streams and their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeBounds {
    /// Bytes (`-probesize`), all of which ffmpeg may keep in memory.
    pub bytes: u64,
    /// Seconds of each stream (`-analyzeduration`).
    pub seconds: u32,
}

impl Opening {
    /// Whether it is ffmpeg's own way, which need not be written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
