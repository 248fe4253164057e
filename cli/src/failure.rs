//! How a command ends badly: an exit code, one sentence, and ffmpeg's words where they help.

use std::io::Write as _;

use reelmill_common::Retryable;
use reelmill_common::job::JobError;
use reelmill_media::MediaError;
use reelmill_stage::StageError;

/// Exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was tried and did not succeed.
    Failed = 1,
    /// It was asked for wrongly.
    Usage = 2,
    /// ffmpeg, ffprobe or an encoder is missing.
    Dependency = 3,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// A stable code in kebab-case.
    pub(crate) code: String,
    /// One sentence that names the thing and the way out.
    pub(crate) message: String,
    /// The tail of ffmpeg's own words, or nothing.
    pub(crate) detail: String,
    /// Whether trying again is in vain, so that unfinished work is of no use.
    pub(crate) for_good: bool,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            detail: String::new(),
            for_good: false,
        }
    }

    pub(crate) fn of(error: &(impl Retryable + 'static)) -> Self {
        StageError::of(error).into()
    }

    /// What a person reads, where there still is one: `eprintln!` would panic.
    pub(crate) fn print(&self) {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "error: {}", self.message).ok();
        let lines: Vec<&str> = self.detail.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(6)) {
            writeln!(stderr, "  ffmpeg: {line}").ok();
        }
    }
}

/// Which exit code a stable error code stands for.
fn exit_of(code: &str) -> Exit {
    match code {
        "ffmpeg-missing" | "ffmpeg-unusable" | "encoder-missing" => Exit::Dependency,
        _ => Exit::Failed,
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Self {
            exit: exit_of(&error.code),
            code: error.code,
            message: error.message,
            detail: error.detail,
            for_good: false,
        }
    }
}

impl From<MediaError> for Failure {
    fn from(error: MediaError) -> Self {
        StageError::of(&error).into()
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        Self {
            exit: exit_of(&error.code),
            // The old source may be put back.
            for_good: !error.retryable && !error.code.starts_with("source-"),
            code: error.code,
            message: error.message,
            detail: error.detail,
        }
    }
}

/// An I/O error on a path, as one sentence.
pub(crate) fn io(action: &str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Failure {
    let what = format!("cannot {action} `{}`", path.display());
    move |error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            let message = format!("{what}: no space is left on the disk: free some and run again");
            Failure::new(Exit::Failed, "disk-full", message)
        }
        _ => Failure::new(Exit::Failed, "io", format!("{what}: {error}")),
    }
}
