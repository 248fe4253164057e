//! Brokers that fail in ways that a real one does rarely: librdkafka's own mock cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::bindings::{
    rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms,
};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey as Request, RDKafkaRespErr as Answer};
use reelmill_common::Retryable as _;
use reelmill_common::message::Topic;
use reelmill_queue::{Cause, KafkaOptions, KafkaQueue, Queue as _, Settlement};

use crate::helpers::{PATIENCE, ack, eventually, keys, message, receive, waiting};

const PARTITIONS: i32 = 4;

const TOPICS: [&str; 3] = ["video-chunks", "video-chunks.retry", "video-dead-letters"];

/// Two brokers. The first has all partitions; the second answers for the group.
struct Brokers {
    /// Has the brokers in its own process.
    host: BaseProducer,
    options: KafkaOptions,
}

impl Brokers {
    fn new() -> Self {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "2");
        let host: BaseProducer = config.create().unwrap();
        lets_groups_begin_at_once(&host);
        let properties = [
            ("session.timeout.ms", "3000"),
            ("heartbeat.interval.ms", "300"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = KafkaOptions {
            brokers: host.client().mock_cluster().unwrap().bootstrap_servers(),
            group: "g".to_owned(),
            properties: BTreeMap::from(properties),
            commit_every: Duration::from_millis(100),
            request_timeout: Duration::from_secs(5),
            ..KafkaOptions::default()
        };
        let brokers = Self { host, options };
        let cluster = brokers.cluster();
        for topic in TOPICS {
            cluster.create_topic(topic, PARTITIONS, 1).unwrap();
            for partition in 0..PARTITIONS {
                cluster.partition_leader(topic, partition, Some(1)).unwrap();
            }
        }
        let group = MockCoordinator::Group(brokers.options.group.clone());
        cluster.coordinator(group, 2).unwrap();
        drop(cluster);
        brokers
    }

    fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.host.client().mock_cluster().unwrap()
    }

    async fn connect(&self) -> KafkaQueue {
        KafkaQueue::connect(&self.options).await.unwrap()
    }

    /// What is not committed, as somebody without consumers sees it.
    async fn uncommitted(&self) -> u64 {
        waiting(&self.connect().await, Topic::Chunks).await
    }
}

/// A group of a real cluster waits for members that come together; here this would be most of the
/// time that a test takes.
#[expect(unsafe_code, reason = "the safe interface has no such setting")]
fn lets_groups_begin_at_once(host: &BaseProducer) {
    // SAFETY: the handle is the client's own, which lives, and was made with brokers.
    unsafe {
        let cluster = rd_kafka_handle_mock_cluster(host.client().native_ptr());
        assert!(!cluster.is_null());
        rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_refused_is_made_again() {
    let brokers = Brokers::new();
    let queue = brokers.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    brokers.cluster().request_errors(
        Request::OffsetCommit,
        &[
            Answer::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            Answer::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            Answer::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        ],
    );
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let delivery = receive(&*consumer, 1).await.remove(0);
    ack(&*consumer, &delivery).await;
    eventually(0, async || brokers.uncommitted().await).await;
    consumer.close().await.unwrap();
}

/// The group goes on without us, so what was settled and not committed is delivered again.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_the_group_does_not_know_any_more_joins_again() {
    for answer in [
        Answer::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        Answer::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ] {
        let brokers = Brokers::new();
        let queue = brokers.connect().await;
        let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
        brokers
            .cluster()
            .request_errors(Request::OffsetCommit, &[answer]);
        queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
        let old = receive(&*consumer, 1).await.remove(0);
        // The first commit says where the group stands, and is refused.
        let new = receive(&*consumer, 1).await.remove(0);
        assert_eq!(new.key, old.key);
        ack(&*consumer, &old).await;
        assert_eq!(
            waiting(&queue, Topic::Chunks).await,
            1,
            "a late settle has no effect"
        );
        ack(&*consumer, &new).await;
        eventually(0, async || brokers.uncommitted().await).await;
        consumer.close().await.unwrap();
    }
}

/// Leaving takes a bounded time, and crashes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_without_a_coordinator_is_bounded() {
    let brokers = Brokers::new();
    let queue = brokers.connect().await;
    for round in 0..2 {
        let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
        queue
            .publish(Topic::Chunks, &[message(round)])
            .await
            .unwrap();
        let delivery = receive(&*consumer, 1).await.remove(0);
        brokers.cluster().broker_down(2).unwrap();
        ack(&*consumer, &delivery).await;
        let begin = Instant::now();
        let closed = consumer.close().await;
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(12), "round {round}: {took:?}");
        if let Err(error) = closed {
            assert_eq!(error.to_string(), "cannot leave the queue");
        }
        drop(consumer);
        brokers.cluster().broker_up(2).unwrap();
        // It could not be told that the message was settled.
        let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
        for delivery in receive(&*consumer, 1).await {
            assert_eq!(delivery.key, message(round).key);
            ack(&*consumer, &delivery).await;
        }
        eventually(0, async || brokers.uncommitted().await).await;
        consumer.close().await.unwrap();
    }
}

