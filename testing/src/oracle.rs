//! What plain ffmpeg sees in a file: the truth that outputs are held against.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};
use reelmill_common::Timebase;
use serde_json::Value;

use crate::ffmpeg::Ffmpeg;
use crate::run::Command;
use crate::sound::{Clock, Track};

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Presentation time in ticks; `None` when ffmpeg could not tell one.
    pub pts: Option<i64>,
    /// Digest of its samples.
    pub hash: String,
}

/// A decoded picture track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The unit of every PTS.
    pub timebase: Timebase,
    /// Width and height as displayed, after rotation, before the sample aspect ratio.
    pub size: (u32, u32),
    /// The frames in order of output.
    pub frames: Vec<Frame>,
}

impl Picture {
    /// Presentation time of the first frame in nanoseconds.
    #[must_use]
    pub fn start_ns(&self) -> Option<i64> {
        Some(self.nanos(self.frames.first()?.pts?))
    }

    fn nanos(&self, pts: i64) -> i64 {
        Timebase::new(1, 1_000_000_000).map_or(0, |nanos| self.timebase.rescale_nearest(pts, nanos))
    }

    fn hashes(&self) -> impl Iterator<Item = &str> {
        self.frames.iter().map(|frame| frame.hash.as_str())
    }

    /// Presentation times, counted from the first.
    fn counted(&self) -> impl Iterator<Item = Option<i64>> {
        let first = self.frames.first().and_then(|frame| frame.pts);
        self.frames
            .iter()
            .map(move |frame| Some(frame.pts? - first?))
    }
}

/// How a picture is to be decoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// Converted to this pixel format; `None` leaves the decoder's own.
    pub format: Option<&'a str>,
    /// Scaled to this size; `None` leaves the decoder's own.
    pub size: Option<(u32, u32)>,
    /// Whether frames of other shapes are padded to that size instead of stretched.
    pub padded: bool,
    /// Whether RGB is converted to YUV, by the matrix that reelmill states for its size.
    pub rgb: bool,
    /// Decoder threads; `None` leaves it to ffmpeg.
    pub threads: Option<u32>,
    /// Keeps the source's clock instead of beginning at zero.
    pub own_clock: bool,
}

/// A source as plain ffmpeg sees it.
#[derive(Clone, Debug)]
pub struct Plain {
    /// The picture of `-map 0:V:0`, in the decoder's own pixel format.
    pub picture: Option<Picture>,
    /// The same by one thread, where that gives other frames: a damaged source.
    pub alone: Option<Picture>,
    /// The same by one thread on the source's own clock.
    pub own: Option<Picture>,
    /// Every audio track that ffmpeg can encode; its times count from the first frame of `own`.
    pub sound: Vec<Track>,
}

impl How<'_> {
    fn filters(self) -> Vec<String> {
        let size = self.size;
        size.map(|(width, height)| {
            if self.padded {
                format!(
                    "scale={width}:{height}:flags=bicubic:force_original_aspect_ratio=decrease:\
                     force_divisible_by=2,pad={width}:{height}:(ow-iw)/2:(oh-ih)/2"
                )
            } else {
                format!("scale={width}:{height}:flags=bicubic")
            }
        })
        .into_iter()
        .collect()
    }

    /// By one thread.
    pub const ALONE: Self = Self {
        format: None,
        size: None,
        padded: false,
        rgb: false,
        threads: Some(1),
        own_clock: false,
    };
    /// By one thread on the source's own clock.
    pub const OWN: Self = Self {
        own_clock: true,
        ..Self::ALONE
    };
}

impl Plain {
    /// Asks plain ffmpeg what is in `source`.
    ///
    /// # Errors
    /// When a tool cannot be run; a source that cannot be decoded has neither picture nor sound.
    pub fn of(ffmpeg: &Ffmpeg, source: &Path) -> Result<Self> {
        let mut plain = Self {
            picture: None,
            alone: None,
            own: None,
            sound: Vec::new(),
        };
        plain.picture = decode(ffmpeg, source, How::default())?;
        if let Some(picture) = &plain.picture {
            plain.own = decode(ffmpeg, source, How::OWN)?;
            if plain
                .own
                .as_ref()
                .is_none_or(|own| !own.hashes().eq(picture.hashes()))
            {
                plain.alone = decode(ffmpeg, source, How::ALONE)?;
            }
        }
        let clock = if plain.is_mended() {
            Clock::Mended
        } else {
            Clock::Own
        };
        for k in 0..streams(ffmpeg, source, "a")?.len() {
            let track = Track::of_source(ffmpeg, source, k, clock)?;
            plain.sound.extend(track);
        }
        // Times count from the first frame; without picture, from the first track.
        let first_frame = plain.own.as_ref().and_then(Picture::start_ns);
        let first_track = plain.sound.first().and_then(|track| track.times.start_ns());
        if let (Clock::Own, Some(origin)) = (clock, first_frame.or(first_track)) {
            for track in &mut plain.sound {
                track.times.shift(-origin);
            }
        }
        Ok(plain)
    }

