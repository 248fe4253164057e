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
    /// It was asked for wrongly: options, settings, or a file named that is not there.
    Usage = 2,
    /// ffmpeg, ffprobe or an encoder is missing, or no service answers.
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
    /// Whether the job has ended and trying again as it is is in vain.
    pub(crate) permanent: bool,
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
            permanent: false,
        }
    }

    pub(crate) fn of(error: &(impl Retryable + 'static)) -> Self {
        StageError::of(error).into()
    }

    /// Whether the fault is the source's, or that of what was asked for: no other machine and no
    /// repair of this one would make more of it, so that unfinished work is of no use. Everything
    /// else keeps it: a missing ffmpeg, a dead disk, too little memory.
    pub(crate) fn condemns_the_source(&self) -> bool {
        let codes = [
            "audio-broken",
            "media-damaged",
            "media-encrypted",
            "mp4-out-of-range",
            "no-frames",
            "not-media",
            "nothing-decoded",
            "nothing-to-transcode",
            "stream-unusable",
            "timestamps-broken",
            "too-many-tracks",
            "too-much-work",
        ];
        self.permanent && codes.contains(&self.code.as_str())
    }

    /// Whether a plan is there that this reelmill cannot understand.
    pub(crate) fn is_about_a_plan(&self) -> bool {
        ["object-malformed", "manifest-newer"].contains(&self.code.as_str())
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
            permanent: false,
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
            permanent: !error.retryable && !error.code.starts_with("source-"),
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
