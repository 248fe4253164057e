//! How much work a piece of a source is: estimates in milliseconds of one core.
//!
//! The figures are medians measured on a 3 GHz server core with 1080p film; what matters is their
//! proportion, since every window of a job is judged by the same ones.

use reelmill_common::manifest::RenditionPlan;
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::{Rate, VideoCodec};

/// Starting ffmpeg, opening the source and the encoders.
pub(crate) const START_UP_MS: f64 = 120.0;

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
    pub(crate) fn of(stream: &VideoStream, renditions: &[RenditionPlan]) -> Self {
        let source = megapixels(stream.width, stream.height);
        let decode = match stream.codec.as_str() {
            "hevc" | "av1" | "vp9" => 2.6,
            "prores" | "dnxhd" => 6.0,
            _ => 1.8,
        };
        let encode: f64 = renditions
            .iter()
            .map(|rendition| {
                let size = megapixels(rendition.width, rendition.height);
                source * 0.6 + size * encode_ms_per_megapixel(rendition)
            })
            .sum();
        Self {
            decode_ms: source * decode + 0.05,
            encode_ms: encode + 0.1,
        }
    }
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
