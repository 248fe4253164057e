//! How Kafka is reached, and what reelmill asks of the client.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::error::Trouble;

/// How Kafka is reached.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `HOST:PORT` of one or more brokers, with commas between.
    pub brokers: String,
    /// The consumer group that shares the work.
    pub group: String,
    /// Stands before the name of every topic, so that several installations share a cluster.
    pub topic_prefix: String,
    /// Properties of librdkafka, such as those of TLS and SASL. Those that delivery depends on are
    /// refused.
    pub properties: BTreeMap<String, String>,
    /// How long an answer to a question may take.
    pub request_timeout: Duration,
    /// How often what is settled is told to the broker: at most this much is delivered again after
    /// a crash.
    pub commit_every: Duration,
    /// How many fetched messages a consumer keeps at hand before it stops fetching.
    pub buffered_messages: usize,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            group: "transcoding-workers".to_owned(),
            topic_prefix: String::new(),
            properties: BTreeMap::new(),
            request_timeout: Duration::from_secs(10),
            commit_every: Duration::from_secs(1),
            buffered_messages: 20_000,
        }
    }
}

/// The property that says what the client tells of itself.
const DEBUG: &str = "debug";

/// What delivery depends on.
const RESERVED: [&str; 18] = [
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "transactional.id",
];

/// Other names of what is set here: the client takes either, and would keep any of the two.
const ALIASES: [(&str, &str); 3] = [
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
];

/// What the names of properties hold whose values nobody may see.
const SECRET: [&str; 7] = [
    "assertion",
    "jaas",
    "oauthbearer",
    "password",
    "pem",
    "secret",
    "token",
];

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.properties.iter().map(|(name, value)| {
            let is_secret = SECRET.iter().any(|word| name.contains(word));
            (name, if is_secret { "(hidden)" } else { value })
        });
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("topic_prefix", &self.topic_prefix)
            .field("properties", &shown.collect::<BTreeMap<_, _>>())
            .field("request_timeout", &self.request_timeout)
            .field("commit_every", &self.commit_every)
            .field("buffered_messages", &self.buffered_messages)
            .finish()
    }
}

impl KafkaOptions {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        // An address with a password would stand in every error.
        if self.brokers.is_empty() || self.brokers.contains(['@', '/']) {
            return Err(Trouble::Address);
        }
        let reserved = |name: &&String| RESERVED.contains(&name.as_str());
        match self.properties.keys().find(reserved) {
            Some(name) => Err(Trouble::Reserved(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether the client's own words on what it does are wanted.
    pub(super) fn is_debugging(&self) -> bool {
        self.properties.contains_key(DEBUG)
    }

    /// The settings of a consumer that shares the work of the group.
    pub(super) fn member(&self) -> ClientConfig {
        let mut config = self.client(&[
            ("group.id", &self.group),
            // Members must agree on the strategy, and only the classic protocol is sound in this
            // version of librdkafka.
            ("group.protocol", "classic"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "15000"),
            ("heartbeat.interval.ms", "3000"),
            // A thread of its own polls, so this says nothing about how long work may take.
            ("max.poll.interval.ms", "120000"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "false"),
            ("queued.min.messages", "1000"),
            ("queued.max.messages.kbytes", "8192"),
            ("fetch.wait.max.ms", "250"),
            ("fetch.error.backoff.ms", "500"),
        ]);
        // Only so the client tells when a topic was made anew.
        let wanted = self.properties.get(DEBUG).map_or("", String::as_str);
        let contexts = format!("{wanted},topic");
        config.set(DEBUG, contexts.trim_start_matches(','));
        config
    }

    /// The settings of a consumer that only looks: it is no member of the group, whose offsets it
    /// can ask for, and commits nothing.
    pub(super) fn reader(&self, reports_ends: bool) -> ClientConfig {
        self.client(&[
            ("group.id", &self.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            (
                "enable.partition.eof",
                if reports_ends { "true" } else { "false" },
            ),
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "100"),
        ])
    }

    pub(super) fn producer(&self) -> ClientConfig {
        self.client(&[
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("delivery.timeout.ms", "120000"),
            // A chunk is waited for; a plan's many go together all the same, since they are queued
            // faster than they are sent.
            ("linger.ms", "0"),
            ("compression.type", "lz4"),
        ])
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[])
    }

    /// Ours, over which go the given properties, which hold none that is reserved.
    fn client(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // What is worth knowing is chosen where the lines come in.
        config.set_log_level(RDKafkaLogLevel::Debug);
        let common = [
            ("bootstrap.servers", self.brokers.as_str()),
            ("client.id", "reelmill"),
            ("allow.auto.create.topics", "false"),
            ("log.connection.close", "false"),
            ("reconnect.backoff.max.ms", "5000"),
            ("socket.keepalive.enable", "true"),
            ("statistics.interval.ms", "0"),
            ("topic.metadata.refresh.interval.ms", "60000"),
        ];
        for (name, value) in common.iter().chain(ours) {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            if let Some((our, _)) = ALIASES.iter().find(|(_, alias)| alias == name) {
                config.remove(our);
            }
            config.set(name, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(properties: &[(&str, &str)]) -> KafkaOptions {
        let properties = properties.iter();
        let properties = properties.map(|(name, value)| (name.to_string(), value.to_string()));
        KafkaOptions {
            properties: properties.collect(),
            ..KafkaOptions::default()
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let secrets = [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "ssl.key.pem",
            "ssl.certificate.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
        ];
        for secret in secrets {
            let options = with(&[(secret, "hunter2"), ("security.protocol", "SASL_SSL")]);
            let shown = format!("{options:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(
                shown.contains("SASL_SSL") && shown.contains(secret),
                "{shown}"
            );
        }
    }

    #[test]
    fn what_delivery_depends_on_is_refused() {
        assert!(with(&[("session.timeout.ms", "6000")]).check().is_ok());
        let error = with(&[("enable.auto.commit", "true")]).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`enable.auto.commit` cannot be set: reelmill depends on the value that it sets itself"
        );
        for brokers in ["", "user:hunter2@host:9092", "kafka://host:9092"] {
            let options = KafkaOptions {
                brokers: brokers.to_owned(),
                ..KafkaOptions::default()
            };
            let error = options.check().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    /// A misspelt one would otherwise be noticed when a worker starts.
    #[test]
    fn librdkafka_knows_every_setting() {
        let options = KafkaOptions::default();
        let configs = [
            options.member(),
            options.reader(true),
            options.producer(),
            options.admin(),
        ];
        for config in configs {
            config.create_native_config().unwrap();
        }
    }

    #[test]
    fn the_client_speaks_tls_and_sasl() {
        let options = with(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "reelmill"),
            ("sasl.password", "hunter2"),
        ]);
        let producer: Result<rdkafka::producer::BaseProducer, _> = options.producer().create();
        assert!(producer.is_ok(), "{:?}", producer.err());
    }

    #[test]
    fn given_properties_go_over_the_defaults() {
        let options = with(&[
            ("session.timeout.ms", "6000"),
            ("linger.ms", "20"),
            ("message.timeout.ms", "5000"),
        ]);
        assert_eq!(options.producer().get("delivery.timeout.ms"), None);
        assert_eq!(options.member().get("session.timeout.ms"), Some("6000"));
        assert_eq!(options.producer().get("linger.ms"), Some("20"));
        assert_eq!(
            KafkaOptions::default().member().get("session.timeout.ms"),
            Some("15000")
        );
    }
}