    /// Whether ffmpeg, left to itself, takes other times than the source states: it closes holes
    /// where a format allows clocks to jump.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        let by_itself = self.alone.as_ref().or(self.picture.as_ref());
        match (by_itself, &self.own) {
            (Some(by_itself), Some(own)) => !by_itself.counted().eq(own.counted()),
            _ => false,
        }
    }

    /// The decode to compare with, and how it was made: the ordinary one, unless plain ffmpeg
    /// gives another number of frames by one thread and `ours` has that number.
    #[must_use]
    pub fn like(&self, ours: &Picture) -> Option<(&Picture, How<'static>)> {
        let decodes = [(&self.picture, How::default()), (&self.alone, How::ALONE)];
        let found = decodes
            .into_iter()
            .filter_map(|(picture, how)| Some((picture.as_ref()?, how)));
        let same_count = |(p, _): &(&Picture, _)| p.frames.len() == ours.frames.len();
        found
            .clone()
            .find(same_count)
            .or_else(|| found.clone().next())
    }

    /// For each frame of one decode whether the other decode has the same.
    #[must_use]
    pub fn repeatable(&self, chosen: &Picture) -> Vec<bool> {
        let other = match (&self.picture, &self.alone) {
            (Some(picture), Some(_)) if picture != chosen => picture,
            (_, Some(alone)) => alone,
            _ => return vec![true; chosen.frames.len()],
        };
        if other.frames.len() == chosen.frames.len() {
            return other
                .hashes()
                .zip(chosen.hashes())
                .map(|(a, b)| a == b)
                .collect();
        }
        let hashes: BTreeSet<&str> = other.hashes().collect();
        chosen.hashes().map(|hash| hashes.contains(hash)).collect()
    }

    /// By how many nanoseconds the first frame of one decode is later than that of the decode by
    /// one thread, from which sound is timed. They differ where one gives frames that the other
    /// does not; a frame that both have tells by how much.
    #[must_use]
    pub fn late_by_ns(&self, chosen: &Picture) -> i64 {
        let Some(alone) = &self.alone else { return 0 };
        let since_first = |picture: &Picture, hash: &str| {
            let frame = picture.frames.iter().find(|frame| frame.hash == hash)?;
            Some(picture.nanos(frame.pts?) - picture.start_ns()?)
        };
        let later = |hash| Some(since_first(alone, hash)? - since_first(chosen, hash)?);
        chosen.hashes().find_map(later).unwrap_or(0)
    }

    /// Seconds from the first frame to the last, or of the longest audio track.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let picture = self.picture.as_ref().and_then(|picture| {
            let times = || picture.frames.iter().filter_map(|frame| frame.pts);
            Some(picture.timebase.seconds(times().max()? - times().min()?))
        });
        picture.unwrap_or_else(|| self.sound.iter().map(Track::seconds).fold(0.0, f64::max))
    }
}

/// Decodes the picture of a file, or says that there is none.
///
/// # Errors
/// When ffmpeg cannot be run or prints what no ffmpeg prints.
pub fn decode(ffmpeg: &Ffmpeg, file: &Path, how: How<'_>) -> Result<Option<Picture>> {
    let mut command = ffmpeg.command();
    if how.own_clock {
        command = command.arg("-copyts");
    }
    if let Some(threads) = how.threads {
        command = command.arg("-threads").arg(threads.to_string());
    }
    command = input(command, file).words("-map 0:V:0 -fps_mode passthrough -enc_time_base");
    command = command.arg(ffmpeg.source_timebase);
    let mut filters = how.filters();
    if how.rgb {
        let tall = streams(ffmpeg, file, "V:0")?
            .first()
            .and_then(|stream| stream["height"].as_u64())
            .is_some_and(|height| height >= 720);
        let matrix = if tall { "bt709" } else { "smpte170m" };
        filters.push(format!("scale=out_color_matrix={matrix}:out_range=tv"));
    }
    if !filters.is_empty() {
        command = command.arg("-vf").arg(filters.join(","));
    }
    if let Some(format) = how.format {
        command = command.args(["-pix_fmt", format]);
    }
    // The exit code says little: damaged sources have frames and an error both.
    let command = command.words("-f framehash -hash md5 -");
    let done = command.run()?;
    parse(&String::from_utf8_lossy(&done.stdout)).with_context(|| command.text())
}

