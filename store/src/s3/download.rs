//! Reading an object, and going on where a connection broke.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use reelmill_common::ObjectKey;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::blocking;
use super::bucket::Bucket;
use super::refusal::Refusal;
use crate::StoreError;
use crate::staged::Staged;

/// How often in a row an answer may break off. The client library makes requests anew, but what
/// is read of an answer is no longer its business.
const BREAKS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// After as many bytes a break is the first one again.
const PROGRESS: u64 = 1024 * 1024;

/// How much is written to a file at a time.
const WRITE_BYTES: usize = 1024 * 1024;

/// The largest offset that services can read; no object is as long.
const LAST_OFFSET: u64 = i64::MAX as u64;

/// Reads a range of an object into memory; see [`crate::Store::get_range`].
pub(super) async fn get_range(
    bucket: &Bucket,
    key: &ObjectKey,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    if range.is_empty() || range.start > LAST_OFFSET {
        // There is no way to ask for nothing.
        bucket.head("read", key).await?;
        return Ok(Bytes::new());
    }
    let mut bytes = BytesMut::new();
    let download = Download::new(bucket, key, "read", range);
    download.run(&mut Target::Memory(&mut bytes)).await?;
    Ok(bytes.freeze())
}

/// Puts a copy of an object at `file`; see [`crate::Store::get_file`].
pub(super) async fn get_file(
    bucket: &Bucket,
    key: &ObjectKey,
    file: &Path,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::io("copy", key, error);
    let place = file.to_owned();
    let (staged, copy) = blocking(move || Staged::create_beside(&place))
        .await
        .map_err(failed)?;
    let mut copy = BufWriter::with_capacity(WRITE_BYTES, File::from_std(copy));
    let download = Download::new(bucket, key, "copy", 0..u64::MAX);
    download.run(&mut Target::File(&mut copy)).await?;
    let finish = async {
        copy.flush().await?;
        // A name must not become durable before what it names.
        copy.get_ref().sync_all().await?;
        tokio::fs::rename(staged.path(), file).await
    };
    finish.await.map_err(failed)
}

/// Where the bytes go.
enum Target<'a> {
    Memory(&'a mut BytesMut),
    File(&'a mut BufWriter<File>),
}

impl Target<'_> {
    /// Makes room for as many bytes.
    fn reserve(&mut self, len: u64) {
        if let Self::Memory(bytes) = self {
            bytes.reserve(usize::try_from(len).unwrap_or_default());
        }
    }

    async fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                bytes.extend_from_slice(chunk);
                Ok(())
            }
            Self::File(file) => file.write_all(chunk).await,
        }
    }

    async fn clear(&mut self) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                bytes.clear();
                Ok(())
            }
            Self::File(file) => {
                file.flush().await?;
                file.rewind().await?;
                file.get_ref().set_len(0).await
            }
        }
    }
}

/// A range of an object on its way.
struct Download<'a> {
    bucket: &'a Bucket,
    key: &'a ObjectKey,
    action: &'static str,
    /// What was asked for.
    wanted: Range<u64>,
    /// What is still to come of it; its end moves to that of the object once this is known.
    left: Range<u64>,
    /// The version of the object that the target holds bytes of.
    etag: Option<String>,
    breaks: u32,
    last_break: u64,
}

/// Why an answer was not read to its end.
enum Stop {
    /// Reading on may help.
    Broken(Refusal),
    Failed(StoreError),
}

impl<'a> Download<'a> {
    fn new(
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        action: &'static str,
        wanted: Range<u64>,
    ) -> Self {
        Self {
            bucket,
            key,
            action,
            left: wanted.clone(),
            wanted,
            etag: None,
            breaks: 0,
            last_break: 0,
        }
    }

