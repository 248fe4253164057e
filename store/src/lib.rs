//! The store port: keep objects.
//!
//! Object storage is the truth of a job: it exists when its manifest exists, a chunk is done when
//! its done-marker exists, it is finished when its certificate exists. [`Store`] is the contract
//! that makes this hold; the backends are a directory on this machine and a bucket of an S3
//! service.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_common::ObjectKey;

#[cfg(feature = "conformance")]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a suite fails by panicking"
)]
pub mod conformance;
#[cfg(feature = "directory")]
mod directory;
mod error;
#[cfg(feature = "conformance")]
mod faulty;
#[cfg(feature = "s3")]
mod s3;
#[cfg(any(feature = "directory", feature = "s3"))]
mod staged;

#[cfg(feature = "directory")]
pub use directory::DirectoryStore;
pub use error::StoreError;
#[cfg(feature = "conformance")]
pub use faulty::FaultyStore;
#[cfg(feature = "conformance")]
pub use reelmill_common::faults::{Faults, InjectedFault, When};
#[cfg(feature = "s3")]
pub use s3::{S3Credentials, S3Options, S3Store};

/// What the store knows of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's name.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock; some stores know whole seconds only.
    pub modified: SystemTime,
}

/// Keeps objects under keys.
///
/// Every method may be called from any number of tasks and processes at once. A future dropped
/// half-way leaves either the whole effect or none that a reader could see. Errors tell whether
/// trying again may help ([`reelmill_common::Retryable`]); a backend that reaches a service tries
/// again by itself first, within bounds.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Writes an object, replacing one that is there.
    ///
    /// Atomic: a reader sees the old object, the new one, or none, never a part. Durable when the
    /// future returns `Ok`. Idempotent for the same bytes.
    ///
    /// # Errors
    /// Any failure; the object is then as it was before, or whole and new.
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError>;

    /// Writes an object only where none is.
    ///
    /// Atomic like [`put`](Self::put), and of any number of callers at once exactly one succeeds.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the key is taken, whoever took it, also by an earlier
    /// call of the same caller whose answer was lost: read the object to see who won.
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError>;

    /// Writes an object from a file, replacing one that is there; memory stays bounded whatever
    /// the file's length.
    ///
    /// Atomic and durable like [`put`](Self::put). The caller gives the file away: the backend may
    /// move it, so after `Ok` it may be gone, and it must not be written to again.
    ///
    /// # Errors
    /// Any failure; the file is then still where it was.
    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError>;

    /// Reads a whole object into memory; for manifests, markers and playlists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, and only then.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError>;

    /// Reads the bytes `range` of an object into memory. A range that reaches past the end gives
    /// what there is, one that begins at or after the end gives nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, and only then.
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Puts a copy of an object at `file`, replacing what is there; memory stays bounded.
    ///
    /// Atomic for readers of `file`. The copy may share storage with the object (a hard link), so
    /// it must not be written to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none; on any failure `file` is as it was.
    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError>;

    /// Tells whether an object exists, its length, and when it was written.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, and only then.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError>;

    /// Removes an object. Idempotent: a missing key is `Ok`.
    ///
    /// # Errors
    /// Any failure; the object is then whole or gone.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Lists objects whose key begins with `prefix`, sorted by key, at most `limit` of them,
    /// beginning after the key `after`.
    ///
    /// Complete: an object that exists throughout the call and falls in the page is listed. An
    /// empty answer means that there are no more. What is being written is not listed.
    ///
    /// # Errors
    /// Any failure.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError>;

    /// Gives a URL from which a client can read an object without this process, or `None` where
    /// the store has no such thing.
    ///
    /// Whoever holds the link may read the object through it, and nothing else, for `valid_for`
    /// (at most seven days). It serves ranges and names `content_type` as the object's type where
    /// one is given. The store does not look whether there is an object: following the link of a
    /// missing one gives the store's own answer.
    ///
    /// # Errors
    /// Any failure, such as a time that is too long.
    #[expect(
        unused_variables,
        reason = "a store without links needs to know nothing"
    )]
    async fn link(
        &self,
        key: &ObjectKey,
        content_type: Option<&str>,
        valid_for: Duration,
    ) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Removes what writers that died longer than `older_than` ago left half-written, and tells
    /// how many such writes it cleared. Objects are never touched.
    ///
    /// For a sweeper: nobody sees these leftovers, but they take up room. A write that is still
    /// going on after `older_than` is taken for dead and fails, so this must be longer than any
    /// write takes, by more than clocks differ: a day is usual. Idempotent, and any number may
    /// clear at once.
    ///
    /// # Errors
    /// Any failure; what was cleared until then is gone.
    #[expect(
        unused_variables,
        reason = "a store that leaves nothing has nothing to clear"
    )]
    async fn clear_unfinished(&self, older_than: Duration) -> Result<u64, StoreError> {
        Ok(0)
    }
}
