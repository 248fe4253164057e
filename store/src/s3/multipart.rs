//! Uploads in parts: of any length, with bounded memory, and with nothing left behind.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use reelmill_common::ObjectKey;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use super::blocking;
use super::bucket::{Bucket, WRITER};
use super::refusal::Refusal;
use super::unfinished::abort;
use crate::StoreError;

const MIB: u64 = 1024 * 1024;

/// The length of a part, and what is shorter goes in one request. As many parts as there may be
/// hold 78 GiB; for more they are longer.
pub(super) const PART: u64 = 8 * MIB;
const MOST_PARTS: u64 = 10_000;

/// How many parts are under way, and so in memory, at a time.
const PARTS_AT_ONCE: usize = 3;

/// How long a part that was given up may still be on its way to the service.
const PARTS_ARRIVE_WITHIN: Duration = Duration::from_secs(2);

/// Where the bytes come from.
pub(super) enum Source {
    Memory(Bytes),
    /// Read from its beginning.
    File(Arc<File>),
}

/// Puts an object of `size` bytes in parts.
pub(super) async fn put(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    source: Source,
    size: u64,
) -> Result<(), StoreError> {
    let upload = Upload::begin(bucket, key).await?;
    let sent = match upload.send(source, size).await {
        Ok(parts) => upload.complete(parts, size).await,
        Err(error) => Err(error),
    };
    upload.close(sent.is_ok()).await;
    sent
}

/// An upload that has begun. Dropped before it is closed, it is cleared in the background.
struct Upload {
    bucket: Arc<Bucket>,
    key: ObjectKey,
    id: String,
    /// By this the object is known to be this upload's.
    writer: String,
    is_open: bool,
}

impl Upload {
    async fn begin(bucket: &Arc<Bucket>, key: &ObjectKey) -> Result<Self, StoreError> {
        let (bucket, owned) = (Arc::clone(bucket), key.clone());
        let begin = async move {
            let writer = Uuid::now_v7().to_string();
            let request = bucket.client.create_multipart_upload().bucket(&bucket.name);
            let request = request
                .key(bucket.name_of(&owned))
                .metadata(WRITER, &writer);
            let failed = |refusal: Refusal| refusal.about("write", &owned, &bucket.place);
            let answer = request.send().await.map_err(|error| failed(error.into()))?;
            let Some(id) = answer.upload_id else {
                return Err(failed(Refusal::senseless("gives an upload no name")));
            };
            Ok(Self {
                bucket,
                key: owned,
                id,
                writer,
                is_open: true,
            })
        };
        // In a task of its own, so that an upload whose caller goes away while it is being made is
        // still made known, and dropped, and so cleared.
        tokio::spawn(begin)
            .await
            .map_err(|error| lost(key, error))?
    }

    /// Sends all parts. On an error none is on its way any more.
    async fn send(&self, source: Source, size: u64) -> Result<Vec<CompletedPart>, StoreError> {
        let mut under_way = JoinSet::new();
        let sent = self.send_into(&mut under_way, source, size).await;
        under_way.shutdown().await;
        sent
    }

    async fn send_into(
        &self,
        under_way: &mut JoinSet<Result<CompletedPart, Refusal>>,
        mut source: Source,
        size: u64,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let mut sent = vec![];
        let (part, mut left, mut number) = (part_size(size), size, 0);
        while left > 0 || !under_way.is_empty() {
            if left == 0 || under_way.len() == PARTS_AT_ONCE {
                match under_way.join_next().await {
                    Some(joined) => sent.push(self.joined(joined)?),
                    None => break,
                }
                continue;
            }
            let len = left.min(part);
            let bytes = source.next(len).await;
            let bytes = bytes.map_err(|error| StoreError::io("write", &self.key, error))?;
            number += 1;
            left -= len;
            under_way.spawn(self.part(number, bytes));
        }
        sent.sort_unstable_by_key(CompletedPart::part_number);
        Ok(sent)
    }

