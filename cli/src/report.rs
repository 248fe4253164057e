//! What a finished job says of itself.

use std::io::Write as _;
use std::path::Path;

use reelmill_common::JobId;
use reelmill_common::certificate::{Certificate, CertifiedOutput};
use serde::Serialize;

use crate::failure::Failure;

/// The last line of `transcode --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) job: String,
    pub(crate) status: &'static str,
    pub(crate) outputs: Vec<Output>,
    /// How many chunks the source was cut into.
    pub(crate) chunks: usize,
    /// How many of them an earlier run had finished.
    pub(crate) chunks_resumed: usize,
    pub(crate) wall_s: f64,
    /// Times real time, of what this run encoded; 0 where it encoded no picture.
    pub(crate) speed: f64,
    pub(crate) timings: Timings,
    /// What is left out, guessed, cut, damaged or changed: one sentence each.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// One sentence for the person who waited.
    pub(crate) fn summary(&self) -> String {
        let speed = match self.speed > 0.0 {
            true => format!(", {:.2} times real time", self.speed),
            false => String::new(),
        };
        format!("done in {:.1} s{speed}", self.wall_s)
    }
}

/// Where the time went, in seconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Timings {
    pub(crate) start_to_first_encode: f64,
    pub(crate) last_encode_to_done: f64,
    /// Frames decoded for lead-ins, as a share of all frames.
    pub(crate) lead_in_share: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Output {
    rendition: String,
    pub(crate) path: String,
    width: u32,
    height: u32,
    frames: u64,
    /// Seconds.
    duration: f64,
    bytes: u64,
    sha256: String,
}

/// The line of a command that did not succeed.
#[derive(Debug, Serialize)]
pub(crate) struct FailureReport<'a> {
    /// `null` where it failed before it knew.
    job: Option<&'a JobId>,
    status: &'static str,
    code: &'a str,
    message: &'a str,
    detail: &'a str,
}

impl<'a> FailureReport<'a> {
    pub(crate) fn new(job: Option<&'a JobId>, failure: &'a Failure) -> Self {
        Self {
            job,
            status: "failed",
            code: &failure.code,
            message: &failure.message,
            detail: &failure.detail,
        }
    }
}

/// A note as a line for people.
pub(crate) fn noted(note: &str) -> String {
    format!("note: {note}")
}

/// The progressive files of a certificate, as a user knows them.
pub(crate) fn outputs(certificate: &Certificate, folder: &Path) -> Vec<Output> {
    certificate
        .outputs
        .iter()
        .filter(|output| is_main(output))
        .map(|o| one(o, folder))
        .collect()
}

/// Progressive files and the master playlist are what people open.
fn is_main(output: &CertifiedOutput) -> bool {
    output.path.starts_with("output_") || output.path == "hls/master.m3u8"
}

fn one(output: &CertifiedOutput, folder: &Path) -> Output {
    let video = output.video.as_ref();
    let audio = output.audio.first();
    let rendition = match video {
        Some(video) => video.rendition.clone(),
        None if output.path.starts_with("hls/") => "hls".to_owned(),
        None => "audio".to_owned(),
    };
    let duration = match (video, audio) {
        (Some(video), _) => video.timebase.seconds(video.duration),
        (None, Some(audio)) => audio.samples as f64 / f64::from(audio.sample_rate.max(1)),
        (None, None) => 0.0,
    };
    Output {
        rendition,
        path: folder.join(&output.path).display().to_string(),
        width: video.map_or(0, |video| video.width),
        height: video.map_or(0, |video| video.height),
        frames: video.map_or(0, |video| video.frames),
        duration,
        bytes: output.bytes,
        sha256: output.sha256.to_string(),
    }
}

/// Prints a line of JSON as a command's result.
pub(crate) fn print_json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        print_line(&line);
    }
}

/// Prints a line of a command's result. A reader that has gone away misses it, no more: `println!`
/// would panic.
pub(crate) fn print_line(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}
