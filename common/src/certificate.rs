//! The proof that ships with every output: `certificate.json`, written last.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::id::JobId;
use crate::manifest::{FrameChanges, Proof, RenditionPlan};
use crate::marker::SeamFrame;
use crate::media_info::{AudioStream, VideoStream};
use crate::opening::Opening;
use crate::profile::Deinterlace;
use crate::time::{Timebase, Window};
use crate::timeline::Timeline;

/// The version that this build writes.
pub const VERSION: u32 = 2;

/// What was made from what, and how it is known to be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The job.
    pub job: JobId,
    /// The reelmill that made it.
    pub reelmill: String,
    /// The ffmpeg that made it.
    pub ffmpeg: String,
    /// The profile's name.
    pub profile: String,
    /// Of the profile as it was used.
    pub profile_digest: Sha256,
    /// Of the manifest and all its revisions.
    pub plan_digest: Sha256,
    /// How much of the decoding was recorded.
    pub proof: Proof,
    /// What was transcoded.
    pub source: CertifiedSource,
    /// How the source was opened, by which its streams are counted.
    #[serde(default, skip_serializing_if = "Opening::is_default")]
    pub opening: Opening,
    /// Whether the ticks below are the source's own, or ffmpeg's after it mended them.
    pub copy_timestamps: bool,
    /// How every run of ffmpeg read the source's timestamps.
    #[serde(default, skip_serializing_if = "Timeline::is_default")]
    pub timeline: Timeline,
    /// What became of interlaced frames, should the source have any, before frames were hashed.
    pub deinterlaced: Deinterlace,
    /// Which properties of the source's frames change on the way.
    #[serde(default, skip_serializing_if = "FrameChanges::is_none")]
    pub changes: FrameChanges,
    /// Every chunk in order of time.
    pub chunks: Vec<CertifiedChunk>,
    /// Every file delivered but this one.
    pub outputs: Vec<CertifiedOutput>,
    /// How often decoders complained, over all chunks and tracks.
    pub complaints: u64,
    /// What is left out, guessed, damaged or changed, and why: one sentence each. Empty where the
    /// outputs hold everything of the source that the profile delivers.
    #[serde(alias = "deviations")]
    pub notes: Vec<String>,
}

/// The source as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedSource {
    /// File name without its folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of all bytes.
    pub sha256: Sha256,
    /// The picture.
    pub video: Option<VideoStream>,
    /// The audio tracks.
    pub audio: Vec<AudioStream>,
}

/// A chunk as it was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedChunk {
    /// Its place in the plan.
    pub index: u32,
    /// How often it was done again.
    pub generation: u32,
    /// Its window in source ticks.
    pub window: Window,
    /// Where its decoding began, in microseconds; `None` is the start of the source.
    pub lead_in_us: Option<i64>,
    /// Frames delivered.
    pub frames: u64,
    /// The first frame's PTS in source ticks.
    pub first_pts: Option<i64>,
    /// The last frame's PTS in source ticks.
    pub last_pts: Option<i64>,
    /// Of the PTS of all its frames.
    pub pts_digest: Sha256,
    /// The frames that agreed with the chunk before.
    pub start_seam: Vec<SeamFrame>,
    /// The frames that agreed with the chunk after.
    pub end_seam: Vec<SeamFrame>,
    /// Of every decoded frame, for [`Proof::EveryFrame`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames_digest: Option<Sha256>,
}

/// A delivered file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedOutput {
    /// Its path in the output folder.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// Of all bytes.
    pub sha256: Sha256,
    /// The picture in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<CertifiedVideo>,
    /// The audio tracks in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audio: Vec<CertifiedAudio>,
}

/// The picture of a delivered file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedVideo {
    /// The rendition's name.
    pub rendition: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames.
    pub frames: u64,
    /// The unit of the ticks below.
    pub timebase: Timebase,
    /// Presentation time of the first frame in this file.
    pub first_pts: i64,
    /// Presentation time of the last frame in this file.
    pub last_pts: i64,
    /// From the first frame to the end of the last.
    pub duration: i64,
    /// How its frames were made, where they are encoded without loss: then they can be held against
    /// the source's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lossless: Option<RenditionPlan>,
}

/// An audio track of a delivered file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedAudio {
    /// The output track, from 0.
    pub track: u32,
    /// ISO 639-2 language, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Channels.
    pub channels: u32,
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples per channel that were encoded.
    pub samples: u64,
}
