//! The ffmpeg and ffprobe at hand, and what is known of them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::error::MediaError;
use crate::process::{Invocation, Limits, capture};

/// ffmpeg and ffprobe, found once and asked once for what they are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The ffmpeg executable.
    pub ffmpeg: PathBuf,
    /// The ffprobe executable.
    pub ffprobe: PathBuf,
    /// ffmpeg's version as it prints it, such as `5.1.9-0+deb12u1`.
    pub version: String,
    /// ffprobe's version as it prints it.
    pub probe_version: String,
    /// The major version of its libavcodec, which tells releases and snapshots apart alike.
    libavcodec: u32,
    /// A folder that nobody writes to, where short runs work.
    scratch: PathBuf,
    /// Once somebody has asked: starting ffmpeg takes longer than probing many a source.
    encoders: Arc<OnceCell<BTreeSet<String>>>,
}

/// One of the two programs by itself.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its version as it prints it.
    pub version: String,
    libavcodec: u32,
}

/// The oldest libavcodec that is understood: ffmpeg 5.1, the first with `-fps_mode`.
const OLDEST_LIBAVCODEC: u32 = 59;

/// Bounds for asking a tool about itself.
const ASK: Limits = Limits {
    wall: Duration::from_secs(20),
    idle: Duration::MAX,
    cpu: Duration::from_secs(20),
    memory: 4 << 30,
    file_size: 0,
};

impl Tools {
    /// Finds the tools: `ffmpeg` as named, else by `REELMILL_FFMPEG`, else on the `PATH`; ffprobe
    /// by `REELMILL_FFPROBE`, else beside that ffmpeg, else on the `PATH`.
    ///
    /// `scratch` is an existing folder where the tools are started.
    ///
    /// # Errors
    /// [`MediaError::Missing`] and [`MediaError::Unusable`].
    pub async fn find(ffmpeg: Option<&Path>, scratch: &Path) -> Result<Self, MediaError> {
        let (main, probe) = Self::look(ffmpeg, scratch).await;
        let (main, probe) = (main?, probe?);
        Ok(Self {
            ffmpeg: main.path,
            ffprobe: probe.path,
            version: main.version,
            probe_version: probe.version,
            libavcodec: main.libavcodec,
            scratch: scratch.to_path_buf(),
            encoders: Arc::default(),
        })
    }

    /// ffmpeg and ffprobe each by itself, looked for as [`find`](Self::find) does.
    pub async fn look(
        ffmpeg: Option<&Path>,
        scratch: &Path,
    ) -> (Result<Program, MediaError>, Result<Program, MediaError>) {
        let from_env = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let wanted = ffmpeg
            .map(Path::to_path_buf)
            .or_else(|| from_env("REELMILL_FFMPEG"));
        let ffmpeg = locate(&wanted.unwrap_or_else(|| PathBuf::from("ffmpeg")));
        let beside = ffmpeg.iter().map(|found| found.with_file_name("ffprobe"));
        let ffprobe = match from_env("REELMILL_FFPROBE") {
            Some(named) => locate(&named),
            None => match beside.into_iter().find(|beside| beside.is_file()) {
                Some(beside) => Ok(beside),
                None => locate(Path::new("ffprobe")),
            },
        };
        let main = async {
            let main = Program::ask(ffmpeg?, scratch).await?;
            if main.libavcodec < OLDEST_LIBAVCODEC {
                let version = main.version;
                let reason = format!("version {version} is older than 5.1");
                return Err(MediaError::Unusable {
                    program: main.path,
                    reason,
                });
            }
            Ok(main)
        };
        let probe = async { Program::ask(ffprobe?, scratch).await };
        tokio::join!(main, probe)
    }

    /// The encoders that this ffmpeg has, by ffmpeg's names.
    ///
    /// # Errors
    /// Any [`MediaError`].
    pub async fn encoders(&self) -> Result<&BTreeSet<String>, MediaError> {
        let ask = || encoders(&self.ffmpeg, &self.scratch);
        self.encoders.get_or_try_init(ask).await
    }

    /// Whether this ffmpeg is the one that a job was planned for: all its pieces must come from one,
    /// or they would not fit together and not be the same bytes each time.
    ///
    /// # Errors
    /// [`MediaError::Differs`].
    pub fn are_of(&self, planned: &str) -> Result<(), MediaError> {
        if self.version == planned {
            return Ok(());
        }
        Err(MediaError::Differs {
            planned: planned.to_owned(),
            found: self.version.clone(),
        })
    }

