//! The generated cases: small files with one nasty property each.
//!
//! A case is a recipe: calls of ffmpeg (the system's, also when another one is under test), files
//! written by hand and patches of bytes. What a recipe made is kept in a folder named by its
//! digest, so changing a recipe makes its file anew. Every case also carries checks that the file
//! truly has the property it is there for.

mod boxes;
mod containers;
mod fields;
mod patch;
mod picture;
mod sound;
mod structure;
mod timing;
mod viewer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use reelmill_common::Sha256;

use crate::facts::Facts;
use crate::ffmpeg::Ffmpeg;
use patch::Patch;

/// A file to be made, and what it is there for.
#[derive(Debug)]
pub struct Case {
    /// Short name, the file's stem.
    pub name: &'static str,
    /// What is nasty about it.
    pub about: &'static str,
    /// File name.
    pub file: String,
    /// What is true of the file when it is what it claims to be.
    pub checks: Vec<Check>,
    steps: Vec<Step>,
}

/// One claim about a made file.
#[derive(Debug)]
pub struct Check {
    /// The claim in words.
    pub claim: &'static str,
    /// Whether it holds.
    pub holds: fn(&Facts) -> Result<bool>,
}

/// One step of a recipe; all of them work in the same empty folder.
#[derive(Debug)]
enum Step {
    /// A call of ffmpeg, as words without quoting; `OUT` stands for the case's file.
    Ffmpeg(String),
    /// The files joined byte by byte.
    Join(&'static [&'static str], &'static str),
    /// A text file.
    Write(&'static str, &'static str),
    /// Bytes changed or made by hand; `OUT` stands for the case's file.
    Patch(&'static str, Patch),
}

/// Every case that is held against plain ffmpeg.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = structure::cases();
    cases.extend(timing::cases());
    cases.extend(picture::cases());
    cases.extend(sound::cases());
    cases.extend(containers::cases());
    cases
}

/// Every case that is judged as a viewer would: plain ffmpeg gets some of these wrong itself.
#[must_use]
pub fn viewer() -> Vec<Case> {
    viewer::cases()
}

impl Case {
    fn new(name: &'static str, extension: &str, about: &'static str) -> Self {
        let file = format!("{name}.{extension}");
        Self {
            name,
            about,
            file,
            checks: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn ff(mut self, args: impl Into<String>) -> Self {
        self.steps.push(Step::Ffmpeg(args.into()));
        self
    }

    fn join(mut self, from: &'static [&'static str], to: &'static str) -> Self {
        self.steps.push(Step::Join(from, to));
        self
    }

    fn write(mut self, file: &'static str, text: &'static str) -> Self {
        self.steps.push(Step::Write(file, text));
        self
    }

    fn patch(mut self, file: &'static str, patch: Patch) -> Self {
        self.steps.push(Step::Patch(file, patch));
        self
    }

    fn check(mut self, claim: &'static str, holds: fn(&Facts) -> Result<bool>) -> Self {
        self.checks.push(Check { claim, holds });
        self
    }

    /// Makes the file unless the cache has it, and returns its path.
    ///
    /// # Errors
    /// When a step of the recipe fails.
    pub fn make(&self, ffmpeg: &Ffmpeg, cache: &Path) -> Result<PathBuf> {
        let recipe = format!("{} {} {:?}", ffmpeg.version, self.file, self.steps);
        let digest = Sha256::of(recipe.as_bytes()).to_string();
        let folder = cache.join(format!(
            "{}-{}",
            self.name,
            digest.get(..12).unwrap_or(&digest)
        ));
        let path = folder.join(&self.file);
        if path.try_exists()? {
            return Ok(path);
        }
        fs::create_dir_all(cache)?;
        let work = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(cache)?;
        for step in &self.steps {
            self.step(step, ffmpeg, work.path())
                .with_context(|| format!("case `{}` cannot be made", self.name))?;
        }
        let done = work.path().join("done");
        fs::create_dir(&done)?;
        fs::rename(work.path().join(&self.file), done.join(&self.file))
            .with_context(|| format!("the recipe of `{}` made no file", self.name))?;
        match fs::rename(&done, &folder) {
            // Somebody else made the same file meanwhile.
            Err(_) if path.try_exists()? => Ok(path),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(path),
        }
    }

    fn step(&self, step: &Step, ffmpeg: &Ffmpeg, work: &Path) -> Result<()> {
        let named = |name: &str| work.join(if name == "OUT" { &self.file } else { name });
        match step {
            Step::Ffmpeg(args) => {
                let args = args.split_whitespace().map(|arg| match arg {
                    "OUT" => self.file.as_str(),
                    other => other,
                });
                ffmpeg.command().folder(work).args(args).succeed()?;
            }
            Step::Join(from, to) => {
                let mut joined = Vec::new();
                for name in *from {
                    joined.extend(fs::read(named(name))?);
                }
                fs::write(named(to), joined)?;
            }
            Step::Write(name, text) => fs::write(named(name), text)?,
            Step::Patch(name, patch) => {
                let bytes = if patch.makes_its_file() {
                    Vec::new()
                } else {
                    fs::read(named(name))?
                };
                fs::write(named(name), patch.apply(bytes)?)?;
            }
        }
        Ok(())
    }
}

/// Where made files are kept: `REELMILL_TESTING_CACHE`, else a folder among the temporary files.
#[must_use]
pub fn cache_folder() -> PathBuf {
    std::env::var_os("REELMILL_TESTING_CACHE").map_or_else(
        || std::env::temp_dir().join("reelmill-testing-media"),
        PathBuf::from,
    )
}

/// Makes all the given cases, `jobs` at once; what became of each comes back in order.
#[must_use]
pub fn make_all(
    cases: &[Case],
    ffmpeg: &Ffmpeg,
    cache: &Path,
    jobs: usize,
) -> Vec<Result<PathBuf>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut made = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else {
                return made;
            };
            made.push((index, case.make(ffmpeg, cache)));
        }
    };
    let mut made: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    made.sort_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, path)| path).collect()
}

/// Moving picture in which no two frames are alike.
fn video(size: &str, rate: &str, seconds: &str) -> String {
    format!("-f lavfi -i testsrc2=s={size}:r={rate}:d={seconds},noise=alls=8:allf=t:all_seed=7")
}

/// The usual picture: 192x144, 25 frames a second, 10 s.
fn picture() -> String {
    video("192x144", "25", "10")
}

/// A stereo sweep, so that no second of sound is like another; `base` in hertz tells tracks apart.
fn sound(base: u32, seconds: &str) -> String {
    format!(
        "-f lavfi -i aevalsrc=0.4*sin(2*PI*({base}+60*t)*t)|0.3*sin(2*PI*({base}+45*t)*t)\
         :s=48000:d={seconds}"
    )
}

/// The usual sound: 10 s.
fn tone() -> String {
    sound(220, "10")
}

/// Repeatable output: one thread, no version strings.
const PLAIN: &str =
    "-threads 1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1";

/// x264, quick, GOP of a second with B-frames.
const X264: &str = "-c:v libx264 -preset veryfast -g 25 -bf 2 -pix_fmt yuv420p";

/// x265, quick and quiet.
const X265: &str = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p";

/// AAC at a modest rate.
const AAC: &str = "-c:a aac -b:a 96k";
