//! The second stage: encodes one window of a source into every rendition, or one audio track
//! whole, and leaves a done-marker that names what it made.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use reelmill_common::manifest::{Manifest, SourceInfo};
use reelmill_common::{JobId, ObjectKey, TaskKey, key};
use reelmill_media::{Input, Tools};
use reelmill_source::Sources;
use reelmill_stage::{
    Handler, Outcome, Ports, StageError, Work, blocking, create_json, exists, planned, revisions,
};
use serde::Serialize;

mod audio;
mod chunk;
mod pieces;

/// Encodes chunks and audio tracks.
#[derive(Debug)]
pub struct Worker {
    /// The three ports.
    pub ports: Ports,
    /// The ffmpeg at hand.
    pub tools: Arc<Tools>,
    /// Shared with the other stages of this process, so that a source is read for its digest once.
    pub sources: Arc<Sources>,
    /// Where scratch folders are made.
    pub scratch: PathBuf,
}

#[async_trait]
impl Handler for Worker {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let job = &work.task.job;
        let store = self.ports.store.as_ref();
        if exists(store, &key::marker(job, work.task.key)).await? {
            // An earlier attempt died between its marker and the ledger.
            return Ok(Outcome::Complete);
        }
        let manifest = planned(store, job).await?;
        self.same_ffmpeg(&manifest)?;
        match work.task.key {
            TaskKey::Chunk { .. } => {
                let revisions = revisions(store, job).await?;
                let layout = manifest.layout(&revisions);
                match layout.iter().find(|placed| placed.task() == work.task.key) {
                    Some(placed) => self.chunk(work, &manifest, placed).await?,
                    // A revision took the window over: nobody will ask for this chunk.
                    None => return Ok(Outcome::Yielded),
                }
            }
            TaskKey::Audio { track } => self.audio(work, &manifest, track).await?,
            TaskKey::Ingest | TaskKey::Finalize => {
                let message = format!("`{}` is not a worker's task", work.task.key);
                return Err(StageError::permanent("task-misplaced", message));
            }
        }
        Ok(Outcome::Complete)
    }
}

impl Worker {
    /// Chunks of one job must come from one ffmpeg, or their pieces would not fit together.
    fn same_ffmpeg(&self, manifest: &Manifest) -> Result<(), StageError> {
        if manifest.ffmpeg == self.tools.version {
            return Ok(());
        }
        let message = format!(
            "the job was planned for ffmpeg {}, this worker has {}: use that one, or begin anew",
            manifest.ffmpeg, self.tools.version
        );
        // Another worker may have the right one.
        Err(StageError::hand_back("ffmpeg-differs", message))
    }

    async fn open(&self, source: &SourceInfo) -> Result<Input, StageError> {
        let (sources, source) = (Arc::clone(&self.sources), source.clone());
        let path = blocking(move || sources.open(&source)).await??;
        Ok(Input::file(path))
    }

    /// Puts a file under the attempt's own name, which no other attempt ever writes.
    async fn keep(&self, work: &Work, file: &std::path::Path) -> Result<ObjectKey, StageError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let (job, worker) = (&work.task.job, &work.lease.worker);
        let key = key::attempt(job, work.task.key, work.lease.epoch, worker, &name)
            .map_err(|error| StageError::permanent("key-invalid", error.to_string()))?;
        self.ports.store.put_file(&key, file).await?;
        Ok(key)
    }

    /// Writes the done-marker; when another attempt was first, what this one made is removed.
    async fn mark(
        &self,
        job: &JobId,
        task: TaskKey,
        marker: &(impl Serialize + Sync),
        made: &[ObjectKey],
    ) -> Result<(), StageError> {
        if !create_json(self.ports.store.as_ref(), &key::marker(job, task), marker).await? {
            for key in made {
                if let Err(error) = self.ports.store.delete(key).await {
                    tracing::debug!(%key, %error, "cannot remove what another attempt outran");
                }
            }
        }
        Ok(())
    }
}

fn unreadable(file: &std::path::Path, error: &std::io::Error) -> StageError {
    StageError::scratch("cannot read", file, error)
}
