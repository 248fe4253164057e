//! Puts a job into the ports, new or once more.

use reelmill_common::manifest::Manifest;
use reelmill_common::message::{Message, Topic};
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, TaskId, TaskKey, key};
use reelmill_ledger::NewJob;
use reelmill_queue::Outgoing;
use reelmill_stage::{Ports, publish_missing, rebuild, revisions};

use crate::failure::Failure;

/// What an earlier run had finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resumed {
    pub(crate) tasks: usize,
    pub(crate) total: usize,
    pub(crate) chunks: usize,
}

/// Submits a job: its request, then its place in the ledger, then the message.
pub(crate) async fn new(ports: &Ports, job: &JobId, request: &JobRequest) -> Result<(), Failure> {
    let bytes = serde_json::to_vec_pretty(request)
        .map_err(|error| Failure::failed(format!("cannot write the request: {error}")))?;
    ports
        .store
        .put(&key::request(job), bytes.into())
        .await
        .map_err(|error| Failure::of(&error))?;
    let record = NewJob {
        id: job.clone(),
        profile: request.profile.name.clone(),
        name: request.name.clone(),
    };
    ports
        .ledger
        .create_job(&record)
        .await
        .map_err(|error| Failure::of(&error))?;
    // An earlier run may have failed before it had a plan.
    ports
        .ledger
        .retry(job)
        .await
        .map_err(|error| Failure::of(&error))?;
    let task = TaskId {
        job: job.clone(),
        key: TaskKey::Ingest,
    };
    let message = Message {
        profile: request.profile.name.clone(),
        ..Message::new(task)
    };
    let outgoing = Outgoing {
        key: message.task_id().to_string(),
        spread: 0,
        payload: message
            .encode()
            .map_err(|error| Failure::failed(error.to_string()))?,
        delay: std::time::Duration::ZERO,
    };
    ports
        .queue
        .publish(Topic::Ingest, &[outgoing])
        .await
        .map_err(|error| Failure::of(&error))
}

/// Brings a planned job back: what its markers show as done stays done, the rest is asked for.
pub(crate) async fn again(ports: &Ports, manifest: &Manifest) -> Result<Resumed, Failure> {
    let job = &manifest.job;
    rebuild(ports, job).await?;
    ports
        .ledger
        .retry(job)
        .await
        .map_err(|error| Failure::of(&error))?;
    let revisions = revisions(ports.store.as_ref(), job).await?;
    let done = publish_missing(ports, manifest, &revisions).await?;
    let is_chunk = |task: &&TaskKey| matches!(task, TaskKey::Chunk { .. });
    Ok(Resumed {
        tasks: done.len(),
        total: manifest.tasks(&revisions).len(),
        chunks: done.iter().filter(is_chunk).count(),
    })
}
