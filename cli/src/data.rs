//! The service's data folder: its lock, and what lies in it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure, io};
use crate::folder::remove;

/// A data folder that this process alone works in.
#[derive(Debug)]
pub(crate) struct DataFolder {
    pub(crate) path: PathBuf,
    /// Held, not read: the lock ends with the process, however that ends.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).map_err(io("find", path))?;
        std::fs::create_dir_all(&path).map_err(io("make", &path))?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(io("open", &file))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => {
                let message = format!(
                    "`{}` is busy: another reelmill serves from it; end that one or choose another folder with --data",
                    path.display()
                );
                Err(Failure::new(Exit::Failed, "busy", message))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(io("lock", &file)(error)),
        }
    }

    /// An empty folder in it; what dead processes left there is gone.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.path.join(name);
        remove(&folder)?;
        std::fs::create_dir_all(&folder).map_err(io("make", &folder))?;
        Ok(folder)
    }
}
