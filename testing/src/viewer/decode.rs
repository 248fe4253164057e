//! What one run of ffmpeg makes of a file: the time of every frame, and every track on that clock.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reelmill_common::Timebase;
use serde_json::Value;

use super::sound::{Heard, RATE};
use crate::ffmpeg::Ffmpeg;
use crate::oracle::{input, parse_timebase};

/// A file as a player reads it.
#[derive(Debug)]
pub struct Decoded {
    /// The picture that a player shows.
    pub picture: Option<Stream>,
    /// The time of each frame in nanoseconds after the first; `None` where ffmpeg knows none.
    pub times_ns: Vec<Option<i64>>,
    /// The tracks that can be decoded, on the clock of the first frame.
    pub tracks: Vec<(Stream, Heard)>,
    /// Every stream, as ffprobe describes it.
    pub streams: Vec<Stream>,
    /// Whether decoders complained.
    pub damaged: bool,
}

/// A stream as ffprobe describes it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its index in the file.
    pub index: usize,
    /// What ffprobe says.
    pub probed: Value,
}

impl Stream {
    /// A value as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.probed[key].as_str()
    }

    /// A number, also where ffprobe writes it as text.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        let value = &self.probed[key];
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    /// `video`, `audio` and so on.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("codec_type").unwrap_or("")
    }

    /// Whether it is a cover or a thumbnail.
    #[must_use]
    pub fn is_still(&self) -> bool {
        let is = |name: &str| self.probed["disposition"][name] == 1;
        is("attached_pic") || is("timed_thumbnails") || is("still_image")
    }

    /// Its sample aspect ratio; square where nothing is said.
    #[must_use]
    pub fn sar(&self) -> f64 {
        let parts = self
            .text("sample_aspect_ratio")
            .and_then(|text| text.split_once(':'))
            .and_then(|(x, y)| Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?)));
        parts
            .filter(|(x, y)| *x > 0.0 && *y > 0.0)
            .map_or(1.0, |(x, y)| x / y)
    }

    /// Degrees by which a player turns it.
    #[must_use]
    pub fn rotation(&self) -> i64 {
        let list = self.probed["side_data_list"].as_array();
        list.and_then(|list| list.iter().find_map(|data| data["rotation"].as_i64()))
            .unwrap_or(0)
    }

    /// Width and height of what is shown, in square pixels.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sizes of pictures")]
    pub fn displayed(&self) -> (f64, f64) {
        let size = |key| self.number(key).unwrap_or(0) as f64;
        let (width, height) = (size("width") * self.sar(), size("height"));
        match self.rotation().rem_euclid(180) {
            90 => (height, width),
            _ => (width, height),
        }
    }
}

/// Describes every stream of a file, with the number of its packets.
///
/// # Errors
/// When ffprobe cannot be run; a file that it cannot read has no streams.
pub fn streams(ffmpeg: &Ffmpeg, file: &Path) -> Result<Vec<Stream>> {
    let command = ffmpeg.probe().words("-count_packets -show_streams");
    let answer: Value =
        serde_json::from_slice(&input(command, file).run()?.stdout).unwrap_or_default();
    let list = answer["streams"].as_array().cloned().unwrap_or_default();
    let stream = |probed: Value| {
        let index = usize::try_from(probed["index"].as_u64()?).ok()?;
        Some(Stream { index, probed })
    };
    Ok(list.into_iter().filter_map(stream).collect())
}

/// The picture that a player shows: the first that is no still, unless it carries next to nothing
/// of what another one carries.
#[must_use]
pub fn main_picture(streams: &[Stream]) -> Option<&Stream> {
    let packets = |stream: &Stream| stream.number("nb_read_packets").unwrap_or(0);
    let pictures = || {
        streams
            .iter()
            .filter(|s| s.kind() == "video" && !s.is_still())
    };
    let most = pictures().map(packets).max().unwrap_or(0);
    pictures().find(|stream| packets(stream) > 0 && packets(stream) * 10 >= most)
}

