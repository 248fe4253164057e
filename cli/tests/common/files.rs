//! Folders to work in, and what lies in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reelmill_common::Sha256;
use tempfile::TempDir;

/// A folder that goes away with the test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A folder that the tests of one run share, filled by the first that wants it: nextest gives each test
/// a process of its own. The other processes wait meanwhile.
pub(crate) fn made_once(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| std::process::id().to_string());
    let runs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runs");
    let base = runs.join(run);
    std::fs::create_dir_all(&base).unwrap();
    let lock = std::fs::File::create(base.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let folder = base.join(name);
    if is_there(&folder) {
        return folder;
    }
    for old in std::fs::read_dir(&runs).unwrap() {
        let old = old.unwrap();
        let modified = old.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > DAY)) {
            // Another process may be removing it too.
            std::fs::remove_dir_all(old.path()).ok();
        }
    }
    let unfinished = tempfile::tempdir_in(&base).unwrap();
    fill(unfinished.path());
    std::fs::rename(unfinished.keep(), &folder).unwrap();
    folder
}

/// Writes an executable script and returns its path.
pub(crate) fn executable(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Every file under a folder by its relative path, with the digest of its bytes. Folders count as
/// well, so that an empty one does not go unseen.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(dir, dir, &mut found);
    found
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if path.is_dir() {
            found.insert(name, "a folder".to_owned());
            collect(root, &path, found);
        } else {
            found.insert(name, digest(&path));
        }
    }
}

/// The digest of a file.
pub(crate) fn digest(path: &Path) -> String {
    let mut file = std::fs::File::open(path).unwrap();
    Sha256::of_reader(&mut file).unwrap().0.to_string()
}

/// The names in a folder, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether there is anything at a path.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Copies a folder with all in it. What goes away meanwhile is not copied.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from) else {
        return;
    };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => copy_folder(&entry.path(), &target),
            Ok(_) => drop(std::fs::copy(entry.path(), &target)),
            Err(_) => {}
        }
    }
}

/// How many done-markers of chunks a folder's unfinished work has.
pub(crate) fn chunks_done(dir: &Path) -> usize {
    let is_marker = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("chunk_") && name.ends_with(".json")
    };
    job_folder(dir, "transcoded").map_or(0, |job| {
        let entries = std::fs::read_dir(job).into_iter().flatten().flatten();
        entries.filter(|entry| is_marker(&entry.path())).count()
    })
}

/// Whether a folder's unfinished work has a plan.
pub(crate) fn is_planned(dir: &Path) -> bool {
    job_folder(dir, "chunks").is_some_and(|job| is_there(&job.join("manifest.json")))
}

fn job_folder(dir: &Path, kind: &str) -> Option<PathBuf> {
    let jobs = std::fs::read_dir(dir.join(".reelmill/store").join(kind)).ok()?;
    jobs.flatten().map(|job| job.path()).next()
}

/// The certificate of a folder as JSON.
pub(crate) fn certificate(dir: &Path) -> serde_json::Value {
    let bytes = std::fs::read(dir.join("certificate.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Puts an edited certificate into a folder.
pub(crate) fn write_certificate(dir: &Path, certificate: &serde_json::Value) {
    let bytes = serde_json::to_vec_pretty(certificate).unwrap();
    std::fs::write(dir.join("certificate.json"), bytes).unwrap();
}

/// The bytes of files one behind the other, as a file in `dir`.
pub(crate) fn joined(dir: &Path, name: &str, parts: &[PathBuf]) -> PathBuf {
    let bytes = parts.iter().flat_map(|part| std::fs::read(part).unwrap());
    let path = dir.join(name);
    std::fs::write(&path, bytes.collect::<Vec<u8>>()).unwrap();
    path
}
