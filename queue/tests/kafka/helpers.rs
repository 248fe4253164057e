//! What several tests ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use reelmill_common::message::Topic;
pub(crate) use reelmill_queue::conformance::message;
use reelmill_queue::{Consumer, Delivery, Outgoing, Queue, Settlement};

use crate::broker::{Cluster, PARTITIONS};

/// How long what must come may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a case watches for what must not come.
pub(crate) const QUIET: Duration = Duration::from_millis(500);

/// All of them in the same partition.
pub(crate) fn in_one_partition(count: u32) -> Vec<Outgoing> {
    let messages = (0..count).map(|number| Outgoing {
        spread: 0,
        ..message(number)
    });
    messages.collect()
}

pub(crate) async fn receive(consumer: &dyn Consumer, count: usize) -> Vec<Delivery> {
    let deadline = Instant::now() + PATIENCE;
    let mut all: Vec<Delivery> = vec![];
    while all.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        let got = consumer.receive(count - all.len(), left).await.unwrap();
        assert!(!got.is_empty(), "{} of {count} messages came", all.len());
        all.extend(got);
    }
    all
}

pub(crate) async fn receive_nothing(consumer: &dyn Consumer) {
    assert_eq!(consumer.receive(10, QUIET).await.unwrap(), []);
}

pub(crate) async fn ack(consumer: &dyn Consumer, delivery: &Delivery) {
    consumer
        .settle(&delivery.receipt, Settlement::Ack)
        .await
        .unwrap();
}

pub(crate) fn keys(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries
        .iter()
        .map(|delivery| delivery.key.clone())
        .collect()
}

pub(crate) async fn waiting(queue: &dyn Queue, topic: Topic) -> u64 {
    queue.backlog(topic).await.unwrap().unwrap().messages
}

/// Waits for what becomes true in bounded time.
pub(crate) async fn eventually<T: std::fmt::Debug + PartialEq>(
    expected: T,
    mut look: impl AsyncFnMut() -> T,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look().await;
        if found == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "it stays {found:?} instead of {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the broker knows of the group, by partition, where anything was committed.
pub(crate) fn committed(cluster: &Cluster, topic: &str) -> BTreeMap<i32, i64> {
    let mut config = cluster.client();
    config.set("group.id", &cluster.options.group);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(&cluster.topic(topic), 0, PARTITIONS as i32 - 1);
    let list = consumer.committed_offsets(list, PATIENCE).unwrap();
    let offsets = list
        .elements()
        .into_iter()
        .filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
    offsets.collect()
}

/// The names that the broker has for the members of the group.
pub(crate) fn members(cluster: &Cluster) -> BTreeSet<String> {
    let consumer: BaseConsumer = cluster.client().create().unwrap();
    let group = &cluster.options.group;
    let list = consumer.fetch_group_list(Some(group), PATIENCE).unwrap();
    let members = list.groups().iter().flat_map(|group| group.members());
    members.map(|member| member.id().to_owned()).collect()
}

/// A record as another client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) partition: i32,
}

/// The first `count` records of a topic.
pub(crate) fn records(cluster: &Cluster, topic: &str, count: usize) -> Vec<Seen> {
    use rdkafka::message::Headers as _;
    let mut config = cluster.client();
    config.set("group.id", "looks-on");
    config.set("auto.offset.reset", "earliest");
    config.set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let topic = cluster.topic(topic);
    let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(&topic, partition.id(), Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut seen = vec![];
    while seen.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} records came",
            seen.len()
        );
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap()).into_owned();
        seen.push(Seen {
            key: text(message.key()),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect(),
            partition: message.partition(),
        });
    }
    seen
}
