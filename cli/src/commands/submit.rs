//! Brings a job back that an earlier run had planned.

use std::collections::BTreeSet;
use std::path::Path;

use reelmill_common::manifest::{Location, Manifest, SourceInfo};
use reelmill_common::{JobId, TaskKey};
use reelmill_source::{SourceError, store_file};
use reelmill_stage::{Ports, publish_missing, rebuild, revisions};

use crate::failure::Failure;

/// What an earlier run had finished; nothing by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resumed {
    pub(crate) tasks: usize,
    pub(crate) total: usize,
    pub(crate) chunks: usize,
    /// Packets of the picture in these chunks.
    pub(crate) packets: u64,
    /// Audio tracks.
    pub(crate) tracks: BTreeSet<u32>,
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
    let layout = manifest.layout(&revisions);
    let chunks = || layout.iter().filter(|placed| done.contains(&placed.task()));
    let track = |task: &TaskKey| match task {
        TaskKey::Audio { track } => Some(*track),
        _ => None,
    };
    Ok(Resumed {
        tasks: done.len(),
        total: manifest.tasks(&revisions).len(),
        chunks: chunks().count(),
        packets: chunks().map(|placed| placed.chunk.packets).sum(),
        tracks: done.iter().filter_map(track).collect(),
    })
}
