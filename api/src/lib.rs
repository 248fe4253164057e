//! The HTTP service: uploads, jobs, outputs, events.
//!
//! Knows the ports and no backend, so that the same service stands before one machine's SQLite
//! files and before a cluster. [`router`] is the whole of it; [`serve`](server::serve) puts it
//! behind a socket.

mod auth;
mod files;
mod jobs;
mod layers;
mod openapi;
mod operations;
mod problem;
mod query;
mod rfc3339;
mod routes;
pub mod server;
mod state;
mod uploads;

pub use auth::{Keys, KeysError, Scope};
pub use openapi::document;
pub use problem::Problem;
pub use routes::{health, router};
pub use state::{Api, Events, Settings};
