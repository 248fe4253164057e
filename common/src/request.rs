//! What was asked for: `raw/{job}/request.json`, written before the ingest message is published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::{Location, Proof};
use crate::profile::Profile;
use crate::streams::{StreamChoice, StreamList};

/// The version that this build writes.
pub const VERSION: u32 = 1;

/// A job before it is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The source's name, for people.
    pub name: String,
    /// Where the source is.
    pub location: Location,
    /// The profile as it was when the job was accepted.
    pub profile: Profile,
    /// How much of the decoding is recorded.
    pub proof: Proof,
    /// How many encodes are expected to run at once; the plan divides the work by it.
    pub slots: u32,
    /// The longest window in milliseconds, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u32>,
    /// Whether a source that means more work than others may cause is transcoded all the same.
    #[serde(default)]
    pub trusted: bool,
    /// What the submitter may choose beside the profile.
    #[serde(default, skip_serializing_if = "JobOptions::is_default")]
    pub options: JobOptions,
}

/// What the submitter of a job may choose beside the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOptions {
    /// Whose turn it is first.
    #[serde(default)]
    pub priority: Priority,
    /// Kept and given back; reelmill does not look at it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Seconds that the job may take from its first claim to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_s: Option<u64>,
    /// The picture to transcode; `None` leaves the choice to the splitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_stream: Option<StreamChoice>,
    /// The audio tracks to transcode, in the order of the outputs; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_streams: Option<StreamList>,
}

impl JobOptions {
    /// Whether nothing was chosen, which need not be written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose turn it is first: all work of a higher priority is given out before any of a lower one.
/// Within one priority jobs share the slots evenly.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When nothing else is to be done.
    Low,
    /// As most jobs.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// Whether it is what most jobs have, which need not be written.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }

    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl std::str::FromStr for Priority {
    type Err = UnknownPriority;
    fn from_str(text: &str) -> Result<Self, UnknownPriority> {
        [Self::Low, Self::Normal, Self::High]
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| UnknownPriority(text.to_owned()))
    }
}

/// A word that no priority has.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a priority: use `low`, `normal` or `high`")]
pub struct UnknownPriority(String);
