//! What plain ffmpeg hears in an audio track.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reelmill_common::Timebase;
use serde_json::Value;

use crate::ffmpeg::Ffmpeg;
use crate::oracle::{input, parse_timebase, streams};

/// One audio track, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// Its place among the audio tracks of its file.
    pub number: usize,
    /// Digest of all samples as 32-bit integers.
    pub hash: String,
    /// Samples per channel.
    pub samples: i64,
    /// When which sample is heard.
    pub times: Times,
    /// Samples per second.
    pub rate: i64,
    /// Number of channels.
    pub channels: i64,
    /// Language tag, where there is one.
    pub language: Option<String>,
    /// Whether players choose it unasked.
    pub default: bool,
}

/// When which sample is heard: for each decoded block the number of its first sample and its time
/// in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    blocks: Vec<(i64, i64)>,
}

/// Sound without a hole or an overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The number of its first sample.
    pub first: i64,
    /// How many there are.
    pub samples: i64,
    /// When the first is heard, in nanoseconds.
    pub ns: i64,
}

/// By how much a block may be out of its place and still follow the one before it, in nanoseconds.
const CONTINUOUS_NS: i64 = 15_000_000;

/// The clock by which a source's sound is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The source's own, read by `-copyts`.
    Own,
    /// As ffmpeg mends it, counted from the first frame of the picture.
    Mended,
}

/// Decoded samples and their times.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Digest of all samples as 32-bit integers.
    pub hash: String,
    /// Samples per channel.
    pub samples: i64,
    /// When which sample is heard.
    pub times: Times,
}

impl Times {
    /// When the first sample is heard.
    #[must_use]
    pub fn start_ns(&self) -> Option<i64> {
        self.blocks.first().map(|(_, ns)| *ns)
    }

    /// Moves all times by so many nanoseconds.
    pub fn shift(&mut self, by_ns: i64) {
        for (_, ns) in &mut self.blocks {
            *ns += by_ns;
        }
    }

    /// When a sample is heard.
    fn at(&self, sample: i64, rate: i64) -> Option<i64> {
        let after = self.blocks.partition_point(|(first, _)| *first <= sample);
        let (first, ns) = self.blocks.get(after.checked_sub(1)?)?;
        Some(ns + (sample - first) * 1_000_000_000 / rate.max(1))
    }

    /// The runs of sound between holes and overlaps, in order. `samples` is how many there are in all.
    #[must_use]
    pub fn runs(&self, rate: i64, samples: i64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for &(first, ns) in &self.blocks {
            let follows = runs.last().is_some_and(|run| {
                let due = run.ns + (first - run.first) * 1_000_000_000 / rate.max(1);
                (ns - due).abs() <= CONTINUOUS_NS
            });
            if !follows {
                runs.push(Run {
                    first,
                    samples: 0,
                    ns,
                });
            }
        }
        let ends: Vec<i64> = runs.iter().skip(1).map(|run| run.first).collect();
        for (run, end) in runs.iter_mut().zip(ends.into_iter().chain([samples])) {
            run.samples = end - run.first;
        }
        runs
    }

    /// By how many nanoseconds these times are later than `truth`, at the start of each block of
    /// these: blocks are cut otherwise on the other side, so samples are what to go by.
    #[must_use]
    pub fn moved_from(&self, truth: &Self, rate: i64) -> Vec<i64> {
        self.blocks
            .iter()
            .filter_map(|(sample, ns)| Some(ns - truth.at(*sample, rate)?))
            .collect()
    }
}

