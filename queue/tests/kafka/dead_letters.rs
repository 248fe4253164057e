//! What an operator does with dead letters.

use std::time::Duration;

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use reelmill_common::Retryable as _;
use reelmill_common::message::Topic;
use reelmill_queue::{
    Cause, Consumer, DeadLetter, KafkaQueue, LetterSource, Queue as _, Settlement, StoredLetter,
};

use crate::broker::Cluster;
use crate::helpers::{
    PATIENCE, ack, eventually, message, receive, receive_nothing, records, waiting,
};

async fn bury(consumer: &dyn Consumer, count: usize, reason: &str) {
    for delivery in receive(consumer, count).await {
        let cause = Cause::new(format!("{reason}: {}", delivery.key));
        consumer
            .settle(&delivery.receipt, Settlement::DeadLetter(cause))
            .await
            .unwrap();
    }
}

async fn named(queue: &KafkaQueue, id: &str) -> Option<StoredLetter> {
    let letters = queue.dead_letters().await.unwrap().letters;
    letters.into_iter().find(|letter| letter.id == id)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_dead_letter_is_listed_retried_and_dropped() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    assert_eq!(queue.dead_letters().await.unwrap().total, 0);
    assert_eq!(waiting(&*queue, Topic::DeadLetters).await, 0);
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let sent: Vec<_> = (0..3).map(message).collect();
    queue.publish(Topic::Chunks, &sent).await.unwrap();
    bury(&*consumer, 3, "why").await;
    // Another process sees them, and nobody else's group is in the way.
    let operator = cluster.connect().await;
    let mut listed = operator.dead_letters().await.unwrap();
    assert_eq!((listed.total, listed.letters.len()), (3, 3));
    assert_eq!(waiting(&*operator, Topic::DeadLetters).await, 3);
    listed
        .letters
        .sort_by_key(|stored| stored.letter.clone().unwrap().key);
    let first = &listed.letters[0];
    let letter = first.letter.clone().unwrap();
    assert_eq!(
        (letter.topic, letter.key.as_str()),
        (Topic::Chunks, "j1/chunk-000")
    );
    assert_eq!(
        (letter.payload, letter.cause.reason.as_str()),
        (b"payload 0".to_vec(), "why: j1/chunk-000")
    );
    assert_eq!(first.job, "j1");
    let Some(LetterSource {
        topic,
        partition,
        offset,
    }) = first.source.clone()
    else {
        panic!("{first:?} came from nowhere");
    };
    assert_eq!((topic.as_str(), offset), ("video-chunks", 0));
    assert!(
        first
            .id
            .starts_with(&format!("video-chunks/{partition}/0@")),
        "{}",
        first.id
    );
    let found = named(&operator, &first.id).await.unwrap();
    assert_eq!(found.id, first.id);

    operator.retry_dead_letter(first).await.unwrap();
    let again = receive(&*consumer, 1).await.remove(0);
    assert_eq!(
        (again.key.as_str(), again.payload.as_slice()),
        ("j1/chunk-000", &b"payload 0"[..])
    );
    operator.drop_dead_letter(&listed.letters[1]).await.unwrap();
    operator.drop_dead_letter(&listed.letters[1]).await.unwrap();
    assert!(named(&operator, &first.id).await.is_none());
    let left = operator.dead_letters().await.unwrap();
    assert_eq!(
        (left.total, left.letters[0].id.clone()),
        (1, listed.letters[2].id.clone())
    );
    assert_eq!(waiting(&*operator, Topic::DeadLetters).await, 1);
    assert_eq!(waiting(&*queue, Topic::DeadLetters).await, 1);

    // It fails again, and is a letter of its own.
    let cause = Cause::new("still");
    consumer
        .settle(&again.receipt, Settlement::DeadLetter(cause))
        .await
        .unwrap();
    assert_eq!(operator.dead_letters().await.unwrap().total, 2);
    receive_nothing(&*consumer).await;
    consumer.close().await.unwrap();
    eventually(0, async || waiting(&*operator, Topic::Chunks).await).await;
}

