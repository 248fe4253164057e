//! Asks the cluster about topics, and has it make some.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::blocking;
use super::error::Trouble;
use super::metadata::partitions;
use super::options::KafkaOptions;
use super::report::Reporter;
use super::topics::{Found, TopicPlan, Wanted, counted, differences, wrong_settings};

/// How long the cluster may take to make topics and tell everybody.
const MAKING: Duration = Duration::from_secs(30);

const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) struct Admin {
    client: Arc<AdminClient<Reporter>>,
    options: Arc<KafkaOptions>,
}

impl Admin {
    pub(super) fn start(options: &Arc<KafkaOptions>) -> Result<Self, Trouble> {
        let reporter = Reporter::asked("admin");
        let client = options.admin().create_with_context(reporter);
        let client = client.map_err(|error| Trouble::of(&error, &options.brokers, None))?;
        Ok(Self {
            client: Arc::new(client),
            options: Arc::clone(options),
        })
    }

    /// The client waits for its thread when it is dropped.
    pub(super) async fn end(self) -> Result<(), Trouble> {
        blocking(move || {
            drop(self);
            Ok(())
        })
        .await
    }

    pub(super) async fn make(&self, plan: &TopicPlan) -> Result<Vec<String>, Trouble> {
        let wanted = plan.wanted(&self.options.topic_prefix);
        let mut done = self.create(&wanted, plan.replication).await?;
        let found = self.find(&wanted).await?;
        let is_short = |(wanted, found): &(&Wanted, Option<Found>)| {
            found.is_some_and(|found| found.is_led && found.partitions < wanted.partitions)
        };
        let short = wanted.iter().zip(found).filter(is_short);
        let short: Vec<&Wanted> = short.map(|(wanted, _)| wanted).collect();
        done.extend(self.extend(&short).await?);
        self.wait_for(&wanted).await?;
        Ok(done)
    }

