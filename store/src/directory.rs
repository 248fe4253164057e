//! Objects as plain files under one directory.
//!
//! An object is the file of its key's name. Everything is written beside it in `.staging`, which
//! no key can name, and moved into place whole; files are never changed once they are in place, so
//! whoever has one open goes on reading the object that it opened.

mod list;
mod staging;

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_common::ObjectKey;

use crate::staged::Staged;
use crate::{ObjectMeta, Store, StoreError};

/// Keeps objects in a directory of a local (or POSIX-like) file system that can put a file in place
/// only where none is: by a hard link, or by a rename that refuses to replace.
///
/// Any number of processes may use one directory at once. A key that is a folder of other keys
/// (`a` beside `a/b`) cannot be an object here; the key scheme has no such pair.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: Arc<Path>,
}

impl DirectoryStore {
    /// Opens the store in `root`, making the directory where there is none, and removes what
    /// writers that died more than a day ago left half-written.
    ///
    /// # Errors
    /// The directory cannot be made, read or written to.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let open = |root: &Path| -> io::Result<Arc<Path>> {
            let root = std::path::absolute(root)?;
            staging::prepare(&root)?;
            Ok(root.into())
        };
        let root = root.as_ref();
        open(root)
            .map(|root| Self { root })
            .map_err(|source| StoreError::io_at("open", root.display().to_string(), source))
    }

    /// Removes at once what dead writers left half-written.
    ///
    /// For the one who holds the exclusive lock on the folder after a crash: it knows that every
    /// other writer is dead, and need not wait a day to be sure.
    ///
    /// # Errors
    /// Any failure.
    pub fn recover(&self) -> Result<(), StoreError> {
        staging::clear(&self.root)
            .map_err(|source| StoreError::io_at("clear", self.root.display().to_string(), source))
    }

    /// Runs blocking work off the async threads. Work that has begun goes on to its end when the
    /// caller's future is dropped, so no effect is ever left half-way.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        name: &str,
        work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = Arc::clone(&self.root);
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(Err(StoreError::Full { key, source })) => {
                // A key does not say which disk is full.
                let source = format!("`{}`: {source}", self.root.display());
                Err(StoreError::Full {
                    key,
                    source: io::Error::new(io::ErrorKind::StorageFull, source).into(),
                })
            }
            Ok(answer) => answer,
            Err(source) => Err(StoreError::Backend {
                action,
                key: name.to_owned(),
                retryable: false,
                source: Box::new(source),
            }),
        }
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let name = key.clone();
        self.run("write", key.as_str(), move |root| {
            put(root, &name, &bytes).map_err(|source| StoreError::io("write", &name, source))
        })
        .await
    }

    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        let name = key.clone();
        self.run("write", key.as_str(), move |root| {
            match put_new(root, &name, &bytes) {
                Ok(true) => Ok(()),
                Ok(false) => Err(StoreError::AlreadyExists(name)),
                Err(source) => Err(StoreError::io("write", &name, source)),
            }
        })
        .await
    }

    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        let (name, file) = (key.clone(), file.to_owned());
        self.run("write", key.as_str(), move |root| {
            put_file(root, &name, &file).map_err(|source| StoreError::io("write", &name, source))
        })
        .await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.get_range(key, 0..u64::MAX).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        let name = key.clone();
        self.run("read", key.as_str(), move |root| {
            let (file, meta) = open_object(root, &name)?;
            read(file, range, meta.len()).map_err(|source| StoreError::io("read", &name, source))
        })
        .await
    }

    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        let (name, file) = (key.clone(), file.to_owned());
        self.run("copy", key.as_str(), move |root| {
            let (mut object, _) = open_object(root, &name)?;
            staging::replace(&path(root, &name), &mut object, &file)
                .map_err(|source| StoreError::io("copy", &name, source))
        })
        .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let name = key.clone();
        self.run("look up", key.as_str(), move |root| {
            match fs::metadata(path(root, &name)) {
                Ok(meta) if meta.is_file() => object_meta(name.clone(), &meta)
                    .map_err(|source| StoreError::io("look up", &name, source)),
                Ok(_) => Err(StoreError::NotFound(name)),
                Err(source) if means_missing(&source) => Err(StoreError::NotFound(name)),
                Err(source) => Err(StoreError::io("look up", &name, source)),
            }
        })
        .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let name = key.clone();
        self.run("delete", key.as_str(), move |root| {
            delete(root, &name).map_err(|source| StoreError::io("delete", &name, source))
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.run("list", &prefix.clone(), move |root| {
            list::list(root, &prefix, after.as_ref(), limit)
                .map_err(|source| StoreError::io_at("list", prefix, source))
        })
        .await
    }

    async fn clear_unfinished(&self, older_than: Duration) -> Result<u64, StoreError> {
        let name = self.root.display().to_string();
        self.run("clear", &name.clone(), move |root| {
            staging::clear_older(root, older_than)
                .map_err(|source| StoreError::io_at("clear", name, source))
        })
        .await
    }
}

