//! What the broker is told, and how messages are spread and kept at hand.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reelmill_common::message::Topic;
use reelmill_queue::{Outgoing, Queue as _, Settlement};

use crate::broker::{Cluster, PARTITIONS};
use crate::helpers::{
    PATIENCE, ack, committed, eventually, in_one_partition, keys, members, message, receive,
    receive_nothing, records, waiting,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn committed_is_what_everything_before_is_settled_of() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    queue
        .publish(Topic::Chunks, &in_one_partition(5))
        .await
        .unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let deliveries = receive(&*consumer, 5).await;
    let partition = deliveries[0].receipt.partition;
    let told = async |offset| {
        eventually(Some(offset), async || {
            committed(&cluster, "video-chunks").get(&partition).copied()
        })
        .await;
    };
    told(0).await;
    for (settled, expected) in [(&[1, 2, 4][..], 0), (&[0], 3), (&[3], 5)] {
        for offset in settled {
            ack(&*consumer, &deliveries[*offset]).await;
        }
        // Long enough for some commits that must not be made.
        tokio::time::sleep(3 * cluster.options.commit_every).await;
        told(expected).await;
    }
    // Behind an open message, in another process: it is delivered again.
    queue
        .publish(Topic::Chunks, &in_one_partition(2))
        .await
        .unwrap();
    let both = receive(&*consumer, 2).await;
    ack(&*consumer, &both[1]).await;
    consumer.close().await.unwrap();
    assert_eq!(committed(&cluster, "video-chunks")[&partition], 5);
    let next = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    assert_eq!(keys(&receive(&*next, 2).await), keys(&both));
    next.close().await.unwrap();
}

/// Also what was settled just before.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn whoever_leaves_has_told_all_that_is_settled() {
    let mut cluster = Cluster::new().await;
    cluster.options.commit_every = Duration::from_secs(3600);
    let queue = cluster.connect().await;
    let sent: Vec<_> = (0..PARTITIONS).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    for delivery in receive(&*consumer, sent.len()).await {
        ack(&*consumer, &delivery).await;
    }
    assert_eq!(committed(&cluster, "video-chunks").len(), 0);
    consumer.close().await.unwrap();
    let expected = (0..PARTITIONS as i32).map(|partition| (partition, 1));
    assert_eq!(committed(&cluster, "video-chunks"), expected.collect());
    assert_eq!(waiting(&*cluster.connect().await, Topic::Chunks).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_job_lies_in_all_partitions() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let sent: Vec<_> = (0..2 * PARTITIONS).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let records = records(&cluster, "video-chunks", sent.len());
    let partitions: BTreeSet<i32> = records.iter().map(|record| record.partition).collect();
    assert_eq!(partitions.len(), PARTITIONS as usize);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn people_can_read_what_lies_in_the_topics() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let late = Outgoing {
        delay: Duration::from_millis(1),
        ..message(2)
    };
    queue
        .publish(Topic::Chunks, &[message(1), late])
        .await
        .unwrap();
    let now = &records(&cluster, "video-chunks", 1)[0];
    assert_eq!(now.key, "j1/chunk-001");
    assert_eq!(now.payload.as_deref(), Some(&b"payload 1"[..]));
    assert_eq!(
        (
            now.headers["job"].as_str(),
            now.headers["priority"].as_str()
        ),
        ("j1", "normal")
    );
    assert!(!now.headers.contains_key("not_before_ms"));
    let late = &records(&cluster, "video-chunks.retry", 1)[0];
    let number = |name: &str| late.headers[name].parse::<u64>().unwrap();
    assert_eq!(number("not_before_ms"), number("first_ms") + 1);
}

/// A handler takes four times as long as a consumer may stay away from the broker by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_long_delivery_is_kept_without_a_rebalance() {
    let mut cluster = Cluster::new().await;
    let longest_silence = Duration::from_secs(6);
    let name = "max.poll.interval.ms".to_owned();
    cluster
        .options
        .properties
        .insert(name, longest_silence.as_millis().to_string());
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let idle = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    // Each has one for either topic.
    eventually(4, async || members(&cluster).len()).await;
    let before = members(&cluster);
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    // Whoever is given it; the other one watches.
    let (worker, watcher, long) = tokio::select! {
        long = receive(&*consumer, 1) => (&consumer, &idle, long),
        long = receive(&*idle, 1) => (&idle, &consumer, long),
    };
    let begin = Instant::now();
    while begin.elapsed() < 4 * longest_silence {
        // Other messages go on meanwhile.
        queue
            .publish(Topic::Chunks, &[message(2), message(3), message(4)])
            .await
            .unwrap();
        let mut served = 0;
        while served < 3 {
            for consumer in [worker, watcher] {
                for delivery in consumer
                    .receive(3, Duration::from_millis(20))
                    .await
                    .unwrap()
                {
                    assert_ne!(delivery.key, message(1).key, "after {:?}", begin.elapsed());
                    ack(&**consumer, &delivery).await;
                    served += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(members(&cluster), before, "nobody had to join again");
    ack(&**worker, &long[0]).await;
    eventually(0, async || waiting(&*queue, Topic::Chunks).await).await;
    worker.close().await.unwrap();
    receive_nothing(&**watcher).await;
    watcher.close().await.unwrap();
}

/// Fetching stops and goes on many times, and every message comes once.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn more_messages_than_are_kept_at_hand_come_once() {
    let mut cluster = Cluster::new().await;
    cluster.options.buffered_messages = 50;
    let queue = cluster.connect().await;
    let sent: Vec<_> = (0..1000).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < sent.len() {
        let got = consumer.receive(100, PATIENCE).await.unwrap();
        assert!(!got.is_empty(), "{} came", seen.len());
        for delivery in got {
            assert!(
                seen.insert(delivery.key.clone()),
                "{} came twice",
                delivery.key
            );
            ack(&*consumer, &delivery).await;
        }
    }
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
    assert_eq!(waiting(&*queue, Topic::Chunks).await, 0);
}

/// What an API without consumers is told.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn another_process_knows_what_waits_and_since_when() {
    let cluster = Cluster::new().await;
    let (queue, other) = (cluster.connect().await, cluster.connect().await);
    assert_eq!(waiting(&*other, Topic::Chunks).await, 0);
    let sent: Vec<_> = (0..4).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    let late = Outgoing {
        delay: Duration::from_secs(3600),
        ..message(9)
    };
    queue.publish(Topic::Chunks, &[late]).await.unwrap();
    assert_eq!(waiting(&*other, Topic::Chunks).await, 5);
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let begin = Instant::now();
    let deliveries = receive(&*consumer, 4).await;
    for delivery in &deliveries {
        let delay = Duration::from_secs(3600);
        consumer
            .settle(&delivery.receipt, Settlement::Retry { delay })
            .await
            .unwrap();
    }
    // Committed soon; the retries wait as long as the messages did.
    eventually(5, async || waiting(&*other, Topic::Chunks).await).await;
    let backlog = other.backlog(Topic::Chunks).await.unwrap().unwrap();
    assert!(
        backlog.oldest + Duration::from_millis(10) >= begin.elapsed(),
        "{backlog:?}"
    );
    assert!(backlog.oldest < PATIENCE, "{backlog:?}");
    consumer.close().await.unwrap();
}