/// A worker that is dropped while nobody answers ends all the same.
#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_consumer_while_nobody_answers_is_quick() {
    let brokers = Brokers::new();
    let queue = brokers.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    receive(&*consumer, 1).await;
    brokers.cluster().broker_down(-1).unwrap();
    let begin = Instant::now();
    drop(consumer);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    brokers.cluster().broker_up(-1).unwrap();
    let next = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    assert_eq!(receive(&*next, 1).await[0].key, message(1).key);
    next.close().await.unwrap();
}

/// A retry that cannot be published leaves the delivery with whoever has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_cannot_publish_leaves_the_delivery_open() {
    let brokers = Brokers::new();
    let queue = brokers.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let delivery = receive(&*consumer, 1).await.remove(0);
    for settlement in [
        Settlement::Retry {
            delay: Duration::ZERO,
        },
        Settlement::DeadLetter(Cause::new("why")),
    ] {
        let refusal = Answer::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        brokers
            .cluster()
            .request_errors(Request::Produce, &[refusal]);
        let settled = consumer.settle(&delivery.receipt, settlement).await;
        let error = settled.unwrap_err();
        assert_eq!(error.to_string(), "cannot settle a message of the queue");
        assert!(!error.is_retryable(), "{}", error.source);
        assert_eq!(waiting(&queue, Topic::Chunks).await, 1);
    }
    let delay = Duration::ZERO;
    consumer
        .settle(&delivery.receipt, Settlement::Retry { delay })
        .await
        .unwrap();
    let again = receive(&*consumer, 1).await.remove(0);
    assert_ne!(again.receipt, delivery.receipt);
    ack(&*consumer, &again).await;
    assert_eq!(waiting(&queue, Topic::Chunks).await, 0);
    consumer.close().await.unwrap();
}

/// Longer than a session: what was in hand comes again, and all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_may_be_away_for_longer_than_a_session() {
    let brokers = Brokers::new();
    let queue = brokers.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let sent: Vec<_> = (0..4).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let held = receive(&*consumer, 4).await;
    brokers.cluster().broker_down(-1).unwrap();
    let meanwhile = consumer.receive(9, Duration::from_secs(6)).await.unwrap();
    assert_eq!(meanwhile, []);
    brokers.cluster().broker_up(-1).unwrap();
    queue.publish(Topic::Chunks, &[message(9)]).await.unwrap();
    for delivery in &held {
        ack(&*consumer, delivery).await;
    }
    let mut seen = vec![];
    let begin = Instant::now();
    while brokers.uncommitted().await > 0 {
        assert!(begin.elapsed() < PATIENCE, "{seen:?}");
        for delivery in consumer
            .receive(9, Duration::from_millis(300))
            .await
            .unwrap()
        {
            ack(&*consumer, &delivery).await;
            seen.push(delivery);
        }
    }
    assert!(keys(&seen).contains(&message(9).key), "{seen:?}");
    consumer.close().await.unwrap();
}

/// An idempotent client that was told that it can never be one is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_can_go_on_no_more_is_replaced() {
    let brokers = Brokers::new();
    let refusal = Answer::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    brokers
        .cluster()
        .request_errors(Request::InitProducerId, &[refusal]);
    let queue = brokers.connect().await;
    let mut failures = 0;
    while let Err(error) = queue.publish(Topic::Chunks, &[message(1)]).await {
        failures += 1;
        assert!(failures < 3, "{}", error.source);
    }
    assert_eq!(failures, 1);
    queue.publish(Topic::Chunks, &[message(2)]).await.unwrap();
    assert_eq!(waiting(&queue, Topic::Chunks).await, 2);
}