    /// How this ffmpeg is told to keep the decoder's timestamps when encoding: `-1` was the way
    /// until 6, 7 and later take `demux` and refuse `-1`.
    pub(crate) fn enc_time_base(&self) -> &'static str {
        if self.libavcodec >= 61 { "demux" } else { "-1" }
    }

    /// Whether what a source says of its light reaches only one output of a filter graph: since 8.
    pub(crate) fn tells_once_of_light(&self) -> bool {
        self.libavcodec >= 62
    }

    /// Whether one ffmpeg runs its decoder, filters and encoders each on a thread of their own: since
    /// 7. Older ones do one after the other.
    #[must_use]
    pub fn encodes_side_by_side(&self) -> bool {
        self.libavcodec >= 61
    }

    /// Tools that are only named, for tests of argument vectors.
    #[must_use]
    pub fn named(version: &str, libavcodec: u32) -> Self {
        Self {
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            version: version.to_owned(),
            probe_version: version.to_owned(),
            libavcodec,
            scratch: PathBuf::from("."),
            encoders: Arc::default(),
        }
    }
}

/// The version of the yt-dlp on the `PATH`; `None` where there is none that works.
pub async fn yt_dlp(scratch: &Path) -> Option<String> {
    let path = locate(Path::new("yt-dlp")).ok()?;
    let answer = capture(ask(&path, scratch, &["--version"]), 1 << 10).await;
    let (text, _) = answer.ok()?;
    // One line, such as `2026.11.01`.
    let version = text.lines().next()?.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

impl Program {
    async fn ask(path: PathBuf, scratch: &Path) -> Result<Self, MediaError> {
        let (text, _) = capture(ask(&path, scratch, &["-version"]), 1 << 20).await?;
        match parse_version(&text) {
            Some((version, libavcodec)) => Ok(Self {
                path,
                version,
                libavcodec,
            }),
            None => Err(MediaError::Unusable {
                program: path,
                reason: "it does not print a version as ffmpeg does".to_owned(),
            }),
        }
    }

    /// The encoders that it has, where it is ffmpeg.
    ///
    /// # Errors
    /// Any [`MediaError`].
    pub async fn encoders(&self, scratch: &Path) -> Result<BTreeSet<String>, MediaError> {
        encoders(&self.path, scratch).await
    }
}

async fn encoders(ffmpeg: &Path, scratch: &Path) -> Result<BTreeSet<String>, MediaError> {
    let args = ["-hide_banner", "-encoders"];
    let (text, _) = capture(ask(ffmpeg, scratch, &args), 1 << 20).await?;
    // ` V....D libx264              libx264 H.264 …`, after a line of dashes.
    let table = text
        .lines()
        .skip_while(|line| !line.contains("------"))
        .skip(1);
    Ok(table
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(str::to_owned)
        .collect())
}

/// Makes a program's path absolute, searching the `PATH` for bare names.
fn locate(program: &Path) -> Result<PathBuf, MediaError> {
    let missing = || MediaError::Missing {
        program: program.to_path_buf(),
    };
    if program.components().count() > 1 {
        return std::path::absolute(program)
            .ok()
            .filter(|path| path.is_file())
            .ok_or_else(missing);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(missing)
}

fn ask(program: &Path, scratch: &Path, args: &[&str]) -> Invocation {
    Invocation {
        action: "describe itself",
        program: program.to_path_buf(),
        args: args.iter().map(OsString::from).collect(),
        dir: scratch.to_path_buf(),
        reads: Vec::new(),
        connects: None,
        limits: ASK,
    }
}

/// The version word and libavcodec's major version in the words of `ffmpeg -version`.
fn parse_version(text: &str) -> Option<(String, u32)> {
    let first = text.lines().next()?;
    let version = first.split_once(" version ")?.1.split_whitespace().next()?;
    let library = text
        .lines()
        .find_map(|line| line.strip_prefix("libavcodec"))?;
    let major = library.trim().split('.').next()?.trim().parse().ok()?;
    Some((version.to_owned(), major))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::Retryable as _;

    #[test]
    fn another_version_is_not_worked_with() {
        let tools = Tools::named("5.1.9", 59);
        assert!(tools.are_of("5.1.9").is_ok());
        let error = tools.are_of("7.0").unwrap_err();
        assert_eq!(
            (error.code(), error.is_retryable()),
            ("ffmpeg-differs", true)
        );
    }

    #[test]
    fn versions_of_releases_and_snapshots() {
        let debian = "ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026\nlibavutil      57. 28.100\nlibavcodec     59. 37.100 / 59. 37.100\n";
        assert_eq!(parse_version(debian), Some(("5.1.9-0+deb12u1".into(), 59)));
        let snapshot = "ffprobe version N-120000-gabcdef Copyright\nlibavcodec     62. 11.100\n";
        assert_eq!(
            parse_version(snapshot),
            Some(("N-120000-gabcdef".into(), 62))
        );
        assert_eq!(parse_version("bash 5"), None);
    }
}
