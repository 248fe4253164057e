//! Puts a job into the ports, new or once more.

use std::path::Path;

use reelmill_common::manifest::{Location, Manifest, SourceInfo};
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, TaskKey, key};
use reelmill_source::{SourceError, store_file};
use reelmill_stage::{Ports, publish_missing, rebuild, revisions, submit};

use crate::failure::Failure;

/// What an earlier run had finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resumed {
    pub(crate) tasks: usize,
    pub(crate) total: usize,
    pub(crate) chunks: usize,
}

/// Copies a local source into the store, from where the stages will read it.
pub(crate) async fn store(
    ports: &Ports,
    job: &JobId,
    source: SourceInfo,
    scratch: &Path,
) -> Result<SourceInfo, Failure> {
    let Location::Path(path) = &source.location else {
        return Ok(source);
    };
    let stored = store_file(ports.store.as_ref(), job, &source.name, path, scratch)
        .await
        .map_err(|error| Failure::of(&error))?;
    if stored.sha256 != source.sha256 {
        return Err(Failure::of(&SourceError::Changed(path.clone())));
    }
    let location = Location::Stored { job: job.clone() };
    Ok(SourceInfo { location, ..source })
}

/// Submits a job, also once more after a run that failed before it had a plan.
pub(crate) async fn new(ports: &Ports, job: &JobId, request: &JobRequest) -> Result<(), Failure> {
    // A profile or an option that was another then: there is no plan yet that it would spoil.
    ports
        .store
        .delete(&key::request(job))
        .await
        .map_err(|error| Failure::of(&error))?;
    // Before the message: whoever gets it must not find a job that has ended.
    ports
        .ledger
        .retry(job)
        .await
        .map_err(|error| Failure::of(&error))?;
    Ok(submit(ports, job, request).await?)
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
