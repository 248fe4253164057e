//! What can go wrong with ffmpeg.

use std::path::PathBuf;
use std::time::Duration;

use reelmill_common::Retryable;

/// What a process was told, and the last of what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Its command line, quoted for a shell; the address of a source is left out.
    pub command: String,
    /// The end of its standard error.
    pub tail: String,
}

/// A run of ffmpeg or ffprobe that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The program is not there.
    #[error("`{}` was not found: install ffmpeg (on Debian or Ubuntu: apt-get install ffmpeg) or name it with --ffmpeg", program.display())]
    Missing {
        /// What was looked for.
        program: PathBuf,
    },
    /// The program is there and cannot be used.
    #[error("`{}` cannot be used: {reason}: name ffmpeg 5.1 or later with --ffmpeg", program.display())]
    Unusable {
        /// The program.
        program: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The program is not of the version that the job was planned for.
    #[error(
        "the job was planned for ffmpeg {planned}, here is {found}: use that one, or begin anew"
    )]
    Differs {
        /// The version that the plan names.
        planned: String,
        /// The version at hand.
        found: String,
    },
    /// The program could not be started or waited for.
    #[error("cannot run `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended with an error of its own.
    #[error("ffmpeg failed to {action} with exit code {code}")]
    Failed {
        /// What it was to do.
        action: &'static str,
        /// Its exit code.
        code: i32,
        /// What it was told and what it said.
        words: Words,
    },
    /// A signal ended it.
    #[error("ffmpeg was killed by signal {signal} while it was to {action}")]
    Killed {
        /// What it was to do.
        action: &'static str,
        /// The signal.
        signal: i32,
        /// What it was told and what it said.
        words: Words,
    },
    /// It took too long.
    #[error("ffmpeg took longer than {} s to {action}", limit.as_secs())]
    TimedOut {
        /// What it was to do.
        action: &'static str,
        /// The bound.
        limit: Duration,
        /// What it was told and what it said.
        words: Words,
    },
    /// It ran into its memory bound.
    #[error("ffmpeg ran out of memory while it was to {action}")]
    OutOfMemory {
        /// What it was to do.
        action: &'static str,
        /// What it was told and what it said.
        words: Words,
    },
    /// It wrote a file larger than it may.
    #[error("ffmpeg wrote more than it may while it was to {action}")]
    TooLarge {
        /// What it was to do.
        action: &'static str,
        /// What it was told and what it said.
        words: Words,
    },
    /// It used more processor time than it may.
    #[error("ffmpeg used more processor time than it may to {action}")]
    TooMuchCpu {
        /// What it was to do.
        action: &'static str,
        /// What it was told and what it said.
        words: Words,
    },
    /// It printed more than it may.
    #[error("ffmpeg printed more than {max} bytes while it was to {action}")]
    TooMuchOutput {
        /// What it was to do.
        action: &'static str,
        /// The bound in bytes.
        max: usize,
    },
    /// The disk is full.
    #[error("no space is left for `{}` while ffmpeg was to {action}: free some and run again", dir.display())]
    NoSpace {
        /// What it was to do.
        action: &'static str,
        /// The folder that it wrote to.
        dir: PathBuf,
    },
    /// What it printed or wrote is not what was expected.
    #[error("cannot understand what ffmpeg gave when it was to {action}: {reason}")]
    Unexpected {
        /// What it was to do.
        action: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl MediaError {
    fn words(&self) -> Option<&Words> {
        match self {
            Self::Failed { words, .. }
            | Self::Killed { words, .. }
            | Self::TimedOut { words, .. }
            | Self::OutOfMemory { words, .. }
            | Self::TooLarge { words, .. }
            | Self::TooMuchCpu { words, .. } => Some(words),
            _ => None,
        }
    }
}

impl Retryable for MediaError {
    fn is_retryable(&self) -> bool {
        // A kill may be the operator's or the kernel's for want of memory, and a machine may have
        // been too busy; the ledger's count of attempts ends it when it is the chunk's own fault.
        matches!(
            self,
            Self::Differs { .. }
                | Self::Killed { .. }
                | Self::TimedOut { .. }
                | Self::OutOfMemory { .. }
                | Self::Start { .. }
                | Self::NoSpace { .. }
        )
    }

    /// A crash comes of the bytes, and so does what needs more memory than it may have.
    fn blames_input(&self) -> bool {
        use nix::sys::signal::Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
        let crashes = [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV];
        match self {
            Self::Killed { signal, .. } => crashes.iter().any(|crash| *crash as i32 == *signal),
            Self::OutOfMemory { .. } => true,
            _ => false,
        }
    }

    /// Another machine may have the right version.
    fn hands_back(&self) -> bool {
        matches!(self, Self::Differs { .. })
    }

    fn detail(&self) -> &str {
        self.words().map_or("", |words| &words.tail)
    }

    fn command(&self) -> &str {
        self.words().map_or("", |words| &words.command)
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "ffmpeg-missing",
            Self::Unusable { .. } => "ffmpeg-unusable",
            Self::Differs { .. } => "ffmpeg-differs",
            Self::Start { .. } => "ffmpeg-not-started",
            Self::Failed { .. } => "ffmpeg-failed",
            Self::Killed { .. } => "ffmpeg-killed",
            Self::TimedOut { .. } => "ffmpeg-timeout",
            Self::OutOfMemory { .. } => "ffmpeg-out-of-memory",
            Self::TooLarge { .. } => "output-too-large",
            Self::TooMuchCpu { .. } => "ffmpeg-cpu-limit",
            Self::TooMuchOutput { .. } => "ffmpeg-output-limit",
            Self::NoSpace { .. } => "disk-full",
            Self::Unexpected { .. } => "ffmpeg-unexpected",
        }
    }
}
