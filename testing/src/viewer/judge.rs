//! Transcodes one source with one profile and compares everything that comes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use reelmill_common::profile::builtin;
use serde_json::Value;

use super::decode::{Decoded, Stream};
use super::frames::{Frames, Matrix, View};
use super::picture::{self, Floor, Seen};
use super::player::Player;
use super::sound::{self, RATE, Wrong};
use super::time::{self, Packets};
use super::{Topic, Verdict, limits};
use crate::ffmpeg::Ffmpeg;
use crate::run::Command;

/// No transcode may take longer.
const LIMIT: Duration = Duration::from_secs(1800);
/// Windows that a source is cut into where it is long enough.
const WINDOWS: f64 = 5.0;
/// How far the displayed aspect may move where sizes are made even.
const ASPECT_TOLERANCE: f64 = 0.015;
/// How far the last frame's duration may be from the source's, in seconds: a tick of a container
/// that counts milliseconds.
const LAST_S: f64 = 0.0021;

/// What judging needs.
#[derive(Debug)]
pub struct Judge {
    /// The program under test.
    pub reelmill: PathBuf,
    /// The ffmpeg that it is given, and that decodes sources and outputs.
    pub ffmpeg: Ffmpeg,
    /// Where pictures of the worst frames go.
    pub shots: PathBuf,
    /// The browser; without one nothing is played.
    pub player: Option<Player>,
}

/// A source and what plain ffmpeg decodes of it.
#[derive(Debug)]
pub struct Source {
    /// What the table calls it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub decoded: Decoded,
    /// The packets of its picture, where its end is its own: what a stream copy cuts off leaves
    /// frames out between the last ones.
    packets: Option<Packets>,
}

impl Source {
    /// Decodes a source; `is_cut` says that it is the head of another one.
    ///
    /// # Errors
    /// When a tool cannot be run.
    pub fn open(ffmpeg: &Ffmpeg, name: &str, path: &Path, is_cut: bool) -> Result<Self> {
        let decoded = Decoded::of(ffmpeg, path, true)?;
        let packets = decoded
            .picture
            .as_ref()
            .filter(|_| !is_cut)
            .map(|picture| Packets::of(ffmpeg, path, picture.index))
            .transpose()?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            decoded,
            packets,
        })
    }

    /// Seconds of picture, or of sound where there is none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for choosing a window")]
    pub fn seconds(&self) -> f64 {
        let picture = self.decoded.times_ns.iter().flatten().max();
        let sound = self.decoded.tracks.iter().map(|(_, heard)| heard.end());
        match picture {
            Some(ns) => *ns as f64 / 1e9,
            None => sound.max().unwrap_or(0) as f64 / RATE as f64,
        }
    }
}

/// The value of a key at the top of a built-in profile.
fn setting(profile: &str, key: &str) -> Option<String> {
    let text = builtin(profile)?.text;
    let line = text
        .lines()
        .find(|line| line.split('=').next().is_some_and(|k| k.trim() == key))?;
    Some(line.split_once('=')?.1.trim().trim_matches('"').to_owned())
}

/// A built-in profile with fragments of a second.
fn short_fragments(profile: &str) -> Result<String> {
    let text = builtin(profile)
        .with_context(|| format!("no built-in profile `{profile}`"))?
        .text;
    let shorten = |line: &str| match line.starts_with("fragment_seconds") {
        true => "fragment_seconds = 1\n".to_owned(),
        false => format!("{line}\n"),
    };
    Ok(text.lines().map(shorten).collect())
}

impl Judge {
    /// Transcodes a source with a built-in profile and compares all that comes out.
    ///
    /// # Errors
    /// When a tool cannot be run; deviations are no errors.
    pub fn judge(&mut self, source: &Source, profile: &str) -> Result<Verdict> {
        let mut verdict = Verdict {
            source: source.name.clone(),
            profile: profile.to_owned(),
            ..Verdict::default()
        };
        let work = tempfile::tempdir()?;
        let out = work.path().join("out");
        let done = self.transcode(source, profile, work.path(), &out)?;
        verdict.wall_s = done.wall.as_secs_f64();
        let answer = String::from_utf8_lossy(&done.stdout);
        let answer: Value =
            serde_json::from_str(answer.lines().last().unwrap_or("")).unwrap_or_default();
        let notes = answer["notes"].as_array().cloned().unwrap_or_default();
        verdict.notes = notes
            .iter()
            .filter_map(|note| Some(note.as_str()?.to_owned()))
            .collect();
        if done.code == Some(0) {
            self.outputs(source, &out, &mut verdict)?;
            unsaid(source, profile, &mut verdict);
        } else {
            let message = answer["message"].as_str().unwrap_or("").to_owned();
            let message = match message.is_empty() {
                true => done.last_words(),
                false => message,
            };
            verdict.find(Topic::Failed, "", message);
        }
        limits::explain(source, &mut verdict);
        Ok(verdict)
    }

