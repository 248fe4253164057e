//! How a job begins.

use reelmill_common::message::Message;
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, TaskId, TaskKey, key};
use reelmill_ledger::NewJob;

use crate::rebuild::publish;
use crate::{Ports, StageError, create_json};

/// Submits a job: its request, then its place in the ledger, then the message. Idempotent: after an
/// error, or to be sure, it is called again with the same request. A request that is there already
/// stays, since workers may have read it.
///
/// # Errors
/// A port that fails.
pub async fn submit(ports: &Ports, job: &JobId, request: &JobRequest) -> Result<(), StageError> {
    create_json(ports.store.as_ref(), &key::request(job), request).await?;
    ports.ledger.create_job(&NewJob::of(job, request)).await?;
    let task = TaskId {
        job: job.clone(),
        key: TaskKey::Ingest,
    };
    let message = Message {
        profile: request.profile.name.clone(),
        priority: request.options.priority,
        ..Message::new(task)
    };
    publish(ports, &[message]).await
}
