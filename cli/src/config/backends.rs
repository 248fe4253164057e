//! Where the three ports are: on this machine, or on Kafka, S3 and Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use reelmill_common::ObjectKey;
use reelmill_common::message::Topic;

use super::{Secret, Values, value};
use crate::failure::Failure;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where messages wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueAt {
    Embedded,
    Kafka(Kafka),
}

/// Brokers, and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kafka {
    /// `HOST:PORT` with commas between several.
    pub(crate) brokers: String,
    pub(crate) group: String,
    /// Properties of librdkafka; some of them are secrets.
    pub(crate) properties: BTreeMap<String, Secret>,
}

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreAt {
    Embedded,
    S3(S3),
}

/// A bucket, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3 {
    pub(crate) bucket: String,
    /// What all keys begin with.
    pub(crate) prefix: Option<ObjectKey>,
    pub(crate) endpoint: Option<String>,
    /// Where clients reach it, if elsewhere.
    pub(crate) link_endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) path_style: Option<bool>,
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) session_token: Option<Secret>,
}

/// Who owns which work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LedgerAt {
    Embedded,
    /// An URL that may hold a password.
    Redis {
        url: Secret,
        /// How long it knows jobs that have ended.
        kept: Duration,
    },
}

/// Where the three ports are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backends {
    pub(crate) queue: QueueAt,
    pub(crate) store: StoreAt,
    pub(crate) ledger: LedgerAt,
}

impl Backends {
    /// The names of the settings whose ports only this machine can reach.
    pub(crate) fn embedded(&self) -> Vec<&'static str> {
        [
            ("queue", self.queue == QueueAt::Embedded),
            ("store", self.store == StoreAt::Embedded),
            ("ledger", self.ledger == LedgerAt::Embedded),
        ]
        .into_iter()
        .filter_map(|(name, embedded)| embedded.then_some(name))
        .collect()
    }
}

/// A stage that a worker may take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ingest,
    Chunk,
    Merge,
}

impl Role {
    const ALL: [(&'static str, Self); 3] = [
        ("ingest", Self::Ingest),
        ("chunk", Self::Chunk),
        ("merge", Self::Merge),
    ];

    /// The topic that its messages come from.
    pub(crate) fn topic(self) -> Topic {
        match self {
            Self::Ingest => Topic::Ingest,
            Self::Chunk => Topic::Chunks,
            Self::Merge => Topic::Merges,
        }
    }
}

/// `ingest,chunk,merge` or a part of it.
pub(super) fn roles(text: &str) -> Result<Vec<Role>, String> {
    let named = value::list(text);
    let role = |name: &String| {
        let known = Role::ALL.iter().find(|(known, _)| known == name);
        known
            .map(|(_, role)| *role)
            .ok_or_else(|| format!("`{name}` is no role: there are ingest, chunk and merge"))
    };
    match named.is_empty() {
        true => Err("a worker has at least one of ingest, chunk and merge".to_owned()),
        false => named.iter().map(role).collect(),
    }
}

impl Values {
    /// Where the ports are, and what is needed to reach them.
    pub(super) fn backends(&self) -> Result<Backends, Failure> {
        let store = match self.get("store", bucket)? {
            None => StoreAt::Embedded,
            Some((bucket, prefix)) => StoreAt::S3(self.s3(bucket, prefix)?),
        };
        let queue = match self.get("queue", brokers)? {
            None => QueueAt::Embedded,
            Some(brokers) => QueueAt::Kafka(Kafka {
                brokers,
                group: self.given("kafka_group")?.text.clone(),
                properties: self.get("kafka_properties", properties)?,
            }),
        };
        let ledger = match self.get("ledger", redis)? {
            None => LedgerAt::Embedded,
            Some(url) => {
                // Whoever removes the files of ended jobs is told of them by the ledger.
                let files = self.get("retention", value::duration_or_none)?;
                let kept = files.map_or(DAY, |files| files + DAY);
                LedgerAt::Redis { url, kept }
            }
        };
        Ok(Backends {
            queue,
            store,
            ledger,
        })
    }

