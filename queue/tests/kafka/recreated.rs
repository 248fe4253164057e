//! Topics that are deleted and made anew under those who use them.

use std::time::{Duration, Instant};

use reelmill_common::message::Topic;
use reelmill_queue::{Outgoing, Queue, TopicPlan};

use crate::broker::{Cluster, PARTITIONS};
use crate::helpers::{PATIENCE, ack, committed, eventually, in_one_partition, message, receive};

fn plan() -> TopicPlan {
    TopicPlan {
        partitions: PARTITIONS,
        ..TopicPlan::default()
    }
}

/// Publishes, and tries again for a while, as whoever publishes does: brokers learn of topics one
/// after the other.
async fn publish(queue: &dyn Queue, messages: &[Outgoing]) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = queue.publish(Topic::Chunks, messages).await {
        assert!(
            Instant::now() < deadline && error.retryable,
            "{}",
            error.source
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What waits, or nothing where the topic is not there yet.
async fn waiting(queue: &dyn Queue) -> Option<u64> {
    let backlog = queue.backlog(Topic::Chunks).await.ok()??;
    Some(backlog.messages)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_consumer_goes_on_with_topics_made_anew() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    for round in 0..3 {
        let before = in_one_partition(6);
        publish(&*queue, &before).await;
        let mut held = receive(&*consumer, 6).await;
        let last = held.remove(5);
        for delivery in &held {
            ack(&*consumer, delivery).await;
        }
        let partition = last.receipt.partition;
        eventually(Some(5), async || {
            committed(&cluster, "video-chunks").get(&partition).copied()
        })
        .await;
        cluster.delete_topics().await;
        queue.create_topics(&plan()).await.unwrap();
        for number in 100..120 {
            publish(&*queue, &[message(number)]).await;
        }
        let new = receive(&*consumer, 20).await;
        for delivery in &new {
            assert!(
                delivery.key >= message(100).key,
                "round {round}: {delivery:?}"
            );
            ack(&*consumer, delivery).await;
        }
        // What is left of the old topic says nothing of the new one.
        ack(&*consumer, &last).await;
        eventually(Some(0), async || waiting(&*cluster.connect().await).await).await;
        cluster.delete_topics().await;
        queue.create_topics(&plan()).await.unwrap();
    }
    consumer.close().await.unwrap();
}

/// Missing for so long that everybody notices.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_consumer_waits_for_topics_to_come_back() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let held = receive(&*consumer, 1).await.remove(0);
    cluster.delete_topics().await;
    assert_eq!(
        consumer.receive(1, Duration::from_secs(4)).await.unwrap(),
        []
    );
    queue.create_topics(&plan()).await.unwrap();
    publish(&*queue, &[message(2)]).await;
    let new = receive(&*consumer, 1).await.remove(0);
    assert_eq!(new.key, message(2).key);
    ack(&*consumer, &held).await;
    ack(&*consumer, &new).await;
    consumer.close().await.unwrap();
    eventually(Some(0), async || waiting(&*queue).await).await;
}
