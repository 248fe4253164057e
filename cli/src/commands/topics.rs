//! `reelmill topics`: makes the topics on Kafka, and looks whether they are as they should be.

use reelmill_queue::{KafkaQueue, TopicPlan};
use serde_json::json;

use crate::args::{TopicsArgs, TopicsCommand};
use crate::config::{PortArgs, QueueAt};
use crate::failure::{Exit, Failure};
use crate::report::{print_json, print_line};
use crate::wire::cluster::kafka;

pub(crate) async fn run(command: &TopicsCommand) -> Result<(), Failure> {
    match command {
        TopicsCommand::Create(args) => {
            let queue = queue(&args.ports).await?;
            let done = queue.create_topics(&plan(args)).await;
            let done = done.map_err(|error| Failure::of(&error))?;
            match args.json {
                true => print_json(&json!({ "done": done })),
                false if done.is_empty() => print_line("the topics are there"),
                false => done.iter().for_each(|sentence| print_line(sentence)),
            }
            Ok(())
        }
        TopicsCommand::Check(args) => {
            let queue = queue(&args.ports).await?;
            let wrong = queue.check_topics(&plan(args)).await;
            let wrong = wrong.map_err(|error| Failure::of(&error))?;
            match args.json {
                true => print_json(&json!({ "ok": wrong.is_empty(), "wrong": wrong })),
                false if wrong.is_empty() => print_line("the topics are as planned"),
                false => wrong.iter().for_each(|sentence| print_line(sentence)),
            }
            match wrong.is_empty() {
                true => Ok(()),
                false => Err(Failure::new(
                    Exit::Failed,
                    "topics-differ",
                    "the topics are not as planned: each line above says what and the way out",
                )),
            }
        }
    }
}

/// The queue of these settings, which must be on Kafka.
pub(super) async fn queue(ports: &PortArgs) -> Result<KafkaQueue, Failure> {
    let settings = ports.0.values(None, true)?.settings()?;
    match &settings.backends.queue {
        QueueAt::Kafka(at) => kafka(at).await,
        QueueAt::Embedded => Err(Failure::usage(
            "`queue` is embedded, which has no topics: set --queue kafka://HOST:PORT or KAFKA_BROKERS",
        )),
    }
}

fn plan(args: &TopicsArgs) -> TopicPlan {
    TopicPlan {
        partitions: args.partitions,
        replication: args.replication,
        retention: args.retention,
        dead_letter_retention: args.dead_letter_retention,
    }
}
