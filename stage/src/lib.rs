//! What the three stages share.
//!
//! A stage is a [`Handler`] for one kind of message. [`run`] does the rest, the same for all: take
//! a message, claim its task, keep the lease while the handler works, record the completion, tell
//! the merger when the set is whole, settle. The order is what makes a kill at any moment harmless:
//! effect, then marker, then ledger, then settle.

use std::sync::Arc;

use reelmill_ledger::Ledger;
use reelmill_queue::Queue;
use reelmill_store::Store;

mod error;
mod housekeeping;
mod leftovers;
mod lifecycle;
pub mod metrics;
mod process;
mod rebuild;
mod run;
mod scratch;
mod work;

pub use error::StageError;
pub use housekeeping::{Housekeeper, HousekeepingSettings, housekeep, resume};
pub use lifecycle::{cancel, remove, retry, submit, submit_upload};
pub use rebuild::{
    create_json, exists, known, load_json, manifest, planned, publish_missing, rebuild, revisions,
};
pub use run::{Settings, Shutdown, run};
pub use scratch::{blocking, scratch_folder};
pub use work::{Handler, Outcome, Work};

/// The three ports, as every stage sees them.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Delivers work.
    pub queue: Arc<dyn Queue>,
    /// Owns work and counts it.
    pub ledger: Arc<dyn Ledger>,
    /// Keeps objects.
    pub store: Arc<dyn Store>,
}
