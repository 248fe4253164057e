//! The profiles that come with reelmill.

use super::{Profile, ProfileError, parse};

/// The profile that is used where none is named.
pub const DEFAULT: &str = "h264-1080p";

/// A profile that comes with reelmill, as its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    /// What `--profile` calls it.
    pub name: &'static str,
    /// The whole file with its comments: what `profiles show` prints, and a model for a user's own.
    pub text: &'static str,
}

impl Builtin {
    /// The profile that the file describes.
    ///
    /// # Errors
    /// Never for the files of this build, which its tests read; the type is that of [`parse`].
    pub fn profile(&self) -> Result<Profile, ProfileError> {
        parse(self.text, &format!("{}.toml", self.name))
    }
}

macro_rules! builtins {
    ($($name:literal),* $(,)?) => {
        &[$(Builtin {
            name: $name,
            text: include_str!(concat!("../../profiles/", $name, ".toml")),
        }),*]
    };
}

static BUILTINS: &[Builtin] = builtins![
    "h264-1080p",
    "h264-abr",
    "hevc-abr",
    "av1-abr",
    "vp9-1080p",
    "lossless",
    "audio",
];

/// Every built-in profile, [`DEFAULT`] first.
#[must_use]
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}

/// The built-in profile of that name.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}