fn object_meta(key: ObjectKey, meta: &Metadata) -> io::Result<ObjectMeta> {
    Ok(ObjectMeta {
        key,
        size: meta.len(),
        modified: meta.modified()?,
    })
}

fn path(root: &Path, key: &ObjectKey) -> PathBuf {
    root.join(key.as_str())
}

fn put(root: &Path, key: &ObjectKey, bytes: &[u8]) -> io::Result<()> {
    let staged = Staged::write(root, bytes)?;
    let object = path(root, key);
    staging::place(&object, |object| fs::rename(staged.path(), object))?;
    staging::sync_folders(root, &object)
}

/// `false` when the key is taken.
fn put_new(root: &Path, key: &ObjectKey, bytes: &[u8]) -> io::Result<bool> {
    let object = path(root, key);
    if object.is_file() {
        // Only spares the writing: the link below is what decides.
        staging::sync_folders(root, &object)?;
        return Ok(false);
    }
    let staged = Staged::write(root, bytes)?;
    let placed = staging::place(&object, |object| {
        staging::place_new(staged.path(), object, &staging::WAYS)
    });
    let is_new = match placed {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !object.is_dir() => false,
        Err(error) => return Err(error),
    };
    // The loser syncs too: it will act on the winner's object, which must not vanish any more.
    staging::sync_folders(root, &object)?;
    Ok(is_new)
}

fn put_file(root: &Path, key: &ObjectKey, file: &Path) -> io::Result<()> {
    let object = path(root, key);
    // Moving a symbolic link would make its target an object that anybody may change.
    let mut is_moved = false;
    if fs::symlink_metadata(file)?.is_file() {
        let written = File::open(file)?;
        // It is an object from now on, whenever its last byte was written; another user's file
        // cannot be told so.
        let is_ours = written.set_modified(SystemTime::now()).is_ok();
        written.sync_all()?;
        is_moved = is_ours && staging::place(&object, |object| fs::rename(file, object)).is_ok();
    }
    if !is_moved {
        // Another file system, or a reason for which copying fails too and which it then tells.
        let staged = Staged::copy(root, file)?;
        staging::place(&object, |object| fs::rename(staged.path(), object))?;
    }
    if let Err(error) = staging::sync_folders(root, &object) {
        if is_moved {
            // The caller still has its file after an error.
            fs::copy(&object, file)?;
        }
        return Err(error);
    }
    if let Err(error) = remove(file) {
        // The object is in place, and the contract lets the file stay.
        tracing::debug!(file = %file.display(), %error, "a stored file was left behind");
    }
    Ok(())
}

/// Removes a file that may be gone. A rename between two links of one file does nothing, so what
/// was moved may still be there.
fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn delete(root: &Path, key: &ObjectKey) -> io::Result<()> {
    let object = path(root, key);
    match fs::remove_file(&object) {
        Ok(()) => {}
        Err(error) if means_missing(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    staging::sync_folders(root, &object)?;
    // Folders are no objects: those left empty go, and a writer that misses one makes it anew.
    for folder in object
        .ancestors()
        .skip(1)
        .take_while(|folder| *folder != root)
    {
        if fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

fn open_object(root: &Path, key: &ObjectKey) -> Result<(File, Metadata), StoreError> {
    let opened = File::open(path(root, key)).and_then(|file| {
        let meta = file.metadata()?;
        Ok((file, meta))
    });
    match opened {
        Ok((file, meta)) if meta.is_file() => Ok((file, meta)),
        Ok(_) => Err(StoreError::NotFound(key.clone())),
        Err(source) if means_missing(&source) => Err(StoreError::NotFound(key.clone())),
        Err(source) => Err(StoreError::io("read", key, source)),
    }
}

fn read(mut file: File, range: Range<u64>, size: u64) -> io::Result<Bytes> {
    let len = range.end.min(size).saturating_sub(range.start);
    if len == 0 {
        return Ok(Bytes::new());
    }
    file.seek(SeekFrom::Start(range.start))?;
    let capacity =
        usize::try_from(len).map_err(|error| io::Error::new(ErrorKind::OutOfMemory, error))?;
    let mut bytes = Vec::with_capacity(capacity);
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Whether an error says that no object has this name: also when a part of the name is a file, the
/// whole name is a folder, or the file system could not hold such a name.
fn means_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidFilename
    )
}

#[cfg(test)]
mod tests;
