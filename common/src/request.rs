//! What was asked for: `raw/{job}/request.json`, written before the ingest message is published.

use serde::{Deserialize, Serialize};

use crate::manifest::{Location, Proof};
use crate::profile::Profile;

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
    /// Whether a source that looks like a decompression bomb is transcoded all the same.
    #[serde(default)]
    pub trusted: bool,
}
