//! The plan of a job, written once by the splitter: `chunks/{job}/manifest.json`.
//!
//! A manifest never changes. What a disagreeing seam makes necessary is added as [`Revision`]s,
//! each create-only; [`Manifest::layout`] applies them in order.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::id::JobId;
use crate::media_info::{AudioStream, Chapter, Colour, VideoStream};
use crate::opening::Opening;
use crate::profile::{AudioSettings, Deinterlace, Outputs, VideoSettings};
use crate::request::JobOptions;
use crate::task::TaskKey;
use crate::time::{Grid, Window};
use crate::timeline::Timeline;

/// The version that this build writes.
pub const VERSION: u32 = 2;

/// Everything that any worker needs to know of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The job.
    pub job: JobId,
    /// What is transcoded.
    pub source: SourceInfo,
    /// The ffmpeg that every encode of this job uses; another version does not claim.
    pub ffmpeg: String,
    /// The profile's name.
    pub profile: String,
    /// The digest of the profile, so that a changed file of the same name is noticed.
    pub profile_digest: Sha256,
    /// What its submitter chose beside the profile.
    #[serde(default, skip_serializing_if = "JobOptions::is_default")]
    pub options: JobOptions,
    /// How much of the decoding is recorded.
    pub proof: Proof,
    /// Which kinds of output are made.
    pub outputs: Outputs,
    /// How every run opens the source.
    #[serde(default, skip_serializing_if = "Opening::is_default")]
    pub opening: Opening,
    /// Whether the source's timestamps are used as they are, as windows need it. Where they jump
    /// they are left to ffmpeg, which mends that only then.
    pub copy_timestamps: bool,
    /// What keeps every run of ffmpeg on one timeline.
    #[serde(default, skip_serializing_if = "Timeline::is_default")]
    pub timeline: Timeline,
    /// The picture, where there is one and the profile wants it.
    pub video: Option<VideoPlan>,
    /// The audio tracks, in output order.
    pub audio: Vec<AudioPlan>,
    /// The title that the outputs have, where the source has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The source's chapters, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chapters: Vec<Chapter>,
    /// What is left out, guessed or changed, and why: one sentence each.
    #[serde(default, alias = "deviations", skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A source, by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The file's name, without its folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of all bytes.
    pub sha256: Sha256,
    /// Where workers open it.
    pub location: Location,
}

/// Where a source is opened in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    /// A file on this machine.
    Path(std::path::PathBuf),
    /// Segments in the store, as `raw/{job}/source.json` lists them.
    Stored {
        /// The upload that brought it; a job's own, as long as no two jobs share a source.
        job: JobId,
    },
}

/// How much of the decoding a job records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The frames on both sides of every seam.
    #[default]
    Seams,
    /// Every decoded frame; `verify --source` compares them with one sequential decode.
    EveryFrame,
}

impl Proof {
    /// Its name, as `--proof` takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seams => "seams",
            Self::EveryFrame => "every-frame",
        }
    }
}

/// How the picture is cut and encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoPlan {
    /// The picture as the probe found it.
    pub stream: VideoStream,
    /// Where windows and fragments begin.
    pub grid: Grid,
    /// Ticks per second of the delivered fragments: a whole multiple of the source's, so that
    /// every PTS is kept exactly.
    pub timescale: u32,
    /// Which properties of its frames change on the way.
    #[serde(default, skip_serializing_if = "FrameChanges::is_none")]
    pub changes: FrameChanges,
    /// What becomes of interlaced frames, should the source have any.
    pub deinterlace: Deinterlace,
    /// Cores for each encode: 1, or all where there is one chunk for all slots.
    pub threads: u32,
    /// The ladder, largest first.
    pub renditions: Vec<RenditionPlan>,
    /// How the last window's renditions are shared out to several ffmpegs, by name, so that no core
    /// waits for it; each decodes the window for itself, and the bytes are the same as of one. Empty
    /// where one ffmpeg does as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Vec<String>>,
    /// Whether frames are told apart by ticks of `timescale` while they are encoded, and not by the
    /// source's own, which may be as long as a frame: where a source shows several frames at one time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fine_times: bool,
    /// How many source ticks the last frame is shown, where the source tells. Else it is shown as long
    /// as the frame before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_frame_ticks: Option<i64>,
    /// The windows in order; together they hold every frame once.
    pub chunks: Vec<ChunkPlan>,
}

