//! How every run of ffmpeg over a source reads its timestamps.

use serde::{Deserialize, Serialize};

/// What makes all runs of ffmpeg over a source agree on its timeline, whichever streams they encode.
///
/// ffmpeg counts from the earliest of the streams that a run maps, and mends a jump of timestamps
/// when the first mapped stream comes to it. Picture and sound are encoded by different runs, so
/// that each would have a timeline of its own. The planner decides once, and every run is given this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// Microseconds that ffmpeg adds to the source's own timestamps where they are used as they are.
    /// Where this is 0 and the source begins at exactly 0, ffmpeg 5.1 counts from the earliest mapped
    /// stream all the same. A microsecond is less than half a tick of the formats where it does.
    #[serde(skip_serializing_if = "is_zero")]
    pub offset_us: u32,
    /// Streams that every run maps, by index, the picture first: where ffmpeg mends the timestamps of a
    /// source with picture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<u32>,
}

impl Timeline {
    /// Whether runs need nothing to agree.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
