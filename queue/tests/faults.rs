//! Answers that get lost: at worst a message comes twice.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::Retryable as _;
use reelmill_common::message::Topic;
use reelmill_queue::conformance::message;
use reelmill_queue::{Cause, Faults, FaultyQueue, Queue, Settlement, SqliteQueue, When};

mod broker;
mod retrying;
use broker::Cluster;
use retrying::Retrying;

const PATIENCE: Duration = Duration::from_secs(60);

/// A faulty queue, and what must live as long.
type Faulty = (Arc<dyn Queue>, Box<dyn Any>);

async fn sqlite(faults: Faults) -> Faulty {
    let folder = tempfile::tempdir().unwrap();
    let queue = SqliteQueue::open(folder.path().join("queue.db")).unwrap();
    let queue = FaultyQueue::new(Arc::new(queue), faults);
    (Arc::new(queue), Box::new(folder))
}

async fn kafka(faults: Faults) -> Faulty {
    let cluster = Cluster::new().await;
    let queue = FaultyQueue::new(cluster.connect().await, faults);
    (Arc::new(queue), Box::new(cluster))
}

macro_rules! over_every_backend {
    ($($case:ident)*) => {
        mod over_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(super::sqlite).await;
                }
            )*
        }
        mod over_kafka {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs REELMILL_TEST_KAFKA"]
                async fn $case() {
                    super::$case(super::kafka).await;
                }
            )*
        }
    };
}

over_every_backend! {
    publishing_again_after_a_lost_answer_delivers_twice_and_never_not_at_all
    a_settle_that_failed_before_its_effect_leaves_the_delivery_open
    a_dead_letter_whose_answer_was_lost_is_written_once
    a_third_of_all_calls_failing_either_way_loses_no_message
}

async fn publishing_again_after_a_lost_answer_delivers_twice_and_never_not_at_all(
    faulty: impl AsyncFn(Faults) -> Faulty,
) {
    for (when, expected) in [(When::Before, 1), (When::After, 2)] {
        let (queue, _guard) = faulty(Faults::first(1, when).only("publish")).await;
        let error = queue
            .publish(Topic::Chunks, &[message(1)])
            .await
            .unwrap_err();
        assert!(error.is_retryable());
        queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
        assert_eq!(messages_of(&*queue, Topic::Chunks).await, Some(expected));
    }
}

async fn a_settle_that_failed_before_its_effect_leaves_the_delivery_open(
    faulty: impl AsyncFn(Faults) -> Faulty,
) {
    let faults = Faults::first(1, When::Before).only("settle");
    let (queue, _guard) = faulty(faults).await;
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

async fn a_dead_letter_whose_answer_was_lost_is_written_once(
    faulty: impl AsyncFn(Faults) -> Faulty,
) {
    let faults = Faults::first(2, When::After).only("settle");
    let (queue, _guard) = faulty(faults).await;
    let queue = Retrying::new(queue);
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let delivery = consumer.receive(1, PATIENCE).await.unwrap().remove(0);
    let cause = Cause::new("why");
    consumer
        .settle(&delivery.receipt, Settlement::DeadLetter(cause))
        .await
        .unwrap();
    assert_eq!(messages_of(&queue, Topic::DeadLetters).await, Some(1));
    assert_eq!(messages_of(&queue, Topic::Chunks).await, Some(0));
}

async fn a_third_of_all_calls_failing_either_way_loses_no_message(
    faulty: impl AsyncFn(Faults) -> Faulty,
) {
    for seed in 0..4 {
        let faults = Faults::fraction(333, seed, When::Either);
        let (queue, _guard) = faulty(faults).await;
        let queue = Retrying::new(queue);
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