/// Whoever reads the dead letters as a topic handles them by that.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_dead_letter_that_a_consumer_settles_is_handled() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let consumer = queue.subscribe(&[Topic::Merges]).await.unwrap();
    queue
        .publish(Topic::Merges, &[message(1), message(2)])
        .await
        .unwrap();
    bury(&*consumer, 2, "why").await;
    consumer.close().await.unwrap();
    let undertaker = queue.subscribe(&[Topic::DeadLetters]).await.unwrap();
    let both = receive(&*undertaker, 2).await;
    ack(&*undertaker, &both[0]).await;
    assert_eq!(queue.dead_letters().await.unwrap().total, 1);
    let delay = Duration::from_millis(300);
    undertaker
        .settle(&both[1].receipt, Settlement::Retry { delay })
        .await
        .unwrap();
    assert_eq!(
        queue.dead_letters().await.unwrap().total,
        1,
        "it is the same letter"
    );
    let later = receive(&*undertaker, 1).await.remove(0);
    assert_eq!(DeadLetter::decode(&later.payload).unwrap().key, both[1].key);
    // Buried once more it is a letter about a letter, and the old one is handled.
    let settlement = Settlement::DeadLetter(Cause::new("nobody can help it"));
    undertaker.settle(&later.receipt, settlement).await.unwrap();
    assert_eq!(queue.dead_letters().await.unwrap().total, 1);
    let last = receive(&*undertaker, 1).await.remove(0);
    assert_eq!(
        DeadLetter::decode(&last.payload).unwrap().topic,
        Topic::DeadLetters
    );
    ack(&*undertaker, &last).await;
    receive_nothing(&*undertaker).await;
    undertaker.close().await.unwrap();
    assert_eq!(queue.dead_letters().await.unwrap().total, 0);
    assert_eq!(waiting(&*queue, Topic::DeadLetters).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn what_lies_there_and_is_no_dead_letter_hides_none() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let producer: BaseProducer = cluster.client().create().unwrap();
    let topic = cluster.topic("video-dead-letters");
    let value = Some("x");
    let headers = OwnedHeaders::new().insert(Header {
        key: "source",
        value,
    });
    let record = BaseRecord::to(&topic)
        .key("odd")
        .payload("{}")
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    bury(&*consumer, 1, "why").await;
    consumer.close().await.unwrap();
    let listed = queue.dead_letters().await.unwrap();
    assert_eq!(listed.total, 2);
    let odd = &listed.letters[0];
    assert_eq!((odd.id.as_str(), odd.source.clone()), ("odd", None));
    assert!(
        odd.letter
            .clone()
            .unwrap_err()
            .starts_with("cannot read the dead letter")
    );
    let error = queue.retry_dead_letter(odd).await.unwrap_err();
    assert!(!error.is_retryable());
    queue.drop_dead_letter(odd).await.unwrap();
    assert_eq!(queue.dead_letters().await.unwrap().total, 1);
}

/// The headers that a message was sent with are still there when it is tried again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn headers_of_others_go_with_the_message() {
    let cluster = Cluster::new().await;
    let queue = cluster.connect().await;
    let producer: BaseProducer = cluster.client().create().unwrap();
    let topic = cluster.topic("video-chunks");
    let value = Some("00-1-2-01");
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value,
    });
    let record = BaseRecord::to(&topic)
        .key("j1/chunk-000")
        .payload("p")
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let first = receive(&*consumer, 1).await.remove(0);
    let delay = Duration::ZERO;
    consumer
        .settle(&first.receipt, Settlement::Retry { delay })
        .await
        .unwrap();
    bury(&*consumer, 1, "why").await;
    let stored = queue.dead_letters().await.unwrap().letters.remove(0);
    assert!(
        stored.id.starts_with("video-chunks.retry/"),
        "{}",
        stored.id
    );
    queue.retry_dead_letter(&stored).await.unwrap();
    for (topic, count) in [
        ("video-chunks.retry", 1),
        ("video-dead-letters", 1),
        ("video-chunks", 2),
    ] {
        let records = records(&cluster, topic, count);
        for record in records {
            assert_eq!(record.headers["traceparent"], "00-1-2-01", "{record:?}");
        }
    }
    consumer.close().await.unwrap();
}
