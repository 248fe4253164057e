//! Takes the bytes of one upload as they come and makes segments of them.
//!
//! What arrives is gathered into batches of some hundred kilobytes. While one is gathered the one
//! before it is written on one thread for blocking work and hashed on another, and the segments
//! before that are being made durable by the store: an upload holds two batches in memory, however
//! long it is.

mod pen;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reelmill_common::checksum::Summer;
use reelmill_common::digest::{Hasher, Sha256};
use reelmill_common::{Checksum, JobId, Retryable as _, key};
use reelmill_stage::StageError;
use reelmill_store::{Store, StoreError};
use tokio::task::{JoinError, JoinHandle, JoinSet};

use self::pen::{Closed, Pen};
use super::checksum::Check;
use super::stored::Found;

/// Bytes that are written and hashed in one go.
const BATCH_BYTES: usize = 512 * 1024;

/// Pieces in one go: many small ones may each keep a large buffer alive.
const BATCH_PIECES: usize = 128;

/// Segments that the store makes durable while the next is received.
const PUTS_AT_ONCE: usize = 4;

/// How often a store that fails for the moment is asked again.
const PUT_ATTEMPTS: u32 = 3;

/// How the names of its files in the scratch folder begin.
pub(super) const SCRATCH_PREFIX: &str = "upload-";

/// Bytes that are read back in one go.
const READ_BYTES: u64 = 1024 * 1024;

/// Digest and checksums of all that came before an offset, which spare reading it again.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    /// Of all bytes up to the offset.
    whole: Hasher,
    /// The checksum of each whole segment.
    segments: Vec<Checksum>,
}

/// How far an upload has come, and what is remembered of it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// Bytes that are in the store.
    pub(super) offset: u64,
    /// `None` when they must be read again.
    pub(super) digests: Option<Digests>,
}

impl Progress {
    /// Of an upload that begins.
    pub(super) fn start() -> Self {
        Self {
            offset: 0,
            digests: Some(Digests::default()),
        }
    }
}

/// What was received, when it is all there.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    pub(super) segments: Vec<Checksum>,
}

/// The pen is here, or at work, or broken.
#[derive(Debug)]
enum Hand {
    Free(Box<Pen>),
    Writing(Writing),
    Broken,
}

type Writing = JoinHandle<Result<(Pen, io::Result<Vec<Closed>>), JoinError>>;

/// Writes a batch, and meanwhile hashes it for the digest of the whole, which takes as long as all the
/// rest.
fn write(mut pen: Pen, batch: Vec<Bytes>) -> Writing {
    let batch = Arc::new(batch);
    let hashing = pen.digests.as_mut().map(|digests| {
        let (mut whole, batch) = (std::mem::take(&mut digests.whole), Arc::clone(&batch));
        tokio::task::spawn_blocking(move || {
            batch.iter().for_each(|bytes| whole.update(bytes));
            whole
        })
    });
    let writing = tokio::task::spawn_blocking(move || {
        let written = pen.write_all(&batch);
        (pen, written)
    });
    tokio::spawn(async move {
        let whole = match hashing {
            Some(hashing) => Some(hashing.await?),
            None => None,
        };
        let (mut pen, written) = writing.await?;
        if let (Some(digests), Some(whole)) = (&mut pen.digests, whole) {
            digests.whole = whole;
        }
        Ok((pen, written))
    })
}

/// Makes segments of one upload's bytes; see the module.
///
/// After an error it is [abandoned](Self::abandon). Dropping it instead may leave the store at work
/// on a segment.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    job: JobId,
    store: Arc<dyn Store>,
    folder: PathBuf,
    hand: Hand,
    batch: Vec<Bytes>,
    batch_len: usize,
    puts: JoinSet<Result<(), StageError>>,
    /// The partial object that is in the store, to be removed when its segment is whole.
    partial: Option<u32>,
    /// Segments that wait for a checksum; `None` where they need not.
    held: Option<Vec<Closed>>,
    base: u64,
    offset: u64,
}