    fn s3(&self, bucket: String, prefix: Option<ObjectKey>) -> Result<S3, Failure> {
        let secret = |name| self.optional(name, |text| Secret(text.to_owned()));
        let keys = (
            self.optional("s3_access_key", str::to_owned)?,
            secret("s3_secret_key")?,
        );
        let (Some(access_key), Some(secret_key)) = keys else {
            let origin = &self.given("store")?.origin;
            return Err(Failure::usage(format!(
                "{origin}: the bucket `{bucket}` wants a key: set `s3_access_key` and `s3_secret_key`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )));
        };
        Ok(S3 {
            bucket,
            prefix,
            endpoint: self.optional("s3_endpoint", str::to_owned)?,
            link_endpoint: self.optional("s3_link_endpoint", str::to_owned)?,
            region: self.given("s3_region")?.text.clone(),
            path_style: self.get("s3_path_style", path_style)?,
            access_key,
            secret_key,
            session_token: secret("s3_session_token")?,
        })
    }
}

/// `s3://BUCKET/PREFIX`; `None` where the store is embedded.
fn bucket(text: &str) -> Result<Option<(String, Option<ObjectKey>)>, String> {
    if text == "embedded" {
        return Ok(None);
    }
    let place = text.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(format!(
            "`{text}` is no store: write `embedded`, or one such as `s3://videos`"
        ));
    }
    let prefix = match prefix.trim_end_matches('/') {
        "" => None,
        prefix => Some(ObjectKey::new(prefix).map_err(|invalid| invalid.to_string())?),
    };
    Ok(Some((bucket.to_owned(), prefix)))
}

/// `kafka://HOST:PORT,HOST:PORT`; `None` where the queue is embedded.
fn brokers(text: &str) -> Result<Option<String>, String> {
    let is_broker = |broker: &str| {
        broker
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match text.strip_prefix("kafka://") {
        _ if text == "embedded" => Ok(None),
        Some(brokers) if brokers.split(',').all(is_broker) => Ok(Some(brokers.to_owned())),
        _ => Err(format!(
            "`{text}` is no queue: write `embedded`, or one such as `kafka://localhost:9092`"
        )),
    }
}

/// `redis://HOST:PORT/DATABASE`; `None` where the ledger is embedded. What was written is not shown:
/// it may hold a password.
fn redis(text: &str) -> Result<Option<Secret>, String> {
    let is_url = ["redis://", "rediss://", "redis+unix://", "unix://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    match text {
        "embedded" => Ok(None),
        _ if is_url => Ok(Some(Secret(text.to_owned()))),
        _ => Err(
            "it is no ledger: write `embedded`, or one such as `redis://localhost:6379`".to_owned(),
        ),
    }
}

fn path_style(text: &str) -> Result<Option<bool>, String> {
    match text {
        "auto" => Ok(None),
        text => value::yes_or_no(text)
            .map(Some)
            .map_err(|refusal| format!("{refusal}, nor `auto`")),
    }
}

/// `NAME=VALUE,NAME=VALUE`. Values are not shown: some are passwords.
fn properties(text: &str) -> Result<BTreeMap<String, Secret>, String> {
    let property = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim().to_owned(), Secret(value.trim().to_owned())))
        }
        _ => Err("it is not NAME=VALUE with commas between".to_owned()),
    };
    value::list(text).into_iter().map(property).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_written() {
        assert_eq!(bucket("embedded"), Ok(None));
        let place = |prefix: Option<&str>| {
            let prefix = prefix.map(|prefix| ObjectKey::new(prefix).unwrap());
            Ok(Some(("videos".to_owned(), prefix)))
        };
        assert_eq!(bucket("s3://videos"), place(None));
        assert_eq!(bucket("s3://videos/a/b/"), place(Some("a/b")));
        assert_eq!(
            brokers("kafka://a:9092,b:9092"),
            Ok(Some("a:9092,b:9092".to_owned()))
        );
        assert_eq!(redis("embedded"), Ok(None));
        for wrong in ["", "s3://", "s3:///x", "s3://videos/../x", "videos"] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "kafka://", "kafka://a", "a:9092", "kafka://a:1,b"] {
            assert!(brokers(wrong).is_err(), "{wrong}");
        }
        let refusal = redis("http://:secret@host").unwrap_err();
        assert!(!refusal.contains("secret"), "{refusal}");
        assert!(properties("a=b,c").is_err());
        assert_eq!(properties("a=b=c").unwrap()["a"].0, "b=c");
    }

    #[test]
    fn roles_are_read_as_written() {
        assert_eq!(roles("chunk, merge"), Ok(vec![Role::Chunk, Role::Merge]));
        assert!(roles("").is_err() && roles("chunks").is_err());
    }
}
