//! What is in a source: one run of ffprobe.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::Timebase;
use reelmill_common::media_info::{AudioStream, Chapter, Colour, VideoStream};

use crate::error::MediaError;
use crate::ffprobe;
use crate::input::Input;
use crate::process::{Limits, capture};
use crate::tools::Tools;

mod report;
mod unkept;

use report::{
    Report, ReportedChapter, Stream, clock, hexadecimal, is_language, ratio, rotation, seconds,
    timebase, us, words,
};
use unkept::{needs_dolby_vision, unkept};

/// Bounds for reading a header and the first packets. A header that is made to take long runs into
/// the processor's bound, a slow disk into the other.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(120),
    idle: Duration::MAX,
    cpu: Duration::from_secs(30),
    memory: 1 << 30,
    file_size: 0,
};

/// What a probe gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The demuxer's name, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// Every stream, by its index.
    pub streams: Vec<Found>,
    /// How long the header says that it lasts: the longest of what it says. An estimate.
    pub duration: Duration,
    /// How long the container's own header says that it lasts.
    pub container_duration: Option<Duration>,
    /// When the header says that tracks end on the source's timeline, by stream index, where packets
    /// need not say how long they last.
    pub track_ends: BTreeMap<u32, Duration>,
    /// Whether it is an MPEG stream whose first timestamp is exactly 0.
    pub begins_at_zero: bool,
    /// The source's own time, in microseconds, at which its earliest stream begins.
    pub start_us: i64,
    /// The title of the whole, where it has one.
    pub title: Option<String>,
    /// Its chapters on its own timeline, in order of time.
    pub chapters: Vec<Chapter>,
    /// What is left out of title and chapters: one sentence each.
    pub notes: Vec<String>,
    /// What only damage explains: without it there would be more to transcode.
    pub damage: Option<String>,
}

/// A stream of a source, usable or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its index in the container.
    pub index: u32,
    /// Its id in the container, which is the PID in a transport stream.
    pub id: Option<u32>,
    /// What it carries.
    pub kind: Kind,
    /// ffmpeg's name of its codec, where this ffmpeg knows it.
    pub codec: Option<String>,
    /// Stored width and height of a picture; 0 where they are unknown.
    pub size: (u32, u32),
    /// The unit of its timestamps.
    pub timebase: Option<Timebase>,
    /// How long the header says that it lasts.
    pub duration: Option<Duration>,
    /// ISO 639-2 language, where the source states one other than `und`.
    pub language: Option<String>,
    /// Whether players should choose it unasked.
    pub default: bool,
    /// Whether it is cover art, a still image or a row of thumbnails, and no film.
    pub still: bool,
    /// Whether the container says that it is encrypted, or a look at its packets.
    pub encrypted: bool,
    /// The picture, where its parameters are known.
    pub picture: Option<VideoStream>,
    /// The audio track, where its parameters are known.
    pub sound: Option<AudioStream>,
    /// One sentence for each thing that is said of a picture and that no output carries.
    pub unkept: Vec<String>,
    /// Whether it is Dolby Vision without a base layer that shows right colours by itself.
    pub needs_dolby_vision: bool,
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Text or pictures over the film.
    Subtitles,
    /// A file, such as a font.
    Attachment,
    /// Anything else, such as timecode or telemetry.
    #[default]
    Data,
}

impl Kind {
    /// The word for streams of this kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Subtitles => "subtitles",
            Self::Attachment => "attachment",
            Self::Data => "data",
        }
    }
}

impl Found {
    /// Whether it can be transcoded.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.trouble().is_none()
    }

    /// Why it cannot be transcoded, for pictures and audio tracks.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        if self.encrypted {
            Some("it is encrypted")
        } else if self.picture.is_some() || self.sound.is_some() {
            None
        } else if self.codec.is_none() {
            Some("its codec is unknown to this ffmpeg")
        } else {
            Some("its size or format cannot be told from what is there")
        }
    }

    /// Whether more of the source may tell its parameters, which the probe did not find.
    #[must_use]
    pub fn is_undetermined(&self) -> bool {
        let may_be_media = matches!(self.kind, Kind::Video | Kind::Audio);
        may_be_media && !self.is_usable() && !self.encrypted && self.codec.is_some()
    }
}

/// The arguments of a probe.
#[must_use]
pub fn args(input: &Input) -> Vec<OsString> {
    let shows = [
        "-show_streams",
        "-show_format",
        "-show_chapters",
        "-of",
        "json",
    ];
    ffprobe::args(&shows, input.args())
}

