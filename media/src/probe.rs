//! What is in a source: one run of ffprobe.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::Timebase;
use reelmill_common::media_info::{AudioStream, Colour, MediaInfo, VideoStream};
use serde::Deserialize;

use crate::error::MediaError;
use crate::input::Input;
use crate::process::{Invocation, Limits, capture};
use crate::tools::Tools;

/// Bounds for reading a header and the first packets. A header that is made to take long runs into
/// the processor's bound, a slow disk into the other.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(120),
    idle: Duration::MAX,
    cpu: Duration::from_secs(30),
    memory: 1 << 30,
    file_size: 0,
};

/// What a probe gave: the streams, and what is wrong with those left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The usable streams.
    pub info: MediaInfo,
    /// How long the header says that it lasts: the longest of what it says. An estimate.
    pub duration: Duration,
    /// When the header says that tracks end on the source's timeline, by stream index, where packets
    /// need not say how long they last.
    pub track_ends: BTreeMap<u32, Duration>,
    /// Whether it is an MPEG stream whose first timestamp is exactly 0.
    pub begins_at_zero: bool,
    /// One sentence for each stream that cannot be used.
    pub left_out: Vec<String>,
    /// What only damage explains: without it there would be more to transcode.
    pub damage: Option<String>,
}

/// The arguments of a probe.
#[must_use]
pub fn args(input: &Input) -> Vec<OsString> {
    let mut args: Vec<OsString> = [
        "-hide_banner",
        "-loglevel",
        "repeat+level+error",
        "-show_streams",
        "-show_format",
        "-of",
        "json",
    ]
    .map(OsString::from)
    .to_vec();
    args.extend(input.args());
    args
}

/// Asks ffprobe what is in a source.
///
/// # Errors
/// [`MediaError::Failed`] when it is no media that reelmill opens; other [`MediaError`]s.
pub async fn probe(tools: &Tools, input: &Input, dir: &Path) -> Result<Probed, MediaError> {
    let invocation = Invocation {
        action: "read the source's header",
        program: tools.ffprobe.clone(),
        args: args(input),
        dir: dir.to_path_buf(),
        reads: input.reads(),
        connects: input.connects(),
        limits: LIMITS,
    };
    let (json, _) = capture(invocation, 16 << 20).await?;
    parse(&json)
}

/// Reads ffprobe's JSON.
///
/// # Errors
/// [`MediaError::Unexpected`] when it is not what ffprobe prints.
pub fn parse(json: &str) -> Result<Probed, MediaError> {
    let report: Report = serde_json::from_str(json).map_err(|error| MediaError::Unexpected {
        action: "read the source's header",
        reason: error.to_string(),
    })?;
    let mut left_out = Vec::new();
    let is_picture = |s: &&Stream| s.codec_type == "video" && s.disposition.attached_pic == 0;
    let video = report.streams.iter().find(is_picture).and_then(|stream| {
        let video = video(stream);
        if video.is_none() {
            left_out.push(format!(
                "picture in stream {}: {}",
                stream.index,
                trouble(stream)
            ));
        }
        video
    });
    let mut tracks = Vec::new();
    for stream in report.streams.iter().filter(|s| s.codec_type == "audio") {
        match audio(stream) {
            Some(track) => tracks.push(track),
            None => left_out.push(format!(
                "audio in stream {}: {}",
                stream.index,
                trouble(stream)
            )),
        }
    }
    let damage = undescribed(&report).map(|stream| {
        let (kind, index) = (&stream.codec_type, stream.index);
        format!("its header does not say what the {kind} in stream {index} is")
    });
    let track_ends = track_ends(&report);
    let begins_at_zero = matches!(report.format.format_name.as_str(), "mpegts" | "mpeg")
        && report
            .format
            .start_time
            .as_deref()
            .and_then(|at| at.parse::<f64>().ok())
            == Some(0.0);
    let info = MediaInfo {
        format: report.format.format_name,
        video,
        audio: tracks,
    };
    let stated = report.streams.iter().map(|stream| &stream.duration);
    let duration = stated.chain([&report.format.duration]).filter_map(seconds);
    Ok(Probed {
        info,
        duration: duration.max().unwrap_or_default(),
        track_ends,
        begins_at_zero,
        left_out,
        damage,
    })
}

/// When tracks end by the header. Matroska says it in a tag of the track; the duration of a file with a
/// single track is the track's.
fn track_ends(report: &Report) -> BTreeMap<u32, Duration> {
    const SAYING: [&str; 3] = ["matroska", "flv", "asf"];
    let format = &report.format;
    if !SAYING.iter().any(|name| format.format_name.contains(name)) {
        return BTreeMap::new();
    }
    let start = seconds(&format.start_time).unwrap_or_default();
    let whole = seconds(&format.duration).map(|duration| start + duration);
    let alone = report.streams.len() == 1;
    let end = |stream: &Stream| {
        let tags = [&stream.tags.duration, &stream.tags.duration_eng];
        let tagged = tags.into_iter().flatten().find_map(|text| clock(text));
        match tagged {
            // A tag may have been copied from a longer film.
            Some(tagged) => Some(tagged.min(whole?)),
            None => whole.filter(|_| alone),
        }
    };
    let ends = report.streams.iter().map(|s| Some((s.index, end(s)?)));
    ends.flatten().collect()
}

/// A picture or sound without the description that every track of an MP4 must have.
fn undescribed(report: &Report) -> Option<&Stream> {
    let is_mp4 = report.format.format_name.contains("mp4");
    report.streams.iter().find(|stream| {
        is_mp4
            && matches!(stream.codec_type.as_str(), "video" | "audio")
            && stream.codec_name.is_none()
            && stream.codec_tag_string == "[0][0][0][0]"
    })
}

