//! Topics that are made, checked, and missing.

use std::time::{Duration, Instant};

use reelmill_common::Retryable as _;
use reelmill_common::message::Topic;
use reelmill_queue::{KafkaOptions, KafkaQueue, Queue as _, TopicPlan};

use crate::broker::Cluster;
use crate::helpers::message;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn topics_are_made_once_and_checked() {
    let cluster = Cluster::empty();
    let queue = cluster.connect().await;
    let plan = TopicPlan {
        partitions: 2,
        ..TopicPlan::default()
    };
    let chunks = cluster.topic("video-chunks");
    let missing = queue.check_topics(&plan).await.unwrap();
    assert_eq!(missing.len(), 7, "{missing:?}");
    let sentence = format!("there is no topic `{chunks}`: run `reelmill topics create`");
    assert!(missing.contains(&sentence), "{missing:?}");

    let made = queue.create_topics(&plan).await.unwrap();
    assert_eq!(made.len(), 7, "{made:?}");
    let sentence = format!("created the topic `{chunks}` with 2 partitions");
    assert!(made.contains(&sentence), "{made:?}");
    assert_eq!(queue.check_topics(&plan).await.unwrap(), [""; 0]);
    assert_eq!(
        queue.create_topics(&plan).await.unwrap(),
        [""; 0],
        "there is nothing to do"
    );

    let more = TopicPlan {
        partitions: 3,
        retention: DAY,
        replication: Some(3),
        ..plan
    };
    let wrong = queue.check_topics(&more).await.unwrap();
    let of_chunks: Vec<_> = wrong
        .iter()
        .filter(|line| line.contains(&format!("`{chunks}` ")))
        .collect();
    let expected = [
        format!("the topic `{chunks}` has 2 partitions instead of 3: run `reelmill topics create`"),
        format!(
            "the topic `{chunks}` is kept on 1 broker instead of 3: change it with kafka-reassign-partitions.sh"
        ),
        format!(
            "the topic `{chunks}` keeps messages for 7 days instead of 1 day: run `kafka-configs.sh --alter --topic {chunks} --add-config retention.ms=86400000`"
        ),
    ];
    assert_eq!(of_chunks, expected.iter().collect::<Vec<_>>());
    // Messages that are there stay where they are.
    queue
        .publish(Topic::Chunks, &[message(0), message(1)])
        .await
        .unwrap();
    let grown = queue.create_topics(&more).await.unwrap();
    assert_eq!(grown.len(), 6, "{grown:?}");
    let sentence = format!("the topic `{chunks}` has 3 partitions now");
    assert!(grown.contains(&sentence), "{grown:?}");
    assert_eq!(
        queue.check_topics(&plan).await.unwrap(),
        [""; 0],
        "more is well"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA"]
async fn a_topic_that_is_missing_is_named_and_may_come() {
    let cluster = Cluster::empty();
    let queue = cluster.connect().await;
    let published = queue
        .publish(Topic::Chunks, &[message(0)])
        .await
        .unwrap_err();
    let subscribed = queue.subscribe(&[Topic::Chunks]).await.unwrap_err();
    let counted = queue.backlog(Topic::Chunks).await.unwrap_err();
    for error in [published, subscribed, counted] {
        assert!(error.is_retryable(), "somebody may be making it");
        assert_eq!(
            error.source.to_string(),
            format!(
                "there is no topic `{}` on Kafka at `{}`: run `reelmill topics create`",
                cluster.topic("video-chunks"),
                cluster.options.brokers
            )
        );
    }
    queue.create_topics(&TopicPlan::default()).await.unwrap();
    queue.publish(Topic::Chunks, &[message(0)]).await.unwrap();
}

#[tokio::test]
async fn no_broker_is_said_in_bounded_time() {
    let options = KafkaOptions {
        // A port that nobody may listen on.
        brokers: "127.0.0.1:1".to_owned(),
        request_timeout: Duration::from_secs(2),
        ..KafkaOptions::default()
    };
    let begin = Instant::now();
    let error = KafkaQueue::connect(&options).await.unwrap_err();
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "cannot connect to the queue");
    let text = error.source.to_string();
    assert!(
        text.starts_with("no Kafka broker answers at `127.0.0.1:1`: "),
        "{text}"
    );
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_property_that_cannot_be_meant_is_refused_without_its_value() {
    for (name, value, expected) in [
        (
            "acks",
            "1",
            "`acks` cannot be set: reelmill depends on the value that it sets itself",
        ),
        (
            "sasl.passphrase",
            "hunter2",
            "librdkafka does not know the property `sasl.passphrase`, or not with the value that it was given: see its CONFIGURATION.md",
        ),
    ] {
        let mut options = KafkaOptions::default();
        options.properties.insert(name.to_owned(), value.to_owned());
        let error = KafkaQueue::connect(&options).await.unwrap_err();
        assert!(!error.is_retryable());
        assert_eq!(error.source.to_string(), expected);
    }
}
