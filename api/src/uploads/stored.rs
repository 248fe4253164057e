//! What of an upload is in the store.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reelmill_common::upload::{self, SEGMENT_BYTES, StoredSource, Upload};
use reelmill_common::{JobId, ObjectKey, key};
use reelmill_stage::{StageError, create_json, load_json};
use reelmill_store::Store;

use super::writer::Received;

/// Objects that are listed in one go.
const PAGE: usize = 1000;

/// The bytes of an upload that are in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Segments without a gap, from the first.
    pub(super) segments: u32,
    /// Their bytes.
    bytes: u64,
    /// Bytes of the partial object that follows them.
    pub(super) partial: u64,
    /// What a kill has left and nobody needs.
    pub(super) strays: Vec<ObjectKey>,
}

impl Found {
    /// Where the upload goes on.
    pub(super) fn offset(&self) -> u64 {
        self.bytes + self.partial
    }

    /// Looks.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn look(store: &dyn Store, job: &JobId) -> Result<Self, StageError> {
        let (mut segments, mut partials) = (Vec::new(), Vec::new());
        for (object, size) in list(store, &format!("raw/{job}/")).await? {
            let name = object.file_name();
            if let Some(index) = number(name, "segment_") {
                segments.push((index, size, object));
            } else if let Some(index) = number(name, "partial_") {
                partials.push((index, size, object));
            }
        }
        segments.sort_by_key(|(index, ..)| *index);
        let mut found = Self::default();
        let mut has_ended = false;
        for (index, size, object) in segments {
            if index != found.segments || has_ended {
                found.strays.push(object);
                continue;
            }
            found.segments += 1;
            found.bytes += size;
            // Only the last one is shorter.
            has_ended = size != SEGMENT_BYTES;
        }
        for (index, size, object) in partials {
            match index == found.segments && !has_ended {
                true => found.partial = size,
                false => found.strays.push(object),
            }
        }
        Ok(found)
    }
}

fn number(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.parse().ok()
}

async fn list(store: &dyn Store, prefix: &str) -> Result<Vec<(ObjectKey, u64)>, StageError> {
    let mut objects: Vec<(ObjectKey, u64)> = Vec::new();
    loop {
        let after = objects.last().map(|(key, _)| key);
        let page = store.list(prefix, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        objects.extend(page.into_iter().map(|meta| (meta.key, meta.size)));
        if is_last {
            return Ok(objects);
        }
    }
}

/// Removes an upload that is not to become a job: its bytes, then its record, so that one that is
/// half removed is found when it expires.
///
/// # Errors
/// The store fails.
pub(super) async fn clear(store: &dyn Store, job: &JobId) -> Result<(), StageError> {
    for (object, _) in list(store, &format!("raw/{job}/")).await? {
        store.delete(&object).await?;
    }
    Ok(store.delete(&key::upload(job)).await?)
}

/// Says that an upload is whole. Nothing of it changes from here on.
///
/// # Errors
/// The store fails.
pub(super) async fn seal(
    store: &dyn Store,
    upload: &Upload,
    received: Received,
) -> Result<(), StageError> {
    let source = StoredSource {
        version: upload::SOURCE_VERSION,
        name: upload.order.name.clone(),
        size: received.size,
        sha256: received.sha256,
        segment_bytes: SEGMENT_BYTES,
        segments: received.segments,
    };
    // One that is there was written by this upload's earlier life.
    create_json(store, &key::source(&upload.job), &source).await?;
    Ok(())
}

/// The list of a whole upload's segments, if it is whole.
///
/// # Errors
/// The store fails.
pub(super) async fn sealed(
    store: &dyn Store,
    job: &JobId,
) -> Result<Option<StoredSource>, StageError> {
    load_json(store, &key::source(job)).await
}

/// An upload's record, and the moment when it is to be put off once more.
#[derive(Debug)]
pub(super) struct Record {
    /// The record as it is in the store.
    pub(super) upload: Box<Upload>,
    store: Arc<dyn Store>,
    expiry: Duration,
}

impl Record {
    /// Wraps a record that is in the store.
    pub(super) fn new(store: Arc<dyn Store>, upload: Upload, expiry: Duration) -> Self {
        Self {
            upload: Box::new(upload),
            store,
            expiry,
        }
    }

    /// Loads it, if it is there.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn load(
        store: &Arc<dyn Store>,
        job: &JobId,
        expiry: Duration,
    ) -> Result<Option<Self>, StageError> {
        let upload = load_json(store.as_ref(), &key::upload(job)).await?;
        Ok(upload.map(|upload| Self::new(Arc::clone(store), upload, expiry)))
    }

    /// Whether it is past its time.
    pub(super) fn is_expired(&self) -> bool {
        self.upload.expires_at <= now()
    }

    /// Writes it.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn save(&self) -> Result<(), StageError> {
        let json = serde_json::to_vec_pretty(&self.upload).map_err(|error| {
            StageError::permanent(
                "object-unwritable",
                format!("cannot write an upload: {error}"),
            )
        })?;
        let object = key::upload(&self.upload.job);
        Ok(self.store.put(&object, json.into()).await?)
    }

    /// Puts its end off while bytes come in, seldom enough to cost nothing.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn keep(&mut self) -> Result<(), StageError> {
        let now = now();
        let whole = millis(self.expiry);
        if self.upload.expires_at.saturating_sub(now) >= whole - whole / 4 {
            return Ok(());
        }
        self.upload.expires_at = now.saturating_add(whole);
        self.save().await
    }
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// A length of time in milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
