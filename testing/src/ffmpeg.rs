//! The ffmpeg under test, and the two ways in which versions want to be asked.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::run::Command;

/// An ffmpeg, the ffprobe beside it, and what it takes.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    /// The program.
    pub path: PathBuf,
    /// The prober; the system's, because static builds come without one.
    pub ffprobe: PathBuf,
    /// First line of `-version`.
    pub version: String,
    /// What `-enc_time_base` takes for "the source's": -1 of old, `demux` since 6.1.
    pub source_timebase: &'static str,
}

impl Ffmpeg {
    /// Learns what the ffmpeg at `path` takes.
    ///
    /// # Errors
    /// When it cannot be started or knows neither spelling.
    pub fn new(path: &Path) -> Result<Self> {
        let version = Command::new(path).arg("-version").succeed()?.stdout;
        let version = String::from_utf8_lossy(&version)
            .lines()
            .next()
            .unwrap_or("")
            .to_owned();
        for source_timebase in ["demux", "-1"] {
            let tried = Command::new(path)
                .words("-nostdin -v error -f lavfi -i color=s=16x16:d=0.1 -enc_time_base")
                .arg(source_timebase)
                .words("-f null -")
                .run()?;
            if tried.code == Some(0) {
                let ffprobe = PathBuf::from("ffprobe");
                return Ok(Self {
                    path: path.into(),
                    ffprobe,
                    version,
                    source_timebase,
                });
            }
        }
        bail!(
            "`{}` knows no `-enc_time_base` for the source's own",
            path.display()
        );
    }

    /// A quiet run of ffmpeg that asks nothing and never overwrites by accident.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(&self.path).words("-nostdin -v error -y")
    }

    /// A quiet run of ffprobe that answers in JSON.
    #[must_use]
    pub fn probe(&self) -> Command {
        Command::new(&self.ffprobe).words("-v error -of json")
    }
}
