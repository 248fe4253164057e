//! What a probe found in a source.

use serde::{Deserialize, Serialize};

use crate::time::Timebase;

/// A container and the streams in it that reelmill works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// The demuxer's name, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// The picture that plain ffmpeg would choose by `-map 0:V:0`; cover art is no picture.
    pub video: Option<VideoStream>,
    /// Every decodable audio track, in the source's order.
    pub audio: Vec<AudioStream>,
    /// The title of the whole, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its chapters, in order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chapters: Vec<Chapter>,
}

/// A chapter of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chapter {
    /// Microseconds: of a probe on the source's own timeline, of a plan on that of the job's runs.
    pub start_us: i64,
    /// Where it ends, on the same timeline; not before its start.
    pub end_us: i64,
    /// Its title; empty where it has none.
    pub title: String,
}

/// The picture of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoStream {
    /// The stream's index in the container.
    pub index: u32,
    /// ffmpeg's decoder family name, such as `h264`.
    pub codec: String,
    /// Stored width in pixels, before rotation.
    pub width: u32,
    /// Stored height in pixels, before rotation.
    pub height: u32,
    /// Sample aspect ratio where the source states one.
    pub sar: Option<(u32, u32)>,
    /// Clockwise degrees by which the picture is turned for display, in 0..360.
    pub rotation: u32,
    /// ffmpeg's pixel format name.
    pub pixel_format: String,
    /// The unit of every PTS of this stream.
    pub timebase: Timebase,
    /// Average frames per second as a fraction, where known.
    pub frame_rate: Option<(u32, u32)>,
    /// True when fields are interleaved or coded in pairs.
    pub interlaced: bool,
    /// Colour primaries, transfer, matrix and range as ffmpeg names them, where stated.
    pub colour: Colour,
}

impl VideoStream {
    /// Width and height in pixels as a viewer sees them, after rotation by quarter turns.
    #[must_use]
    pub fn displayed_size(&self) -> (u32, u32) {
        if self.rotation % 180 == 90 {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        }
    }

    /// The sample aspect ratio after rotation by quarter turns.
    #[must_use]
    pub fn displayed_sar(&self) -> Option<(u32, u32)> {
        if self.rotation % 180 == 90 {
            self.sar.map(|(x, y)| (y, x))
        } else {
            self.sar
        }
    }
}

/// A colour description; each field is ffmpeg's name for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colour {
    /// Primaries, such as `bt709`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primaries: Option<String>,
    /// Transfer function, such as `smpte2084`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    /// Matrix coefficients, such as `bt2020nc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<String>,
    /// `tv` or `pc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
}

impl Colour {
    /// Whether nothing is stated.
    #[must_use]
    pub fn is_unstated(&self) -> bool {
        *self == Self::default()
    }
}

/// One audio track of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioStream {
    /// The stream's index in the container.
    pub index: u32,
    /// ffmpeg's decoder family name, such as `aac`.
    pub codec: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u32,
    /// ffmpeg's channel layout name, where the source states one.
    pub layout: Option<String>,
    /// ISO 639-2 language, where the source states one other than `und`.
    pub language: Option<String>,
    /// The track's title, where it has one.
    pub title: Option<String>,
    /// Whether players should choose this track unasked.
    pub default: bool,
}
