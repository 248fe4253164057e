//! Why an MP4 could not be read, retimed, written or joined.

use std::path::{Path, PathBuf};

use reelmill_common::Retryable;

/// Why work on an MP4 failed.
#[derive(Debug, thiserror::Error)]
pub enum Mp4Error {
    /// The file system refused.
    #[error("cannot read or write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file breaks the format: torn, damaged, or no MP4 at all.
    #[error("`{}` is not a sound mp4: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// The file is sound, but not of the kind that is handled here.
    #[error("`{}` cannot be handled: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not handled.
        what: String,
    },
    /// The frames are not those of the window.
    #[error("the frames of `{}` are not those of their window", path.display())]
    Retime {
        /// The file that was to be retimed.
        path: PathBuf,
        /// The first difference.
        source: RetimeError,
    },
    /// A time or size does not fit the field that the format has for it.
    #[error("`{}` cannot be written: {what}", path.display())]
    OutOfRange {
        /// The file whose samples were to be written.
        path: PathBuf,
        /// Which number, of which sample.
        what: String,
    },
    /// An init segment differs from that of the first file: the two cannot share one.
    #[error("the init segment of `{}` differs from that of `{}`", path.display(), first.display())]
    InitDiffers {
        /// The file that differs.
        path: PathBuf,
        /// The file whose init segment was taken.
        first: PathBuf,
    },
    /// A fragment does not begin where the one before it ended.
    #[error(
        "gap or overlap: fragment {fragment} of `{}` begins at tick {found}, but what comes \
         before it, in `{}`, ends at tick {expected}",
        path.display(),
        previous.display()
    )]
    Discontinuity {
        /// The file of the later fragment.
        path: PathBuf,
        /// The later fragment's place in that file, from 0.
        fragment: usize,
        /// The file of the earlier fragment.
        previous: PathBuf,
        /// The decode time, in delivered ticks, at which the earlier fragment ended.
        expected: i64,
        /// The decode time, in delivered ticks, at which the later fragment begins.
        found: i64,
    },
    /// Nothing was joined that holds a sample.
    #[error("nothing to join for `{}`: no file holds a sample", path.display())]
    NoSamples {
        /// The file that was to be made.
        path: PathBuf,
    },
}

/// The first way in which encoded frames differ from the frames that their window has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetimeError {
    /// Frames were lost or invented.
    #[error("{expected} frames expected, {found} found")]
    FrameCount {
        /// Frames of the window.
        expected: usize,
        /// Frames in the file.
        found: usize,
    },
    /// The window's own times do not increase.
    #[error("the window's time of frame {index} is not later than the one before it")]
    NotIncreasing {
        /// The frame's place in presentation order, from 0.
        index: usize,
    },
    /// A frame is not as far from the one before it as it is in the window.
    #[error(
        "frame {index} is presented {found} ticks after the one before it, {expected} expected"
    )]
    FrameTime {
        /// The frame's place in presentation order, from 0.
        index: usize,
        /// Ticks from the frame before it in the window.
        expected: i128,
        /// Ticks from the frame before it in the file.
        found: i128,
    },
    /// The window ends before its last frame does.
    #[error("the last frame is presented at tick {last}, but is to last until tick {end}")]
    EndTooEarly {
        /// The last frame's time.
        last: i64,
        /// The end that was asked for.
        end: i64,
    },
    /// A duration or a composition offset does not fit its 32 bits.
    #[error("frame {index} cannot be written: {ticks} ticks do not fit 32 bits")]
    TooLong {
        /// The frame's place in decode order, from 0.
        index: usize,
        /// The duration or the offset.
        ticks: i128,
    },
}

impl Retryable for Mp4Error {
    /// Only the file system may behave differently another time; the bytes will not.
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "mp4-io",
            Self::Malformed { .. } => "mp4-malformed",
            Self::Unsupported { .. } => "mp4-unsupported",
            Self::Retime { .. } => "mp4-frames-differ",
            Self::OutOfRange { .. } => "mp4-out-of-range",
            Self::InitDiffers { .. } => "mp4-init-differs",
            Self::Discontinuity { .. } => "mp4-discontinuity",
            Self::NoSamples { .. } => "mp4-no-samples",
        }
    }
}

/// A failure that does not yet know which file it happened in.
#[derive(Debug)]
pub(super) enum Fault {
    Io(std::io::Error),
    Malformed(String),
    Unsupported(String),
    OutOfRange(String),
}

impl Fault {
    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    /// Names the file.
    pub(super) fn at(self, path: &Path) -> Mp4Error {
        let path = path.to_owned();
        match self {
            Self::Io(source) => Mp4Error::Io { path, source },
            Self::Malformed(what) => Mp4Error::Malformed { path, what },
            Self::Unsupported(what) => Mp4Error::Unsupported { path, what },
            Self::OutOfRange(what) => Mp4Error::OutOfRange { path, what },
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