/// Properties of frames that change within a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameChanges {
    /// Size or sample aspect ratio: frames of another shape than the stream's are padded.
    #[serde(default)]
    pub shape: bool,
    /// The matrix, which every frame states: frames are converted to the stream's.
    #[serde(default)]
    pub matrix: bool,
}

impl FrameChanges {
    /// Whether all frames are alike.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl VideoPlan {
    /// The rate of the delivered frames, where that of the source is known: twice as many where its
    /// header says that it is interlaced and each field becomes a frame.
    #[must_use]
    pub fn frame_rate(&self) -> Option<(u32, u32)> {
        let (num, den) = self.stream.frame_rate?;
        let each = match self.stream.interlaced {
            true => self.deinterlace.ticks_each(),
            false => 1,
        };
        Some((num.checked_mul(each)?, den))
    }

    /// Whether the delivered timeline begins with the first frame that the decoder gives, and not
    /// with the grid: in a plan of one chunk, whose source may have no usable timestamps.
    #[must_use]
    pub fn begins_with_first_frame(&self) -> bool {
        self.chunks.len() == 1
    }

    /// The renditions of a chunk, in a group for each ffmpeg that works on it: one group, but for
    /// chunks that nothing else waits behind. Those are the last one, and one that is made again.
    #[must_use]
    pub fn groups(&self, placed: &PlacedChunk) -> Vec<Vec<RenditionPlan>> {
        let is_last = placed.chunk.window.end.is_none() || placed.generation > 0;
        if self.spread.is_empty() || !is_last {
            return vec![self.renditions.clone()];
        }
        let group = |names: &Vec<String>| {
            let renditions = self.renditions.iter();
            renditions
                .filter(|rendition| names.contains(&rendition.name))
                .cloned()
                .collect()
        };
        self.spread.iter().map(group).collect()
    }

    /// Ticks of the delivered timescale for a span of source ticks, exact.
    ///
    /// `None` should the product not fit, which no span of a real source does.
    #[must_use]
    pub fn delivered_ticks(&self, source_ticks: i64) -> Option<i64> {
        let (num, den) = (self.grid.timebase.num(), self.grid.timebase.den());
        let scaled = i128::from(source_ticks) * i128::from(num) * i128::from(self.timescale);
        (scaled % i128::from(den) == 0).then(|| i64::try_from(scaled / i128::from(den)).ok())?
    }
}

/// One encoded version of the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenditionPlan {
    /// Names the output: `output_{name}.mp4`.
    pub name: String,
    /// Pixels, after rotation.
    pub width: u32,
    /// Pixels, after rotation.
    pub height: u32,
    /// ffmpeg's name of the pixel format that is encoded.
    pub pixel_format: String,
    /// The colour description that it is tagged with, complete; without it, whatever ffmpeg makes of
    /// the source's.
    #[serde(default, skip_serializing_if = "Colour::is_unstated")]
    pub colour: Colour,
    /// Codec, preset, rate and options.
    pub settings: VideoSettings,
}

/// One window of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkPlan {
    /// The frames that this chunk delivers, by PTS.
    pub window: Window,
    /// Where decoding may begin, nearest first; a seam that disagrees moves on to the next, and
    /// the last is the start of the source. Empty for the first chunk, which begins there.
    pub lead_ins: Vec<LeadIn>,
    /// Frames compared with the chunk before, as a range of PTS; `None` for the first.
    pub start_seam: Option<SeamRange>,
    /// Frames compared with the chunk after; `None` for the last.
    pub end_seam: Option<SeamRange>,
    /// PTS of the first packet that the scan found in the window: keyframes are placed by it.
    pub first_packet: Option<i64>,
    /// Packets that the scan found in the window: an estimate of its frames.
    pub packets: u64,
    /// Estimated work in milliseconds of one core.
    pub cost_ms: u64,
}

/// How many lead-ins a chunk has at most. Each costs an attempt of the whole chunk, and a seam that
/// none mends should be found out soon.
pub const MOST_LEAD_INS: usize = 4;

