//! Processes of this machine, by what `/proc` says of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{is_there, until};

/// The numbers of all processes.
fn all() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Processes that work in a folder or below it, other than `not`.
pub(crate) fn working_in(dir: &Path, not: u32) -> Vec<u32> {
    let inside = |pid: &u32| {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(dir))
    };
    let own = std::process::id();
    let others = all().into_iter().filter(|pid| *pid != not && *pid != own);
    others.filter(inside).collect()
}

/// Processes in whose arguments a path is named, other than `not`. A zombie has no arguments.
pub(crate) fn naming(path: &Path, not: u32) -> Vec<u32> {
    use std::os::unix::ffi::OsStrExt as _;
    let needle = path.as_os_str().as_bytes();
    let names = |pid: &u32| {
        let args = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        args.windows(needle.len()).any(|part| part == needle)
    };
    let own = std::process::id();
    let others = all().into_iter().filter(|pid| *pid != not && *pid != own);
    others.filter(names).collect()
}

/// Insists that within two seconds nobody works in `dir` any more or reads `source`.
#[track_caller]
pub(crate) fn nobody_left(dir: &Path, source: &Path) {
    let what = format!("the end of all processes in `{}`", dir.display());
    until(&what, Duration::from_secs(2), || {
        working_in(dir, 0).is_empty() && naming(source, 0).is_empty()
    });
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all()
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut tree = vec![root];
    let mut at = 0;
    while let Some(&pid) = tree.get(at) {
        let children = parents.iter().filter(|(_, parent)| *parent == pid);
        tree.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    tree
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`, and the name may hold anything.
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// The name of a process's program; empty when it is gone.
pub(crate) fn program_of(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// A field of `/proc/PID/status` in bytes; 0 when the process is gone.
pub(crate) fn status_bytes(pid: u32, field: &str) -> u64 {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return 0;
    };
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Resident memory of a process and all that descend from it, in bytes.
pub(crate) fn tree_memory(root: u32) -> u64 {
    let memory = |pid: u32| status_bytes(pid, "VmRSS");
    tree(root).into_iter().map(memory).sum()
}

/// The command line's program on the `PATH`, where there is one.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|candidate| is_there(candidate))
}
