//! Topics of its own for each test, on the Kafka broker that `REELMILL_TEST_KAFKA` names.
#![allow(
    dead_code,
    reason = "each test binary uses another part of this module"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use reelmill_common::message::Topic;
use reelmill_queue::{KafkaOptions, KafkaQueue, TopicPlan};

/// So many that messages of different `spread` lie in different ones.
pub(crate) const PARTITIONS: u32 = 8;

const PATIENCE: Duration = Duration::from_secs(60);

/// The names of all topics, without prefix. Dead letters that come later stay in their topic.
fn suffixes() -> impl Iterator<Item = String> {
    Topic::ALL.into_iter().flat_map(|topic| {
        let later = (topic != Topic::DeadLetters).then(|| format!("{topic}.retry"));
        [Some(topic.to_string()), later].into_iter().flatten()
    })
}

/// The address of the broker.
pub(crate) fn brokers() -> String {
    let address = std::env::var("REELMILL_TEST_KAFKA");
    address.unwrap_or_else(|_| {
        panic!(
            "REELMILL_TEST_KAFKA must name a Kafka broker for tests, such as 127.0.0.1:19092: \
             `scripts/services up kafka` starts one"
        )
    })
}

/// Topics and a group that nobody else uses; the topics are deleted at the end.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) options: KafkaOptions,
}

impl Cluster {
    /// Without topics yet.
    pub(crate) fn empty() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = now.unwrap().as_millis();
        let name = format!("test-{millis}-{}-{number}", std::process::id());
        let properties = [
            // The shortest that the broker allows.
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "500"),
            ("topic.metadata.refresh.interval.ms", "1000"),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = KafkaOptions {
            brokers: brokers(),
            group: name.clone(),
            topic_prefix: format!("{name}."),
            properties: BTreeMap::from(properties),
            commit_every: Duration::from_millis(200),
            ..KafkaOptions::default()
        };
        Self { options }
    }

    /// With all topics.
    pub(crate) async fn new() -> Self {
        Self::with_partitions(PARTITIONS).await
    }

    pub(crate) async fn with_partitions(partitions: u32) -> Self {
        let cluster = Self::empty();
        let plan = TopicPlan {
            partitions,
            ..TopicPlan::default()
        };
        let queue = cluster.connect().await;
        // A broker on a machine that is busy loses its own controller for some seconds.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = queue.create_topics(&plan).await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        cluster
    }

    /// Another process, as far as Kafka can tell.
    pub(crate) async fn connect(&self) -> Arc<KafkaQueue> {
        Arc::new(KafkaQueue::connect(&self.options).await.unwrap())
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.options.topic_prefix)
    }

    /// A client of another make.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.brokers);
        config
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Deletes the topics, and waits until the broker has done so: what is published before goes
    /// with the old ones.
    pub(crate) async fn delete_topics(&self) {
        let admin = self.admin();
        delete(&admin, &self.options.topic_prefix).await;
        let begin = Instant::now();
        for suffix in suffixes() {
            let topic = self.topic(&suffix);
            while is_there(&admin, &topic) {
                assert!(begin.elapsed() < PATIENCE, "`{topic}` is still there");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

fn is_there(admin: &AdminClient<DefaultClientContext>, topic: &str) -> bool {
    let metadata = admin.inner().fetch_metadata(Some(topic), PATIENCE).unwrap();
    metadata
        .topics()
        .iter()
        .any(|topic| topic.error().is_none())
}

async fn delete(admin: &AdminClient<DefaultClientContext>, prefix: &str) {
    let names: Vec<_> = suffixes()
        .map(|suffix| format!("{prefix}{suffix}"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let how = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    admin.delete_topics(&names, &how).await.unwrap();
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let (admin, prefix) = (self.admin(), self.options.topic_prefix.clone());
        // A test's own runtime may be gone.
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(delete(&admin, &prefix));
        });
        assert!(
            clean.join().is_ok() || std::thread::panicking(),
            "cannot delete the topics"
        );
    }
}