impl SegmentWriter {
    /// Goes on with an upload of which `found` is in the store, knowing what `progress` remembers.
    /// With a `check`, nothing of what is [pushed](Self::push) becomes part of the upload before
    /// [`accept`](Self::accept).
    ///
    /// # Errors
    /// The store or the scratch folder fails.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        folder: &Path,
        job: &JobId,
        found: &Found,
        progress: Progress,
        check: Option<Check>,
    ) -> Result<Self, StageError> {
        let offset = found.offset();
        let held = check.is_some().then(Vec::new);
        let digests = progress.digests.filter(|_| progress.offset == offset);
        let mut pen = Pen::new(folder, found.segments, digests, check);
        // What an earlier life left behind must not be taken for a part of this one.
        for stray in &found.strays {
            store.delete(stray).await?;
        }
        if found.partial > 0 {
            pen = copy_partial(&store, job, pen, found.partial).await?;
        }
        Ok(Self {
            job: job.clone(),
            store,
            folder: folder.to_owned(),
            hand: Hand::Free(Box::new(pen)),
            batch: Vec::new(),
            batch_len: 0,
            puts: JoinSet::new(),
            partial: (found.partial > 0).then_some(found.segments),
            held,
            base: offset,
            offset,
        })
    }

    /// Has all that was pushed written, and given to the store where a segment is whole.
    ///
    /// # Errors
    /// The scratch folder or the store fails.
    pub(super) async fn settle(&mut self) -> Result<(), StageError> {
        self.flush().await?;
        self.pen().await.map(drop)
    }

    /// Bytes of the upload, with those that are not in the store yet.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes. Waits while the disk or the store is behind.
    ///
    /// # Errors
    /// The scratch folder or the store fails, maybe at bytes that came before.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<(), StageError> {
        self.offset += bytes.len() as u64;
        self.batch_len += bytes.len();
        self.batch.push(bytes);
        if self.batch_len >= BATCH_BYTES || self.batch.len() >= BATCH_PIECES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Tells whether all that was pushed has the checksum that was promised; only then it counts.
    ///
    /// # Errors
    /// The scratch folder or the store fails.
    pub(super) async fn accept(&mut self) -> Result<bool, StageError> {
        self.flush().await?;
        let pen = self.pen().await?;
        if pen.check.take().is_some_and(|check| !check.holds()) {
            return Ok(false);
        }
        for closed in self.held.take().unwrap_or_default() {
            self.put(closed).await?;
        }
        Ok(true)
    }

    /// Stores what there is, to be gone on with another time.
    ///
    /// # Errors
    /// The scratch folder or the store fails.
    pub(super) async fn park(mut self) -> Result<Progress, StageError> {
        let parked = self.try_park().await;
        self.quieten().await;
        parked
    }

    async fn try_park(&mut self) -> Result<Progress, StageError> {
        self.flush().await?;
        let has_grown = self.offset > self.base;
        let pen = self.pen().await?;
        let index = pen.index;
        let digests = pen.digests.take();
        let partial = pen.file.take();
        while !self.puts.is_empty() {
            self.next_put().await?;
        }
        if let Some((_, file)) = partial
            && has_grown
        {
            put_file(self.store.as_ref(), &key::partial(&self.job, index), &file).await?;
        }
        Ok(Progress {
            offset: self.offset,
            digests,
        })
    }

    /// Stores the last segment. All bytes are in the store then, and nothing says so yet.
    ///
    /// # Errors
    /// The scratch folder or the store fails.
    pub(super) async fn finish(mut self) -> Result<Received, StageError> {
        let finished = self.try_finish().await;
        self.quieten().await;
        finished
    }

    async fn try_finish(&mut self) -> Result<Received, StageError> {
        self.flush().await?;
        let pen = self.pen().await?;
        let last = pen.close();
        let digests = pen.digests.take();
        if let Some(closed) = last {
            self.put(closed).await?;
        }
        while !self.puts.is_empty() {
            self.next_put().await?;
        }
        let Digests { whole, segments } = match digests {
            Some(digests) => digests,
            None => read_digests(self.store.as_ref(), &self.job, self.offset).await?,
        };
        let (sha256, _) = whole.finish();
        Ok(Received {
            size: self.offset,
            sha256,
            segments,
        })
    }

    /// Ends without storing what came after the last whole segment.
    pub(super) async fn abandon(mut self) {
        self.quieten().await;
    }

    /// Waits until nothing writes any more, so that the next writer meets none.
    async fn quieten(&mut self) {
        if let Hand::Writing(writing) = &mut self.hand
            && let Err(error) = writing.await.flatten()
        {
            tracing::debug!(%error, "a writer ended early");
        }
        self.hand = Hand::Broken;
        while let Some(put) = self.puts.join_next().await {
            if let Err(error) = put.map_err(interrupted).and_then(|put| put) {
                tracing::debug!(%error, "a segment was not stored");
            }
        }
    }

    /// Gives what was pushed to the pen, when it is free again.
    ///
    /// # Errors
    /// The scratch folder or the store fails, maybe at bytes that came before.
    async fn flush(&mut self) -> Result<(), StageError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.pen().await?;
        let batch = std::mem::take(&mut self.batch);
        self.batch_len = 0;
        if let Hand::Free(pen) = std::mem::replace(&mut self.hand, Hand::Broken) {
            self.hand = Hand::Writing(write(*pen, batch));
        }
        Ok(())
    }

    /// The pen, as soon as it has written what it was given.
    async fn pen(&mut self) -> Result<&mut Pen, StageError> {
        if let Hand::Writing(writing) = &mut self.hand {
            let ended = writing.await.flatten();
            self.hand = Hand::Broken;
            let (pen, written) = ended.map_err(interrupted)?;
            let closed = written
                .map_err(|error| StageError::scratch("cannot write in", &self.folder, &error))?;
            self.hand = Hand::Free(Box::new(pen));
            for closed in closed {
                match &mut self.held {
                    Some(held) => held.push(closed),
                    None => self.put(closed).await?,
                }
            }
        }
        match &mut self.hand {
            Hand::Free(pen) => Ok(pen),
            Hand::Writing(_) | Hand::Broken => Err(StageError::permanent(
                "upload-broken",
                "an upload went on after it had failed",
            )),
        }
    }

    /// Lets the store take a segment while the next one is received.
    async fn put(&mut self, closed: Closed) -> Result<(), StageError> {
        while self.puts.len() >= PUTS_AT_ONCE {
            self.next_put().await?;
        }
        let (job, store) = (self.job.clone(), Arc::clone(&self.store));
        let partial = self.partial.take_if(|index| *index == closed.index);
        self.puts.spawn(async move {
            let Closed { index, file } = closed;
            put_file(store.as_ref(), &key::segment(&job, index), &file).await?;
            if let Some(index) = partial {
                store.delete(&key::partial(&job, index)).await?;
            }
            Ok(())
        });
        Ok(())
    }

    async fn next_put(&mut self) -> Result<(), StageError> {
        match self.puts.join_next().await {
            Some(put) => put.map_err(interrupted)?,
            None => Ok(()),
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` takes"
)]
fn interrupted(error: JoinError) -> StageError {
    StageError {
        retryable: true,
        ..StageError::permanent("interrupted", error.to_string())
    }
}

/// A client would have to send everything again because the store was away for a moment.
async fn put_file(
    store: &dyn Store,
    key: &reelmill_common::ObjectKey,
    file: &Path,
) -> Result<(), StoreError> {
    let mut attempt = 1;
    loop {
        match store.put_file(key, file).await {
            Err(error) if error.is_retryable() && attempt < PUT_ATTEMPTS => {
                tracing::warn!(%key, %error, attempt, "a segment is stored again");
                tokio::time::sleep(Duration::from_millis(100) * attempt).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Takes over what has arrived of the segment in hand.
async fn copy_partial(
    store: &Arc<dyn Store>,
    job: &JobId,
    mut pen: Pen,
    len: u64,
) -> Result<Pen, StageError> {
    let partial = key::partial(job, pen.index);
    let mut at = 0;
    while at < len {
        let bytes = store.get_range(&partial, at..at + READ_BYTES).await?;
        if bytes.is_empty() {
            return Err(changed(&partial));
        }
        at += bytes.len() as u64;
        let written: io::Result<()>;
        (pen, written) = reelmill_stage::blocking(move || {
            let added = pen.add(&bytes);
            (pen, added)
        })
        .await?;
        written.map_err(|error| StageError::scratch("cannot write in", &pen.folder, &error))?;
    }
    Ok(pen)
}

/// The digests of an upload's segments, read from the store.
async fn read_digests(store: &dyn Store, job: &JobId, size: u64) -> Result<Digests, StageError> {
    let mut digests = Digests::default();
    let (mut index, mut read) = (0, 0);
    while read < size {
        let object = key::segment(job, index);
        let (mut segment, mut at) = (Summer::default(), 0);
        loop {
            let bytes = store.get_range(&object, at..at + READ_BYTES).await?;
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
            let mut whole = digests.whole;
            (segment, whole) = reelmill_stage::blocking(move || {
                segment.update(&bytes);
                whole.update(&bytes);
                (segment, whole)
            })
            .await?;
            digests.whole = whole;
        }
        if at == 0 {
            return Err(changed(&object));
        }
        digests.segments.push(segment.finish().0);
        read += at;
        index += 1;
    }
    Ok(digests)
}

fn changed(object: &reelmill_common::ObjectKey) -> StageError {
    StageError::permanent(
        "upload-changed",
        format!("`{object}` changed while it was read: upload again"),
    )
}
