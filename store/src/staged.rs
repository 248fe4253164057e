//! Files that are written beside the place where they belong, and moved there whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// What the names of files begin with that are staged in folders of others.
const PREFIX: &str = ".reelmill-";

/// A file on disk that is not in place yet; what is left of it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Staged {
    path: PathBuf,
}

impl Staged {
    /// Makes an empty file in `folder`, under a name that begins with `prefix` and then the time.
    pub(crate) fn create(folder: &Path, prefix: &str) -> io::Result<(Self, File)> {
        let path = folder.join(format!("{prefix}{}", unique_name()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok((Self { path }, file))
    }

    /// Makes an empty file in the folder of `file`.
    pub(crate) fn create_beside(file: &Path) -> io::Result<(Self, File)> {
        Self::create(folder_of(file), PREFIX)
    }

    /// A name in the folder of `file` for what is to be made there.
    #[cfg(feature = "directory")]
    pub(crate) fn beside(file: &Path) -> Self {
        let path = folder_of(file).join(format!("{PREFIX}{}", unique_name()));
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Also after a rename: between two links of one file it does nothing.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::debug!(file = %self.path.display(), %error, "a staged file was left behind");
            }
            _ => {}
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A name that no other writer uses: the time, the process, and a count.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{}-{:09}-{}-{count}",
        now.as_secs(),
        now.subsec_nanos(),
        std::process::id()
    )
}
