//! Times reelmill against one plain ffmpeg run with the same settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reelmill_common::manifest::RenditionPlan;
use reelmill_common::media_info::{Colour, VideoStream};
use reelmill_common::profile::{Profile, audio_kbps, builtin, ladder};
use reelmill_common::{Sha256, Timebase};
use reelmill_media::codec::{audio_args, video_args};
use serde_json::Value;

use crate::ffmpeg::Ffmpeg;
use crate::oracle::{input, streams};
use crate::run::{Command, Finished};

/// No run may take longer.
const LIMIT: Duration = Duration::from_secs(3600);

/// Two programs, one source, one profile.
#[derive(Debug)]
pub struct Contest {
    /// The program under test.
    pub reelmill: PathBuf,
    /// What both sides use.
    pub ffmpeg: Ffmpeg,
    /// What is transcoded.
    pub source: PathBuf,
    /// The built-in profile.
    pub profile: Profile,
    /// Threads of plain ffmpeg's encoders.
    pub cores: u32,
    /// Whether plain ffmpeg encodes sound for its first output only. It cannot share an encoder
    /// between files, so a user of it encodes sound for each.
    pub sound_once: bool,
    /// The address of a service that does reelmill's side, from upload to the end of the job.
    pub server: Option<String>,
}

/// The sides of a contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// One ffmpeg that decodes once and encodes every rung on all cores.
    Plain,
    /// `reelmill transcode`, or a job of a service.
    Reelmill,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Lap {
    /// Who ran.
    pub side: Side,
    /// From start to end.
    pub wall: Duration,
    /// User and system time of the whole process tree.
    pub cpu: Duration,
    /// What reelmill says of its own time, as name and number.
    pub timings: Vec<(String, f64)>,
}

/// The built-in profile of that name.
///
/// # Errors
/// When there is none or it has no picture.
pub fn profile(name: &str) -> Result<Profile> {
    let builtin = builtin(name).with_context(|| format!("no built-in profile `{name}`"))?;
    let profile = builtin.profile()?;
    if profile.video.is_empty() {
        bail!("profile `{name}` has no picture to compare");
    }
    Ok(profile)
}

impl Contest {
    /// The renditions that the profile makes of the source.
    ///
    /// # Errors
    /// When the source has no picture.
    pub fn renditions(&self) -> Result<Vec<RenditionPlan>> {
        let found = streams(&self.ffmpeg, &self.source, "V:0")?;
        let stream = found.first().context("the source has no picture")?;
        let side = |key: &str| {
            stream[key]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .context("no picture size")
        };
        let stream = VideoStream {
            index: 0,
            codec: String::new(),
            width: side("width")?,
            height: side("height")?,
            sar: None,
            rotation: 0,
            pixel_format: stream["pix_fmt"].as_str().unwrap_or("yuv420p").to_owned(),
            timebase: Timebase::MICROS,
            frame_rate: None,
            interlaced: false,
            colour: Colour::default(),
        };
        Ok(ladder(&self.profile, &stream))
    }

