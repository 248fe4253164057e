//! The queue on Kafka, for any number of processes anywhere.
//!
//! A message lies in the topic of its kind; one that comes later, or again, in the retry topic
//! beside it, with the time before which nobody should be given it. Consumers read both, keep what
//! they fetched at hand and choose whose turn it is. Of each partition the offset is committed
//! before which everything is settled, in whatever order that happens: a message that is worked
//! on for hours holds up no other, only the commit.
//!
//! Each topic that a consumer reads has a thread that does nothing but poll, so the group never
//! takes a consumer for dead because of what it works on. When a partition goes to another
//! consumer, deliveries from it go on, to no effect here: the ledger decides whose work counts.

mod admin;
mod backlog;
mod buffer;
mod commit;
mod consumer;
mod dead_letters;
mod error;
mod member;
mod metadata;
mod options;
mod poll;
mod producer;
mod reader;
mod record;
mod report;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod topics;
mod tracker;
mod watcher;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use reelmill_common::message::Topic;
use tokio::task::spawn_blocking;

use crate::{Backlog, Consumer, Outgoing, Queue, QueueError};
use backlog::Counter;
use consumer::KafkaConsumer;
use error::Trouble;
use producer::Producer;
use record::{Record, now};
use shared::Shared;
use stream::Stream;

pub use dead_letters::{DeadLetters, LetterSource, StoredLetter};
pub use options::KafkaOptions;
pub use topics::TopicPlan;

/// How many messages are on their way at once: the client holds 100,000.
const AT_ONCE: usize = 1000;

/// A queue on a Kafka cluster.
#[derive(Debug)]
pub struct KafkaQueue {
    options: Arc<KafkaOptions>,
    producer: Arc<Producer>,
    counter: Arc<Counter>,
    /// The consumers of this process: what they know is newer than what they committed.
    members: Mutex<Vec<Weak<Shared>>>,
    published: AtomicU64,
}

impl KafkaQueue {
    /// Reaches the cluster. Topics may be missing yet: see [`create_topics`](Self::create_topics).
    ///
    /// # Errors
    /// An option that cannot be meant, no broker that answers, or one that refuses us.
    pub async fn connect(options: &KafkaOptions) -> Result<Self, QueueError> {
        let connected = Self::try_connect(options).await;
        connected.map_err(|trouble| trouble.during("connect to"))
    }

    async fn try_connect(options: &KafkaOptions) -> Result<Self, Trouble> {
        options.check()?;
        let options = Arc::new(options.clone());
        let producer = Arc::new(Producer::start(&options)?);
        producer.ping().await?;
        Ok(Self {
            counter: Arc::new(Counter::new(&options, &producer)),
            options,
            producer,
            members: Mutex::default(),
            published: AtomicU64::new(0),
        })
    }

    fn members(&self) -> Vec<Arc<Shared>> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.strong_count() > 0);
        members.iter().filter_map(Weak::upgrade).collect()
    }

    fn remember(&self, member: &Arc<Shared>) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.push(Arc::downgrade(member));
    }

    async fn try_publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), Trouble> {
        let now = now();
        for messages in messages.chunks(AT_ONCE) {
            let records = messages.iter().map(|message| {
                let number = self.published.fetch_add(1, Ordering::Relaxed);
                Record::first(topic, message, now, number)
            });
            self.producer.send(&records.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    async fn try_subscribe(&self, topics: &[Topic]) -> Result<KafkaConsumer, Trouble> {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        let streams: Vec<Stream> = topics.into_iter().flat_map(Stream::of).collect();
        for stream in &streams {
            // A missing one would be waited for in silence.
            self.producer.partitions(*stream).await?;
        }
        let shared = poll::start(&self.options, streams)?;
        self.remember(&shared);
        KafkaConsumer::join(shared, Arc::clone(&self.producer)).await
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), QueueError> {
        let published = self.try_publish(topic, messages).await;
        published.map_err(|trouble| trouble.during("publish to"))
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError> {
        let consumer = self.try_subscribe(topics).await;
        match consumer {
            Ok(consumer) => Ok(Box::new(consumer)),
            Err(trouble) => Err(trouble.during("subscribe to")),
        }
    }

    async fn backlog(&self, topic: Topic) -> Result<Option<Backlog>, QueueError> {
        let backlog = match topic {
            Topic::DeadLetters => self.letters_kept().await,
            _ => self.counter.backlog(topic, self.members()).await,
        };
        backlog.map(Some).map_err(|trouble| trouble.during("count"))
    }
}

/// Does work that waits for a broker where waiting is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    match spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(Trouble::Abandoned(error.to_string())),
    }
}