/// A place to begin decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadIn {
    /// Microseconds on the source's own timeline to seek to; `None` is the start of the source.
    pub seek_us: Option<i64>,
    /// The PTS of the keyframe that should be found there.
    pub keyframe: Option<i64>,
    /// Packets decoded and dropped before the window, an estimate.
    pub packets: u64,
}

/// The frames around a seam: those presented in `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeamRange {
    /// The first tick compared.
    pub from: i64,
    /// The first tick after those compared.
    pub to: i64,
}

/// One audio track to encode, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPlan {
    /// The track as the probe found it.
    pub stream: AudioStream,
    /// Codec and rate.
    pub settings: AudioSettings,
    /// ffmpeg's name of the channel layout that is delivered; `None` in plans of version 1, which
    /// leave the channels as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// When the picture begins, in microseconds on the timeline of the job's runs: silence comes before
    /// a track that begins later, since players that load sound apart wait for it. `None` where the
    /// track begins as it does in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_us: Option<i64>,
    /// Whether ffmpeg counts the times of this track's packets, by the sample rate with which it begins:
    /// where the rate changes, they are wrong, and samples follow one another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted_times: bool,
    /// Kilobits per second for this track's channels; `None` where the codec takes none.
    pub kbps: Option<u32>,
    /// Estimated work in milliseconds of one core.
    pub cost_ms: u64,
}

/// A change of the plan after a seam disagreed: `chunks/{job}/revision_001.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Counted from 1 within the job.
    pub number: u32,
    /// One sentence each: which seam, and what is done about it.
    pub reasons: Vec<String>,
    /// Chunks to do again.
    pub redo: Vec<Redo>,
    /// Chunks whose window another one took over.
    pub dropped: Vec<u32>,
}

/// One chunk to do again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redo {
    /// The chunk's place in the manifest.
    pub index: u32,
    /// One more than before.
    pub generation: u32,
    /// Which of `chunk.lead_ins` is used.
    pub lead_in: u32,
    /// The window and the rest, which may have grown.
    pub chunk: ChunkPlan,
}

/// A chunk as the manifest and all revisions leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedChunk {
    /// Its place in the manifest.
    pub index: u32,
    /// How often it was sent back.
    pub generation: u32,
    /// Which of its lead-ins counts.
    pub lead_in: u32,
    /// The chunk itself.
    pub chunk: ChunkPlan,
}

impl PlacedChunk {
    /// The task that makes it.
    #[must_use]
    pub fn task(&self) -> TaskKey {
        TaskKey::Chunk {
            index: self.index,
            generation: self.generation,
        }
    }

    /// Where its decoding begins; `None` is the start of the source.
    #[must_use]
    pub fn lead_in(&self) -> Option<&LeadIn> {
        self.chunk.lead_ins.get(self.lead_in as usize)
    }
}

impl Manifest {
    /// The chunks in order of time after `revisions`, which must be in order of their number.
    #[must_use]
    pub fn layout(&self, revisions: &[Revision]) -> Vec<PlacedChunk> {
        let chunks = self.video.iter().flat_map(|video| &video.chunks);
        let mut layout: Vec<PlacedChunk> = chunks
            .zip(0_u32..)
            .map(|(chunk, index)| PlacedChunk {
                index,
                generation: 0,
                lead_in: 0,
                chunk: chunk.clone(),
            })
            .collect();
        for revision in revisions {
            layout.retain(|placed| !revision.dropped.contains(&placed.index));
            for redo in &revision.redo {
                if let Some(placed) = layout.iter_mut().find(|placed| placed.index == redo.index) {
                    placed.generation = redo.generation;
                    placed.lead_in = redo.lead_in;
                    placed.chunk = redo.chunk.clone();
                }
            }
        }
        layout
    }

    /// Every task that must be done before the job can be finished, after `revisions`.
    #[must_use]
    pub fn tasks(&self, revisions: &[Revision]) -> Vec<TaskKey> {
        let audio = (0_u32..)
            .zip(&self.audio)
            .map(|(track, _)| TaskKey::Audio { track });
        audio
            .chain(self.layout(revisions).iter().map(PlacedChunk::task))
            .collect()
    }
}
