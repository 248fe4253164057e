//! The queue port: deliver work.
//!
//! The queue triggers, it owns nothing: whoever is told of a task asks the ledger for the right to
//! do it. The contract is what Kafka and SQLite can both keep, nothing more; these are the
//! backends.

use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::JobId;
use reelmill_common::message::Topic;
use reelmill_common::request::Priority;

#[cfg(feature = "conformance")]
#[expect(clippy::unwrap_used, reason = "a suite fails by panicking")]
pub mod conformance;
mod dead_letter;
mod error;
#[cfg(feature = "conformance")]
mod faulty;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use dead_letter::{Cause, DeadLetter, DeadLetterError};
pub use error::QueueError;
#[cfg(feature = "conformance")]
pub use faulty::FaultyQueue;
#[cfg(feature = "kafka")]
pub use kafka::{DeadLetters, KafkaOptions, KafkaQueue, LetterSource, StoredLetter, TopicPlan};
#[cfg(feature = "conformance")]
pub use reelmill_common::faults::{Faults, InjectedFault, When};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOptions, SqliteQueue};

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The job that it belongs to: consumers are given the messages of all jobs in turn.
    pub job: JobId,
    /// Whose turn it is first.
    pub priority: Priority,
    /// Names the message for people, such as `job/chunk-003`; no order follows from it.
    pub key: String,
    /// Spreads the messages of one job over partitions; any number, such as the chunk's index.
    pub spread: u32,
    /// The bytes, under 1 KB.
    pub payload: Vec<u8>,
    /// How long nobody should be given it; zero for at once.
    pub delay: Duration,
}

/// A message as a consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What to settle when done with it.
    pub receipt: Receipt,
    /// The topic it came from.
    pub topic: Topic,
    /// As published.
    pub key: String,
    /// As published; possibly not a message at all.
    pub payload: Vec<u8>,
}

/// Names one delivery to the consumer that got it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The topic or its retry topic.
    pub topic: Topic,
    /// The partition; 0 where the backend has none.
    pub partition: i32,
    /// The message's offset or row.
    pub offset: i64,
    /// Grows each time the message is delivered anew, so that a late settle has no effect.
    pub delivery: u64,
}

/// How a consumer ends a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done with: it is normally not delivered again. After a rebalance or a crash it may be: the
    /// ledger decides.
    Ack,
    /// To be delivered again, to anybody, after the delay.
    Retry {
        /// How long nobody should be given it.
        delay: Duration,
    },
    /// Moved to the dead letters with the cause, then done with.
    DeadLetter(Cause),
}

/// What of a topic is not settled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many messages.
    pub messages: u64,
    /// How long ago the oldest of them was published; zero where there is none.
    pub oldest: Duration,
}

/// Delivers messages at least once.
///
/// 1. A published message is delivered until it is settled; duplicates may occur.
/// 2. No order is promised between messages.
/// 3. Delivery attempts are not counted here: the ledger counts.
/// 4. Work is shared fairly, as far as the backend can: of the messages that wait, those of the
///    highest priority come first, and among these the jobs take turns, so that a short job behind
///    a long one is not kept waiting for the whole of it.
#[async_trait]
pub trait Queue: std::fmt::Debug + Send + Sync {
    /// Publishes messages. Returns when all of them are durable; after an error any part of them
    /// may have been published, and publishing all of them again is right.
    ///
    /// # Errors
    /// Any failure.
    async fn publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), QueueError>;

    /// Joins the consumers of `topics`. Consumers share the work: a message normally goes to one of
    /// them until that one is lost or hands it back.
    ///
    /// # Errors
    /// Any failure.
    async fn subscribe(&self, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError>;

    /// What of a topic is not settled yet: an estimate, `None` when unknown.
    ///
    /// # Errors
    /// Any failure.
    async fn backlog(&self, topic: Topic) -> Result<Option<Backlog>, QueueError>;
}

/// One member of a group of consumers.
///
/// The backend keeps the membership by itself: a handler may take hours with a delivery, and
/// normally no other consumer is given it meanwhile. After a rebalance, or when this consumer was
/// cut off for too long, another may be: the ledger decides who works. When a consumer is dropped
/// without [`close`](Self::close), or its process dies, its open deliveries reappear for others in
/// bounded time; as long as it lives, one that could not be settled stays open.
#[async_trait]
pub trait Consumer: std::fmt::Debug + Send + Sync {
    /// Waits until a message is there, at most `wait`, and returns up to `max` (at least 1 is
    /// assumed). Empty when there was none. Dropping the future loses no message.
    ///
    /// # Errors
    /// Any failure; deliveries already made stay valid.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// Ends a delivery. Idempotent: settling one that is settled already, or that was given to
    /// another consumer meanwhile, is `Ok` and has no effect. What must be published first
    /// (a retry, a dead letter) is durable before the delivery ends.
    ///
    /// # Errors
    /// Any failure; the delivery is then still open.
    async fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), QueueError>;

    /// Leaves the group: open deliveries reappear for others at once.
    ///
    /// # Errors
    /// Any failure; they then reappear as if the process had died.
    async fn close(&self) -> Result<(), QueueError>;
}
