//! Why a task did not succeed, and what follows from it.

use reelmill_common::Retryable;
use reelmill_common::job::JobError;

/// The end of an attempt that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Whether it is this worker that cannot do it, so that the attempt is not counted: the task is
    /// left to another worker.
    pub hand_back: bool,
    /// Whether the input is the likely cause: a second attempt in a row that ends with the same code
    /// is the last.
    pub blames_input: bool,
    /// A stable code in kebab-case.
    pub code: String,
    /// One sentence that names the thing and the way out.
    pub message: String,
    /// The tail of ffmpeg's own words where they help, else empty.
    pub detail: String,
    /// The command line that failed; empty where none did.
    pub command: String,
}

impl StageError {
    /// An error that no further attempt will mend.
    #[must_use]
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self {
            retryable: false,
            hand_back: false,
            blames_input: false,
            code: code.to_owned(),
            message: message.into(),
            detail: String::new(),
            command: String::new(),
        }
    }

    /// An error that another attempt may not meet.
    #[must_use]
    pub fn passing(code: &str, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::permanent(code, message)
        }
    }

    /// An error that the same input probably meets again: one more attempt is made, since a machine
    /// may have been at fault.
    #[must_use]
    pub fn of_the_input(code: &str, message: impl Into<String>) -> Self {
        Self {
            blames_input: true,
            ..Self::passing(code, message)
        }
    }

    /// A task that this worker cannot do and another can. The attempt is not counted, and the
    /// message is given out again after a while.
    #[must_use]
    pub fn hand_back(code: &str, message: impl Into<String>) -> Self {
        Self {
            hand_back: true,
            ..Self::passing(code, message)
        }
    }

    /// Takes over the decision, the code, the whole chain of causes and the detail of an error. A
    /// full disk has the same code wherever it was met.
    #[must_use]
    pub fn of(error: &(impl Retryable + 'static)) -> Self {
        let message = chain(error);
        let taken = match is_about_room(error) {
            true => Self::no_room(&message),
            false => Self {
                retryable: error.is_retryable(),
                hand_back: error.hands_back(),
                blames_input: error.blames_input(),
                ..Self::permanent(error.code(), message)
            },
        };
        taken
            .with_detail(error.detail())
            .with_command(error.command())
    }

    /// A scratch folder or a file in it that the file system refuses, such as `cannot work in`.
    #[must_use]
    pub fn scratch(action: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let message = format!("{action} `{}`: {source}", path.display());
        if is_about_room(source) {
            return Self::no_room(&message);
        }
        Self::passing("scratch-unusable", message)
    }

    fn no_room(what: &str) -> Self {
        let message = format!("no space is left on the disk: free some and run again ({what})");
        Self::passing(DISK_FULL, message)
    }

    /// Whether it is for want of room: waiting does not help, freeing some does.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.code == DISK_FULL
    }

    /// Adds ffmpeg's own words.
    #[must_use]
    pub fn with_detail(mut self, detail: &str) -> Self {
        detail.clone_into(&mut self.detail);
        self
    }

    /// Adds the command line that failed.
    #[must_use]
    pub fn with_command(mut self, command: &str) -> Self {
        command.clone_into(&mut self.command);
        self
    }

    /// The error as a job keeps it.
    #[must_use]
    pub fn job_error(&self, task: reelmill_common::TaskKey) -> JobError {
        JobError {
            code: self.code.clone(),
            message: self.message.clone(),
            retryable: self.retryable,
            detail: self.detail.clone(),
            task: Some(task),
        }
    }
}

/// The code of every error that comes from a full disk.
const DISK_FULL: &str = "disk-full";

/// Whether an error comes from a full disk.
fn is_about_room(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl<E: Retryable + 'static> From<E> for StageError {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}
