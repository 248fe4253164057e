//! What can be wrong with a source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::{ObjectKey, Retryable};
use reelmill_store::StoreError;

/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing at this path.
    #[error("`{}` does not exist: check the path", .0.display())]
    Missing(PathBuf),
    /// It is a folder, a pipe or a device.
    #[error("`{}` is {what}: a regular file is needed, since a source is read from many places at once", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// It has no bytes.
    #[error("`{}` is empty: there is nothing to transcode", .0.display())]
    Empty(PathBuf),
    /// This user may not read it.
    #[error("`{}` cannot be read by this user: change its permissions or run as its owner", .0.display())]
    Forbidden(PathBuf),
    /// It is not what the job began with.
    #[error("`{}` has changed since the job began: put the old file back, or begin anew with --force", .0.display())]
    Changed(PathBuf),
    /// Its name is not text.
    #[error("`{}` has a name that is not UTF-8: rename it", .0.display())]
    Name(PathBuf),
    /// Reading failed.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It lies in the store, and whoever was asked to open it has none.
    #[error("`{0}` lies in the store, and there is no store here: open it where there is one")]
    NoStore(String),
    /// A part of it is not in the store.
    #[error("`{0}` is not in the store: upload the source again")]
    NotStored(ObjectKey),
    /// A part of it in the store is not what was uploaded.
    #[error("`{0}` in the store is not what was uploaded: upload the source again")]
    Corrupt(ObjectKey),
    /// Its list of segments makes no sense to this build.
    #[error("`{key}` cannot be understood: {reason}")]
    Malformed {
        /// The list.
        key: ObjectKey,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error("cannot get `{key}` from the store")]
    Store {
        /// What was asked of it.
        key: ObjectKey,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The store took too long.
    #[error("`{key}` did not come from the store within {} s", limit.as_secs())]
    Slow {
        /// What was asked of it.
        key: ObjectKey,
        /// The bound.
        limit: Duration,
    },
    /// The cache on this machine's disk cannot be used.
    #[error("cannot use `{}` to keep parts of sources", path.display())]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// This process cannot serve on loopback.
    #[error("cannot serve sources on 127.0.0.1")]
    Serve(#[source] std::io::Error),
    /// One of these that several readers met.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl Retryable for SourceError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Slow { .. } | Self::Cache { .. } | Self::Serve(_) => true,
            Self::Store { source, .. } => source.is_retryable(),
            Self::Shared(error) => error.is_retryable(),
            _ => false,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::NotStored(_) => "source-missing",
            Self::NotAFile { .. } => "source-not-a-file",
            Self::Empty(_) => "source-empty",
            Self::Forbidden(_) => "source-forbidden",
            Self::Changed(_) => "source-changed",
            Self::Name(_) => "source-name",
            Self::Io { .. } | Self::Store { .. } => "source-unreadable",
            Self::NoStore(_) => "source-without-store",
            Self::Corrupt(_) => "source-corrupt",
            Self::Malformed { .. } => "source-malformed",
            Self::Slow { .. } => "source-slow",
            Self::Cache { .. } => "source-cache",
            Self::Serve(_) => "source-not-served",
            Self::Shared(error) => error.code(),
        }
    }
}