impl Track {
    /// A source's track as one plain encode into FLAC gives it back; its times are those of the
    /// source. `None` when plain ffmpeg cannot encode it.
    ///
    /// # Errors
    /// When a tool cannot be run.
    pub fn of_source(
        ffmpeg: &Ffmpeg,
        source: &Path,
        number: usize,
        clock: Clock,
    ) -> Result<Option<Self>> {
        let work = tempfile::tempdir()?;
        let encoded = plain_flac(ffmpeg, source, number, work.path())?;
        let timed = match clock {
            Clock::Own => hear(ffmpeg, source, number)?.map(|heard| heard.times),
            Clock::Mended => mended_times(ffmpeg, source, number)?,
        };
        let (Some(given), Some(times)) = (hear(ffmpeg, &encoded, 0)?, timed) else {
            return Ok(None);
        };
        let heard = Heard { times, ..given };
        Ok(Some(Self::new(heard, ffmpeg, source, number)?))
    }

    /// The samples that a plain encode into MP4 gives back, and when, if the track begins `start_ns`
    /// after its file.
    ///
    /// Some versions drop the end of what their own muxer wrote, as much as a track begins later
    /// than its file: an output that they read in the same way lacks nothing.
    ///
    /// # Errors
    /// When a tool cannot be run.
    pub fn in_plain_mp4(
        ffmpeg: &Ffmpeg,
        source: &Path,
        number: usize,
        start_ns: i64,
    ) -> Result<Option<Heard>> {
        let work = tempfile::tempdir()?;
        let encoded = work.path().join("track.mp4");
        input(ffmpeg.command(), source)
            .args([
                "-map",
                &format!("0:a:{number}"),
                "-af",
                "asetpts=PTS-STARTPTS",
            ])
            .args(["-output_ts_offset", &format!("{}us", start_ns / 1000)])
            .words("-movie_timescale 48000")
            // FLAC in MP4 counts as an experiment in old versions, more than 24 bits in new ones.
            .words("-c:a flac -strict experimental -bits_per_raw_sample:a 24")
            .arg(&encoded)
            .run()?;
        hear(ffmpeg, &encoded, 0)
    }

    /// A delivered track as it is decoded, timed by its file's own clock.
    ///
    /// # Errors
    /// When a tool cannot be run or there is no such track.
    pub fn of_output(ffmpeg: &Ffmpeg, output: &Path, number: usize) -> Result<Self> {
        let heard = hear(ffmpeg, output, number)?.context("no audio could be decoded")?;
        Self::new(heard, ffmpeg, output, number)
    }

    fn new(heard: Heard, ffmpeg: &Ffmpeg, file: &Path, number: usize) -> Result<Self> {
        let tracks = streams(ffmpeg, file, "a")?;
        let stream = tracks.get(number).context("no such audio track")?;
        let integer = |value: &Value| {
            value
                .as_i64()
                .or_else(|| value.as_str()?.parse().ok())
                .unwrap_or_default()
        };
        let Heard {
            hash,
            samples,
            times,
        } = heard;
        Ok(Self {
            number,
            hash,
            samples,
            times,
            rate: integer(&stream["sample_rate"]),
            channels: integer(&stream["channels"]),
            language: stream["tags"]["language"].as_str().map(str::to_owned),
            default: stream["disposition"]["default"] == 1,
        })
    }

    /// Seconds of sound.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "for people and for choosing a window"
    )]
    pub fn seconds(&self) -> f64 {
        self.samples as f64 / self.rate.max(1) as f64
    }
}

/// A source's track as one plain encode: into bare FLAC, since an MP4's edit list could hide samples that
/// the encoder was given.
///
/// # Errors
/// When ffmpeg cannot be run.
pub(crate) fn plain_flac(
    ffmpeg: &Ffmpeg,
    source: &Path,
    number: usize,
    work: &Path,
) -> Result<PathBuf> {
    let encoded = work.join("track.flac");
    input(ffmpeg.command(), source)
        .args(["-map", &format!("0:a:{number}"), "-c:a", "flac"])
        .arg(&encoded)
        .run()?;
    Ok(encoded)
}

