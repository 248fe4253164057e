//! A broker that wants TLS and a password, as managed ones do: the properties of librdkafka that say
//! so are passed through.

use std::collections::BTreeMap;

use reelmill_common::message::Topic;
use reelmill_queue::{KafkaOptions, KafkaQueue, Queue as _};

use crate::broker::Cluster;
use crate::helpers::{ack, message, receive};

fn variable(name: &str) -> String {
    let value = std::env::var(name);
    value.unwrap_or_else(|_| {
        panic!("{name} must be set: scripts/test sets it from `scripts/services up`")
    })
}

/// TLS with this certificate, and a password.
fn secure<'a>(certificate: &'a str, password: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("security.protocol", "SASL_SSL"),
        ("ssl.ca.location", certificate),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "reelmill"),
        ("sasl.password", password),
    ]
}

fn with(cluster: &Cluster, properties: &[(&str, &str)]) -> KafkaOptions {
    let properties = properties.iter();
    let properties = properties.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    KafkaOptions {
        brokers: variable("REELMILL_TEST_KAFKA_TLS"),
        properties: BTreeMap::from_iter(properties),
        ..cluster.options.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA_TLS"]
async fn work_goes_through_tls_with_a_password() {
    let cluster = Cluster::new().await;
    let certificate = variable("REELMILL_TEST_KAFKA_CA");
    let secure = secure(&certificate, "reelmill-secret");
    let queue = KafkaQueue::connect(&with(&cluster, &secure)).await.unwrap();
    queue.publish(Topic::Chunks, &[message(1)]).await.unwrap();
    let consumer = queue.subscribe(&[Topic::Chunks]).await.unwrap();
    let delivery = receive(&*consumer, 1).await.remove(0);
    assert_eq!(delivery.key, message(1).key);
    ack(&*consumer, &delivery).await;
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs REELMILL_TEST_KAFKA_TLS"]
async fn who_may_not_come_in_is_told_why_and_never_the_password() {
    let cluster = Cluster::empty();
    let certificate = variable("REELMILL_TEST_KAFKA_CA");
    let wrong = secure(&certificate, "of-another-cluster");
    let stranger = [("security.protocol", "SSL")];
    for (properties, reason) in [
        (&wrong[..], "uthentication failed"),
        (&stranger[..], "certificate verify failed"),
    ] {
        let options = with(&cluster, properties);
        let refused = KafkaQueue::connect(&options).await.unwrap_err();
        let words = format!("{refused} {:?}", std::error::Error::source(&refused));
        assert!(words.contains(reason), "{words}");
        assert!(!format!("{words} {options:?}").contains("of-another-cluster"));
    }
}
