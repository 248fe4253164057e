//! What only this backend promises: deadlines, recovery, several processes.

use reelmill_common::JobId;
use reelmill_common::request::Priority;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::Settlement;

const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that stands still unless told otherwise.
#[derive(Clone, Debug)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }
}

struct Place {
    folder: TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        let clock = Clock(Arc::new(AtomicU64::new(1_700_000_000_000)));
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("queue.db")
    }

    /// Every call is like another process: nothing is shared but the file and the time.
    fn open(&self, extend_every: Duration) -> SqliteQueue {
        let clock = self.clock.clone();
        let clock: Arc<dyn Fn() -> u64 + Send + Sync> =
            Arc::new(move || clock.0.load(Ordering::SeqCst));
        let options = SqliteOptions {
            extend_every,
            clock,
            ..SqliteOptions::default()
        };
        SqliteQueue::open_with(self.path(), options).unwrap()
    }

    /// A process that receives one message and then dies without a word.
    #[expect(clippy::mem_forget, reason = "in a killed process no destructor runs")]
    fn receive_and_die(&self) {
        let place = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        place.block_on(async {
            let queue = self.open(Duration::from_secs(5));
            let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
            assert_eq!(consumer.receive(1, PATIENCE).await.unwrap().len(), 1);
            std::mem::forget(consumer);
        });
        place.shutdown_background();
    }
}

fn message() -> Outgoing {
    let (key, payload) = ("j1/chunk-000".to_owned(), b"payload".to_vec());
    Outgoing {
        job: JobId::new("j1").unwrap(),
        priority: Priority::Normal,
        key,
        spread: 0,
        payload,
        delay: Duration::ZERO,
    }
}

#[test]
fn what_a_killed_process_had_reappears_after_the_deadline_and_not_before() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let queue = place.open(Duration::from_secs(5));
    runtime
        .block_on(queue.publish(Topic::Chunks, &[message()]))
        .unwrap();
    place.receive_and_die();
    runtime.block_on(async {
        let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
        place.clock.advance(Duration::from_millis(14_999));
        assert_eq!(consumer.receive(1, Duration::ZERO).await.unwrap(), []);
        place.clock.advance(Duration::from_millis(1));
        let delivery = consumer.receive(1, PATIENCE).await.unwrap().remove(0);
        assert_eq!(delivery.receipt.delivery, 2);
        consumer
            .settle(&delivery.receipt, Settlement::Ack)
            .await
            .unwrap();
        assert_eq!(messages_of(&queue, Topic::Chunks).await, Some(0));
    });
}

