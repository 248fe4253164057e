//! Listing in the order of keys without reading more folders than the page needs.

use std::fs;
use std::io;
use std::path::Path;

use reelmill_common::ObjectKey;

use super::{means_missing, object_meta};
use crate::ObjectMeta;

pub(super) fn list(
    root: &Path,
    prefix: &str,
    after: Option<&ObjectKey>,
    limit: usize,
) -> io::Result<Vec<ObjectMeta>> {
    let mut page = Page {
        root,
        prefix,
        after: after.map(ObjectKey::as_str),
        limit,
        found: vec![],
    };
    // The folder that the prefix names is the first worth reading. It must be one that keys can
    // name: a prefix is any text, and must not lead out of the root either.
    let start = match prefix.rsplit_once('/') {
        None => String::new(),
        Some((folder, _)) if ObjectKey::new(folder).is_ok() => format!("{folder}/"),
        Some(_) => return Ok(vec![]),
    };
    page.read_folder(&start)?;
    Ok(page.found)
}

struct Page<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    found: Vec<ObjectMeta>,
}

impl Page<'_> {
    /// Adds what lies in a folder, given with its slash (the root is empty).
    fn read_folder(&mut self, folder: &str) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if means_missing(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Folders are sorted with their slash, because their keys are: `a-b/c` comes before
        // `a/b`, although the folder `a` comes before `a-b`.
        let mut names = vec![];
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if means_missing(&error) => continue,
                Err(error) => return Err(error),
            };
            if name.starts_with('.') {
                continue;
            }
            if kind.is_file() {
                names.push(format!("{folder}{name}"));
            } else if kind.is_dir() {
                names.push(format!("{folder}{name}/"));
            }
        }
        names.retain(|name| self.may_hold(name));
        names.sort_unstable();
        for name in names {
            if self.found.len() >= self.limit {
                break;
            }
            if name.ends_with('/') {
                self.read_folder(&name)?;
            } else if let Ok(key) = ObjectKey::new(name) {
                self.add(key)?;
            }
        }
        Ok(())
    }

    /// Whether the file, or something in the folder, may be on the page.
    fn may_hold(&self, name: &str) -> bool {
        let is_folder = name.ends_with('/');
        let has_prefix =
            name.starts_with(self.prefix) || is_folder && self.prefix.starts_with(name);
        has_prefix
            && self
                .after
                .is_none_or(|after| name > after || is_folder && after.starts_with(name))
    }

    fn add(&mut self, key: ObjectKey) -> io::Result<()> {
        match fs::metadata(self.root.join(key.as_str())) {
            Ok(meta) => self.found.push(object_meta(key, &meta)?),
            // Deleted since the folder was read.
            Err(error) if means_missing(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
