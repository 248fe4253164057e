//! What every handler works with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::profile::Profile;
use reelmill_stage::{Ports, Shutdown};

use crate::auth::Keys;
use crate::jobs::Memory;

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
    /// The longest window of a chunk in milliseconds; `None` leaves it to the planner.
    pub window_ms: Option<u32>,
    /// Profiles beside the built-in ones, by name.
    pub profiles: Vec<Profile>,
    /// The profile of a job that names none.
    pub default_profile: String,
    /// Whether clients are sent to the store for media files, where it gives links.
    pub output_links: bool,
    /// Origins whose pages may call the service; `*` is every one.
    pub cors_origins: Vec<String>,
    /// How many requests are worked on at once; more are told to come again.
    pub max_requests: usize,
}

/// The service's state, shared by all requests.
pub struct Api {
    /// The three ports.
    pub ports: Ports,
    /// How the service behaves.
    pub settings: Settings,
    /// Who may do what; `None` lets everybody do everything, which is for loopback only.
    pub keys: Option<Keys>,
    /// How `GET /v1/jobs/{id}/events` keeps time.
    pub events: Events,
    /// Gives the text of `GET /metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Ends what would go on for ever, such as event streams, when the service shuts down.
    pub closing: Shutdown,
    /// What earlier requests learned of jobs.
    pub(crate) memory: Memory,
}

/// How an event stream keeps time.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// How often the ledger is asked for news.
    pub poll: Duration,
    /// How long the stream may be silent before a comment shows that it lives.
    pub heartbeat: Duration,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            poll: Duration::from_millis(500),
            heartbeat: Duration::from_secs(15),
        }
    }
}

impl Api {
    /// The service over these ports, open to everybody and without metrics: set
    /// [`keys`](Self::keys) and [`metrics`](Self::metrics) where they are wanted.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings, closing: Shutdown) -> Self {
        Self {
            ports,
            settings,
            keys: None,
            events: Events::default(),
            metrics: Arc::new(String::new),
            closing,
            memory: Memory::default(),
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("ports", &self.ports)
            .field("settings", &self.settings)
            .field("keys", &self.keys)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