    fn joined(
        &self,
        joined: Result<Result<CompletedPart, Refusal>, JoinError>,
    ) -> Result<CompletedPart, StoreError> {
        match joined {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(refusal)) => Err(refusal.about("write", &self.key, &self.bucket.place)),
            Err(error) => Err(lost(&self.key, error)),
        }
    }

    /// Sends one part. In memory it can be sent again as often as needed.
    fn part(
        &self,
        number: i32,
        bytes: Bytes,
    ) -> impl Future<Output = Result<CompletedPart, Refusal>> + use<> {
        let patient = self.bucket.patient(bytes.len() as u64);
        let request = self.bucket.client.upload_part().bucket(&self.bucket.name);
        let request = request
            .key(self.bucket.name_of(&self.key))
            .upload_id(&self.id)
            .part_number(number)
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(patient);
        async move {
            let answer = request.send().await?;
            Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(answer.e_tag)
                .build())
        }
    }

    /// Makes the object of its parts.
    async fn complete(&self, parts: Vec<CompletedPart>, size: u64) -> Result<(), StoreError> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let request = self.bucket.client.complete_multipart_upload();
        let answer = request
            .bucket(&self.bucket.name)
            .key(self.bucket.name_of(&self.key))
            .upload_id(&self.id)
            .multipart_upload(parts)
            .customize()
            // The service may have to move every byte.
            .config_override(self.bucket.patient(size))
            .send()
            .await;
        match answer.map_err(Refusal::from) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.means_no_upload() && self.is_complete().await => Ok(()),
            Err(refusal) => Err(refusal.about("write", &self.key, &self.bucket.place)),
        }
    }

    /// Whether an earlier request, whose answer was lost, completed the upload.
    async fn is_complete(&self) -> bool {
        match self.bucket.head("write", &self.key).await {
            Ok(head) => head.writer.as_ref() == Some(&self.writer),
            // The upload counts as lost, and the caller may begin another.
            Err(_) => false,
        }
    }

    /// Clears the upload, unless it is complete.
    async fn close(mut self, is_complete: bool) {
        self.is_open = false;
        if !is_complete {
            give_up(Arc::clone(&self.bucket), &self.key, self.id.clone()).await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        // Where the runtime ends with the caller, the upload is left to the sweeper.
        if let Ok(runtime) = Handle::try_current() {
            let (bucket, key) = (Arc::clone(&self.bucket), self.key.clone());
            let id = std::mem::take(&mut self.id);
            runtime.spawn(async move { give_up(bucket, &key, id).await });
        }
    }
}

/// Clears an upload, and once more later: a part that was still on its way may have brought some
/// of it back.
async fn give_up(bucket: Arc<Bucket>, key: &ObjectKey, id: String) {
    let name = bucket.name_of(key);
    try_abort(&bucket, &name, &id).await;
    tokio::spawn(async move {
        tokio::time::sleep(PARTS_ARRIVE_WITHIN).await;
        try_abort(&bucket, &name, &id).await;
    });
}

/// Clears an upload as well as can be: a sweeper does it later where the service is away.
async fn try_abort(bucket: &Bucket, name: &str, id: &str) {
    if let Err(error) = abort(bucket, name, id).await {
        tracing::debug!(name, %error, "an unfinished upload was left behind, to be cleared later");
    }
}

impl Source {
    async fn next(&mut self, len: u64) -> io::Result<Bytes> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        match self {
            Self::Memory(bytes) if bytes.len() < len => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Memory(bytes) => Ok(bytes.split_to(len)),
            Self::File(file) => {
                let file = Arc::clone(file);
                blocking(move || {
                    let mut bytes = vec![0; len];
                    (&*file).read_exact(&mut bytes)?;
                    Ok(bytes.into())
                })
                .await
            }
        }
    }
}

/// As short as may be, so that little is in memory and little is sent again after a fault.
fn part_size(size: u64) -> u64 {
    size.div_ceil(MOST_PARTS).next_multiple_of(MIB).max(PART)
}

/// A task that ended without an answer.
fn lost(key: &ObjectKey, error: JoinError) -> StoreError {
    StoreError::Backend {
        action: "write",
        key: key.to_string(),
        retryable: false,
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_so_that_there_are_never_too_many() {
        assert_eq!(part_size(PART), PART);
        assert_eq!(part_size(MOST_PARTS * PART), PART);
        for size in [MOST_PARTS * PART + 1, 1 << 40, 5 << 40] {
            let part = part_size(size);
            assert!(part > PART && size.div_ceil(part) <= MOST_PARTS, "{size}");
            assert!(part < size / MOST_PARTS + MIB + 1, "{size}");
        }
    }

    #[tokio::test]
    async fn a_source_that_is_shorter_than_it_was_is_an_error() {
        let mut memory = Source::Memory("12345".into());
        assert_eq!(memory.next(3).await.unwrap(), "123");
        memory.next(3).await.unwrap_err();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"12345").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut file = Source::File(Arc::new(file));
        assert_eq!(file.next(3).await.unwrap(), "123");
        file.next(3).await.unwrap_err();
    }
}
