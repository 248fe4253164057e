//! Writing an object only where none is.

use std::time::Duration;

use bytes::Bytes;
use reelmill_common::ObjectKey;
use uuid::Uuid;

use super::bucket::Bucket;
use crate::StoreError;

/// How often a writer comes back that is refused though nothing is there.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Without conditions: how long a writer waits before it looks whose object stayed. Of writers that
/// looked before the first of them wrote, each has written by then, unless it was held up.
const SETTLES_WITHIN: Duration = Duration::from_millis(250);

/// How the one of many writers that may write is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    /// The service decides.
    Conditional,
    /// The service does not mind conditions: look, write, wait, and see whose object stayed.
    BestEffort,
}

impl Creation {
    pub(super) async fn put_new(
        self,
        bucket: &Bucket,
        key: &ObjectKey,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        // The client library makes a request again whose answer was lost, and then meets its own
        // object: by this it is known.
        let writer = Uuid::now_v7().to_string();
        // In one request whatever the length: an object made in parts would have to be judged twice.
        match self {
            Self::Conditional => conditional(bucket, key, bytes, &writer).await,
            Self::BestEffort => best_effort(bucket, key, bytes, &writer).await,
        }
    }
}

async fn conditional(
    bucket: &Bucket,
    key: &ObjectKey,
    bytes: Bytes,
    writer: &str,
) -> Result<(), StoreError> {
    let name = bucket.name_of(key);
    let mut attempt = 1;
    loop {
        let refusal = match bucket.put(&name, bytes.clone(), Some(writer), true).await {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        if !refusal.means_condition_failed() && !refusal.means_conflict() {
            return Err(refusal.about("write", key, &bucket.place));
        }
        match is_by(bucket, key, writer).await? {
            Some(true) => return Ok(()),
            Some(false) => return Err(StoreError::AlreadyExists(key.clone())),
            // The winner's object is about to appear, or it was there and was deleted: who is told
            // that there is one must be able to read it.
            None if attempt < ATTEMPTS => {}
            None => return Err(refusal.without_object().about("write", key, &bucket.place)),
        }
        tokio::time::sleep(FIRST_PAUSE * attempt).await;
        attempt += 1;
    }
}

async fn best_effort(
    bucket: &Bucket,
    key: &ObjectKey,
    bytes: Bytes,
    writer: &str,
) -> Result<(), StoreError> {
    let is_free = is_by(bucket, key, writer).await?.is_none();
    if is_free {
        let name = bucket.name_of(key);
        let put = bucket.put(&name, bytes, Some(writer), false).await;
        put.map_err(|refusal| refusal.about("write", key, &bucket.place))?;
    }
    // Also when it is taken: it may be one of several that are being written at this moment, and
    // the caller will act on the one that it reads.
    tokio::time::sleep(SETTLES_WITHIN).await;
    match is_by(bucket, key, writer).await? {
        Some(true) => Ok(()),
        // Somebody deleted it since.
        None if is_free => Ok(()),
        Some(false) | None => Err(StoreError::AlreadyExists(key.clone())),
    }
}

/// Whether the object that is there is by this writer; `None` when there is none.
async fn is_by(bucket: &Bucket, key: &ObjectKey, writer: &str) -> Result<Option<bool>, StoreError> {
    match bucket.head("write", key).await {
        Ok(head) => Ok(Some(head.writer.as_deref() == Some(writer))),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
