//! Answers that get lost: at worst a message comes twice.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use reelmill_common::JobId;
use reelmill_common::request::Priority;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::Retryable as _;
use reelmill_common::message::Topic;
use reelmill_queue::{Faults, FaultyQueue, Outgoing, Queue, Settlement, SqliteQueue, When};

mod retrying;
use retrying::Retrying;

const PATIENCE: Duration = Duration::from_secs(60);

fn faulty(folder: &Path, faults: Faults) -> Arc<dyn Queue> {
    let queue = SqliteQueue::open(folder.join("queue.db")).unwrap();
    Arc::new(FaultyQueue::new(Arc::new(queue), faults))
}

fn message(number: u32) -> Outgoing {
    let (key, payload) = (format!("j1/chunk-{number:03}"), vec![]);
    Outgoing {
        job: JobId::new("j1").unwrap(),
        priority: Priority::Normal,
        key,
        spread: number,
        payload,
        delay: Duration::ZERO,
    }
}

#[tokio::test]
async fn publishing_again_after_a_lost_answer_delivers_twice_and_never_not_at_all() {
    for (when, expected) in [(When::Before, 1), (When::After, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let queue = faulty(folder.path(), Faults::first(1, when).only("publish"));
        let error = queue
            .publish(Topic::Chunks, &[message(1)])
            .await
            .unwrap_err();
        assert!(error.is_retryable());
        queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
        assert_eq!(messages_of(&*queue, Topic::Chunks).await, Some(expected));
    }
}

#[tokio::test]
async fn a_settle_that_failed_before_its_effect_leaves_the_delivery_open() {
    let folder = tempfile::tempdir().unwrap();
    let queue = faulty(folder.path(), Faults::first(1, When::Before).only("settle"));
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let delivery = consumer.receive(1, PATIENCE).await.unwrap().remove(0);
    assert!(
        consumer
            .settle(&delivery.receipt, Settlement::Ack)
            .await
            .is_err()
    );
    assert_eq!(messages_of(&*queue, Topic::Chunks).await, Some(1));
    consumer
        .settle(&delivery.receipt, Settlement::Ack)
        .await
        .unwrap();
    assert_eq!(messages_of(&*queue, Topic::Chunks).await, Some(0));
}

#[tokio::test]
async fn a_dead_letter_whose_answer_was_lost_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Faults::first(2, When::After).only("settle");
    let queue = Retrying::new(faulty(folder.path(), faults));
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let delivery = consumer.receive(1, PATIENCE).await.unwrap().remove(0);
    let reason = "why".to_owned();
    consumer
        .settle(&delivery.receipt, Settlement::DeadLetter { reason })
        .await
        .unwrap();
    assert_eq!(messages_of(&queue, Topic::DeadLetters).await, Some(1));
    assert_eq!(messages_of(&queue, Topic::Chunks).await, Some(0));
}

#[tokio::test]
async fn a_third_of_all_calls_failing_either_way_loses_no_message() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::fraction(333, seed, When::Either);
        let queue = Retrying::new(faulty(folder.path(), faults));
        for number in 0..20 {
            queue
                .publish(Topic::Chunks, &[message(number)])
                .await
                .unwrap();
        }
        let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        while messages_of(&queue, Topic::Chunks).await != Some(0) {
            for delivery in consumer.receive(3, PATIENCE).await.unwrap() {
                let times = seen.entry(delivery.key.clone()).or_default();
                *times += 1;
                let settlement = match *times {
                    1 => Settlement::Retry {
                        delay: Duration::ZERO,
                    },
                    _ => Settlement::Ack,
                };
                consumer
                    .settle(&delivery.receipt, settlement)
                    .await
                    .unwrap();
            }
        }
        consumer.close().await.unwrap();
        assert_eq!(seen.len(), 20);
        assert!(seen.values().all(|times| *times >= 2), "{seen:?}");
    }
}

async fn messages_of(queue: &dyn Queue, topic: Topic) -> Option<u64> {
    let backlog = queue.backlog(topic).await.unwrap();
    backlog.map(|backlog| backlog.messages)
}
