//! The queue in one SQLite file, shared by any number of processes of one machine.
//!
//! A delivered message stays where it is with the name of its consumer and a deadline. The
//! consumer moves the deadline on for as long as it lives, so a handler may take hours, and a
//! killed process is noticed when the deadline passes.

mod consumer;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reelmill_common::message::Topic;
use reelmill_sqlite::{BoxError, Failure, Schema, transact};
use rusqlite::{Transaction, params};
use tokio::sync::Notify;

use crate::{Backlog, Consumer, Outgoing, Queue, QueueError};
use consumer::SqliteConsumer;

const SCHEMA: Schema = Schema {
    kind: "queue",
    // "rmQu"
    application_id: 0x726d_5175,
    version: 1,
    script: include_str!("schema.sql"),
    upgrades: &[],
};

type Db = reelmill_sqlite::Db<QueueError>;

impl From<Failure> for QueueError {
    fn from(failure: Failure) -> Self {
        Self {
            action: failure.action,
            retryable: failure.retryable,
            source: failure.source,
        }
    }
}

/// A queue in an SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteQueue {
    db: Db,
    options: SqliteOptions,
    /// Told of every change in this process that may make a message visible.
    changed: Arc<Notify>,
}

/// How a [`SqliteQueue`] measures time.
#[derive(Clone)]
pub struct SqliteOptions {
    /// How long after its last sign of life a consumer's open deliveries reappear for others.
    pub visibility: Duration,
    /// How often a consumer gives a sign of life; a fraction of `visibility`.
    pub extend_every: Duration,
    /// Milliseconds since 1970, the same for all processes.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            visibility: Duration::from_secs(15),
            extend_every: Duration::from_secs(5),
            clock: Arc::new(|| {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                now.map_or(0, millis)
            }),
        }
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("visibility", &self.visibility)
            .field("extend_every", &self.extend_every)
            .finish_non_exhaustive()
    }
}

impl SqliteOptions {
    fn now(&self) -> u64 {
        (self.clock)()
    }

    /// When something that is to happen after `delay` happens.
    fn after(&self, delay: Duration) -> u64 {
        self.now().saturating_add(millis(delay))
    }

    /// From when on a message is visible that nobody should be given for `delay`.
    fn visible_after(&self, delay: Duration) -> u64 {
        if delay.is_zero() {
            0
        } else {
            self.after(delay)
        }
    }
}

/// Bounded by what SQLite can hold, which is far in the future.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .min(u64::MAX / 4)
}

impl SqliteQueue {
    /// Opens the queue in the file `path`, making the file where there is none. Its folder must
    /// exist and lie on a local file system. Waits for other processes that have the file open.
    ///
    /// # Errors
    /// The file cannot be opened, is not a queue, or was written by a newer reelmill.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, QueueError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// Like [`open`](Self::open), with other times or another clock. All processes that share a
    /// file must agree on them.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, QueueError> {
        let db = Db::open(path.as_ref(), &SCHEMA)?;
        Ok(Self {
            db,
            options,
            changed: Arc::default(),
        })
    }

    /// Makes every delivered, unsettled message visible at once, and returns how many there were.
    ///
    /// For the one who holds the exclusive lock on the folder after a crash: it knows that every
    /// consumer is dead and need not wait for their deadlines. A consumer that lives after all
    /// loses its deliveries to others, as if it had been cut off.
    ///
    /// # Errors
    /// Any failure.
    pub async fn recover(&self) -> Result<usize, QueueError> {
        let recovered = self
            .db
            .run("recover", |connection| {
                transact(connection, |transaction| {
                    let sql = "UPDATE message SET consumer = NULL, visible_at = 0
                               WHERE consumer IS NOT NULL";
                    Ok(transaction.execute(sql, [])?)
                })
            })
            .await?;
        self.changed.notify_waiters();
        Ok(recovered)
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), QueueError> {
        if messages.is_empty() {
            return Ok(());
        }
        let (messages, options) = (messages.to_vec(), self.options.clone());
        self.db
            .run("publish to", move |connection| {
                transact(connection, |transaction| {
                    for message in &messages {
                        let row = Row {
                            topic,
                            job: message.job.as_str(),
                            priority: message.priority as i64,
                            key: &message.key,
                            payload: &message.payload,
                            published_at: options.now(),
                            visible_at: options.visible_after(message.delay),
                        };
                        row.insert(transaction)?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError> {
        let mut topics = topics.to_vec();
        topics.sort_unstable();
        topics.dedup();
        Ok(Box::new(SqliteConsumer::join(self, topics).await?))
    }

    async fn backlog(&self, topic: Topic) -> Result<Option<Backlog>, QueueError> {
        let options = self.options.clone();
        let backlog = self
            .db
            .run("count", move |connection| {
                let sql = "SELECT count(*), min(published_at) FROM message WHERE topic = ?1";
                let (messages, oldest): (u64, Option<u64>) =
                    connection
                        .query_row(sql, [topic.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let age = oldest.map_or(0, |at| options.now().saturating_sub(at));
                Ok(Backlog {
                    messages,
                    oldest: Duration::from_millis(age),
                })
            })
            .await?;
        Ok(Some(backlog))
    }
}

/// A message as it enters the file.
struct Row<'a> {
    topic: Topic,
    job: &'a str,
    priority: i64,
    key: &'a str,
    payload: &'a [u8],
    published_at: u64,
    visible_at: u64,
}

impl Row<'_> {
    fn insert(&self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
        let sql = "INSERT INTO message
                   (topic, job, priority, key, payload, published_at, visible_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        transaction.prepare_cached(sql)?.execute(params![
            self.topic.as_str(),
            self.job,
            self.priority,
            self.key,
            self.payload,
            self.published_at,
            self.visible_at
        ])?;
        Ok(())
    }
}
