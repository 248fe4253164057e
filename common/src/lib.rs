//! The words every part of reelmill shares: identifiers, time, profiles, plans, and whatever
//! outlives a process (messages, manifests, markers, certificates).
//!
//! Nothing here performs I/O or knows a client library; every other crate may depend on this one
//! and this one on none of them.

pub mod certificate;
pub mod checksum;
pub mod colour;
pub mod digest;
#[cfg(feature = "faults")]
pub mod faults;
mod hexadecimal;
pub mod id;
pub mod job;
pub mod key;
pub mod manifest;
pub mod marker;
pub mod media_info;
pub mod message;
pub mod opening;
pub mod place;
pub mod profile;
pub mod request;
pub mod retry;
pub mod streams;
pub mod task;
pub mod time;
pub mod timeline;
pub mod upload;

pub use checksum::Checksum;
pub use digest::Sha256;
pub use id::{JobId, WorkerId};
pub use key::ObjectKey;
pub use place::{LoopbackUrl, Place};
pub use retry::Retryable;
pub use task::{TaskId, TaskKey};
pub use time::{Timebase, Window};
pub use timeline::Timeline;