impl Decoded {
    /// Decodes a file in one run, so that picture and sound stay on one clock.
    ///
    /// # Errors
    /// When a tool cannot be run or prints what it never prints.
    pub fn of(ffmpeg: &Ffmpeg, file: &Path, alone: bool) -> Result<Self> {
        let streams = streams(ffmpeg, file)?;
        let picture = main_picture(&streams).cloned();
        let sounds: Vec<Stream> = streams
            .iter()
            .filter(|s| s.kind() == "audio" && s.number("channels").unwrap_or(0) > 0)
            .cloned()
            .collect();
        let work = tempfile::tempdir()?;
        let (listing, complaints) =
            run(ffmpeg, file, alone, picture.as_ref(), &sounds, work.path())?;
        let mut outputs = 0;
        let mut times_ns = Vec::new();
        let mut origin_ns = None;
        if picture.is_some() {
            let (timebase, lines) = parse(&listing, outputs)?;
            let nanos = Timebase::new(1, 1_000_000_000)?;
            let times: Vec<Option<i64>> = lines
                .iter()
                .map(|line| Some(timebase.rescale_nearest(line.pts?, nanos)))
                .collect();
            origin_ns = times.first().copied().flatten();
            times_ns = times.iter().map(|t| Some((*t)? - origin_ns?)).collect();
            outputs += 1;
        }
        let mut tracks = Vec::new();
        let rate = Timebase::new(1, RATE as u32)?;
        for (k, stream) in sounds.into_iter().enumerate() {
            let (timebase, lines) = parse(&listing, outputs + k)?;
            let bytes = std::fs::read(raw(work.path(), k)).unwrap_or_default();
            let samples: i64 = lines.iter().map(|line| line.duration).sum();
            let samples = usize::try_from(samples).unwrap_or(0);
            let floats: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            let Some(channels) = floats.len().checked_div(samples).filter(|n| *n > 0) else {
                continue;
            };
            let blocks: Vec<(i64, usize)> = lines
                .iter()
                .filter_map(|line| {
                    let length = usize::try_from(line.duration).ok()?;
                    Some((timebase.rescale_nearest(line.pts?, rate), length))
                })
                .collect();
            let mut heard = Heard::place(&floats, channels, &blocks);
            // Without picture the first track is the clock.
            let own_ns = heard.start * 1_000_000_000 / RATE as i64;
            let origin_ns = *origin_ns.get_or_insert(own_ns);
            heard.start -= Timebase::new(1, 1_000_000_000)?.rescale_nearest(origin_ns, rate);
            tracks.push((stream, heard));
        }
        Ok(Self {
            picture: picture.filter(|_| !times_ns.is_empty()),
            times_ns,
            tracks,
            streams,
            damaged: !complaints.trim().is_empty(),
        })
    }
}

fn raw(work: &Path, track: usize) -> PathBuf {
    work.join(format!("{track}.raw"))
}

/// Runs ffmpeg: a listing of every frame and block, and the samples of every track.
fn run(
    ffmpeg: &Ffmpeg,
    file: &Path,
    alone: bool,
    picture: Option<&Stream>,
    sounds: &[Stream],
    work: &Path,
) -> Result<(String, String)> {
    if picture.is_none() && sounds.is_empty() {
        return Ok(Default::default());
    }
    let mut command = ffmpeg.command();
    if alone {
        command = command.words("-threads 1");
    }
    let mut command = input(command, file);
    let map = |stream: &Stream| format!("0:{}", stream.index);
    if let Some(picture) = picture {
        command = command
            .args(["-map", &map(picture)])
            .words("-c:v rawvideo -fps_mode passthrough -enc_time_base:v")
            .arg(ffmpeg.source_timebase);
    }
    for stream in sounds {
        command = command.args(["-map", &map(stream)]);
    }
    let rate = RATE.to_string();
    let listing = work.join("listing");
    command = command
        .args(["-c:a", "pcm_f32le", "-ar", &rate, "-f", "framecrc"])
        .arg(&listing);
    for (k, stream) in sounds.iter().enumerate() {
        command = command
            .args(["-map", &map(stream)])
            .args(["-c:a", "pcm_f32le", "-ar", &rate, "-f", "f32le"])
            .arg(raw(work, k));
    }
    // The exit code says little: damaged sources have frames and an error both.
    let done = command.run()?;
    let listing = std::fs::read_to_string(&listing)
        .with_context(|| format!("nothing is decoded: {}", done.last_words()))?;
    Ok((listing, done.stderr))
}

struct Line {
    pts: Option<i64>,
    duration: i64,
}

/// Reads what the `framecrc` muxer wrote of one stream.
fn parse(listing: &str, stream: usize) -> Result<(Timebase, Vec<Line>)> {
    let (head, body) = (format!("#tb {stream}: "), format!("{stream},"));
    let (mut timebase, mut lines) = (Timebase::MICROS, Vec::new());
    for line in listing.lines() {
        if let Some(value) = line.strip_prefix(&head) {
            timebase = parse_timebase(value)?;
        } else if line.starts_with(&body) {
            let mut columns = line.split(',').map(str::trim).skip(2);
            let pts = columns.next().context("no PTS")?.parse().ok();
            let duration = columns.next().context("no duration")?.parse()?;
            lines.push(Line { pts, duration });
        }
    }
    Ok((timebase, lines))
}
