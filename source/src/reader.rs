//! A stored source from one byte to another, piece by piece.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::SourceError;
use crate::cache::{Cache, Segment};
use crate::stored::Stored;

/// The first piece is small, since ffmpeg often looks at a header and leaves; the others grow.
const FIRST_PIECE: u64 = 32 * 1024;
const LARGEST_PIECE: u64 = 256 * 1024;

/// Whoever has read this much in one go will go on: the next segments are fetched.
const GOES_ON: u64 = 1024 * 1024;

/// Reads a range. It holds the segment that it is in, so that this one stays in the cache.
#[derive(Debug)]
pub(crate) struct Reader {
    cache: Arc<Cache>,
    source: Arc<Stored>,
    at: u64,
    end: u64,
    piece: u64,
    read: u64,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    index: u32,
    segment: Arc<Segment>,
    file: Arc<File>,
    /// Whether what comes after it was asked for.
    looked_ahead: bool,
}

impl Reader {
    /// Begins at `range.start`; the range must lie in the source.
    pub(crate) fn new(cache: Arc<Cache>, source: Arc<Stored>, range: std::ops::Range<u64>) -> Self {
        Self {
            cache,
            source,
            at: range.start,
            end: range.end,
            piece: FIRST_PIECE,
            read: 0,
            held: None,
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Arc<SourceError>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let (index, offset) = self.source.list.locate(self.at);
        let rest = self.source.list.segment_len(index).saturating_sub(offset);
        let len = self.piece.min(rest).min(self.end - self.at);
        let file = self.file(index).await?;
        let bytes = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; usize::try_from(len).unwrap_or(0)];
            file.read_exact_at(&mut buffer, offset)
                .map(|()| Bytes::from(buffer))
        });
        let bytes = bytes.await.map_err(std::io::Error::other);
        let bytes = bytes.flatten().map_err(|error| self.failed(error))?;
        self.at += len;
        self.read += len;
        self.piece = (self.piece * 2).min(LARGEST_PIECE);
        if let Some(held) = self.held.as_mut()
            && self.read >= GOES_ON
            && !held.looked_ahead
        {
            held.looked_ahead = self.cache.look_ahead(&self.source, index);
        }
        if self.at >= self.end {
            self.let_go();
        }
        Ok(Some(bytes))
    }

    /// The file of a segment, which is held from now on.
    async fn file(&mut self, index: u32) -> Result<Arc<File>, Arc<SourceError>> {
        if let Some(held) = &self.held
            && held.index == index
        {
            return Ok(Arc::clone(&held.file));
        }
        self.let_go();
        let mut segment = self.cache.segment(&self.source, index).await?;
        let mut opened = tokio::fs::File::open(&segment.path).await;
        if matches!(&opened, Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            // Somebody clears folders that look old.
            self.cache.forget(&self.source, index);
            segment = self.cache.segment(&self.source, index).await?;
            opened = tokio::fs::File::open(&segment.path).await;
        }
        let file = opened.map_err(|source| {
            let path = segment.path.clone();
            Arc::new(SourceError::Cache { path, source })
        })?;
        let file = Arc::new(file.into_std().await);
        self.held = Some(Held {
            index,
            segment,
            file: Arc::clone(&file),
            looked_ahead: false,
        });
        Ok(file)
    }

    fn failed(&self, source: std::io::Error) -> Arc<SourceError> {
        let path = self.held.as_ref().map(|held| held.segment.path.clone());
        let path = path.unwrap_or_default();
        Arc::new(SourceError::Cache { path, source })
    }

    fn let_go(&mut self) {
        if let Some(held) = self.held.take() {
            self.cache.release(held.segment);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.let_go();
    }
}
