//! The output folder: its lock, its unfinished work, its finished outputs.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use reelmill_common::ObjectKey;
use reelmill_common::certificate::Certificate;

use crate::failure::{Exit, Failure, io};

/// Work in progress, gone when the job is done.
const WORK: &str = ".reelmill";

/// In the work folder: held while a process works on it.
const LOCK: &str = "lock";

/// In the work folder: certificates of outputs that are being replaced, one for each job. They say
/// what is to be removed once the new outputs are there, also to the run after one that was killed.
const REPLACED: &str = "replaced";

/// In the work folder: what processes of this run work in.
const SCRATCH: &str = "scratch";

/// In the work folder: the root of the store.
pub(crate) const STORE: &str = "store";

/// The folder of what players choose the quality from.
pub(crate) const HLS: &str = "hls";

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
        let file = work.join(LOCK);
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
        let names = names(&self.path)?;
        let found = names
            .iter()
            .find(|name| *name == HLS || is_progressive(name));
        Ok(found.map(|name| name.to_string_lossy().into_owned()))
    }

    /// Whether an earlier run, or this one, has planned a job here.
    pub(crate) fn has_plan(&self) -> Result<bool, Failure> {
        Ok(!names(&self.work().join(STORE).join("chunks"))?.is_empty())
    }

    /// Whether a chunk of any job here is done.
    pub(crate) fn has_done_chunks(&self) -> Result<bool, Failure> {
        let jobs = self.work().join(STORE).join("transcoded");
        for job in names(&jobs)? {
            let is_marker = |name: &std::ffi::OsString| {
                let name = name.to_string_lossy();
                name.starts_with("chunk_") && name.ends_with(".json")
            };
            if names(&jobs.join(job))?.iter().any(is_marker) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An empty folder to work in; what dead processes left in it is gone.
    pub(crate) fn fresh_scratch(&self) -> Result<PathBuf, Failure> {
        let scratch = self.work().join(SCRATCH);
        remove(&scratch)?;
        std::fs::create_dir_all(&scratch).map_err(io("make", &scratch))?;
        Ok(scratch)
    }

    /// Takes the certificate out of the folder, which is not finished from here on. It is kept until
    /// [`clear`](Self::clear): what it names may have to be removed.
    pub(crate) fn set_aside_certificate(&self) -> Result<(), Failure> {
        let path = self.path.join(CERTIFICATE);
        match self.certificate() {
            Ok(Some(old)) => self.keep_replaced(&path, old.job.as_str())?,
            Ok(None) => {}
            // One that cannot be read names nothing.
            Err(_) => remove(&path)?,
        }
        sync_folder(&self.path)
    }

    /// The certificates of outputs that are being replaced.
    pub(crate) fn replaced(&self) -> Result<Vec<Certificate>, Failure> {
        replaced(&self.path)
    }

    fn keep_replaced(&self, certificate: &Path, job: &str) -> Result<(), Failure> {
        let folder = self.work().join(REPLACED);
        std::fs::create_dir_all(&folder).map_err(io("make", &folder))?;
        let target = folder.join(format!("{job}.json"));
        std::fs::rename(certificate, &target).map_err(io("write", &target))?;
        sync_folder(&folder)?;
        sync_folder(&self.work())
    }

    /// Removes unfinished work but for the lock, what this run works in, and the memory of outputs
    /// that are being replaced. To these belong those of a job that was killed in its delivery.
    pub(crate) fn discard_work(&self) -> Result<(), Failure> {
        let jobs = self.work().join(STORE).join("transcoded");
        for job in names(&jobs)? {
            let certificate = jobs.join(&job).join(CERTIFICATE);
            if certificate
                .try_exists()
                .map_err(io("look at", &certificate))?
            {
                self.keep_replaced(&certificate, &job.to_string_lossy())?;
            }
        }
        let work = self.work();
        for name in names(&work)? {
            if ![LOCK, SCRATCH, REPLACED].iter().any(|kept| name == *kept) {
                remove(&work.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes unfinished work of which nothing came. The work folder goes as well, unless outputs
    /// are still to be cleaned up by the next run.
    pub(crate) fn abandon(&self) -> Result<(), Failure> {
        self.discard_work()?;
        remove(&self.work().join(SCRATCH))?;
        match names(&self.work().join(REPLACED))?.is_empty() {
            true => self.clear(),
            false => Ok(()),
        }
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

/// Endings by which media files are known: a folder of such a name is most likely a mistake.
const MEDIA_ENDINGS: &[&str] = &[
    "aac", "avi", "flac", "m3u8", "m4a", "m4v", "mkv", "mov", "mp3", "mp4", "mpd", "mpg", "ogg",
    "opus", "ts", "wav", "webm",
];

/// Refuses what was named for `-o` and is a file, a URL or most likely meant as a file. A folder
/// that exists may have any name, and so may one that is written with a slash at its end.
pub(crate) fn is_for_a_folder(path: &Path) -> Result<(), Failure> {
    let refuse = |what: String| Err(Failure::usage(format!("{what}; `-o` needs a folder")));
    if url_scheme(path.as_os_str()).is_some() {
        return refuse(format!("`{}` is a URL", path.display()));
    }
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        match std::fs::metadata(part) {
            Ok(meta) if meta.is_dir() => break,
            Ok(_) => return refuse(format!("`{}` is a file", part.display())),
            // Missing or unreadable: creating the folder reports why.
            Err(_) => {}
        }
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let is_media = MEDIA_ENDINGS.contains(&ending.to_ascii_lowercase().as_str());
    let has_slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_media && !has_slash && !path.is_dir() {
        let name = path.display();
        return refuse(format!(
            "`{name}` is a file's name (write `{name}/` for a folder of that name)"
        ));
    }
    Ok(())
}

/// The scheme of a URL such as `https://host/path`; `None` for a path.
pub(crate) fn url_scheme(text: &OsStr) -> Option<&str> {
    let (scheme, _) = text.to_str()?.split_once("://")?;
    let mut bytes = scheme.bytes();
    let begins = bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic());
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    (begins && goes_on).then_some(scheme)
}

/// Refuses a source that lies where a job in `dir` may write or clean up: no option makes it right
/// to overwrite what is being read.
pub(crate) fn spares_the_source(dir: &Path, source: &Path) -> Result<(), Failure> {
    let Ok(home) = std::fs::canonicalize(dir) else {
        // Nothing can lie in a folder that is yet to be made.
        return Ok(());
    };
    // A folder may be a link to where the source lies; a file is replaced, whatever it links to.
    let holds = |folder: &str| {
        let folder = std::fs::canonicalize(home.join(folder));
        folder.is_ok_and(|folder| source.starts_with(folder))
    };
    let is_output = |path: &str| {
        let path = home.join(path);
        let folder = path.parent().map(std::fs::canonicalize);
        let same_name = path.file_name() == source.file_name();
        same_name && folder.is_some_and(|f| f.ok().as_deref() == source.parent())
    };
    let beside = source.parent() == Some(&home)
        && source
            .file_name()
            .is_some_and(|name| name == CERTIFICATE || is_progressive(name));
    // What cannot be read is no reason to touch the source, nor to refuse it.
    let certificates = read_certificate(&home).ok().flatten().into_iter();
    let certified = certificates
        .chain(replaced(&home).unwrap_or_default())
        .any(|certificate| certificate.outputs.iter().any(|o| is_output(&o.path)));
    if !(holds(WORK) || holds(HLS) || beside || certified) {
        return Ok(());
    }
    let message = format!(
        "`{}` lies where `{}` keeps its outputs and would be lost: choose another folder for them, or move the source",
        source.display(),
        dir.display()
    );
    Err(Failure::new(Exit::Failed, "input-among-outputs", message))
}

fn replaced(folder: &Path) -> Result<Vec<Certificate>, Failure> {
    let replaced = folder.join(WORK).join(REPLACED);
    // One that cannot be read names nothing.
    let read = |name| read(&replaced.join(name)).ok().flatten();
    Ok(names(&replaced)?.into_iter().filter_map(read).collect())
}

/// Whether a file is named like a progressive output.
fn is_progressive(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("output_") && name.ends_with(".mp4")
}

/// The names in a folder; none where it is missing.
fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("list", folder)(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<Result<_, _>>().map_err(io("list", folder))
}

/// The path of an output in its folder; `None` where a certificate names a place outside it.
pub(crate) fn output_path(folder: &Path, output: &str) -> Option<PathBuf> {
    ObjectKey::new(output).ok().map(|_| folder.join(output))
}

/// The certificate in a folder; `None` where there is none.
pub(crate) fn read_certificate(folder: &Path) -> Result<Option<Certificate>, Failure> {
    read(&folder.join(CERTIFICATE))
}

fn read(path: &Path) -> Result<Option<Certificate>, Failure> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    let broken = |what: String| {
        Failure::failed(format!(
            "`{}` is not a certificate that can be read: {what}",
            path.display()
        ))
    };
    let certificate: Certificate = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        broken(format!(
            "line {line}, column {column} is not as reelmill writes it"
        ))
    })?;
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