    /// Runs one side into an empty folder.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn run(&self, side: Side) -> Result<Lap> {
        let work = tempfile::tempdir()?;
        let command = match (side, &self.server) {
            (Side::Plain, _) => self.plain(work.path())?,
            (Side::Reelmill, Some(server)) => self.job(server),
            (Side::Reelmill, None) => self.ours(work.path()),
        };
        let done = command.limit(LIMIT).succeed()?;
        let is_elsewhere = side == Side::Reelmill && self.server.is_some();
        Ok(Lap {
            side,
            wall: done.wall,
            // What the processes of a service use of the processor is theirs to know.
            cpu: if is_elsewhere {
                Duration::ZERO
            } else {
                done.cpu
            },
            timings: timings(&done),
        })
    }

    fn ours(&self, work: &Path) -> Command {
        Command::new(&self.reelmill)
            .arg("transcode")
            .arg(&self.source)
            .arg("-o")
            .arg(work.join("out"))
            .args(["--profile", &self.profile.name, "--quiet", "--json"])
            .env("REELMILL_FFMPEG", &self.ffmpeg.path)
    }

    /// A job of a service, from its upload to its end.
    fn job(&self, server: &str) -> Command {
        Command::new(&self.reelmill)
            .args(["jobs", "submit", "--watch", "--quiet"])
            .args(["--profile", &self.profile.name])
            .arg(&self.source)
            .env("REELMILL_SERVER", server)
    }

    /// Plain ffmpeg: one decode, the rungs' own options, all cores, a file for each rung.
    ///
    /// # Errors
    /// When the source has no picture.
    pub fn plain(&self, work: &Path) -> Result<Command> {
        let renditions = self.renditions()?;
        let mut graph = format!("[0:V:0]split={}", renditions.len());
        for i in 0..renditions.len() {
            graph.push_str(&format!("[s{i}]"));
        }
        for (i, rendition) in renditions.iter().enumerate() {
            let RenditionPlan {
                width,
                height,
                pixel_format,
                ..
            } = rendition;
            graph.push_str(&format!(
                ";[s{i}]scale=w={width}:h={height}:flags=bicubic,format={pixel_format}[v{i}]"
            ));
        }
        let fragment = f64::from(self.profile.fragment_ms) / 1000.0;
        let keyframes = format!("expr:gte(t,n_forced*{fragment})");
        let mut command = input(self.ffmpeg.command(), &self.source);
        command = command.args(["-filter_complex", &graph]);
        for (i, rendition) in renditions.iter().enumerate() {
            command = command
                .args(["-map", &format!("[v{i}]")])
                .args(video_args(&rendition.settings, self.cores, None))
                .args(["-force_key_frames", &keyframes, "-fps_mode", "passthrough"]);
            if let Some(audio) = self
                .profile
                .audio
                .as_ref()
                .filter(|_| i == 0 || !self.sound_once)
            {
                command = command
                    .args(["-map", "0:a?"])
                    .args(audio_args(audio, audio_kbps(audio, 2)));
            }
            command = command
                .args(["-movflags", "+faststart"])
                .arg(work.join(format!("output_{}.mp4", rendition.name)));
        }
        Ok(command)
    }

    /// Runs both sides so often each, in the order A B B A A B …, so that a machine that warms up
    /// or slows down favours none.
    ///
    /// # Errors
    /// When a run does not succeed or a lap cannot be handed on.
    pub fn laps(&self, runs: usize, mut each: impl FnMut(&Lap) -> Result<()>) -> Result<Vec<Lap>> {
        // Reads the source into the page cache, where both sides then find it.
        fs::read(&self.source)?;
        let mut laps = Vec::new();
        for run in 0..runs {
            let mut sides = [Side::Plain, Side::Reelmill];
            if run % 2 == 1 {
                sides.reverse();
            }
            for side in sides {
                let lap = self.run(side)?;
                each(&lap)?;
                laps.push(lap);
            }
        }
        Ok(laps)
    }
}

/// What the last line of `reelmill --json` says under `timings`.
fn timings(done: &Finished) -> Vec<(String, f64)> {
    let text = String::from_utf8_lossy(&done.stdout);
    let last = text.lines().next_back().unwrap_or_default();
    let answer: Value = serde_json::from_str(last).unwrap_or_default();
    let Some(timings) = answer["timings"].as_object() else {
        return Vec::new();
    };
    timings
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
        .collect()
}

