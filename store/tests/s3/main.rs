//! The bucket backend against a real server, alone and behind a proxy that makes trouble.
//!
//! `REELMILL_TEST_S3` is the URL of the server; its keys are `reelmill` and `reelmill-secret`.
#![cfg(feature = "s3")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail by panicking"
)]

mod connecting;
mod creation;
mod downloads;
mod harness;
mod links;
mod listing;
mod proxy;
mod suite;
mod uploads;
