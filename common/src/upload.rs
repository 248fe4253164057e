//! Uploads: a source on its way into the store, and one that has arrived.
//!
//! The bytes go as they come into segments of one size, the last one shorter. A segment never
//! changes; what came after the last whole segment waits in a *partial* object, replaced as it
//! grows. `source.json` is written last: the upload is complete from there on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checksum::Checksum;
use crate::digest::Sha256;
use crate::id::JobId;
use crate::manifest::Proof;
use crate::profile::Profile;
use crate::request::JobOptions;

/// The version of an [`Upload`] that this build writes.
pub const VERSION: u32 = 1;

/// The version of a [`StoredSource`] that this build writes, and the only one that it reads: before it
/// segments had SHA-256 digests.
pub const SOURCE_VERSION: u32 = 2;

/// Bytes of every segment but the last.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Seconds for which an `Idempotency-Key` stands for its request.
pub const IDEMPOTENCY_SECONDS: u64 = 24 * 3600;

/// A whole source in the store: `raw/{job}/source.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSource {
    /// [`SOURCE_VERSION`] of the writer.
    pub version: u32,
    /// The name that the client gave, for people and for what its ending tells a demuxer.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of all bytes.
    pub sha256: Sha256,
    /// Bytes of every segment but the last: [`SEGMENT_BYTES`] when this build wrote it.
    pub segment_bytes: u64,
    /// The checksum of each segment, in order.
    pub segments: Vec<Checksum>,
}

impl StoredSource {
    /// The segment that holds the byte at `offset`, and the byte's place in it.
    #[must_use]
    pub fn locate(&self, offset: u64) -> (u32, u64) {
        let size = self.segment_bytes.max(1);
        let index = u32::try_from(offset / size).unwrap_or(u32::MAX);
        (index, offset % size)
    }

    /// How many bytes a segment has; 0 past the last.
    #[must_use]
    pub fn segment_len(&self, index: u32) -> u64 {
        let begin = u64::from(index).saturating_mul(self.segment_bytes);
        self.size.saturating_sub(begin).min(self.segment_bytes)
    }
}

/// An upload that has not become a job yet: `uploads/{job}.json`, gone when the job is submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The upload's id, which becomes the job's.
    pub job: JobId,
    /// The source's length where the client told it beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// When it is cleared away unless it is whole by then, in milliseconds since 1970.
    pub expires_at: u64,
    /// What the client said of it, to be said back (tus `Upload-Metadata`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub said: BTreeMap<String, String>,
    /// What becomes of it when it is whole.
    pub order: Order,
}

/// What is wanted of a source, before it is known where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The source's name, for people.
    pub name: String,
    /// The profile as it was when the order was taken.
    pub profile: Profile,
    /// How much of the decoding is recorded.
    #[serde(default)]
    pub proof: Proof,
    /// The longest window in milliseconds; `None` leaves it to the planner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u32>,
    /// What the submitter may choose beside the profile.
    #[serde(default)]
    pub options: JobOptions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_segment() {
        let source = StoredSource {
            version: SOURCE_VERSION,
            name: "a.mp4".to_owned(),
            size: 25,
            sha256: Sha256::of(b""),
            segment_bytes: 10,
            segments: vec![Checksum::of(b""); 3],
        };
        assert_eq!(source.locate(0), (0, 0));
        assert_eq!(source.locate(9), (0, 9));
        assert_eq!(source.locate(10), (1, 0));
        assert_eq!(source.locate(24), (2, 4));
        let lengths = [0, 1, 2, 3].map(|index| source.segment_len(index));
        assert_eq!(lengths, [10, 10, 5, 0]);
    }
}
