//! Opens a source in place, and makes sure that it is still the one that was planned for.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use reelmill_common::manifest::{Location, SourceInfo};
use reelmill_common::{Retryable, Sha256};

/// A source that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing at this path.
    #[error("`{}` does not exist: check the path", .0.display())]
    Missing(PathBuf),
    /// It is a folder, a pipe or a device.
    #[error("`{}` is {what}: a regular file is needed, since a source is read from many places at once", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// It has no bytes.
    #[error("`{}` is empty: there is nothing to transcode", .0.display())]
    Empty(PathBuf),
    /// This user may not read it.
    #[error("`{}` cannot be read by this user: change its permissions or run as its owner", .0.display())]
    Forbidden(PathBuf),
    /// It is not what the job began with.
    #[error("`{}` has changed since the job began: put the old file back, or begin anew with --force", .0.display())]
    Changed(PathBuf),
    /// Its name is not text.
    #[error("`{}` has a name that is not UTF-8: rename it", .0.display())]
    Name(PathBuf),
    /// Reading failed.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Retryable for SourceError {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "source-missing",
            Self::NotAFile { .. } => "source-not-a-file",
            Self::Empty(_) => "source-empty",
            Self::Forbidden(_) => "source-forbidden",
            Self::Changed(_) => "source-changed",
            Self::Name(_) => "source-name",
            Self::Io { .. } => "source-unreadable",
        }
    }
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

/// Opens sources, and remembers the digests of those it has read so that each is read for its
/// digest once while it does not change.
#[derive(Debug, Default)]
pub struct Sources {
    digests: Mutex<HashMap<Stamp, Sha256>>,
}

impl Sources {
    /// Describes a local file: name, size and digest. Reads it whole; blocking.
    ///
    /// # Errors
    /// [`SourceError`] when it is not a readable regular file with bytes in it.
    pub fn describe(&self, path: &Path) -> Result<SourceInfo, SourceError> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
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
        Ok(SourceInfo {
            name,
            size: meta.len(),
            sha256,
            location: Location::Path(path),
        })
    }

    /// The path of a source after making sure that it is the one described. Blocking; cheap while
    /// size and modification time are those of a file that was read before.
    ///
    /// # Errors
    /// [`SourceError::Changed`] when it is another; the others as for [`describe`](Self::describe).
    pub fn open(&self, source: &SourceInfo) -> Result<PathBuf, SourceError> {
        let Location::Path(path) = &source.location else {
            return Err(SourceError::Missing(PathBuf::from(&source.name)));
        };
        let now = self.describe(path)?;
        if (now.size, now.sha256) == (source.size, source.sha256) {
            Ok(path.clone())
        } else {
            Err(SourceError::Changed(path.clone()))
        }
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