/// Why a stream cannot be used.
fn trouble(stream: &Stream) -> &'static str {
    if matches!(stream.codec_tag_string.as_str(), "encv" | "enca") {
        "it is encrypted"
    } else if stream.codec_name.is_none() {
        "its codec is unknown to this ffmpeg"
    } else {
        "its size or format cannot be told from what is there"
    }
}

fn video(stream: &Stream) -> Option<VideoStream> {
    let pixel_format = stream
        .pix_fmt
        .clone()
        .filter(|format| format != "unknown")?;
    if stream.width == 0 || stream.height == 0 || stream.codec_tag_string == "encv" {
        return None;
    }
    let stated = |word: &Option<String>| {
        word.clone()
            .filter(|w| w != "unknown" && w != "unspecified")
    };
    let rate = ratio(&stream.avg_frame_rate, '/').or_else(|| ratio(&stream.r_frame_rate, '/'));
    Some(VideoStream {
        index: stream.index,
        codec: stream.codec_name.clone()?,
        width: stream.width,
        height: stream.height,
        sar: stream
            .sample_aspect_ratio
            .as_deref()
            .and_then(|text| ratio(text, ':')),
        rotation: rotation(stream),
        pixel_format,
        timebase: timebase(&stream.time_base)?,
        frame_rate: rate,
        interlaced: matches!(
            stream.field_order.as_deref(),
            Some("tt" | "bb" | "tb" | "bt")
        ),
        colour: Colour {
            primaries: stated(&stream.color_primaries),
            transfer: stated(&stream.color_transfer),
            matrix: stated(&stream.color_space),
            range: stated(&stream.color_range),
        },
    })
}

fn audio(stream: &Stream) -> Option<AudioStream> {
    let sample_rate = stream
        .sample_rate
        .as_deref()?
        .parse()
        .ok()
        .filter(|&rate: &u32| rate > 0)?;
    if stream.channels == 0 || stream.codec_tag_string == "enca" {
        return None;
    }
    let named = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    Some(AudioStream {
        index: stream.index,
        codec: stream.codec_name.clone()?,
        sample_rate,
        channels: stream.channels,
        layout: named(&stream.channel_layout).filter(|layout| layout != "unknown"),
        language: named(&stream.tags.language).filter(|language| language != "und"),
        title: named(&stream.tags.title),
        default: stream.disposition.default != 0,
    })
}

/// Clockwise degrees to turn the picture by; ffprobe gives them counter-clockwise.
fn rotation(stream: &Stream) -> u32 {
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

fn ratio(text: &str, separator: char) -> Option<(u32, u32)> {
    let (num, den) = text.split_once(separator)?;
    let (num, den) = (num.parse().ok()?, den.parse().ok()?);
    (num > 0 && den > 0).then_some((num, den))
}

/// Reads `12.345000`.
fn seconds(text: &Option<String>) -> Option<Duration> {
    Duration::try_from_secs_f64(text.as_ref()?.parse().ok()?).ok()
}

/// Reads `00:00:16.000000000`.
fn clock(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':');
    let hours: u32 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok()?;
    let seconds = Duration::try_from_secs_f64(parts.next()?.parse().ok()?).ok()?;
    let minutes = u64::from(hours) * 60 + u64::from(minutes);
    seconds.checked_add(Duration::from_secs(minutes * 60))
}

fn timebase(text: &str) -> Option<Timebase> {
    let (num, den) = ratio(text, '/')?;
    Timebase::new(num, den).ok()
}

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Default, Deserialize)]
struct Format {
    #[serde(default)]
    format_name: String,
    start_time: Option<String>,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    index: u32,
    #[serde(default)]
    codec_type: String,
    codec_name: Option<String>,
    #[serde(default)]
    codec_tag_string: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    sample_aspect_ratio: Option<String>,
    pix_fmt: Option<String>,
    field_order: Option<String>,
    #[serde(default)]
    time_base: String,
    #[serde(default)]
    avg_frame_rate: String,
    #[serde(default)]
    r_frame_rate: String,
    color_primaries: Option<String>,
    color_transfer: Option<String>,
    color_space: Option<String>,
    color_range: Option<String>,
    sample_rate: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    channels: u32,
    channel_layout: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
    #[serde(default)]
    default: u8,
}

#[derive(Default, Deserialize)]
struct Tags {
    language: Option<String>,
    title: Option<String>,
    #[serde(rename = "DURATION")]
    duration: Option<String>,
    #[serde(rename = "DURATION-eng")]
    duration_eng: Option<String>,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_end_where_matroska_says() {
        let stream = |index: u32, tag: &str| {
            format!(r#"{{"index":{index},"codec_type":"video","tags":{{"DURATION":"{tag}"}}}}"#)
        };
        let report = |streams: &[String], duration: &str| {
            let json = format!(
                r#"{{"streams":[{}],"format":{{"format_name":"matroska,webm","start_time":"0.000000","duration":"{duration}"}}}}"#,
                streams.join(",")
            );
            parse(&json).unwrap().track_ends
        };
        let ends = report(
            &[stream(0, "00:00:16.000000000"), stream(1, "01:00:20.5")],
            "3700.000000",
        );
        assert_eq!(ends[&0], Duration::from_secs(16));
        assert_eq!(ends[&1], Duration::from_millis(3_620_500));
        // Copied from a longer film.
        let ends = report(&[stream(0, "02:00:00.000000000")], "60.0");
        assert_eq!(ends[&0], Duration::from_secs(60));
        let ends = report(&[stream(0, "unknown")], "60.0");
        assert_eq!(ends[&0], Duration::from_secs(60));
        assert!(report(&[stream(0, ""), stream(1, "")], "60.0").is_empty());
    }
}
