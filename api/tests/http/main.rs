//! The service as its clients meet it: over real sockets, on a real directory, queue and ledger.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod events;
mod fixture;
mod jobs;
mod keys;
mod layers;
#[path = "../../../stage/tests/stages/lines.rs"]
mod lines;
mod openapi;
mod outputs;
mod paths;
mod raw;
mod server;
mod service;
mod slow;
mod source;
