//! What operators read of a job in the log: a line for each of its steps.

use std::sync::Arc;

use async_trait::async_trait;
use metrics::counter;
use reelmill_common::certificate::Certificate;
use reelmill_common::job::JobStatus;
use reelmill_common::{JobId, TaskKey, key};
use reelmill_stage::{Handler, Outcome, Ports, StageError, Work, load_json};

use crate::metrics::OUTPUT_BYTES;
use crate::wire::Stage;

/// A stage's handler, and the lines that its ends are worth.
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

#[async_trait]
impl Handler for Observed {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let result = self.inner.handle(work).await;
        if result.is_ok() {
            match work.task.key {
                TaskKey::Ingest => tracing::info!("planned"),
                TaskKey::Finalize => self.finished(&work.task.job).await,
                TaskKey::Chunk { .. } | TaskKey::Audio { .. } => tracing::debug!("encoded"),
            }
        }
        result
    }
}

impl Observed {
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