    async fn run(mut self, target: &mut Target<'_>) -> Result<(), StoreError> {
        loop {
            let answer = match self.ask().await {
                Ok(answer) => answer,
                // The range begins at the object's end or after it.
                Err(refusal) if refusal.has_status(416) && self.etag.is_none() => return Ok(()),
                Err(refusal) if refusal.has_status(416) || refusal.means_condition_failed() => {
                    // The object was replaced since: its beginning is of no use any more.
                    self.begin_again(target).await?;
                    self.pause(refusal).await?;
                    continue;
                }
                Err(refusal) => {
                    return Err(self.bucket.explain(self.action, self.key, refusal).await);
                }
            };
            match self.read(answer, target).await {
                Ok(()) => return Ok(()),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Broken(refusal)) => {
                    tracing::debug!(key = %self.key, at = self.left.start, error = %refusal, "reading on");
                    if self.etag.is_none() {
                        // Nothing would tell if it was replaced.
                        self.begin_again(target).await?;
                    }
                    self.pause(refusal).await?;
                }
            }
        }
    }

    async fn ask(&self) -> Result<GetObjectOutput, Refusal> {
        let request = self.bucket.client.get_object().bucket(&self.bucket.name);
        let answer = request
            .key(self.bucket.name_of(self.key))
            .set_range(header(&self.left))
            .set_if_match(self.etag.clone())
            .send()
            .await?;
        Ok(answer)
    }

    async fn read(
        &mut self,
        mut answer: GetObjectOutput,
        target: &mut Target<'_>,
    ) -> Result<(), Stop> {
        let Some(len) = answer
            .content_length()
            .and_then(|len| u64::try_from(len).ok())
        else {
            return Err(Stop::Broken(Refusal::senseless(
                "does not say how long an object is",
            )));
        };
        if self.left.start > 0 && answer.content_range().is_none() {
            return Err(Stop::Broken(Refusal::senseless(
                "ignores the range that was asked for",
            )));
        }
        // The object may end before the range does; the whole of it may come for a part of it.
        let end = self.left.start.saturating_add(len).min(self.left.end);
        if self.etag.is_none() {
            self.etag = answer.e_tag.take();
            self.left.end = end;
            target.reserve(self.left.end - self.left.start);
        }
        self.copy(&mut answer.body, target).await
    }

    async fn copy(&mut self, body: &mut ByteStream, target: &mut Target<'_>) -> Result<(), Stop> {
        while self.left.start < self.left.end {
            let chunk = match body.next().await {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Err(Stop::Broken(Refusal::broken(&error))),
                None => return Err(Stop::Broken(Refusal::senseless("ends an answer early"))),
            };
            let room = self.left.end - self.left.start;
            let len = chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let chunk = chunk.slice(..len);
            target
                .write(&chunk)
                .await
                .map_err(|error| Stop::Failed(StoreError::io(self.action, self.key, error)))?;
            self.left.start += len as u64;
        }
        Ok(())
    }

    async fn begin_again(&mut self, target: &mut Target<'_>) -> Result<(), StoreError> {
        self.left = self.wanted.clone();
        self.etag = None;
        self.last_break = self.left.start;
        let cleared = target.clear().await;
        cleared.map_err(|error| StoreError::io(self.action, self.key, error))
    }

    /// Waits before the next request, or gives up.
    async fn pause(&mut self, refusal: Refusal) -> Result<(), StoreError> {
        if self.left.start.saturating_sub(self.last_break) >= PROGRESS {
            self.breaks = 0;
        }
        self.last_break = self.left.start;
        self.breaks += 1;
        if self.breaks > BREAKS {
            let refusal = refusal.passing();
            return Err(refusal.about(self.action, self.key, &self.bucket.place));
        }
        tokio::time::sleep(FIRST_PAUSE * self.breaks).await;
        Ok(())
    }
}

/// The header that asks for a range; the whole object needs none.
fn header(range: &Range<u64>) -> Option<String> {
    match (range.start, range.end) {
        (0, end) if end > LAST_OFFSET => None,
        (start, end) if end > LAST_OFFSET => Some(format!("bytes={start}-")),
        (start, end) => Some(format!("bytes={start}-{}", end - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn ranges_are_asked_for_as_services_read_them() {
        assert_eq!(header(&(0..u64::MAX)), None);
        assert_eq!(header(&(7..u64::MAX)).as_deref(), Some("bytes=7-"));
        assert_eq!(header(&(0..1)).as_deref(), Some("bytes=0-0"));
        assert_eq!(header(&(5..10)).as_deref(), Some("bytes=5-9"));
    }
}
