//! Sources that are files of this machine.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use reelmill_common::Sha256;

use crate::SourceError;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

/// What is known of a file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) sha256: Sha256,
}

/// Remembers the digests of files, so that each is read for its digest once while it does not
/// change.
#[derive(Debug, Default)]
pub(crate) struct Files {
    digests: Mutex<HashMap<Stamp, Sha256>>,
}

impl Files {
    /// Reads a file whole, unless it is the one that was read before. Blocking.
    pub(crate) fn look(&self, path: &Path) -> Result<Known, SourceError> {
        let (path, meta) = regular_file(path)?;
        let stamp = stamp(&path, &meta);
        let known = self
            .digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&stamp)
            .copied();
        let sha256 = match known {
            Some(sha256) => sha256,
            None => self.digest(stamp)?,
        };
        let size = meta.len();
        Ok(Known { path, size, sha256 })
    }

    fn digest(&self, stamp: Stamp) -> Result<Sha256, SourceError> {
        let failed = |source| SourceError::Io {
            path: stamp.path.clone(),
            source,
        };
        let mut file = File::open(&stamp.path).map_err(failed)?;
        let (sha256, _) = Sha256::of_reader(&mut file).map_err(failed)?;
        // A file that changed while it was read has no digest.
        if self::stamp(&stamp.path, &file.metadata().map_err(failed)?) != stamp {
            return Err(SourceError::Changed(stamp.path));
        }
        self.digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(stamp, sha256);
        Ok(sha256)
    }
}

fn stamp(path: &Path, meta: &Metadata) -> Stamp {
    Stamp {
        path: path.to_path_buf(),
        size: meta.len(),
        modified: meta.modified().ok(),
    }
}

/// The absolute path of a regular file that is not empty and may be read, and what is known of it.
///
/// # Errors
/// [`SourceError`] for everything else; a pipe is not waited for.
pub fn regular_file(path: &Path) -> Result<(PathBuf, Metadata), SourceError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => SourceError::Missing(path.to_path_buf()),
        std::io::ErrorKind::PermissionDenied => SourceError::Forbidden(path.to_path_buf()),
        _ => SourceError::Io {
            path: path.to_path_buf(),
            source,
        },
    };
    let meta = std::fs::metadata(path).map_err(failed)?;
    if let Some(what) = irregular(&meta) {
        return Err(SourceError::NotAFile {
            path: path.to_path_buf(),
            what,
        });
    }
    if meta.len() == 0 {
        return Err(SourceError::Empty(path.to_path_buf()));
    }
    File::open(path).map_err(failed)?;
    let absolute = std::fs::canonicalize(path).map_err(failed)?;
    if absolute.to_str().is_none() {
        return Err(SourceError::Name(absolute));
    }
    Ok((absolute, meta))
}

fn irregular(meta: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = meta.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else {
        Some("a device or socket")
    }
}
