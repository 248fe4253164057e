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

use std::path::Path;

use reelmill_common::profile::{self, Profile};

use crate::failure::{Exit, Failure, io};

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