/// Reads what the `framehash` muxer wrote about one picture track.
fn parse(text: &str) -> Result<Option<Picture>> {
    let (mut timebase, mut size, mut frames) = (None, None, Vec::new());
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("#tb 0: ") {
            timebase = Some(parse_timebase(value)?);
        } else if let Some(value) = line.strip_prefix("#dimensions 0: ") {
            let (width, height) = value.split_once('x').context("no dimensions")?;
            size = Some((width.parse()?, height.parse()?));
        } else if !line.starts_with('#') {
            let columns: Vec<_> = line.split(',').map(str::trim).collect();
            let [_, _, pts, _, _, hash] = columns.as_slice() else {
                bail!("`{line}` is no line of a framehash");
            };
            frames.push(Frame {
                pts: pts.parse().ok(),
                hash: (*hash).to_owned(),
            });
        }
    }
    Ok(match (timebase, size) {
        (Some(timebase), Some(size)) if !frames.is_empty() => Some(Picture {
            timebase,
            size,
            frames,
        }),
        _ => None,
    })
}

/// Reads `1/25`.
///
/// # Errors
/// When the text is not a positive fraction.
pub fn parse_timebase(text: &str) -> Result<Timebase> {
    let (num, den) = text.trim().split_once('/').context("no timebase")?;
    Ok(Timebase::new(num.parse()?, den.parse()?)?)
}

/// The size of the largest frame where frames differ in size, before any rotation.
///
/// # Errors
/// When ffprobe cannot be run.
pub fn largest_of_several(ffmpeg: &Ffmpeg, file: &Path) -> Result<Option<(u32, u32)>> {
    let command = ffmpeg.probe().words("-select_streams V:0 -show_frames");
    let command = command.words("-show_entries frame=width,height");
    let answer: Value =
        serde_json::from_slice(&input(command, file).run()?.stdout).unwrap_or_default();
    let side = |frame: &Value, key: &str| frame[key].as_u64().and_then(|n| u32::try_from(n).ok());
    let frames = answer["frames"].as_array().map_or(&[][..], Vec::as_slice);
    let sizes: BTreeSet<(u32, u32)> = frames
        .iter()
        .filter_map(|frame| Some((side(frame, "width")?, side(frame, "height")?)))
        .collect();
    let area = |size: &(u32, u32)| u64::from(size.0) * u64::from(size.1);
    Ok(match sizes.len() {
        0 | 1 => None,
        _ => sizes.into_iter().max_by_key(area),
    })
}

/// The pixel format in which this ffmpeg decodes the first frame of a file's picture.
///
/// Asked of ffmpeg itself, because the ffprobe at hand may be of another version.
///
/// # Errors
/// When ffmpeg shows no frame.
pub fn pixel_format(ffmpeg: &Ffmpeg, file: &Path) -> Result<String> {
    let command = Command::new(&ffmpeg.path).words("-nostdin -hide_banner");
    let command = input(command, file).words("-map 0:V:0 -frames:v 1 -vf showinfo -f null -");
    let done = command.run()?;
    let shown = done.stderr.lines().find_map(|line| {
        let (_, rest) = line.split_once(" fmt:")?;
        rest.split_whitespace().next()
    });
    Ok(shown
        .with_context(|| format!("no frame: {}", done.last_words()))?
        .to_owned())
}

/// The streams of a kind (`a`, `V:0`) as ffprobe describes them.
///
/// # Errors
/// When ffprobe cannot be run; a file that it cannot read has no streams.
pub fn streams(ffmpeg: &Ffmpeg, file: &Path, kind: &str) -> Result<Vec<Value>> {
    let command = ffmpeg
        .probe()
        .args(["-select_streams", kind, "-show_streams"]);
    let command = input(command, file);
    let mut answer: Value = serde_json::from_slice(&command.run()?.stdout).unwrap_or_default();
    Ok(match answer["streams"].take() {
        Value::Array(streams) => streams,
        _ => Vec::new(),
    })
}

/// Adds the file as input; the protocol is spelt out, so that no name is taken for one.
#[must_use]
pub fn input(command: Command, file: &Path) -> Command {
    let mut url = std::ffi::OsString::from("file:");
    url.push(file);
    command.arg("-i").arg(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framehash_is_read() {
        let text = "#format: frame checksums\n#version: 2\n#hash: MD5\n#tb 0: 1/12800\n\
                    #media_type 0: video\n#codec_id 0: rawvideo\n#dimensions 0: 192x144\n\
                    #sar 0: 4/3\n0,          0,          0,      512,    41472, aa\n\
                    0,        512, NOPTS,      512,    41472, bb\n";
        let picture = parse(text).unwrap().unwrap();
        assert_eq!(picture.timebase, Timebase::new(1, 12_800).unwrap());
        assert_eq!(picture.size, (192, 144));
        assert_eq!(
            picture.frames[0],
            Frame {
                pts: Some(0),
                hash: "aa".into()
            }
        );
        assert_eq!(
            picture.frames[1],
            Frame {
                pts: None,
                hash: "bb".into()
            }
        );
        assert_eq!(parse("#format: frame checksums\n").unwrap(), None);
        assert!(parse("0, 1\n").is_err());
    }
}
