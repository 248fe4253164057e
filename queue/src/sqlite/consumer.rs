//! A member of the group: takes messages, keeps them while it lives, gives back what it did not
//! end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::message::Topic;
use reelmill_sqlite::{BoxError, transact};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{Db, Row, SqliteOptions, SqliteQueue};
use crate::{Consumer, DeadLetter, Delivery, QueueError, Receipt, Settlement};

/// How long an idle consumer waits before it looks for what other processes published.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const NEXT: &str = include_str!("next.sql");

/// Longer than any wait that anybody means.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug)]
pub(super) struct SqliteConsumer {
    member: Arc<Member>,
    topics: Arc<[Topic]>,
    /// Dropped to let the task end that keeps the deliveries.
    alive: Mutex<Option<oneshot::Sender<()>>>,
}

/// What the consumer shares with the task that keeps its deliveries.
#[derive(Debug)]
struct Member {
    db: Db,
    options: SqliteOptions,
    changed: Arc<Notify>,
    /// Unique among all consumers that the file has ever had.
    name: String,
    /// Delivered to this consumer, and not yet handed out because the future that asked for them
    /// was dropped. Changed only with the connection in hand, as is `closed`.
    ready: Mutex<VecDeque<Delivery>>,
    closed: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
#[error("the consumer is closed")]
struct Closed;

impl SqliteConsumer {
    pub(super) async fn join(queue: &SqliteQueue, topics: Vec<Topic>) -> Result<Self, QueueError> {
        let name = queue
            .db
            .run("subscribe to", |connection| {
                let sql = "SELECT lower(hex(randomblob(16)))";
                Ok(connection.query_row(sql, [], |row| row.get(0))?)
            })
            .await?;
        let member = Arc::new(Member {
            db: queue.db.clone(),
            options: queue.options.clone(),
            changed: Arc::clone(&queue.changed),
            name,
            ready: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let (alive, gone) = oneshot::channel();
        tokio::spawn(keep(Arc::clone(&member), gone));
        Ok(Self {
            member,
            topics: topics.into(),
            alive: Mutex::new(Some(alive)),
        })
    }
}

#[async_trait]
impl Consumer for SqliteConsumer {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let max = max.max(1);
        let deadline = Instant::now() + wait.min(A_YEAR);
        let mut pause = FIRST_PAUSE;
        loop {
            // From here on no change goes unnoticed, also one that comes while we look.
            let mut changed = std::pin::pin!(self.member.changed.notified());
            changed.as_mut().enable();
            Member::fetch(&self.member, &self.topics, max).await?;
            // There is no await between taking and returning: nothing is lost with the future.
            let deliveries = self.member.take(max);
            let now = Instant::now();
            if !deliveries.is_empty() || now >= deadline {
                return Ok(deliveries);
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(deadline.min(now + pause)) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    async fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), QueueError> {
        let (member, receipt) = (Arc::clone(&self.member), receipt.clone());
        let run = move |connection: &mut Connection| {
            transact(connection, |transaction| {
                member.settle(transaction, &receipt, settlement)
            })
        };
        self.member.db.run("settle a message of", run).await?;
        // A retry without delay, or a dead letter, may be what somebody waits for.
        self.member.changed.notify_waiters();
        Ok(())
    }

    async fn close(&self) -> Result<(), QueueError> {
        let released = Member::release(&self.member).await;
        self.alive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        released
    }
}

/// A row of `next.sql`.
fn delivery(row: &rusqlite::Row<'_>, topics: &[Topic]) -> Result<Delivery, rusqlite::Error> {
    let name: String = row.get(4)?;
    let topic = topics.iter().find(|topic| topic.as_str() == name);
    let topic = *topic.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Delivery {
        receipt: Receipt {
            topic,
            partition: 0,
            offset: row.get(0)?,
            delivery: row.get(1)?,
        },
        topic,
        key: row.get(2)?,
        payload: row.get(3)?,
    })
}

/// Keeps the deliveries of a consumer until it is closed or dropped, then gives back those that
/// are left. A process that dies does not get to that: deadlines pass.
async fn keep(member: Arc<Member>, mut gone: oneshot::Receiver<()>) {
    loop {
        match tokio::time::timeout(member.options.extend_every, &mut gone).await {
            Ok(_) => break,
            Err(_) => {
                if let Err(error) = Member::extend(&member).await {
                    tracing::warn!(consumer = member.name, %error, cause = %error.source,
                        "cannot keep deliveries: others may be given them too");
                }
            }
        }
    }
    if let Err(error) = Member::release(&member).await {
        tracing::warn!(consumer = member.name, %error, cause = %error.source,
            "cannot give deliveries back: others get them after the deadline");
    }
}

impl Member {
    fn take(&self, max: usize) -> Vec<Delivery> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ready.len().min(max);
        ready.drain(..count).collect()
    }

    /// Makes messages ready, unless some are.
    async fn fetch(this: &Arc<Self>, topics: &Arc<[Topic]>, max: usize) -> Result<(), QueueError> {
        let (member, topics) = (Arc::clone(this), Arc::clone(topics));
        let fetch = move |connection: &mut Connection| {
            if member.closed.load(Ordering::Acquire) {
                return Err(Closed.into());
            }
            let is_ready = !member
                .ready
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty();
            if is_ready {
                return Ok(());
            }
            let taken = transact(connection, |transaction| {
                member.deliver(transaction, &topics, max)
            })?;
            member
                .ready
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(taken);
            Ok(())
        };
        this.db.run("receive from", fetch).await
    }

    fn deliver(
        &self,
        transaction: &Transaction<'_>,
        topics: &[Topic],
        max: usize,
    ) -> Result<Vec<Delivery>, BoxError> {
        let (now, deadline) = (
            self.options.now(),
            self.options.after(self.options.visibility),
        );
        let names: Vec<&str> = topics.iter().map(|topic| topic.as_str()).collect();
        let names = serde_json::to_string(&names)?;
        let mut deliveries = vec![];
        // One at a time: each that is given out changes whose turn it is.
        while deliveries.len() < max {
            let found = transaction
                .prepare_cached(NEXT)?
                .query_row(params![names, now], |row| delivery(row, topics))
                .optional()?;
            let Some(delivery) = found else { break };
            let sql = "UPDATE message SET consumer = ?2, visible_at = ?3, delivery = delivery + 1
                       WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute(params![
                delivery.receipt.offset,
                self.name,
                deadline
            ])?;
            let sql = "INSERT OR REPLACE INTO turn (job, served)
                       SELECT job, (SELECT coalesce(max(served), 0) + 1 FROM turn)
                       FROM message WHERE id = ?1";
            transaction
                .prepare_cached(sql)?
                .execute([delivery.receipt.offset])?;
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }

    fn settle(
        &self,
        transaction: &Transaction<'_>,
        receipt: &Receipt,
        settlement: Settlement,
    ) -> Result<(), BoxError> {
        // Nothing is found when the message was settled, or given to somebody else.
        let sql = "SELECT key, payload, job, priority FROM message
                   WHERE id = ?1 AND delivery = ?2 AND consumer = ?3";
        let open: Option<(String, Vec<u8>, String, i64)> = transaction
            .query_row(
                sql,
                params![receipt.offset, receipt.delivery, self.name],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()?;
        let Some((key, payload, job, priority)) = open else {
            return Ok(());
        };
        match settlement {
            Settlement::Ack => {}
            Settlement::Retry { delay } => {
                let sql = "UPDATE message SET consumer = NULL, visible_at = ?2 WHERE id = ?1";
                let visible_at = self.options.visible_after(delay);
                transaction.execute(sql, params![receipt.offset, visible_at])?;
                return Ok(());
            }
            Settlement::DeadLetter(cause) => {
                let (topic, at) = (receipt.topic, self.options.now());
                let letter = DeadLetter {
                    topic,
                    key: key.clone(),
                    payload,
                    cause,
                    at,
                };
                let row = Row {
                    topic: Topic::DeadLetters,
                    job: &job,
                    priority,
                    key: &key,
                    payload: &letter.encode()?,
                    published_at: at,
                    visible_at: 0,
                };
                row.insert(transaction)?;
            }
        }
        transaction.execute("DELETE FROM message WHERE id = ?1", [receipt.offset])?;
        let sql = "DELETE FROM turn WHERE job = ?1
                   AND NOT EXISTS (SELECT 1 FROM message WHERE job = ?1)";
        transaction.execute(sql, [&job])?;
        Ok(())
    }

    async fn extend(this: &Arc<Self>) -> Result<(), QueueError> {
        let member = Arc::clone(this);
        let extend = move |connection: &mut Connection| {
            transact(connection, |transaction| {
                let sql = "UPDATE message SET visible_at = ?2 WHERE consumer = ?1";
                let deadline = member.options.after(member.options.visibility);
                transaction.execute(sql, params![member.name, deadline])?;
                Ok(())
            })
        };
        this.db.run("keep deliveries of", extend).await
    }

    /// Gives everything back that is not settled, and takes nothing any more.
    async fn release(this: &Arc<Self>) -> Result<(), QueueError> {
        let member = Arc::clone(this);
        let release = move |connection: &mut Connection| {
            member.closed.store(true, Ordering::Release);
            member
                .ready
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            transact(connection, |transaction| {
                let sql = "UPDATE message SET consumer = NULL, visible_at = 0 WHERE consumer = ?1";
                transaction.execute(sql, [&member.name])?;
                Ok(())
            })
        };
        let released = this.db.run("leave", release).await;
        this.changed.notify_waiters();
        released
    }
}
