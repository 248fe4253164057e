//! The output folder: its lock, its unfinished work, its finished outputs.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use reelmill_common::certificate::Certificate;

use crate::failure::{Exit, Failure, io};

/// Work in progress, gone when the job is done.
const WORK: &str = ".reelmill";

/// The file that makes a folder finished.
pub(crate) const CERTIFICATE: &str = "certificate.json";

/// An output folder that this process alone works on.
#[derive(Debug)]
pub(crate) struct OutputFolder {
    pub(crate) path: PathBuf,
    /// The folders that this process made, the innermost first.
    made: Vec<PathBuf>,
    /// Held, not read: the lock ends with the process, however that ends.
    _lock: File,
}

impl OutputFolder {
    /// Makes the folder if it is missing and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let mut made = Vec::new();
        for folder in path.ancestors().filter(|f| !f.as_os_str().is_empty()) {
            if folder.try_exists().map_err(io("look at", folder))? {
                break;
            }
            made.push(std::path::absolute(folder).map_err(io("find", folder))?);
        }
        let work = path.join(WORK);
        std::fs::create_dir_all(&work).map_err(io("make", &work))?;
        let file = work.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(io("open", &file))?;
        if let Err(error) = lock.try_lock() {
            if let std::fs::TryLockError::Error(error) = error {
                return Err(io("lock", &file)(error));
            }
            let message = format!(
                "`{}` is busy: another reelmill works on it; wait for it or choose another folder",
                path.display()
            );
            return Err(Failure::new(Exit::Failed, "busy", message));
        }
        // The last reelmill may have removed the file between our opening and our locking it.
        if !file.try_exists().map_err(io("look at", &file))? {
            drop(lock);
            return Self::open(path);
        }
        let path = std::path::absolute(path).map_err(io("find", path))?;
        Ok(Self {
            path,
            made,
            _lock: lock,
        })
    }

    /// The folder of the work in progress.
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join(WORK)
    }

    /// The certificate of what is finished here; `None` where nothing is.
    pub(crate) fn certificate(&self) -> Result<Option<Certificate>, Failure> {
        read_certificate(&self.path)
    }

    /// Anything here that looks like outputs without being certified.
    pub(crate) fn uncertified(&self) -> Result<Option<String>, Failure> {
        let entries = std::fs::read_dir(&self.path).map_err(io("list", &self.path))?;
        for entry in entries {
            let name = entry.map_err(io("list", &self.path))?.file_name();
            let name = name.to_string_lossy();
            if name == "hls" || (name.starts_with("output_") && name.ends_with(".mp4")) {
                return Ok(Some(name.into_owned()));
            }
        }
        Ok(None)
    }

    /// Whether an earlier run, or this one, has planned a job here.
    pub(crate) fn has_work(&self) -> Result<bool, Failure> {
        let plans = self.work().join("store").join("chunks");
        plans.try_exists().map_err(io("look at", &plans))
    }

    /// An empty folder to work in; what dead processes left in it is gone.
    pub(crate) fn fresh_scratch(&self) -> Result<PathBuf, Failure> {
        let scratch = self.work().join("scratch");
        remove(&scratch)?;
        std::fs::create_dir_all(&scratch).map_err(io("make", &scratch))?;
        Ok(scratch)
    }

    /// Removes unfinished work but for the lock.
    pub(crate) fn discard_work(&self) -> Result<(), Failure> {
        let work = self.work();
        for entry in std::fs::read_dir(&work).map_err(io("list", &work))? {
            let entry = entry.map_err(io("list", &work))?;
            if entry.file_name() != "lock" {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the work folder, and those that this process made where nothing came of them.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        remove(&self.work())?;
        for folder in &self.made {
            // Fails when something is in it, which is then somebody's.
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// The certificate in a folder; `None` where there is none.
pub(crate) fn read_certificate(folder: &Path) -> Result<Option<Certificate>, Failure> {
    let path = folder.join(CERTIFICATE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", &path)(error)),
    };
    let broken = |what: String| {
        Failure::failed(format!(
            "`{}` is not a certificate that can be read: {what}",
            path.display()
        ))
    };
    let certificate: Certificate =
        serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    if certificate.version > reelmill_common::certificate::VERSION {
        return Err(broken(format!(
            "version {} is newer than this reelmill",
            certificate.version
        )));
    }
    Ok(Some(certificate))
}

/// Removes a file or a folder with all in it; what is not there is removed already.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at", path)(error)),
    };
    let removed = match meta.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    removed.map_err(io("remove", path))
}

/// Makes renames in a folder outlast a power cut.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Failure> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync", path))
}
