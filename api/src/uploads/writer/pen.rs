//! What is done off the async threads: writing and hashing.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reelmill_common::checksum::Summer;
use reelmill_common::upload::SEGMENT_BYTES;
use tempfile::TempPath;

use super::{Digests, SCRATCH_PREFIX};
use crate::uploads::checksum::Check;

/// A segment that is whole, in a scratch file.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) index: u32,
    pub(super) file: TempPath,
}

/// What is done off the async threads: the segment in hand, and the running digests.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) folder: PathBuf,
    pub(super) index: u32,
    /// Bytes of the segment in hand.
    pub(super) len: u64,
    pub(super) file: Option<(File, TempPath)>,
    pub(super) segment: Summer,
    pub(super) digests: Option<Digests>,
    pub(super) check: Option<Check>,
}

impl Pen {
    /// One that begins at the segment `index`.
    pub(super) fn new(
        folder: &Path,
        index: u32,
        digests: Option<Digests>,
        check: Option<Check>,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            index,
            len: 0,
            file: None,
            segment: Summer::default(),
            digests,
            check,
        }
    }

    pub(super) fn write_all(&mut self, batch: &[Bytes]) -> io::Result<Vec<Closed>> {
        let mut closed = Vec::new();
        for bytes in batch {
            if let Some(check) = &mut self.check {
                check.update(bytes);
            }
            self.write(bytes, &mut closed)?;
        }
        Ok(closed)
    }

    fn write(&mut self, mut bytes: &[u8], closed: &mut Vec<Closed>) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = usize::try_from(SEGMENT_BYTES - self.len).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.add(now)?;
            if self.len == SEGMENT_BYTES {
                closed.extend(self.close());
            }
            bytes = later;
        }
        Ok(())
    }

    /// Adds to the segment in hand. The digest of all bytes is not the pen's business.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes)?;
        self.segment.update(bytes);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, _) = match &mut self.file {
            Some(open) => open,
            none => {
                let named = tempfile::Builder::new()
                    .prefix(SCRATCH_PREFIX)
                    .tempfile_in(&self.folder)?;
                none.insert(named.into_parts())
            }
        };
        file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Ends the segment in hand, if it has begun.
    pub(super) fn close(&mut self) -> Option<Closed> {
        let (_, file) = self.file.take()?;
        let (checksum, _) = std::mem::take(&mut self.segment).finish();
        if let Some(digests) = &mut self.digests {
            digests.segments.push(checksum);
        }
        let index = self.index;
        self.index += 1;
        self.len = 0;
        Some(Closed { index, file })
    }
}
