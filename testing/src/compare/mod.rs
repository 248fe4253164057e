//! Holds what a lossless job delivered against what plain ffmpeg sees in its source.

mod holes;
mod picture;
mod sound;
mod times;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reelmill_common::certificate::CertifiedOutput;
use serde::Deserialize;

use crate::ffmpeg::Ffmpeg;
use crate::oracle::{How, Plain, decode};

/// The rendition of the lossless profile.
const OUTPUT: &str = "output_lossless.mp4";

/// What came of one aspect of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// There was nothing to compare.
    #[default]
    None,
    /// Equal.
    Exact,
    /// Equal in every frame that plain ffmpeg itself decodes the same way twice, but not all are.
    Unrepeatable,
    /// Different.
    Different,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Frames of plain ffmpeg.
    pub frames_plain: usize,
    /// Frames delivered.
    pub frames_ours: usize,
    /// Windows in which the picture was encoded.
    pub chunks: usize,
    /// How often a chunk was done again, at most.
    pub generations: u32,
    /// The presentation times.
    pub pts: Mark,
    /// The pixels.
    pub pixels: Mark,
    /// The audio tracks with their times and tags.
    pub audio: Mark,
    /// What differs: one sentence each.
    pub deviations: Vec<String>,
    /// What is worth knowing and no deviation.
    pub notes: Vec<String>,
}

/// What is of interest here in a certificate; the rest may change without touching a comparison.
#[derive(Debug, Deserialize)]
struct Excerpt {
    chunks: Vec<Chunk>,
    outputs: Vec<CertifiedOutput>,
    notes: Vec<String>,
}

/// What is of interest here in a certified chunk.
#[derive(Debug, Deserialize)]
struct Chunk {
    generation: u32,
}

impl Verdict {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.deviations.is_empty()
    }

    fn differs(&mut self, mark: fn(&mut Self) -> &mut Mark, what: String) {
        *mark(self) = Mark::Different;
        self.deviations.push(what);
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "-",
            Self::Exact => "ok",
            Self::Unrepeatable => "unrepeatable",
            Self::Different => "DIFFERS",
        })
    }
}

/// Compares the finished output folder `dir` with its source.
///
/// # Errors
/// When the folder holds no output or a tool cannot be run; differences are no errors.
pub fn compare(ffmpeg: &Ffmpeg, source: &Path, plain: &Plain, dir: &Path) -> Result<Verdict> {
    let certificate = fs::read(dir.join("certificate.json")).context("no `certificate.json`")?;
    let certificate: Excerpt =
        serde_json::from_slice(&certificate).context("`certificate.json` cannot be read")?;
    let output = find_output(dir, &certificate, plain)?;
    let mut verdict = Verdict {
        chunks: certificate.chunks.len(),
        generations: certificate
            .chunks
            .iter()
            .map(|chunk| chunk.generation)
            .max()
            .unwrap_or(0),
        ..Verdict::default()
    };
    verdict.notes.extend(
        certificate
            .notes
            .iter()
            .map(|text| format!("certificate: {text}")),
    );

    // Times count from the first frame; on the file's own clock they also tell where sound lies.
    let how = How {
        own_clock: true,
        ..How::default()
    };
    let ours = decode(ffmpeg, &output, how)?;
    match (&plain.picture, &ours) {
        (Some(_), Some(ours)) => {
            picture::compare(ffmpeg, source, plain, (&output, ours), &mut verdict)?;
        }
        (Some(_), None) => verdict
            .deviations
            .push("no picture could be decoded".to_owned()),
        (None, Some(_)) => verdict
            .deviations
            .push("a picture out of nothing".to_owned()),
        (None, None) => {}
    }
    sound::compare(
        ffmpeg,
        (source, plain),
        &output,
        ours.as_ref(),
        &mut verdict,
    )?;
    Ok(verdict)
}

/// The lossless rendition; for a source without picture whatever holds sound.
fn find_output(dir: &Path, certificate: &Excerpt, plain: &Plain) -> Result<PathBuf> {
    let sound_only = || {
        let output = certificate
            .outputs
            .iter()
            .find(|output| !output.audio.is_empty())?;
        plain.picture.is_none().then(|| dir.join(&output.path))
    };
    let usual = dir.join(OUTPUT);
    if usual.try_exists()? {
        return Ok(usual);
    }
    sound_only().with_context(|| format!("no `{OUTPUT}`"))
}
