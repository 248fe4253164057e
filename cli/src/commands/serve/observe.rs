//! What operators see of jobs as they go through the stages: a line for each step, and what came
//! out. Tasks, seconds, slots and frames are counted by the stages themselves.

use std::sync::Arc;

use async_trait::async_trait;
use metrics::counter;
use reelmill_common::certificate::Certificate;
use reelmill_common::job::JobStatus;
use reelmill_common::message::Topic;
use reelmill_common::{JobId, TaskKey, key};
use reelmill_stage::{Handler, Outcome, Ports, StageError, Work, load_json};
use tracing::Instrument as _;

use crate::metrics::OUTPUT_BYTES;
use crate::wire::Stage;

/// A stage's handler with the steps of its jobs logged.
#[derive(Debug)]
struct Observed {
    inner: Arc<dyn Handler>,
    ports: Ports,
}

/// The stage with an eye on it.
pub(super) fn observed(stage: Stage, ports: &Ports) -> Stage {
    let handler = Arc::new(Observed {
        inner: stage.handler,
        ports: ports.clone(),
    });
    Stage { handler, ..stage }
}

/// What a stage is called in logs.
pub(super) fn name(topic: Topic) -> &'static str {
    match topic {
        Topic::Ingest => "ingest",
        Topic::Chunks => "chunk",
        Topic::Merges => "merge",
        Topic::DeadLetters => "dead-letter",
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
        let outcome = self.inner.handle(work).await?;
        match work.task.key {
            TaskKey::Ingest => tracing::info!("planned"),
            TaskKey::Finalize => self.finished(&work.task.job).await,
            TaskKey::Chunk { .. } | TaskKey::Audio { .. } => tracing::debug!("encoded"),
        }
        Ok(outcome)
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