/// The median of one figure of one side's laps.
#[must_use]
pub fn median(laps: &[Lap], side: Side, figure: impl Fn(&Lap) -> f64) -> f64 {
    let mut figures: Vec<f64> = laps
        .iter()
        .filter(|lap| lap.side == side)
        .map(figure)
        .collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match (
        figures.get(middle),
        middle.checked_sub(1).and_then(|below| figures.get(below)),
    ) {
        (Some(upper), Some(lower)) if figures.len().is_multiple_of(2) => (lower + upper) / 2.0,
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

/// A moving 1080p picture with detail and grain at some 7 Mbit/s, and stereo sound: kept in
/// `cache` under a name that changes with the recipe.
///
/// # Errors
/// When ffmpeg cannot make it.
pub fn made_source(ffmpeg: &Ffmpeg, cache: &Path, seconds: u32) -> Result<PathBuf> {
    // A slow zoom behind moving test patterns, softened, with the grain of a camera.
    let graph = format!(
        "testsrc2=s=1920x1080:r=25:d={seconds}[pattern];\
         mandelbrot=s=480x270:r=25:maxiter=400,scale=1920:1080:flags=bicubic[zoom];\
         [zoom][pattern]blend=all_mode=average:shortest=1,noise=alls=2:allf=t:all_seed=7[v]"
    );
    let sound = format!(
        "aevalsrc=0.4*sin(2*PI*(220+60*t)*t)+0.02*random(0)|0.3*sin(2*PI*(330+45*t)*t)\
         :s=48000:d={seconds}"
    );
    let options = "-map [v] -map 0:a -c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -bf 2 \
                   -g 50 -keyint_min 50 -sc_threshold 0 -c:a aac -b:a 128k -movflags +faststart";
    let recipe = format!("{} {graph} {sound} {options}", ffmpeg.version);
    let digest = Sha256::of(recipe.as_bytes()).to_string();
    let digest = digest.get(..12).unwrap_or(&digest);
    let path = cache.join(format!("bench-1080p-{seconds}s-{digest}.mp4"));
    if path.try_exists()? {
        return Ok(path);
    }
    fs::create_dir_all(cache)?;
    let work = tempfile::Builder::new()
        .prefix("making-")
        .tempdir_in(cache)?;
    let made = work.path().join("source.mp4");
    ffmpeg
        .command()
        .args(["-filter_complex", &graph, "-f", "lavfi", "-i", &sound])
        .words(options)
        .arg(&made)
        .limit(LIMIT)
        .succeed()?;
    fs::rename(made, &path)?;
    Ok(path)
}

/// The first seconds of a source as a file of its own, encoded again so that it is whole.
///
/// # Errors
/// When ffmpeg cannot make it.
pub fn clip_of(ffmpeg: &Ffmpeg, source: &Path, folder: &Path, seconds: u32) -> Result<PathBuf> {
    let path = folder.join("clip.mp4");
    input(ffmpeg.command(), source)
        .args(["-t", &seconds.to_string()])
        .words("-map 0:V:0 -map 0:a? -c:v libx264 -preset veryfast -crf 18 -bf 2 -g 50")
        .words("-c:a aac -movflags +faststart")
        .arg(&path)
        .succeed()?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lap(side: Side, seconds: u64) -> Lap {
        let wall = Duration::from_secs(seconds);
        Lap {
            side,
            wall,
            cpu: wall,
            timings: Vec::new(),
        }
    }

    #[test]
    fn medians_are_of_one_side() {
        let laps = [
            lap(Side::Plain, 9),
            lap(Side::Reelmill, 1),
            lap(Side::Plain, 5),
            lap(Side::Plain, 6),
            lap(Side::Reelmill, 2),
        ];
        let wall = |lap: &Lap| lap.wall.as_secs_f64();
        assert!((median(&laps, Side::Plain, wall) - 6.0).abs() < 1e-9);
        assert!((median(&laps, Side::Reelmill, wall) - 1.5).abs() < 1e-9);
        assert!(median(&[], Side::Plain, wall).is_nan());
    }

    #[test]
    fn ladders_can_be_compared_and_sound_alone_cannot() {
        assert_eq!(profile("h264-abr").unwrap().video.len(), 4);
        assert!(profile("audio").is_err());
        assert!(profile("none").is_err());
    }
}
