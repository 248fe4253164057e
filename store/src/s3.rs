//! Objects in a bucket of an S3 service.
//!
//! An object is the object of its key's name, after the prefix where there is one. Nothing is kept
//! elsewhere, so any number of processes on any number of machines may use one bucket at once.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use reelmill_common::ObjectKey;

use crate::{ObjectMeta, Store, StoreError};

mod bucket;
mod connect;
mod create;
mod download;
mod list;
mod multipart;
mod options;
mod refusal;
mod unfinished;

use bucket::Bucket;
use create::Creation;
use multipart::{PART, Source};
pub use options::{S3Credentials, S3Options};
use refusal::Refusal;

/// Keeps objects in a bucket of AWS S3 or a service that speaks its protocol.
///
/// Where the service does not honour `If-None-Match` (this is found out when connecting, and
/// logged), [`put_new`](Store::put_new) is best effort: a writer looks, writes, waits a moment and
/// reads back whose object stayed. One of many writers is told that it won, unless one is held up
/// between looking and writing for longer than the others wait; then two may be told so, and the
/// object that stays is that of the last. Reading the object then still tells all of them the same.
///
/// The keys must be allowed to list, read, write and delete objects, and to list and abort
/// multipart uploads. Cheap to clone.
#[derive(Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    creation: Creation,
}

impl S3Store {
    /// Opens a bucket: sees that it can be used, makes it where the options say so and there is
    /// none, and finds out whether the service honours conditions.
    ///
    /// # Errors
    /// The options make no sense, or the bucket cannot be reached, used or made; the error says
    /// what to do, and never repeats a secret.
    pub async fn connect(options: &S3Options) -> Result<Self, StoreError> {
        options.check()?;
        let bucket = Bucket::new(options);
        connect::open(&bucket, options).await?;
        let creation = if connect::honours_conditions(&bucket).await? {
            Creation::Conditional
        } else {
            tracing::warn!(
                bucket = %bucket.place,
                "this service does not honour `If-None-Match`: of two writers of one new object, both may be told that they were first"
            );
            Creation::BestEffort
        };
        Ok(Self {
            bucket: Arc::new(bucket),
            creation,
        })
    }

    /// Whether the service itself sees to it that only one of many writers makes a new object.
    #[must_use]
    pub fn creates_atomically(&self) -> bool {
        self.creation == Creation::Conditional
    }

    /// A URL from which whoever holds it can read an object for as long as `expires`; see
    /// [`Store::link`].
    ///
    /// # Errors
    /// The time is longer than seven days.
    pub async fn presigned_get(
        &self,
        key: &ObjectKey,
        expires: Duration,
        content_type: Option<&str>,
    ) -> Result<String, StoreError> {
        let bucket = &self.bucket;
        let config =
            PresigningConfig::expires_in(expires).map_err(|source| StoreError::Backend {
                action: "make a link to",
                key: key.to_string(),
                retryable: false,
                source: Box::new(source),
            })?;
        let request = bucket.links.get_object().bucket(&bucket.name);
        let request = request
            .key(bucket.name_of(key))
            .set_response_content_type(content_type.map(str::to_owned));
        match request.presigned(config).await {
            Ok(link) => Ok(link.uri().to_owned()),
            Err(error) => Err(Refusal::from(error).about("make a link to", key, &bucket.place)),
        }
    }

    async fn put_whole(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let bucket = &self.bucket;
        let put = bucket.put(&bucket.name_of(key), bytes, None, false).await;
        put.map_err(|refusal| refusal.about("write", key, &bucket.place))
    }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "this store has links and leaves uploads behind"
)]
impl Store for S3Store {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let size = bytes.len() as u64;
        if size < PART {
            self.put_whole(key, bytes).await
        } else {
            multipart::put(&self.bucket, key, Source::Memory(bytes), size).await
        }
    }

    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.creation.put_new(&self.bucket, key, bytes).await
    }

    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("write", key, error);
        let path = file.to_owned();
        match blocking(move || open(&path)).await.map_err(failed)? {
            Opened::Small(bytes) => self.put_whole(key, bytes).await?,
            Opened::Large(file, size) => {
                let source = Source::File(Arc::new(file));
                multipart::put(&self.bucket, key, source, size).await?;
            }
        }
        // The file was given away: left where it is, it would take up room beside its object.
        match tokio::fs::remove_file(file).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::debug!(file = %file.display(), %error, "a stored file was left behind");
            }
            _ => {}
        }
        Ok(())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        download::get_range(&self.bucket, key, 0..u64::MAX).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        download::get_range(&self.bucket, key, range).await
    }

    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        download::get_file(&self.bucket, key, file).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        Ok(self.bucket.head("look up", key).await?.meta)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let bucket = &self.bucket;
        let request = bucket.client.delete_object().bucket(&bucket.name);
        let Err(error) = request.key(bucket.name_of(key)).send().await else {
            return Ok(());
        };
        match bucket.explain("delete", key, error.into()).await {
            StoreError::NotFound(_) => Ok(()),
            error => Err(error),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        list::list(&self.bucket, prefix, after, limit).await
    }

    async fn link(
        &self,
        key: &ObjectKey,
        content_type: Option<&str>,
        valid_for: Duration,
    ) -> Result<Option<String>, StoreError> {
        let link = self.presigned_get(key, valid_for, content_type).await?;
        Ok(Some(link))
    }

    async fn clear_unfinished(&self, older_than: Duration) -> Result<u64, StoreError> {
        unfinished::clear(&self.bucket, older_than).await
    }
}

/// Names the bucket and its service; the client would show far more.
impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("uri", &self.bucket.uri)
            .field("place", &self.bucket.place)
            .field("creation", &self.creation)
            .finish()
    }
}

/// A file that is to be stored.
enum Opened {
    Small(Bytes),
    Large(File, u64),
}

fn open(path: &Path) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size >= PART {
        return Ok(Opened::Large(file, size));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    Ok(Opened::Small(bytes.into()))
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}