#[test]
fn recovery_does_not_wait_for_the_deadline_and_leaves_delays_alone() {
    let place = Place::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let queue = place.open(Duration::from_secs(5));
    let delayed = Outgoing {
        delay: Duration::from_secs(60),
        ..message()
    };
    runtime
        .block_on(queue.publish(Topic::Chunks, &[message(), delayed]))
        .unwrap();
    place.receive_and_die();
    runtime.block_on(async {
        let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
        assert_eq!(queue.recover().await.unwrap(), 1);
        assert_eq!(queue.recover().await.unwrap(), 0);
        assert_eq!(consumer.receive(9, PATIENCE).await.unwrap().len(), 1);
        assert_eq!(consumer.receive(9, Duration::ZERO).await.unwrap(), []);
        place.clock.advance(Duration::from_secs(60));
        assert_eq!(
            consumer.receive(9, PATIENCE).await.unwrap().len(),
            2,
            "both are due"
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_may_take_longer_than_the_deadline() {
    let place = Place::new();
    let (mine, other) = (place.open(Duration::from_millis(5)), place.open(PATIENCE));
    mine.publish(Topic::Chunks, &[message()]).await.unwrap();
    let worker = mine.subscribe(&[Topic::Chunks]).await.unwrap();
    let delivery = worker.receive(1, PATIENCE).await.unwrap().remove(0);
    let observer = Connection::open(place.path()).unwrap();
    let idle = other.subscribe(&[Topic::Chunks]).await.unwrap();
    for _ in 0..4 {
        place.clock.advance(Duration::from_secs(10));
        let deadline = place.clock.0.load(Ordering::SeqCst) + 15_000;
        let extended = async {
            let sql = "SELECT visible_at FROM message";
            while observer
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .unwrap() as u64
                != deadline
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, extended).await.unwrap();
        assert_eq!(idle.receive(1, Duration::ZERO).await.unwrap(), []);
    }
    worker
        .settle(&delivery.receipt, Settlement::Ack)
        .await
        .unwrap();
    assert_eq!(messages_of(&other, Topic::Chunks).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_cut_off_cannot_settle_any_more() {
    let place = Place::new();
    let (first, second) = (place.open(PATIENCE), place.open(PATIENCE));
    first.publish(Topic::Chunks, &[message()]).await.unwrap();
    let suspended = first.subscribe(&[Topic::Chunks]).await.unwrap();
    let old = suspended.receive(1, PATIENCE).await.unwrap().remove(0);
    place.clock.advance(Duration::from_secs(15));
    let other = second.subscribe(&[Topic::Chunks]).await.unwrap();
    let new = other.receive(1, PATIENCE).await.unwrap().remove(0);
    assert!(new.receipt.delivery > old.receipt.delivery);
    suspended
        .settle(&old.receipt, Settlement::Ack)
        .await
        .unwrap();
    suspended.close().await.unwrap();
    assert_eq!(messages_of(&second, Topic::Chunks).await, Some(1));
    other.settle(&new.receipt, Settlement::Ack).await.unwrap();
    assert_eq!(messages_of(&second, Topic::Chunks).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_or_dropped_consumer_gives_back_before_the_deadline() {
    let place = Place::new();
    let queue = place.open(PATIENCE);
    queue.publish(Topic::Chunks, &[message()]).await.unwrap();
    // The clock stands still, so no deadline ever passes.
    let first = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    assert_eq!(first.receive(1, PATIENCE).await.unwrap().len(), 1);
    first.close().await.unwrap();
    let second = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    assert_eq!(second.receive(1, Duration::ZERO).await.unwrap().len(), 1);
    drop(second);
    let third = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    assert_eq!(third.receive(1, PATIENCE).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_notices_what_is_published() {
    let place = Place::new();
    let (publisher, queue) = (place.open(PATIENCE), place.open(PATIENCE));
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let messages = [message()];
    let (received, published) = tokio::join!(
        consumer.receive(1, PATIENCE),
        publisher.publish(Topic::Chunks, &messages)
    );
    published.unwrap();
    assert_eq!(received.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_published_at_once_are_visible_although_the_clock_stepped_back() {
    let place = Place::new();
    let queue = place.open(PATIENCE);
    queue.publish(Topic::Chunks, &[message()]).await.unwrap();
    place.clock.0.fetch_sub(3_600_000, Ordering::SeqCst);
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    assert_eq!(consumer.receive(1, Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_consumer_says_so() {
    let place = Place::new();
    let queue = place.open(PATIENCE);
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    consumer.close().await.unwrap();
    let error = consumer.receive(1, PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot receive from the queue");
    assert_eq!(error.source.to_string(), "the consumer is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_outlives_a_restart() {
    let place = Place::new();
    for _ in 0..3 {
        place
            .open(PATIENCE)
            .publish(Topic::Merges, &[message()])
            .await
            .unwrap();
    }
    let queue = place.open(PATIENCE);
    let consumer = queue.subscribe(&[Topic::Merges]).await.unwrap();
    assert_eq!(consumer.receive(9, PATIENCE).await.unwrap().len(), 3);
}

async fn messages_of(queue: &SqliteQueue, topic: Topic) -> Option<u64> {
    let backlog = queue.backlog(topic).await.unwrap();
    backlog.map(|backlog| backlog.messages)
}
