//! What would a viewer see and hear? Holds every rendition of a job against its source.
//!
//! The source is decoded by plain ffmpeg in one run, and neither a transcode by ffmpeg nor an
//! earlier output of reelmill is believed: both can have the fault that is looked for. [`picture`]
//! compares frames, [`time`] when they are shown, [`sound`] what is heard, [`player`] plays
//! everything in a browser, [`judge`] does all of it for one source and one profile, and
//! [`limits`] knows which deviations the documentation explains.

pub mod decode;
pub mod frames;
pub mod judge;
pub mod limits;
pub mod picture;
pub mod player;
pub mod results;
pub mod sound;
pub mod time;

use serde::{Deserialize, Serialize};

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topic {
    /// The job failed.
    Failed,
    /// Frames.
    Picture,
    /// Colours.
    Colour,
    /// Shape and rotation.
    Geometry,
    /// When frames are shown, and for how long.
    Time,
    /// Sound against picture.
    Sync,
    /// What is heard.
    Sound,
    /// In which channel it is heard.
    Channels,
    /// How many tracks there are.
    Tracks,
    /// Durations of a track's packets.
    Packets,
    /// Whether browsers play it.
    Playing,
    /// Something was lost without a word.
    Unsaid,
}

/// One deviation from what a viewer of the source sees and hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// The output file.
    pub output: String,
    /// What deviates.
    pub what: String,
    /// Why it is no failure: a note of the job or a heading of `docs/limits.md`.
    pub reason: Option<String>,
}

/// What came of one source and one profile.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// What the table calls the source.
    pub source: String,
    /// The profile.
    pub profile: String,
    /// Windows in which the picture was encoded.
    pub chunks: usize,
    /// Output files that were compared.
    pub outputs: usize,
    /// Frames compared, over all outputs.
    pub frames: usize,
    /// The least PSNR of any frame in decibels; absent without picture.
    pub least_psnr_db: Option<f64>,
    /// How often an output was played to its end.
    pub played: usize,
    /// Codecs that the browser denies; another player decodes them.
    pub denied: Vec<String>,
    /// What the job says of itself.
    pub notes: Vec<String>,
    /// Deviations, explained or not.
    pub findings: Vec<Finding>,
    /// Seconds that reelmill took.
    pub wall_s: f64,
}

impl Verdict {
    /// Whether every deviation is explained.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.findings.iter().all(|finding| finding.reason.is_some())
    }

    /// Adds a deviation that nothing explains yet.
    fn find(&mut self, topic: Topic, output: &str, what: impl Into<String>) {
        self.findings.push(Finding {
            topic,
            output: output.to_owned(),
            what: what.into(),
            reason: None,
        });
    }
}
