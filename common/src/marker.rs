//! Done-markers: a task is done when its marker exists. Create-only, the first one wins.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::key::ObjectKey;
use crate::task::TaskKey;
use crate::time::{Timebase, Window};

/// The version that this build writes.
pub const VERSION: u32 = 1;

/// What a finished chunk is: `transcoded/{job}/chunk_000.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkMarker {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The task that is done.
    pub task: TaskKey,
    /// The window that was encoded.
    pub window: Window,
    /// Where decoding began, in microseconds of the source's timeline; `None` is its start.
    pub lead_in_us: Option<i64>,
    /// Frames in the window, counted as the decoder gave them and again in every rendition.
    pub frames: u64,
    /// The first frame's PTS in source ticks; `None` when the window holds no frame.
    pub first_pts: Option<i64>,
    /// The last frame's PTS in source ticks.
    pub last_pts: Option<i64>,
    /// Frames without a PTS of their own, which are shown one tick after the one before them.
    #[serde(default)]
    pub moved: u64,
    /// Digest of the lines `{pts}\n` of all frames of the window, in order.
    pub pts_digest: Sha256,
    /// Frames compared with the chunk before.
    pub start_seam: Vec<SeamFrame>,
    /// Frames compared with the chunk after.
    pub end_seam: Vec<SeamFrame>,
    /// Digest of the lines `{pts} {hash}\n` of all decoded frames of the window, for
    /// [`Proof::EveryFrame`](crate::manifest::Proof::EveryFrame).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_digest: Option<Sha256>,
    /// What was made; empty when the window holds no frame.
    pub renditions: Vec<StoredRendition>,
    /// How often the decoder complained.
    pub complaints: u64,
    /// What is left out, guessed or changed, and why: one sentence each. The certificate lists a
    /// sentence once, however many chunks write it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A decoded frame near a seam.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeamFrame {
    /// In source ticks.
    pub pts: i64,
    /// ffmpeg's `framehash` (murmur3) of the decoded picture before scaling.
    pub hash: String,
}

/// One rendition of a chunk: an init segment and fragments in time order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRendition {
    /// The rendition's name.
    pub name: String,
    /// Where it is.
    pub key: ObjectKey,
    /// Bytes.
    pub bytes: u64,
    /// Of all bytes.
    pub sha256: Sha256,
    /// Of the init segment alone: the same for every chunk of a rendition.
    pub init_sha256: Sha256,
}

/// What a finished audio track is: `transcoded/{job}/audio_0.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioMarker {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The task that is done.
    pub task: TaskKey,
    /// The first decoded sample's PTS on the source's timeline; `None` when nothing was decoded.
    pub first_pts: Option<i64>,
    /// The unit of `first_pts`.
    pub timebase: Timebase,
    /// Samples per channel that were encoded.
    pub samples: u64,
    /// Samples per second of what was encoded.
    pub sample_rate: u32,
    /// Channels of what was encoded.
    pub channels: u32,
    /// The encoded track in an MP4 of its own, beginning at 0; `None` when nothing was decoded.
    pub file: Option<StoredFile>,
    /// How often the decoder complained.
    pub complaints: u64,
    /// What is left out, guessed or changed, and why: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A done-marker of either kind.
pub trait DoneMarker {
    /// The objects that were made, which exist as long as the marker counts.
    fn objects(&self) -> Vec<&ObjectKey>;
}

impl DoneMarker for ChunkMarker {
    fn objects(&self) -> Vec<&ObjectKey> {
        self.renditions.iter().map(|made| &made.key).collect()
    }
}

impl DoneMarker for AudioMarker {
    fn objects(&self) -> Vec<&ObjectKey> {
        self.file.iter().map(|made| &made.key).collect()
    }
}

/// An object and what it must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Where it is.
    pub key: ObjectKey,
    /// Bytes.
    pub bytes: u64,
    /// Of all bytes.
    pub sha256: Sha256,
}
