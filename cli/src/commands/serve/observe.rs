//! What operators see of the tasks that run: counts, times, and a line for each step of a job.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use metrics::{counter, gauge, histogram};
use reelmill_common::certificate::Certificate;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_common::{JobId, TaskKey, key};
use reelmill_stage::{Handler, Outcome, Ports, StageError, Work, load_json};
use tracing::Instrument as _;

use crate::metrics::{FRAMES, OUTPUT_BYTES, SLOTS, SLOTS_BUSY, TASK_SECONDS, TASKS};
use crate::wire::Stage;

/// A stage's handler with its tasks counted and each of their lines marked with the job.
#[derive(Debug)]
struct Observed {
    inner: Arc<dyn Handler>,
    ports: Ports,
    stage: &'static str,
}

/// The stage with an eye on it.
pub(super) fn observed(stage: Stage, ports: &Ports) -> Stage {
    let name = name(stage.topic);
    gauge!(SLOTS, "stage" => name).set(f64::from(stage.slots));
    gauge!(SLOTS_BUSY, "stage" => name).set(0.0);
    let handler = Arc::new(Observed {
        inner: stage.handler,
        ports: ports.clone(),
        stage: name,
    });
    Stage { handler, ..stage }
}

/// What a stage is called in logs and metrics.
pub(super) fn name(topic: Topic) -> &'static str {
    match topic {
        Topic::Ingest => "ingest",
        Topic::Chunks => "chunks",
        Topic::Merges => "merges",
        Topic::DeadLetters => "dead-letters",
    }
}

#[async_trait]
impl Handler for Observed {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        // At the level of errors, so that no filter takes the job away from a line.
        let span = tracing::error_span!("task", job = %work.task.job, task = %work.task.key);
        self.watch(work).instrument(span).await
    }
}

impl Observed {
    async fn watch(&self, work: &Work) -> Result<Outcome, StageError> {
        let mut tally = Tally::begin(self.stage, work);
        let result = self.inner.handle(work).await;
        tally.outcome = match &result {
            Ok(_) => "completed",
            Err(error) if error.retryable => "retried",
            Err(_) => "failed",
        };
        if result.is_ok() {
            match work.task.key {
                TaskKey::Ingest => tracing::info!("planned"),
                TaskKey::Finalize => self.finished(&work.task.job).await,
                TaskKey::Chunk { .. } | TaskKey::Audio { .. } => tracing::debug!("encoded"),
            }
        }
        result
    }

    /// Tells the end of a job whose certificate is there. Nothing here may spoil that end.
    async fn finished(&self, job: &JobId) {
        match self.ports.ledger.job(job).await {
            Ok(Some(record)) if record.status == JobStatus::Completed => {}
            _ => return,
        }
        let key = key::certificate(job);
        let certificate = load_json::<Certificate>(self.ports.store.as_ref(), &key);
        if let Ok(Some(certificate)) = certificate.await {
            let bytes = certificate.outputs.iter().map(|output| output.bytes).sum();
            counter!(OUTPUT_BYTES).increment(bytes);
            let outputs = certificate.outputs.len();
            tracing::info!(outputs, bytes, "completed");
        }
    }
}

/// Counts a task when it ends, however it does: one that is dropped has no say in it.
struct Tally<'a> {
    stage: &'static str,
    work: &'a Work,
    began: Instant,
    outcome: &'static str,
}

impl<'a> Tally<'a> {
    fn begin(stage: &'static str, work: &'a Work) -> Self {
        gauge!(SLOTS_BUSY, "stage" => stage).increment(1.0);
        Self {
            stage,
            work,
            began: Instant::now(),
            outcome: "dropped",
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        let task = match self.work.task.key {
            TaskKey::Ingest => "ingest",
            TaskKey::Chunk { .. } => "chunk",
            TaskKey::Audio { .. } => "audio",
            TaskKey::Finalize => "finalize",
        };
        gauge!(SLOTS_BUSY, "stage" => self.stage).decrement(1.0);
        counter!(TASKS, "task" => task, "outcome" => self.outcome).increment(1);
        histogram!(TASK_SECONDS, "task" => task).record(self.began.elapsed().as_secs_f64());
        counter!(FRAMES).increment(self.work.frames());
    }
}
