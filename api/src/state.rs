//! What every handler works with.

use std::path::PathBuf;
use std::time::Duration;

use reelmill_common::profile::Profile;
use reelmill_stage::Ports;

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where bytes wait until they are a whole segment: a folder of this process alone, best on the
    /// file system of the store where that is a directory.
    pub scratch: PathBuf,
    /// The longest source that is taken, in bytes.
    pub max_upload_bytes: u64,
    /// How long an upload may stand unfinished.
    pub upload_expiry: Duration,
    /// How long a job is kept after its end; `None` is for ever.
    pub retention: Option<Duration>,
    /// How many encodes the workers are expected to run at once: plans are made for it.
    pub slots: u32,
    /// Profiles beside the built-in ones, by name.
    pub profiles: Vec<Profile>,
    /// The profile of a job that names none.
    pub default_profile: String,
    /// Origins whose pages may call the service; `*` is every one.
    pub cors_origins: Vec<String>,
    /// How many requests are worked on at once; more are told to come again.
    pub max_requests: usize,
}

/// The service's state, shared by all requests.
#[derive(Debug)]
pub struct Api {
    /// The three ports.
    pub ports: Ports,
    /// How the service behaves.
    pub settings: Settings,
}