    fn transcode(
        &self,
        source: &Source,
        profile: &str,
        work: &Path,
        out: &Path,
    ) -> Result<crate::run::Finished> {
        let window = (source.seconds() / WINDOWS).max(1.0);
        let mut command = Command::new(&self.reelmill)
            .arg("transcode")
            .arg(&source.path)
            .arg("-o")
            .arg(out);
        command = if window < 2.0 {
            let file = work.join(format!("{profile}.toml"));
            fs::write(&file, short_fragments(profile)?)?;
            command.arg("--profile").arg(file)
        } else {
            command.args(["--profile", profile])
        };
        command
            .args(["--window", &format!("{window:.3}"), "--slots", "2"])
            .args(["--quiet", "--json"])
            .env("REELMILL_FFMPEG", &self.ffmpeg.path)
            .limit(LIMIT)
            .run()
    }

    /// Compares every file of a finished folder with the source, and plays it.
    fn outputs(&mut self, source: &Source, out: &Path, verdict: &mut Verdict) -> Result<()> {
        let certificate: Value = serde_json::from_slice(
            &fs::read(out.join("certificate.json")).context("no certificate")?,
        )?;
        verdict.chunks = certificate["chunks"].as_array().map_or(0, Vec::len);
        let outputs = certificate["outputs"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let paths: Vec<&str> = outputs.iter().filter_map(|o| o["path"].as_str()).collect();
        let mut is_first = true;
        for path in &paths {
            if !path.ends_with(".mp4") {
                continue;
            }
            let is_file = path.starts_with("output_");
            let file = out.join(path);
            let decoded = Decoded::of(&self.ffmpeg, &file, false)?;
            verdict.outputs += 1;
            // The fragments of HLS hold the samples of the files: their tracks' durations count.
            if is_file {
                let seen = self.picture(source, &file, path, &decoded, verdict)?;
                if is_first {
                    tracks(source, path, &decoded, verdict);
                    sync(source, path, (&decoded, seen.as_ref()), verdict);
                    is_first = false;
                }
            }
            self.packets(&file, path, &decoded, verdict)?;
        }
        if is_first && !paths.iter().any(|path| path.ends_with(".mp4")) {
            verdict.find(Topic::Failed, "", "there is no output");
        }
        if let Some(player) = &mut self.player {
            player.play(out, &paths, verdict)?;
        }
        Ok(())
    }

    /// Compares frames, times, shape and colours of one file.
    fn picture(
        &self,
        source: &Source,
        file: &Path,
        path: &str,
        decoded: &Decoded,
        verdict: &mut Verdict,
    ) -> Result<Option<Seen>> {
        let Some(theirs) = &source.decoded.picture else {
            return Ok(None);
        };
        let Some(ours) = &decoded.picture else {
            if verdict.profile != "audio" {
                verdict.find(Topic::Picture, path, "there is no picture");
            }
            return Ok(None);
        };
        geometry(theirs, ours, path, verdict);
        for what in time::compare(&source.decoded.times_ns, &decoded.times_ns) {
            verdict.find(Topic::Time, path, what);
        }
        let right = source.packets.as_ref().and_then(Packets::last_s);
        let last = Packets::of_media(&self.ffmpeg, file, ours.index)?.last_s();
        if let (Some(right), Some(last)) = (right, last)
            && (right - last).abs() > LAST_S
        {
            let what = format!("the last frame lasts {last:.3} s, {right:.3} s in the source");
            verdict.find(Topic::Time, path, what);
        }
        let partners = time::partners(&source.decoded.times_ns, &decoded.times_ns);
        let (view, own) = views(theirs, ours, &verdict.profile);
        let mut truth = Frames::open(&self.ffmpeg, &source.path, &view)?;
        let mut mine = Frames::open(&self.ffmpeg, file, &own)?;
        let floor = floor(&verdict.profile, theirs, ours);
        let seen = picture::compare(
            || truth.next_frame(),
            || mine.next_frame(),
            &partners,
            floor,
        )?;
        self.report(&seen, path, verdict)?;
        Ok(Some(seen))
    }

    /// Turns what was seen into findings, and saves the worst frame of a flawed picture.
    fn report(&self, seen: &Seen, path: &str, verdict: &mut Verdict) -> Result<()> {
        verdict.frames += seen.frames;
        let least = verdict.least_psnr_db.unwrap_or(f64::INFINITY);
        verdict.least_psnr_db = Some(least.min(seen.least_psnr_db));
        let is_flawed = !seen.flaws.is_empty() || seen.colour.is_some();
        let mut shots = String::new();
        if let Some(worst) = seen.worst.as_ref().filter(|_| is_flawed) {
            fs::create_dir_all(&self.shots)?;
            let name = format!("{}-{}-{path}", verdict.source, verdict.profile);
            let name = name.replace(['/', ' '], "_");
            let place = |side: &str| {
                self.shots
                    .join(format!("{name}-{}-{side}.png", worst.frame))
            };
            worst.ours.save(&self.ffmpeg, &place("ours"))?;
            worst.truth.save(&self.ffmpeg, &place("source"))?;
            shots = format!("; see {}", place("ours").display());
        }
        if let Some(first) = seen.flaws.first() {
            let what = format!(
                "{} of {} frames are wrong, the first is {}: {}{shots}",
                seen.flaws.len(),
                seen.frames,
                first.frame,
                first.what
            );
            verdict.find(Topic::Picture, path, what);
        }
        if let Some(what) = &seen.colour {
            verdict.find(Topic::Colour, path, format!("{what}{shots}"));
        }
        Ok(())
    }

    /// Holds the packets of every track of a file to their durations.
    fn packets(
        &self,
        file: &Path,
        path: &str,
        decoded: &Decoded,
        verdict: &mut Verdict,
    ) -> Result<()> {
        for stream in &decoded.streams {
            let samples = match stream.text("codec_name") {
                Some("aac") => Some(1024),
                Some("opus") => Some(960),
                _ => None,
            };
            let kind = stream.kind();
            if kind != "audio" {
                continue;
            }
            for what in Packets::of(&self.ffmpeg, file, stream.index)?.judge(samples) {
                verdict.find(
                    Topic::Packets,
                    path,
                    format!("stream {}: {what}", stream.index),
                );
            }
        }
        Ok(())
    }
}

/// How both sides are looked at: at the output's size, each by its own matrix.
fn views(theirs: &Stream, ours: &Stream, profile: &str) -> (View, View) {
    let number = |stream: &Stream, key| {
        let value = stream.number(key).unwrap_or(0);
        u32::try_from(value).unwrap_or(0)
    };
    let matrix = |stream: &Stream| {
        Matrix::displayed(
            stream.text("color_space"),
            stream.text("pix_fmt").unwrap_or(""),
            number(stream, "height"),
        )
    };
    let own = View {
        stream: ours.index,
        matrix: matrix(ours),
        luma: matrix(ours),
        deinterlace: false,
        size: (number(ours, "width"), number(ours, "height")),
        sar: ours.sar(),
        alone: false,
    };
    let view = View {
        stream: theirs.index,
        matrix: matrix(theirs),
        deinterlace: setting(profile, "deinterlace").as_deref() == Some("true"),
        alone: true,
        ..own
    };
    (view, own)
}

/// What a profile promises of each frame.
fn floor(profile: &str, theirs: &Stream, ours: &Stream) -> Floor {
    let format = |stream: &Stream| {
        let format = stream.text("pix_fmt").unwrap_or("");
        format.replace("yuvj", "yuv")
    };
    let psnr_db = match profile {
        "lossless" if format(theirs) == format(ours) => 60.0,
        "lossless" => 40.0,
        _ => 26.0,
    };
    Floor { psnr_db }
}

/// Compares shape and rotation.
fn geometry(theirs: &Stream, ours: &Stream, path: &str, verdict: &mut Verdict) {
    let aspect = |stream: &Stream| {
        let (width, height) = stream.displayed();
        width / height.max(1.0)
    };
    let (right, got) = (aspect(theirs), aspect(ours));
    if (got / right - 1.0).abs() > ASPECT_TOLERANCE {
        let what = format!("it is shown {got:.3} times as wide as high, {right:.3} in the source");
        verdict.find(Topic::Geometry, path, what);
    }
    if ours.rotation() != 0 {
        let what = format!("players must turn it by {} degrees", ours.rotation());
        verdict.find(Topic::Geometry, path, what);
    }
}

/// Compares what is heard of every track.
fn tracks(source: &Source, path: &str, decoded: &Decoded, verdict: &mut Verdict) {
    let (right, got) = (source.decoded.tracks.len(), decoded.tracks.len());
    if right != got {
        let what = format!("{got} audio tracks for {right}");
        verdict.find(Topic::Tracks, path, what);
    }
    for (k, ((_, theirs), (stream, ours))) in source
        .decoded
        .tracks
        .iter()
        .zip(&decoded.tracks)
        .enumerate()
    {
        #[expect(clippy::cast_precision_loss, reason = "samples per second")]
        let rate = stream.number("sample_rate").unwrap_or(48_000).max(1) as f64;
        let codec_frame = match stream.text("codec_name") {
            Some("opus") => 0.02,
            Some("flac") => 4608.0 / rate,
            _ => 1024.0 / rate,
        };
        for wrong in sound::compare(theirs, ours, codec_frame) {
            let (topic, what) = match wrong {
                Wrong::Channels(what) => (Topic::Channels, what),
                Wrong::Level(what) | Wrong::Length(what) => (Topic::Sound, what),
            };
            verdict.find(topic, path, format!("audio {k}: {what}"));
        }
    }
}

/// Compares flashes with beeps, in sources that have them.
#[expect(clippy::cast_precision_loss, reason = "times for people")]
fn sync(
    source: &Source,
    path: &str,
    (decoded, seen): (&Decoded, Option<&Seen>),
    verdict: &mut Verdict,
) {
    let Some(seen) = seen else { return };
    let flashes = |luma: &[f64], times: &[Option<i64>]| -> Vec<f64> {
        time::flashes(luma)
            .iter()
            .filter_map(|frame| Some(times.get(*frame).copied().flatten()? as f64 / 1e6))
            .collect()
    };
    let beeps = |decoded: &Decoded| -> Vec<f64> {
        let track = decoded.tracks.first();
        track.map_or_else(Vec::new, |(_, heard)| {
            let ms = |at: &i64| *at as f64 * 1000.0 / RATE as f64;
            heard.beeps().iter().map(ms).collect()
        })
    };
    let theirs = flashes(&seen.source_luma, &source.decoded.times_ns);
    let ours = flashes(&seen.luma, &decoded.times_ns);
    let found = time::sync((&theirs, &beeps(&source.decoded)), (&ours, &beeps(decoded)));
    for what in found.unwrap_or_default() {
        verdict.find(Topic::Sync, path, what);
    }
}

/// Finds what is left out or damaged without a note.
fn unsaid(source: &Source, profile: &str, verdict: &mut Verdict) {
    let main = source.decoded.picture.as_ref().map(|picture| picture.index);
    let is_left_out = |stream: &&Stream| match stream.kind() {
        "audio" => false,
        "video" => Some(stream.index) != main && profile != "audio",
        _ => true,
    };
    let left: Vec<String> = source
        .decoded
        .streams
        .iter()
        .filter(is_left_out)
        .map(|stream| format!("{} stream {}", stream.kind(), stream.index))
        .collect();
    if verdict.notes.is_empty() && !left.is_empty() {
        let what = format!("no note says that {} is left out", left.join(", "));
        verdict.find(Topic::Unsaid, "", what);
    }
    if verdict.notes.is_empty() && source.decoded.damaged {
        verdict.find(
            Topic::Unsaid,
            "",
            "no note says that decoders complain about the source",
        );
    }
}
