//! What a user asks for: a ladder of renditions, audio, and which outputs.
//!
//! A profile comes from a TOML file, built in ([`builtin`]) or the user's own ([`parse`]), and is
//! checked when it is read: a [`Profile`] that exists can be planned. [`ladder`] makes renditions
//! of it for one source, [`audio_kbps`] the rate of one track.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

mod builtin;
mod check;
mod deinterlace;
mod error;
mod file;
mod ladder;
mod options;
pub(crate) mod pixel;
mod reader;

pub use builtin::{Builtin, DEFAULT, builtin, builtins};
pub use deinterlace::Deinterlace;
pub use error::ProfileError;
pub use file::{KEYS, Key, parse};
pub use ladder::{audio_kbps, ladder};

/// Which kinds of output a job makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// One progressive MP4 for each rendition.
    pub mp4: bool,
    /// HLS over the same fragments.
    pub hls: bool,
}

/// A profile, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Chosen by `--profile`.
    pub name: String,
    /// One line for `profiles list`.
    pub description: String,
    /// Length of a delivered fragment, and of the grid on which windows begin.
    pub fragment_ms: u32,
    /// What is made.
    pub outputs: Outputs,
    /// What becomes of interlaced frames.
    pub deinterlace: Deinterlace,
    /// How audio is encoded; `None` drops it.
    pub audio: Option<AudioSettings>,
    /// The ladder; empty for a profile without picture.
    pub video: Vec<Rung>,
}

impl Profile {
    /// Digest of all that decides what is made: the canonical JSON of the checked profile without
    /// its name and description, which are for people. Two files that mean the same have the same
    /// digest, whatever their comments, order and layout.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        let nameless = Self {
            name: String::new(),
            description: String::new(),
            ..self.clone()
        };
        #[expect(
            clippy::expect_used,
            reason = "a profile holds nothing that JSON could refuse"
        )]
        let json = serde_json::to_vec(&nameless).expect("every field has a JSON form");
        Sha256::of(&json)
    }
}

/// One step of a ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Names the output, such as `1080p`.
    pub name: String,
    /// Pixels on the shorter side; `None` keeps the source's size.
    pub short_side: Option<u32>,
    /// How it is encoded.
    pub settings: VideoSettings,
}

/// How one rendition's picture is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoSettings {
    /// The codec.
    pub codec: VideoCodec,
    /// The encoder's own preset name or number.
    pub preset: Option<String>,
    /// How bits are spent.
    pub rate: Rate,
    /// What the encoder is given.
    pub pixel_format: PixelFormat,
    /// Further private options of the encoder, by ffmpeg's names.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl VideoSettings {
    /// Whether an encode with more than one thread gives the same bytes every time.
    ///
    /// Under a ceiling, x264, x265 with several frame threads and SVT-AV1 do not: what one thread
    /// spends depends on how far the others happen to have come. libvpx does, and so does every
    /// encoder without a ceiling.
    #[must_use]
    pub fn repeats_with_threads(&self) -> bool {
        self.codec == VideoCodec::Vp9 || !matches!(self.rate, Rate::CappedCrf { .. })
    }
}

/// Codecs that profiles may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264 by x264.
    H264,
    /// HEVC by x265.
    Hevc,
    /// AV1 by SVT-AV1.
    Av1,
    /// VP9 by libvpx.
    Vp9,
}

impl VideoCodec {
    /// Every codec.
    pub const ALL: [Self; 4] = [Self::H264, Self::Hevc, Self::Av1, Self::Vp9];

    /// The word that profile files use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
            Self::Vp9 => "vp9",
        }
    }
}

/// How bits are spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Constant quality.
    Crf(u32),
    /// Constant quality with a ceiling in kilobits per second.
    CappedCrf {
        /// The quality.
        crf: u32,
        /// The ceiling.
        max_kbps: u32,
    },
    /// An average in kilobits per second.
    Bitrate(u32),
    /// Without loss.
    Lossless,
}

/// What the encoder is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelFormat {
    /// The source's own, or the nearest that the codec can hold.
    Source,
    /// 4:2:0 with 10 bits where the source has more than 8, else with 8.
    SourceDepth,
    /// ffmpeg's name of one.
    Named(String),
}

/// How audio is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioSettings {
    /// The codec.
    pub codec: AudioCodec,
    /// Kilobits per second of a stereo track; mono has half, 5.1 three times as much. `None` for
    /// codecs without loss.
    pub kbps: Option<u32>,
    /// Which mixes of each track are delivered.
    #[serde(default, skip_serializing_if = "Channels::is_source")]
    pub channels: Channels,
}

/// Which mixes of each audio track are delivered. Tracks of one or two channels have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channels {
    /// As many channels as the source has.
    #[default]
    #[serde(rename = "source")]
    Source,
    /// At most two.
    #[serde(rename = "stereo")]
    Stereo,
    /// A track of at most two channels, and after it one with all.
    #[serde(rename = "stereo+source")]
    StereoAndSource,
}

impl Channels {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Source, Self::Stereo, Self::StereoAndSource];

    /// The word that profile files use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Stereo => "stereo",
            Self::StereoAndSource => "stereo+source",
        }
    }

    /// Whether it is what files have that do not name one.
    #[must_use]
    pub fn is_source(&self) -> bool {
        *self == Self::Source
    }
}

/// Audio codecs that profiles may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// AAC-LC by ffmpeg.
    Aac,
    /// Opus by libopus.
    Opus,
    /// FLAC by ffmpeg.
    Flac,
}

impl AudioCodec {
    /// Every codec.
    pub const ALL: [Self; 3] = [Self::Aac, Self::Opus, Self::Flac];

    /// The word that profile files use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "opus",
            Self::Flac => "flac",
        }
    }
}
