//! One module for each command.

pub(crate) mod config;
mod deliver;
#[cfg(feature = "cluster")]
pub(crate) mod dlq;
pub(crate) mod doctor;
mod intent;
pub(crate) mod jobs;
pub(crate) mod outputs;
pub(crate) mod profiles;
pub(crate) mod serve;
mod submit;
#[cfg(feature = "cluster")]
pub(crate) mod topics;
pub(crate) mod transcode;
pub(crate) mod verify;
pub(crate) mod workers;

use std::path::{Path, PathBuf};

use reelmill_common::profile::{self, Profile};

use reelmill_source::{SourceError, regular_file};

use crate::failure::{Exit, Failure, io};
use crate::folder::url_scheme;

/// The profile of a built-in name or a file.
fn load_profile(name_or_path: &str) -> Result<Profile, Failure> {
    if let Some(builtin) = profile::builtin(name_or_path) {
        return builtin
            .profile()
            .map_err(|error| Failure::usage(error.to_string()));
    }
    let path = Path::new(name_or_path);
    if !path.try_exists().map_err(io("look at", path))? {
        let names: Vec<&str> = profile::builtins()
            .iter()
            .map(|builtin| builtin.name)
            .collect();
        return Err(Failure::usage(format!(
            "`{name_or_path}` is neither a profile file nor a built-in profile: the built-in ones are {}",
            names.join(", ")
        )));
    }
    read_profile(path)
}

/// The file that was named as a source, absolute, and what it is. Whatever is wrong with the name is
/// a usage error, as it is for a profile.
fn source_file(named: &Path) -> Result<(PathBuf, std::fs::Metadata), Failure> {
    let text = named.as_os_str();
    if text == "-" {
        return Err(Failure::usage(
            "`-` is standard input, and a source is read from many places at once: save it to a file first",
        ));
    }
    if let Some(scheme) = url_scheme(text) {
        let name = named.display();
        return Err(Failure::usage(match scheme {
            "file" => format!("`{name}` is a URL: name the file by its path"),
            _ => format!("`{name}` is a URL, and a source is a file: download it first"),
        }));
    }
    regular_file(named).map_err(|error| {
        let exit = match error {
            // Bytes, or the lack of them, and a disk that fails are no matter of what was typed.
            SourceError::Empty(_) | SourceError::Io { .. } => Exit::Failed,
            _ => Exit::Usage,
        };
        Failure {
            exit,
            ..Failure::of(&error)
        }
    })
}

/// The profile in a file.
fn read_profile(path: &Path) -> Result<Profile, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let failure = io("read", path)(error);
        Failure {
            exit: Exit::Usage,
            ..failure
        }
    })?;
    profile::parse(&text, &path.display().to_string())
        .map_err(|error| Failure::usage(error.to_string()))
}
