//! A headless browser that plays every output, and another player for what it denies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use reelmill_media::mp4::codec_string;
use serde::{Deserialize, Serialize};

use super::{Topic, Verdict};
use crate::ffmpeg::Ffmpeg;
use crate::oracle::input;
use crate::run::{Command, Piped};

/// The program that drives the browser, in the folder of its packages.
const PROGRAM: &str = "playback/viewer.mjs";

/// A running browser.
#[derive(Debug)]
pub struct Player {
    process: Piped,
    ffmpeg: Ffmpeg,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    folder: &'a Path,
    paths: &'a [&'a str],
    codecs: BTreeMap<&'a str, String>,
}

#[derive(Debug, Deserialize)]
struct Response {
    played: Vec<String>,
    denied: Vec<String>,
    wrong: Vec<String>,
}

impl Player {
    /// Starts a browser. Its packages must be installed.
    ///
    /// # Errors
    /// When node cannot be started.
    pub fn start(browser: &Path, ffmpeg: &Ffmpeg) -> Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM);
        let process = Command::new(Path::new("node"))
            .arg(program)
            .arg(browser)
            .pipe(true)?;
        let ffmpeg = ffmpeg.clone();
        Ok(Self { process, ffmpeg })
    }

    /// Plays what a finished folder holds. What the browser denies is decoded by ffmpeg instead.
    ///
    /// # Errors
    /// When the browser is gone.
    pub fn play(&mut self, folder: &Path, paths: &[&str], verdict: &mut Verdict) -> Result<()> {
        let mut codecs = BTreeMap::new();
        for path in paths.iter().filter(|path| path.starts_with("output_")) {
            let bytes = std::fs::read(folder.join(path))?;
            codecs.insert(*path, codec_string(&bytes)?);
        }
        let request = Request {
            folder,
            paths,
            codecs,
        };
        let mut line = serde_json::to_string(&request)?;
        line.push('\n');
        self.process.stdin.write_all(line.as_bytes())?;
        self.process.stdin.flush()?;
        let mut answer = String::new();
        BufReader::new(&mut self.process.stdout).read_line(&mut answer)?;
        let answer: Response =
            serde_json::from_str(&answer).context("the browser's driver has ended")?;
        verdict.played += answer.played.len();
        for what in answer.wrong {
            verdict.find(Topic::Playing, "", what);
        }
        if !answer.denied.is_empty() {
            self.decode(folder, paths, verdict)?;
        }
        verdict.denied.extend(answer.denied);
        Ok(())
    }

    /// Decodes every file of a folder without a complaint.
    fn decode(&self, folder: &Path, paths: &[&str], verdict: &mut Verdict) -> Result<()> {
        let is_played = |path: &str| path.ends_with(".mp4") || path == "hls/master.m3u8";
        for path in paths.iter().filter(|path| is_played(path)) {
            let done = input(self.ffmpeg.command(), &folder.join(path))
                .words("-map 0 -f null -")
                .run()?;
            if done.code != Some(0) || !done.stderr.trim().is_empty() {
                let what = format!("ffmpeg complains: {}", done.last_words());
                verdict.find(Topic::Playing, path, what);
            }
        }
        Ok(())
    }
}
