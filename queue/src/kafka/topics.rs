//! Makes the topics, and looks whether they are as they should be.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::ConfigResource;
use reelmill_common::message::Topic;

use super::KafkaQueue;
use super::admin::Admin;
use super::stream::Stream;
use crate::QueueError;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How the topics should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// How many partitions each topic of work has: at least as many as there are workers, better
    /// four times. Dead letters have one.
    pub partitions: u32,
    /// On how many brokers each message is kept; `None` is the cluster's own default.
    pub replication: Option<u16>,
    /// How long messages are kept: longer than the longest job takes with all its retries.
    pub retention: Duration,
    /// How long dead letters are kept.
    pub dead_letter_retention: Duration,
}

impl Default for TopicPlan {
    fn default() -> Self {
        Self {
            partitions: 24,
            replication: None,
            retention: 7 * DAY,
            dead_letter_retention: 30 * DAY,
        }
    }
}

/// How one topic should be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) partitions: usize,
    retention: Duration,
    pub(super) retention_ms: String,
    /// Topics of work are not compacted: messages of one key are several.
    pub(super) cleanup: &'static str,
}

/// How one topic is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) partitions: usize,
    /// Of the partition that has the fewest.
    pub(super) replicas: usize,
    /// Whether each partition has a broker that answers for it.
    pub(super) is_led: bool,
}

impl TopicPlan {
    pub(super) fn wanted(&self, prefix: &str) -> Vec<Wanted> {
        let wanted = |stream: Stream| {
            let (partitions, retention, cleanup) = match stream.topic {
                Topic::DeadLetters => (1, self.dead_letter_retention, "compact,delete"),
                _ => (self.partitions as usize, self.retention, "delete"),
            };
            Wanted {
                name: stream.name(prefix),
                partitions,
                retention,
                retention_ms: retention.as_millis().to_string(),
                cleanup,
            }
        };
        Stream::all().map(wanted).collect()
    }
}

impl KafkaQueue {
    /// Makes the topics that are missing, and adds partitions where there are fewer than planned.
    /// Returns what was done, one sentence each, when all brokers know of it. Idempotent. What else
    /// differs stays as it is: see [`check_topics`](Self::check_topics).
    ///
    /// # Errors
    /// Any failure.
    pub async fn create_topics(&self, plan: &TopicPlan) -> Result<Vec<String>, QueueError> {
        let made = async {
            let admin = Admin::start(&self.options)?;
            let made = admin.make(plan).await;
            admin.end().await?;
            made
        };
        let made = made.await;
        made.map_err(|trouble| trouble.during("create the topics of"))
    }

    /// What of the topics is not as planned, one sentence each with the way out; nothing when all
    /// is well. More partitions or replicas than planned are well.
    ///
    /// # Errors
    /// Any failure.
    pub async fn check_topics(&self, plan: &TopicPlan) -> Result<Vec<String>, QueueError> {
        let checked = async {
            let admin = Admin::start(&self.options)?;
            let checked = admin.check(plan).await;
            admin.end().await?;
            checked
        };
        let checked = checked.await;
        checked.map_err(|trouble| trouble.during("check the topics of"))
    }
}

pub(super) fn differences(wanted: &Wanted, found: Found, replication: Option<u16>) -> Vec<String> {
    let Wanted {
        name, partitions, ..
    } = wanted;
    let mut sentences = vec![];
    if found.partitions < *partitions {
        sentences.push(format!(
            "the topic `{name}` has {} instead of {partitions}: run `reelmill topics create`",
            counted(found.partitions, "partition")
        ));
    }
    if let Some(replication) = replication.filter(|wanted| found.replicas < usize::from(*wanted)) {
        sentences.push(format!(
            "the topic `{name}` is kept on {} instead of {replication}: change it with kafka-reassign-partitions.sh",
            counted(found.replicas, "broker")
        ));
    }
    sentences
}

pub(super) fn wrong_settings(wanted: &Wanted, config: &ConfigResource) -> Vec<String> {
    let value = |name: &str| config.get(name).and_then(|entry| entry.value.as_deref());
    let mut sentences = vec![];
    let mut differs = |what: String, setting: String| {
        sentences.push(format!(
            "the topic `{}` {what}: run `kafka-configs.sh --alter --topic {} --add-config {setting}`",
            wanted.name, wanted.name
        ));
    };
    let kept = value("retention.ms").and_then(|kept| kept.parse::<i64>().ok());
    if let Some(kept) = kept.filter(|kept| kept.to_string() != wanted.retention_ms) {
        let kept = match u64::try_from(kept) {
            Ok(kept) => spelt(Duration::from_millis(kept)),
            Err(_) => "ever".to_owned(),
        };
        differs(
            format!(
                "keeps messages for {kept} instead of {}",
                spelt(wanted.retention)
            ),
            format!("retention.ms={}", wanted.retention_ms),
        );
    }
    let cleanup = value("cleanup.policy");
    let set = |policies: &str| {
        policies
            .split(',')
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    if let Some(cleanup) = cleanup.filter(|cleanup| set(cleanup) != set(wanted.cleanup)) {
        differs(
            format!(
                "is cleaned up by `{cleanup}` instead of `{}`",
                wanted.cleanup
            ),
            format!("cleanup.policy=[{}]", wanted.cleanup),
        );
    }
    sentences
}

pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// A time as an operator writes it.
fn spelt(duration: Duration) -> String {
    let seconds = duration.as_secs() as usize;
    let units = [(24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "second"));
    counted(seconds / unit, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_with_the_way_out() {
        let plan = TopicPlan {
            replication: Some(3),
            ..TopicPlan::default()
        };
        let wanted = plan.wanted("");
        let found = Found {
            partitions: 12,
            replicas: 1,
            is_led: true,
        };
        let chunks = wanted
            .iter()
            .find(|wanted| wanted.name == "video-chunks")
            .unwrap();
        let sentences = differences(chunks, found, plan.replication);
        assert_eq!(
            sentences,
            [
                "the topic `video-chunks` has 12 partitions instead of 24: run `reelmill topics create`",
                "the topic `video-chunks` is kept on 1 broker instead of 3: change it with kafka-reassign-partitions.sh",
            ]
        );
        let found = Found {
            partitions: 48,
            replicas: 3,
            is_led: true,
        };
        assert_eq!(differences(chunks, found, plan.replication), [""; 0]);
    }

    #[test]
    fn times_are_spelt_as_an_operator_writes_them() {
        for (seconds, expected) in [
            (7 * 24 * 60 * 60, "7 days"),
            (60 * 60, "1 hour"),
            (90 * 60, "90 minutes"),
            (61, "61 seconds"),
            (0, "0 seconds"),
        ] {
            assert_eq!(spelt(Duration::from_secs(seconds)), expected);
        }
    }
}
