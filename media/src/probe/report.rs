//! ffprobe's answer as it is written, and how its texts are read.

use std::time::Duration;

use reelmill_common::Timebase;
use serde::Deserialize;

/// Characters of a title that are kept.
const LONGEST_TITLE: usize = 500;

#[derive(Deserialize)]
pub(super) struct Report {
    #[serde(default)]
    pub(super) streams: Vec<Stream>,
    #[serde(default)]
    pub(super) format: Format,
    #[serde(default)]
    pub(super) chapters: Vec<ReportedChapter>,
}

#[derive(Deserialize)]
pub(super) struct ReportedChapter {
    pub(super) start_time: Option<String>,
    pub(super) end_time: Option<String>,
    #[serde(default)]
    pub(super) tags: Tags,
}

#[derive(Default, Deserialize)]
pub(super) struct Format {
    #[serde(default)]
    pub(super) format_name: String,
    pub(super) start_time: Option<String>,
    pub(super) duration: Option<String>,
    #[serde(default)]
    pub(super) tags: Tags,
}

#[derive(Deserialize)]
pub(super) struct Stream {
    pub(super) index: u32,
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) codec_type: String,
    pub(super) codec_name: Option<String>,
    #[serde(default)]
    pub(super) codec_tag_string: String,
    #[serde(default)]
    pub(super) codec_tag: String,
    #[serde(default)]
    pub(super) width: u32,
    #[serde(default)]
    pub(super) height: u32,
    pub(super) sample_aspect_ratio: Option<String>,
    pub(super) pix_fmt: Option<String>,
    pub(super) field_order: Option<String>,
    #[serde(default)]
    pub(super) time_base: String,
    #[serde(default)]
    pub(super) avg_frame_rate: String,
    #[serde(default)]
    pub(super) r_frame_rate: String,
    pub(super) color_primaries: Option<String>,
    pub(super) color_transfer: Option<String>,
    pub(super) color_space: Option<String>,
    pub(super) color_range: Option<String>,
    pub(super) sample_rate: Option<String>,
    pub(super) duration: Option<String>,
    #[serde(default)]
    pub(super) channels: u32,
    pub(super) channel_layout: Option<String>,
    #[serde(default)]
    pub(super) disposition: Disposition,
    #[serde(default)]
    pub(super) tags: Tags,
    #[serde(default)]
    pub(super) side_data_list: Vec<SideData>,
}

#[derive(Default, Deserialize)]
pub(super) struct Disposition {
    #[serde(default)]
    pub(super) attached_pic: u8,
    #[serde(default)]
    pub(super) default: u8,
    #[serde(default)]
    pub(super) still_image: u8,
    #[serde(default)]
    pub(super) timed_thumbnails: u8,
}

#[derive(Default, Deserialize)]
pub(super) struct Tags {
    pub(super) language: Option<String>,
    pub(super) title: Option<String>,
    #[serde(rename = "DURATION")]
    pub(super) duration: Option<String>,
    #[serde(rename = "DURATION-eng")]
    pub(super) duration_eng: Option<String>,
    /// The key of an encrypted WebM track.
    pub(super) enc_key_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SideData {
    pub(super) side_data_type: Option<String>,
    pub(super) rotation: Option<f64>,
    pub(super) dv_profile: Option<u32>,
    pub(super) dv_bl_signal_compatibility_id: Option<u32>,
    /// How two views share a frame.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// Whether a tag names a language.
pub(super) fn is_language(text: &str) -> bool {
    !text.is_empty() && text != "und"
}

/// Reads `0x1011`.
pub(super) fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// A title as one line without control characters, if anything is left of it.
pub(super) fn words(text: &Option<String>) -> Option<String> {
    let text = text.as_deref()?;
    let kept: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_TITLE)
        .collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// Microseconds of a time in seconds.
pub(super) fn us(text: &Option<String>) -> Option<i64> {
    let seconds: f64 = text.as_ref()?.parse().ok()?;
    // A year is longer than any source.
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    (seconds.abs() < 31_536_000.0).then(|| (seconds * 1_000_000.0).round() as i64)
}

/// Clockwise degrees to turn the picture by; ffprobe gives them counter-clockwise.
pub(super) fn rotation(stream: &Stream) -> u32 {
    let degrees = stream
        .side_data_list
        .iter()
        .find_map(|data| data.rotation)
        .unwrap_or(0.0);
    if !degrees.is_finite() || degrees.abs() > 360.0 {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 360, checked above"
    )]
    let clockwise = (-degrees.round() as i64).rem_euclid(360);
    u32::try_from(clockwise).unwrap_or(0)
}

pub(super) fn ratio(text: &str, separator: char) -> Option<(u32, u32)> {
    let (num, den) = text.split_once(separator)?;
    let (num, den) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0 && den > 0).then_some((num, den))
}

/// Reads `12.345000`.
pub(super) fn seconds(text: &Option<String>) -> Option<Duration> {
    Duration::try_from_secs_f64(text.as_ref()?.parse().ok()?).ok()
}

/// Reads `00:00:16.000000000`.
pub(super) fn clock(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':');
    let hours: u32 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok()?;
    let seconds = Duration::try_from_secs_f64(parts.next()?.parse().ok()?).ok()?;
    let minutes = u64::from(hours) * 60 + u64::from(minutes);
    seconds.checked_add(Duration::from_secs(minutes * 60))
}

pub(super) fn timebase(text: &str) -> Option<Timebase> {
    let (num, den) = ratio(text, '/')?;
    Timebase::new(num, den).ok()
}
