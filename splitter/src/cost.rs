//! How much work a piece of a source is: estimates in milliseconds of one core.
//!
//! The figures are medians measured on a 3 GHz server core with 1080p film; what matters is their
//! proportion, since every window of a job is judged by the same ones.

use reelmill_common::manifest::RenditionPlan;
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::{Rate, VideoCodec};

/// Starting ffmpeg and opening the source.
pub(crate) const START_UP_MS: f64 = 120.0;

/// Opening an encoder, for each megapixel of its picture: mostly memory for dozens of frames, which
/// the system clears as it is used. On a virtual machine whose host has to find it first it takes
/// several times as long.
const OPEN_MS_PER_MEGAPIXEL: f64 = 60.0;

/// One second of one audio track.
const AUDIO_MS_PER_SECOND: f64 = 12.0;

/// What one frame of a source costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameCost {
    /// To decode it, also when it is dropped.
    pub(crate) decode_ms: f64,
    /// To scale and encode it into every rendition.
    pub(crate) encode_ms: f64,
}

impl FrameCost {
    /// `bytes` is how many a frame of the source has on average.
    pub(crate) fn of(stream: &VideoStream, renditions: &[RenditionPlan], bytes: f64) -> Self {
        let source = megapixels(stream.width, stream.height);
        let (per_megapixel, per_kilobyte) = match stream.codec.as_str() {
            "h264" | "hevc" => (0.9, 0.055),
            "av1" | "vp9" => (2.6, 0.0),
            "prores" | "dnxhd" => (6.0, 0.0),
            _ => (1.8, 0.0),
        };
        Self {
            decode_ms: source * per_megapixel + bytes / 1000.0 * per_kilobyte + 0.05,
            encode_ms: rendition_ms(stream, renditions).sum::<f64>() + 0.1,
        }
    }
}

/// To open the encoders of one window.
pub(crate) fn open_ms(renditions: &[RenditionPlan]) -> f64 {
    let sizes = renditions.iter().map(|r| megapixels(r.width, r.height));
    sizes.sum::<f64>() * OPEN_MS_PER_MEGAPIXEL
}

/// To scale one frame of a source and encode it, for each rendition.
pub(crate) fn rendition_ms(
    stream: &VideoStream,
    renditions: &[RenditionPlan],
) -> impl Iterator<Item = f64> {
    let source = megapixels(stream.width, stream.height);
    renditions.iter().map(move |rendition| {
        let size = megapixels(rendition.width, rendition.height);
        source * 0.6 + size * encode_ms_per_megapixel(rendition)
    })
}

fn encode_ms_per_megapixel(rendition: &RenditionPlan) -> f64 {
    let settings = &rendition.settings;
    let preset = settings.preset.as_deref().unwrap_or("medium");
    let speed = match preset {
        "ultrafast" => 0.25,
        "superfast" => 0.4,
        "veryfast" => 0.6,
        "faster" => 0.8,
        "fast" => 1.0,
        "medium" => 1.2,
        "slow" => 2.0,
        "slower" => 4.0,
        "veryslow" => 8.0,
        // Numbers, as of SVT-AV1 and libvpx: smaller is slower.
        number => number
            .parse::<f64>()
            .map_or(1.0, |n| (1.6 - 0.1 * n).clamp(0.4, 2.0)),
    };
    let codec = match settings.codec {
        VideoCodec::H264 if settings.rate == Rate::Lossless => 30.0,
        VideoCodec::H264 => 17.0,
        VideoCodec::Hevc => 60.0,
        VideoCodec::Av1 => 40.0,
        VideoCodec::Vp9 => 90.0,
    };
    codec * speed
}

fn megapixels(width: u32, height: u32) -> f64 {
    f64::from(width) * f64::from(height) / 1e6
}

/// The estimate for a whole audio track.
pub(crate) fn audio_ms(seconds: f64, channels: u32) -> u64 {
    whole(START_UP_MS + seconds * AUDIO_MS_PER_SECOND * (f64::from(channels) / 2.0).max(0.5))
}

/// An estimate as it is written into a plan.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate: clamped to what fits"
)]
pub(crate) fn whole(ms: f64) -> u64 {
    ms.clamp(0.0, 1e15).round() as u64
}
