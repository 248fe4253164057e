//! What a chunk costs where nothing is encoded: claim, marker, complete and settle, on the Kafka, S3
//! and Redis of the environment. Run by `scripts/bench-cluster`, which starts them.
//!
//! ```sh
//! eval "$(scripts/services env)"
//! cargo bench --package reelmill-cli --bench tasks -- 100x50 5000x1
//! ```
//!
//! Each argument is CHUNKS`x`JOBS; for each, one line of JSON.
#![allow(
    clippy::print_stdout,
    reason = "a figure goes where figures are read from"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use reelmill_common::job::JobStatus;
use reelmill_common::message::{Message, Topic};
use reelmill_common::request::JobOptions;
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId, key};
use reelmill_ledger::{NewJob, RedisLedger, RedisOptions};
use reelmill_queue::{KafkaOptions, KafkaQueue, Outgoing, TopicPlan};
use reelmill_stage::{Handler, Outcome, Ports, Settings, Shutdown, StageError, Work, create_json};
use reelmill_store::{S3Credentials, S3Options, S3Store};

/// As many as keep two cores busy while each waits for its servers.
const SLOTS: usize = 16;

/// Jobs are kept apart from those of others on the same servers.
const PREFIX: &str = "bench-";

#[tokio::main]
async fn main() -> Result<()> {
    let sizes: Vec<(u64, u64)> = std::env::args()
        .skip(1)
        // cargo adds one of its own.
        .filter(|argument| argument != "--bench")
        .map(|argument| size(&argument))
        .collect::<Result<_>>()?;
    let ports = ports().await?;
    let done = Arc::new(AtomicU64::new(0));
    let handler = Arc::new(NoEncode {
        ports: ports.clone(),
        done: Arc::clone(&done),
    });
    let (stop, shutdown) = Shutdown::new();
    let settings = Settings {
        worker: WorkerId::new("bench")?,
        slots: SLOTS,
        lease: Duration::from_secs(60),
        renew_every: Duration::from_secs(20),
        max_attempts: 3,
        retry_delay: Duration::from_secs(1),
    };
    let topics = [Topic::Chunks];
    let worker = tokio::spawn({
        let ports = ports.clone();
        async move { reelmill_stage::run(ports, handler, &topics, settings, shutdown).await }
    });
    // The first only warms up: connections, and the group's first rebalance.
    measure(&ports, &done, "warm", 100, 1).await?;
    for (run, (chunks, jobs)) in sizes.into_iter().enumerate() {
        let seconds = measure(&ports, &done, &format!("run-{run}"), chunks, jobs).await?;
        let count = chunks * jobs;
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let each_us = seconds * 1e6 / count as f64;
        let line = serde_json::json!({ "chunks": chunks, "jobs": jobs, "seconds": seconds, "each_us": each_us });
        println!("{line}");
    }
    stop.send(true).ok();
    worker.await??;
    Ok(())
}

/// `100x50` is 50 jobs of 100 chunks.
fn size(argument: &str) -> Result<(u64, u64)> {
    let (chunks, jobs) = argument
        .split_once('x')
        .with_context(|| format!("`{argument}` is not CHUNKSxJOBS"))?;
    Ok((chunks.parse()?, jobs.parse()?))
}

async fn ports() -> Result<Ports> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let kafka = KafkaOptions {
        brokers: variable("KAFKA_BROKERS")?,
        topic_prefix: PREFIX.to_owned(),
        group: format!("{PREFIX}workers"),
        ..KafkaOptions::default()
    };
    let queue = KafkaQueue::connect(&kafka).await?;
    queue.create_topics(&TopicPlan::default()).await?;
    let redis = RedisOptions {
        prefix: PREFIX.to_owned(),
        ..RedisOptions::new(variable("REDIS_URL")?)
    };
    let credentials = S3Credentials::new(
        variable("AWS_ACCESS_KEY_ID")?,
        variable("AWS_SECRET_ACCESS_KEY")?,
    );
    let bucket = variable("REELMILL_STORE")?;
    let bucket = bucket.strip_prefix("s3://").context("no s3:// store")?;
    let s3 = S3Options {
        endpoint: Some(variable("S3_ENDPOINT")?),
        path_style: Some(true),
        prefix: Some(reelmill_common::ObjectKey::new("bench")?),
        ..S3Options::new(bucket, credentials)
    };
    Ok(Ports {
        queue: Arc::new(queue),
        ledger: Arc::new(RedisLedger::connect(&redis).await?),
        store: Arc::new(S3Store::connect(&s3).await?),
    })
}

/// Leaves a marker as an encode does, and encodes nothing.
#[derive(Debug)]
struct NoEncode {
    ports: Ports,
    done: Arc<AtomicU64>,
}

#[async_trait]
impl Handler for NoEncode {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let marker = key::marker(&work.task.job, work.task.key);
        // As large as the marker of a chunk of some seconds in four renditions.
        let content = serde_json::json!({ "task": work.task.key, "fragments": "x".repeat(2000) });
        create_json(self.ports.store.as_ref(), &marker, &content).await?;
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Complete)
    }
}

/// The seconds from the first message until every chunk is complete and settled, once each.
async fn measure(
    ports: &Ports,
    done: &AtomicU64,
    name: &str,
    chunks: u64,
    jobs: u64,
) -> Result<f64> {
    done.store(0, Ordering::SeqCst);
    let mut ids = vec![];
    let mut messages = vec![];
    for number in 0..jobs {
        let job = JobId::new(format!("{name}-{number}"))?;
        let new = NewJob {
            id: job.clone(),
            profile: "none".to_owned(),
            name: "none".to_owned(),
            options: JobOptions::default(),
        };
        ports.ledger.forget(&job).await?;
        ports.ledger.create_job(&new).await?;
        let indices: Vec<u32> = (0..u32::try_from(chunks)?).collect();
        for indices in indices.chunks(10_000) {
            let tasks: Vec<_> = indices.iter().map(|index| (chunk(*index), 1)).collect();
            ports.ledger.extend(&job, &tasks, &[], &[]).await?;
        }
        for index in indices {
            messages.push(outgoing(&job, index)?);
        }
        ids.push(job);
    }
    let began = Instant::now();
    for messages in messages.chunks(10_000) {
        ports.queue.publish(Topic::Chunks, messages).await?;
    }
    for job in &ids {
        loop {
            let record = ports.ledger.job(job).await?.context("the job is gone")?;
            let all = u64::from(record.completed_chunks) >= chunks;
            if all || record.status.is_terminal() {
                anyhow::ensure!(record.status == JobStatus::Running, "{:?}", record.error);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    while ports
        .queue
        .backlog(Topic::Chunks)
        .await?
        .is_none_or(|it| it.messages > 0)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let (done, asked) = (done.load(Ordering::SeqCst), chunks * jobs);
    anyhow::ensure!(done == asked, "{done} were done of {asked}");
    Ok(seconds)
}

fn chunk(index: u32) -> TaskKey {
    TaskKey::Chunk {
        index,
        generation: 0,
    }
}

fn outgoing(job: &JobId, index: u32) -> Result<Outgoing> {
    let id = TaskId {
        job: job.clone(),
        key: chunk(index),
    };
    Ok(Outgoing {
        job: job.clone(),
        priority: reelmill_common::request::Priority::default(),
        key: id.to_string(),
        spread: index,
        payload: Message::new(id).encode()?,
        delay: Duration::ZERO,
    })
}
