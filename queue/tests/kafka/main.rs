//! What only the Kafka backend promises, on a real broker and on librdkafka's mock one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "../broker/mod.rs"]
mod broker;
mod committing;
mod dead_letters;
mod foreign;
mod helpers;
mod mock;
mod rebalancing;
mod recreated;
mod secure;
mod topics;