    /// Makes the topics that are missing. The controller is asked for all of them, because what
    /// another broker knows may be out of date.
    async fn create(
        &self,
        wanted: &[Wanted],
        replication: Option<u16>,
    ) -> Result<Vec<String>, Trouble> {
        let replicas = replication.map_or(-1, i32::from);
        let new = wanted.iter().map(|wanted| {
            let partitions = i32::try_from(wanted.partitions).unwrap_or(i32::MAX);
            NewTopic::new(&wanted.name, partitions, TopicReplication::Fixed(replicas))
                .set("cleanup.policy", wanted.cleanup)
                .set("retention.ms", &wanted.retention_ms)
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let results = self.client.create_topics(&new, &how()).await;
        let made = self.made(results)?;
        let made = wanted.iter().filter(|wanted| made.contains(&wanted.name));
        let sentence = |wanted: &Wanted| {
            let Wanted {
                name, partitions, ..
            } = wanted;
            let partitions = counted(*partitions, "partition");
            format!("created the topic `{name}` with {partitions}")
        };
        Ok(made.map(sentence).collect())
    }

    async fn extend(&self, short: &[&Wanted]) -> Result<Vec<String>, Trouble> {
        if short.is_empty() {
            return Ok(vec![]);
        }
        let new: Vec<NewPartitions<'_>> = short
            .iter()
            .map(|wanted| NewPartitions::new(&wanted.name, wanted.partitions))
            .collect();
        let results = self.client.create_partitions(&new, &how()).await;
        self.made(results)?;
        let sentence = |wanted: &&Wanted| {
            let Wanted {
                name, partitions, ..
            } = wanted;
            format!(
                "the topic `{name}` has {} now",
                counted(*partitions, "partition")
            )
        };
        Ok(short.iter().map(sentence).collect())
    }

    /// The topics that were made. Somebody else may have made some meanwhile.
    fn made(
        &self,
        results: Result<Vec<TopicResult>, KafkaError>,
    ) -> Result<BTreeSet<String>, Trouble> {
        let brokers = &self.options.brokers;
        let results = results.map_err(|error| Trouble::of(&error, brokers, None))?;
        let mut made = BTreeSet::new();
        for result in results {
            match result {
                Ok(name) => {
                    made.insert(name);
                }
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(Trouble::of_code(code, brokers, Some(&name))),
            }
        }
        Ok(made)
    }

    /// Waits until the topics can be used: a broker answers before it knows who leads.
    async fn wait_for(&self, wanted: &[Wanted]) -> Result<(), Trouble> {
        let deadline = Instant::now() + MAKING;
        loop {
            let found = self.find(wanted).await?;
            let is_ready = |(wanted, found): (&Wanted, Option<Found>)| {
                found.is_some_and(|found| found.is_led && found.partitions >= wanted.partitions)
            };
            if wanted.iter().zip(found).all(is_ready) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Trouble::Answer {
                    brokers: self.options.brokers.clone(),
                    reason: "the topics have no leaders yet".to_owned(),
                    retryable: true,
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// How each topic is, where it is.
    async fn find(&self, wanted: &[Wanted]) -> Result<Vec<Option<Found>>, Trouble> {
        let (client, options) = (Arc::clone(&self.client), Arc::clone(&self.options));
        let names: Vec<String> = wanted.iter().map(|wanted| wanted.name.clone()).collect();
        blocking(move || {
            let found = names.iter().map(|name| find(&client, name, &options));
            found.collect()
        })
        .await
    }

    pub(super) async fn check(&self, plan: &TopicPlan) -> Result<Vec<String>, Trouble> {
        let wanted = plan.wanted(&self.options.topic_prefix);
        let found = self.find(&wanted).await?;
        let mut sentences = vec![];
        let mut there = vec![];
        for (wanted, found) in wanted.iter().zip(found) {
            match found {
                Some(found) => {
                    sentences.extend(differences(wanted, found, plan.replication));
                    there.push(wanted);
                }
                None => sentences.push(format!(
                    "there is no topic `{}`: run `reelmill topics create`",
                    wanted.name
                )),
            }
        }
        let configs = self.configs(&there).await?;
        for wanted in there {
            let config = configs.iter().find(|config| match &config.specifier {
                OwnedResourceSpecifier::Topic(name) => *name == wanted.name,
                _ => false,
            });
            sentences.extend(
                config
                    .map(|config| wrong_settings(wanted, config))
                    .unwrap_or_default(),
            );
        }
        Ok(sentences)
    }

    async fn configs(&self, topics: &[&Wanted]) -> Result<Vec<ConfigResource>, Trouble> {
        if topics.is_empty() {
            return Ok(vec![]);
        }
        let topics: Vec<ResourceSpecifier<'_>> = topics
            .iter()
            .map(|wanted| ResourceSpecifier::Topic(&wanted.name))
            .collect();
        let brokers = &self.options.brokers;
        let answers = self.client.describe_configs(&topics, &how()).await;
        let answers = answers.map_err(|error| Trouble::of(&error, brokers, None))?;
        let configs = answers
            .into_iter()
            .map(|answer| answer.map_err(|code| Trouble::of_code(code, brokers, None)));
        configs.collect()
    }
}

fn how() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(MAKING))
        .operation_timeout(Some(MAKING))
}

fn find(
    client: &AdminClient<Reporter>,
    name: &str,
    options: &KafkaOptions,
) -> Result<Option<Found>, Trouble> {
    let metadata = client
        .inner()
        .fetch_metadata(Some(name), options.request_timeout);
    let metadata = metadata.map_err(|error| {
        let trouble = Trouble::of(&error, &options.brokers, Some(name));
        trouble.because(client.inner().context().last_reason())
    })?;
    let partitions = match partitions(&metadata, name) {
        Ok(partitions) => partitions,
        Err(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownTopicId) => {
            return Ok(None);
        }
        // It is there, and comes to itself.
        Err(Code::LeaderNotAvailable) => {
            return Ok(Some(Found {
                partitions: 0,
                replicas: 0,
                is_led: false,
            }));
        }
        Err(code) => return Err(Trouble::of_code(code, &options.brokers, Some(name))),
    };
    let replicas = partitions
        .iter()
        .map(|partition| partition.replicas().len());
    Ok(Some(Found {
        partitions: partitions.len(),
        replicas: replicas.min().unwrap_or_default(),
        is_led: partitions.iter().all(|partition| partition.leader() >= 0),
    }))
}
