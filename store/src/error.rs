//! What can go wrong with a store.

#[cfg(any(feature = "directory", feature = "s3"))]
use std::io::{self, ErrorKind};

use reelmill_common::{ObjectKey, Retryable};

/// The outcome of a store operation that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("`{0}` is not in the store")]
    NotFound(ObjectKey),
    /// There is one already.
    #[error("`{0}` is in the store already")]
    AlreadyExists(ObjectKey),
    /// No room is left.
    #[error("no space is left for `{key}`: free some and run again")]
    Full {
        /// What was being written.
        key: ObjectKey,
        /// The backend's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The backend failed.
    #[error("cannot {action} `{key}`")]
    Backend {
        /// What was tried, such as `read`.
        action: &'static str,
        /// On which object or prefix.
        key: String,
        /// Whether trying again may help.
        retryable: bool,
        /// The backend's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[cfg(any(feature = "directory", feature = "s3"))]
impl StoreError {
    /// What became of an object when a local file or folder failed.
    pub(crate) fn io(action: &'static str, key: &ObjectKey, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full {
                key: key.clone(),
                source: Box::new(source),
            },
            _ => Self::io_at(action, key.to_string(), source),
        }
    }

    /// The same where it is not one object that was in hand.
    pub(crate) fn io_at(action: &'static str, name: String, source: io::Error) -> Self {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        let retryable = matches!(source.raw_os_error(), Some(ENFILE | EMFILE))
            || matches!(
                source.kind(),
                ErrorKind::Interrupted
                    | ErrorKind::OutOfMemory
                    | ErrorKind::ResourceBusy
                    | ErrorKind::StaleNetworkFileHandle
                    | ErrorKind::TimedOut
                    | ErrorKind::WouldBlock
            );
        Self::Backend {
            action,
            key: name,
            retryable,
            source: Box::new(source),
        }
    }
}

impl Retryable for StoreError {
    fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Backend {
                retryable: true,
                ..
            }
        )
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "object-not-found",
            Self::AlreadyExists(_) => "object-already-exists",
            Self::Full { .. } => "store-full",
            Self::Backend { .. } => "store-failed",
        }
    }
}
