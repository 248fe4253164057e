//! The HTTP service: uploads, jobs, outputs, events.
//!
//! Knows the ports and no backend, so that the same service stands before one machine's SQLite files
//! and before a cluster. [`router`] is the whole of it; [`serve`](server::serve) puts it behind a
//! socket.

mod problem;
mod state;

pub use problem::Problem;
pub use state::{Api, Settings};
