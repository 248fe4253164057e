//! Ports that fail before and after the effect: a job ends right all the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_common::{ObjectKey, TaskId, key};
use reelmill_ledger::{Faults, FaultyLedger, When};
use reelmill_queue::{
    Backlog, Consumer, Delivery, FaultyQueue, Outgoing, Queue, QueueError, Receipt, Settlement,
};
use reelmill_stage::{Handler, Ports, Settings, Shutdown, run, submit};
use reelmill_store::FaultyStore;

use crate::toy::{
    At, Gate, PATIENCE, Place, Running, TOPICS, Toy, at_work, chunk, job, plan, request, settings,
    until,
};

const CHUNKS: usize = 4;

fn faulty(ports: &Ports, per_mille: u32, seed: u64) -> Ports {
    let faults = |salt| Faults::fraction(per_mille, seed * 3 + salt, When::Either);
    Ports {
        queue: Arc::new(FaultyQueue::new(Arc::clone(&ports.queue), faults(0))),
        ledger: Arc::new(FaultyLedger::new(Arc::clone(&ports.ledger), faults(1))),
        store: Arc::new(FaultyStore::new(Arc::clone(&ports.store), faults(2))),
    }
}

async fn job_with_faults(per_mille: u32, seed: u64) {
    let place = Place::new();
    let ports = faulty(&place.ports, per_mille, seed);
    let job = job("j1");
    until("the job is submitted", async || {
        submit(&ports, &job, &request()).await.ok()
    })
    .await;
    let settings = Settings {
        // A claim whose answer was lost is held until its lease ends.
        lease: Duration::from_millis(100),
        // The waits between attempts grow with every one that failed.
        max_attempts: 1000,
        retry_delay: Duration::ZERO,
        ..settings()
    };
    let running = Running::start(&ports, Toy::new(&ports, CHUNKS, None), settings);
    let record = place.ended(&job).await;
    running.stop().await;
    assert_eq!(
        (record.status, record.error),
        (JobStatus::Completed, None),
        "seed {seed}"
    );
    assert_eq!(record.completed_chunks, record.total_chunks, "seed {seed}");

    let tasks = plan(&job, CHUNKS).tasks(&[]);
    let mut expected: Vec<_> = tasks
        .iter()
        .map(|task| key::marker(&job, *task).to_string())
        .collect();
    expected.push(key::certificate(&job).to_string());
    expected.sort();
    let mut records = place.keys(&format!("transcoded/{job}/")).await;
    records.retain(|key| key.ends_with(".json"));
    assert_eq!(records, expected, "seed {seed}");
    for task in tasks {
        let marker = place.ports.store.get(&key::marker(&job, task)).await;
        let marker: serde_json::Value = serde_json::from_slice(&marker.unwrap()).unwrap();
        let made = ObjectKey::new(marker["key"].as_str().unwrap()).unwrap();
        assert!(place.exists(&made).await, "seed {seed}: `{made}` is gone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_in_ten_fails() {
    for seed in 0..12 {
        job_with_faults(100, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_in_five_fails() {
    for seed in 100..106 {
        job_with_faults(200, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_worker_completed_is_dropped() {
    let place = Place::new();
    let gate = Gate::new(chunk(0), At::Made);
    let (job, toy, running) = at_work(&place, 1, Some(&gate), settings()).await;
    gate.reached.notified().await;
    let task = TaskId {
        job: job.clone(),
        key: chunk(0),
    };
    let made = ObjectKey::new("transcoded/j1/chunk_000/1-w2/1080p.mp4").unwrap();
    let marker = serde_json::json!({ "key": made }).to_string();
    let store = &place.ports.store;
    store.put(&made, "frames".into()).await.unwrap();
    store
        .put_new(&key::marker(&job, task.key), marker.into())
        .await
        .unwrap();
    place.ports.ledger.complete(&task).await.unwrap();
    gate.was_dropped().await;
    assert_eq!(place.ended(&job).await.status, JobStatus::Completed);
    running.stop().await;
    assert_eq!(toy.begun.load(Ordering::SeqCst), 2, "the audio and this");
    // Nothing is left of what was dropped.
    let pieces = place.keys("transcoded/j1/chunk_000/").await;
    assert_eq!(pieces, [made.to_string()]);
}

/// A queue that breaks after its first delivery.
#[derive(Debug)]
struct Breaking(Arc<dyn Queue>);

#[derive(Debug)]
struct BreakingConsumer(Box<dyn Consumer>, std::sync::atomic::AtomicBool);

#[async_trait]
impl Queue for Breaking {
    async fn publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), QueueError> {
        self.0.publish(topic, messages).await
    }
    async fn subscribe(&self, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError> {
        let inner = self.0.subscribe(topics).await?;
        Ok(Box::new(BreakingConsumer(inner, false.into())))
    }
    async fn backlog(&self, topic: Topic) -> Result<Option<Backlog>, QueueError> {
        self.0.backlog(topic).await
    }
}

#[async_trait]
impl Consumer for BreakingConsumer {
    async fn receive(&self, _max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        if self.1.swap(true, Ordering::SeqCst) {
            return Err(QueueError {
                action: "receive from",
                retryable: false,
                source: "it is broken".into(),
            });
        }
        self.0.receive(1, wait).await
    }
    async fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), QueueError> {
        self.0.settle(receipt, settlement).await
    }
    async fn close(&self) -> Result<(), QueueError> {
        self.0.close().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_breaks_for_good_ends_the_loop_after_the_work_in_hand() {
    let place = Place::new();
    let ports = Ports {
        queue: Arc::new(Breaking(Arc::clone(&place.ports.queue))),
        ..place.ports.clone()
    };
    let job = job("j1");
    submit(&ports, &job, &request()).await.unwrap();
    let gate = Gate::new(reelmill_common::TaskKey::Ingest, At::Start);
    let toy: Arc<dyn Handler> = Toy::new(&place.ports, 1, Some(&gate));
    let (_switch, shutdown) = Shutdown::new();
    let running = tokio::spawn(run(ports, toy, &TOPICS, settings(), shutdown));
    gate.reached.notified().await;
    gate.open.notify_one();
    let ended = tokio::time::timeout(PATIENCE, running).await.unwrap();
    let error = ended.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot receive from the queue: it is broken"
    );
    assert!(
        place.exists(&key::manifest(&job)).await,
        "the scan was done"
    );
}
