//! Writing beside, moving into place, and making that durable.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::staged::Staged;

/// No part of a key begins with a dot, so no key can name this folder.
pub(super) const FOLDER: &str = ".staging";

/// Nobody takes longer than this to write an object.
const STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a writer makes a folder anew that a deleter found empty and removed.
const FOLDER_ATTEMPTS: u32 = 100;

/// Makes the folders of a store and removes what dead writers left.
pub(super) fn prepare(root: &Path) -> io::Result<()> {
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder)?;
    sync_folder(root)?;
    if let Some(parent) = root.parent() {
        sync_folder(parent)?;
    }
    clear_older(root, STALE_AFTER)?;
    Ok(())
}

/// Removes what was staged longer than `age` ago, and tells how many files that were.
pub(super) fn clear_older(root: &Path, age: Duration) -> io::Result<u64> {
    let oldest = seconds(SystemTime::now()).saturating_sub(age.as_secs());
    let mut cleared = 0;
    for entry in fs::read_dir(root.join(FOLDER))? {
        let path = entry?.path();
        if written_at(&path).is_none_or(|at| at >= oldest) {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => {
                cleared += 1;
                tracing::debug!(file = %path.display(), "removed a stale staged file");
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(cleared)
}

/// Removes whatever is staged: for the one who knows that every writer is dead.
pub(super) fn clear(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root.join(FOLDER))? {
        match fs::remove_file(entry?.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// When a staged file was begun, from its name: a copied or moved file's own times are older.
fn written_at(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.split('-').next()?.parse().ok()
}

pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

impl Staged {
    /// Stages bytes, durably.
    pub(super) fn write(root: &Path, bytes: &[u8]) -> io::Result<Self> {
        let (staged, mut file) = Self::create(&root.join(FOLDER), "")?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(staged)
    }

    /// Stages a copy of a file, durably.
    pub(super) fn copy(root: &Path, from: &Path) -> io::Result<Self> {
        let mut from = File::open(from)?;
        let (staged, mut file) = Self::create(&root.join(FOLDER), "")?;
        io::copy(&mut from, &mut file)?;
        file.sync_all()?;
        Ok(staged)
    }
}

/// Makes the folders above `object` and moves something there.
pub(super) fn place(object: &Path, step: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = object.parent().unwrap_or(object);
    let mut attempt = 1;
    loop {
        match make_folder(folder).and_then(|()| step(object)) {
            Err(error) if error.kind() == ErrorKind::NotFound && attempt < FOLDER_ATTEMPTS => {
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Gives a file a name that must be free, else the answer is [`ErrorKind::AlreadyExists`].
type Way = fn(&Path, &Path) -> io::Result<()>;

/// Unlike a plain rename, a link fails where a file is, so that of many callers one wins. A file
/// system without links (exFAT, some of FUSE and SMB) may have a rename that does so too.
pub(super) const WAYS: [Way; 2] = [|from, to| fs::hard_link(from, to), rename_new];

/// Puts a staged file in a place that must be free, in the first way that the file system has.
pub(super) fn place_new(staged: &Path, object: &Path, ways: &[Way]) -> io::Result<()> {
    for way in ways {
        match way(staged, object) {
            Err(error) if cannot_do(&error) => {}
            done => return done,
        }
    }
    let message = "this file system cannot hold the work in progress: choose another folder";
    Err(io::Error::new(ErrorKind::Unsupported, message))
}

/// Whether a file system lacks an operation: it says so in many ways.
fn cannot_do(error: &io::Error) -> bool {
    const EPERM: i32 = 1;
    const EINVAL: i32 = 22;
    const EMLINK: i32 = 31;
    error.kind() == ErrorKind::Unsupported
        || matches!(error.raw_os_error(), Some(EPERM | EINVAL | EMLINK))
}

/// Renames a file, unless the new name is taken.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    Ok(renameat2(
        AT_FDCWD,
        from,
        AT_FDCWD,
        to,
        RenameFlags::RENAME_NOREPLACE,
    )?)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn rename_new(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Makes a folder and those above it. "There is one" is for the object, not for its folder: such an
/// answer means that a file has the folder's place, or that the folder was removed meanwhile.
fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let kind = match fs::metadata(folder) {
                Ok(meta) if meta.is_dir() => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => ErrorKind::NotFound,
                _ => ErrorKind::NotADirectory,
            };
            Err(io::Error::new(kind, error))
        }
        made => made,
    }
}

/// Makes the name of `object`, and those of all folders above it, durable.
pub(super) fn sync_folders(root: &Path, object: &Path) -> io::Result<()> {
    for folder in object.ancestors().skip(1) {
        match sync_folder(folder) {
            // Somebody deleted the object meanwhile, and then its folder.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            synced => synced?,
        }
        if folder == root {
            break;
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts the object at `path`, already open as `object`, at `file`: as a link where the file system
/// can, else as a copy.
pub(super) fn replace(path: &Path, object: &mut File, file: &Path) -> io::Result<()> {
    let link = Staged::beside(file);
    if fs::hard_link(path, link.path()).is_ok() {
        return fs::rename(link.path(), file);
    }
    copy_over(object, file)
}

/// Replaces `file` by what `object` holds from its start.
pub(super) fn copy_over(object: &mut File, file: &Path) -> io::Result<()> {
    let (staged, mut copy) = Staged::create_beside(file)?;
    object.rewind()?;
    io::copy(object, &mut copy)?;
    // A name must not become durable before what it names.
    copy.sync_all()?;
    fs::rename(staged.path(), file)
}