/// Decodes a track on its file's own clock; `None` when nothing comes out.
fn hear(ffmpeg: &Ffmpeg, file: &Path, number: usize) -> Result<Option<Heard>> {
    let work = tempfile::tempdir()?;
    let times = work.path().join("times");
    let map = format!("0:a:{number}");
    // Both outputs come from one decode.
    let done = input(ffmpeg.command().arg("-copyts"), file)
        .args(["-map", &map])
        .words("-c:a pcm_s32le -f framecrc")
        .arg(&times)
        .args(["-map", &map])
        .words("-c:a pcm_s32le -f md5 -")
        .run()?;
    let hash = String::from_utf8_lossy(&done.stdout).trim().to_owned();
    let listed = std::fs::read_to_string(&times).unwrap_or_default();
    let (times, samples) = parse(&listed, 0)?;
    Ok(times.start_ns().is_some().then_some(Heard {
        hash,
        samples,
        times,
    }))
}

/// The times of a track after ffmpeg mended the clock, counted from the first frame.
///
/// Picture and sound in one run: what ffmpeg mends depends on the streams it reads.
fn mended_times(ffmpeg: &Ffmpeg, file: &Path, number: usize) -> Result<Option<Times>> {
    let done = input(ffmpeg.command(), file)
        .args(["-map", "0:V:0", "-map", &format!("0:a:{number}")])
        .args([
            "-fps_mode",
            "passthrough",
            "-enc_time_base:v",
            ffmpeg.source_timebase,
        ])
        .words("-c:a pcm_s32le -f framecrc -")
        .run()?;
    let listed = String::from_utf8_lossy(&done.stdout);
    let (picture, _) = parse(&listed, 0)?;
    let (mut times, _) = parse(&listed, 1)?;
    times.shift(-picture.start_ns().unwrap_or(0));
    Ok(times.start_ns().is_some().then_some(times))
}

/// Reads what the `framecrc` muxer wrote about one stream: times and the sum of durations.
fn parse(listed: &str, stream: usize) -> Result<(Times, i64)> {
    let nanos = Timebase::new(1, 1_000_000_000)?;
    let (head, body) = (format!("#tb {stream}: "), format!("{stream},"));
    let (mut timebase, mut times, mut samples) = (Timebase::MICROS, Times::default(), 0);
    for line in listed.lines() {
        if let Some(value) = line.strip_prefix(&head) {
            timebase = parse_timebase(value)?;
        } else if line.starts_with(&body) {
            let mut columns = line.split(',').map(str::trim).skip(2);
            let pts: i64 = columns.next().context("no PTS")?.parse()?;
            let duration: i64 = columns.next().context("no duration")?.parse()?;
            times
                .blocks
                .push((samples, timebase.rescale_nearest(pts, nanos)));
            samples += duration;
        }
    }
    Ok((times, samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_samples_are_read() {
        let text = "#tb 0: 1/25\n#tb 1: 1/48000\n#media_type 1: audio\n0, 0, 0, 1, 9, 0x1\n\
                    1, -48000, -48000, 1024, 8192, 0x1\n1, 0, 0, 976, 7808, 0x2\n";
        let (times, samples) = parse(text, 1).unwrap();
        assert_eq!(samples, 2000);
        assert_eq!(times.blocks, [(0, -1_000_000_000), (1024, 0)]);
        assert_eq!(parse("#tb 0: 1/48000\n", 0).unwrap().0.start_ns(), None);
    }

    #[test]
    fn times_compare_by_sample_whatever_the_blocks() {
        let truth = Times {
            blocks: vec![(0, 0), (48_000, 3_000_000_000)],
        };
        let same = Times {
            blocks: vec![(0, 0), (24_000, 500_000_000), (72_000, 3_500_000_000)],
        };
        assert_eq!(same.moved_from(&truth, 48_000), [0, 0, 0]);
        let closed = Times {
            blocks: vec![(0, 0), (72_000, 1_500_000_000)],
        };
        assert_eq!(closed.moved_from(&truth, 48_000), [0, -2_000_000_000]);
    }
}