/// Asks ffprobe what is in a source.
///
/// # Errors
/// [`MediaError::Failed`] when it is no media that reelmill opens; other [`MediaError`]s.
pub async fn probe(tools: &Tools, input: &Input, dir: &Path) -> Result<Probed, MediaError> {
    let invocation = ffprobe::invocation(
        tools,
        "read the source's header",
        args(input),
        input,
        dir,
        LIMITS,
    );
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
    let mut notes = Vec::new();
    let chapters = chapters(&report.chapters, &mut notes);
    let stated = report.streams.iter().map(|stream| &stream.duration);
    let duration = stated.chain([&report.format.duration]).filter_map(seconds);
    Ok(Probed {
        duration: duration.max().unwrap_or_default(),
        track_ends,
        begins_at_zero,
        container_duration: seconds(&report.format.duration),
        streams: report
            .streams
            .iter()
            .map(|stream| found(stream, &report.format.format_name))
            .collect(),
        start_us: us(&report.format.start_time).unwrap_or(0),
        title: words(&report.format.tags.title),
        chapters,
        notes,
        damage,
        format: report.format.format_name,
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

fn found(stream: &Stream, format: &str) -> Found {
    let kind = match stream.codec_type.as_str() {
        "video" => Kind::Video,
        "audio" => Kind::Audio,
        "subtitle" => Kind::Subtitles,
        "attachment" => Kind::Attachment,
        _ => Kind::Data,
    };
    let flags = &stream.disposition;
    Found {
        index: stream.index,
        id: stream.id.as_deref().and_then(hexadecimal),
        kind,
        codec: stream.codec_name.clone(),
        size: (stream.width, stream.height),
        timebase: timebase(&stream.time_base),
        duration: seconds(&stream.duration),
        language: stream
            .tags
            .language
            .clone()
            .filter(|text| is_language(text)),
        default: flags.default != 0,
        still: flags.attached_pic + flags.still_image + flags.timed_thumbnails > 0,
        encrypted: is_encrypted(stream, format),
        picture: (kind == Kind::Video).then(|| video(stream)).flatten(),
        sound: (kind == Kind::Audio).then(|| audio(stream)).flatten(),
        unkept: unkept(stream),
        needs_dolby_vision: needs_dolby_vision(stream),
    }
}

/// Whether the container says that a stream is encrypted. ffmpeg 5.1 gives an encrypted track of an
/// MP4 the tag of its codec, and tells of the encryption by side data only.
fn is_encrypted(stream: &Stream, format: &str) -> bool {
    // Common Encryption, FairPlay, Audible.
    const TAGS: [&str; 5] = ["encv", "enca", "drmi", "drms", "aavd"];
    // SAMPLE-AES in a transport stream, by the type in its programme map: AAC, H.264, AC-3, E-AC-3.
    const STREAM_TYPES: [&str; 4] = ["0x00cf", "0x00db", "0x00c1", "0x00c2"];
    let side_data = stream.side_data_list.iter();
    TAGS.contains(&stream.codec_tag_string.as_str())
        || format == "mpegts" && STREAM_TYPES.contains(&stream.codec_tag.as_str())
        || stream.tags.enc_key_id.is_some()
        || side_data
            .flat_map(|data| &data.side_data_type)
            .any(|kind| kind == "Encryption initialization data")
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

fn video(stream: &Stream) -> Option<VideoStream> {
    let pixel_format = stream
        .pix_fmt
        .clone()
        .filter(|format| format != "unknown")?;
    if stream.width == 0 || stream.height == 0 {
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
    if stream.channels == 0 {
        return None;
    }
    let named = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    Some(AudioStream {
        index: stream.index,
        codec: stream.codec_name.clone()?,
        sample_rate,
        channels: stream.channels,
        layout: named(&stream.channel_layout).filter(|layout| layout != "unknown"),
        language: named(&stream.tags.language).filter(|text| is_language(text)),
        title: named(&stream.tags.title),
        default: stream.disposition.default != 0,
    })
}

/// A chapter list holds this many; a film has some thirty.
const MOST_CHAPTERS: usize = 1000;

/// The chapters in order of time, each ending before the next begins.
fn chapters(reported: &[ReportedChapter], notes: &mut Vec<String>) -> Vec<Chapter> {
    let mut chapters: Vec<Chapter> = reported
        .iter()
        .filter_map(|chapter| {
            let start_us = us(&chapter.start_time)?;
            Some(Chapter {
                start_us,
                end_us: us(&chapter.end_time).unwrap_or(start_us).max(start_us),
                title: words(&chapter.tags.title).unwrap_or_default(),
            })
        })
        .collect();
    if chapters.len() < reported.len() {
        notes.push("chapters whose times cannot be read are left out".to_owned());
    }
    if chapters.len() > MOST_CHAPTERS {
        notes.push(format!(
            "chapters after the first {MOST_CHAPTERS} are left out"
        ));
    }
    chapters.sort_by_key(|chapter| chapter.start_us);
    chapters.truncate(MOST_CHAPTERS);
    let starts: Vec<i64> = chapters.iter().skip(1).map(|next| next.start_us).collect();
    for (chapter, next) in chapters.iter_mut().zip(starts) {
        chapter.end_us = chapter.end_us.min(next);
    }
    chapters
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
