//! The second stage: encodes one window of a source into every rendition, or one audio track
//! whole, and leaves a done-marker that names what it made.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use reelmill_common::manifest::Manifest;
use reelmill_common::marker::DoneMarker;
use reelmill_common::{JobId, ObjectKey, TaskKey, key};
use reelmill_media::Tools;
use reelmill_source::{Opened, Sources};
use reelmill_stage::{
    Handler, Outcome, Ports, StageError, Work, create_json, exists, load_json, planned, revisions,
};
use reelmill_store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;

mod audio;
mod chunk;
mod groups;
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
        let marker = key::marker(job, work.task.key);
        // All at once, since each takes a round trip: a chunk of a short film waits for little else.
        let (is_done, manifest, revisions) = tokio::join!(
            exists(store, &marker),
            planned(store, job),
            revisions(store, job),
        );
        if is_done? {
            // An earlier attempt died between its marker and the ledger.
            return Ok(Outcome::Complete);
        }
        let manifest = manifest?;
        self.tools.are_of(&manifest.ffmpeg)?;
        match work.task.key {
            TaskKey::Chunk { .. } => {
                let layout = manifest.layout(&revisions?);
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
    /// What came of a program that read the source. Where the source is not what it was, that is the
    /// trouble, whatever the program said of it.
    async fn checked<T, E>(
        &self,
        manifest: &Manifest,
        source: &Opened,
        result: Result<T, E>,
    ) -> Result<T, StageError>
    where
        StageError: From<E>,
    {
        source.check()?;
        if result.is_err() {
            self.sources.confirm(&manifest.source).await?;
        }
        Ok(result?)
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

    async fn mark(
        &self,
        job: &JobId,
        task: TaskKey,
        marker: &(impl DoneMarker + Serialize + DeserializeOwned + Sync),
    ) -> Result<(), StageError> {
        mark(self.ports.store.as_ref(), &key::marker(job, task), marker).await
    }
}

/// Writes the done-marker; when there is one already, what was made and it does not name is removed.
/// The one that is there may be this very one, should the answer to an earlier call have been lost.
async fn mark<M>(store: &dyn Store, key: &ObjectKey, marker: &M) -> Result<(), StageError>
where
    M: DoneMarker + Serialize + DeserializeOwned + Sync,
{
    if create_json(store, key, marker).await? {
        return Ok(());
    }
    let Some(winner) = load_json::<M>(store, key).await? else {
        let message = format!("`{key}` is there and cannot be read");
        return Err(StageError {
            retryable: true,
            ..StageError::permanent("marker-unreadable", message)
        });
    };
    let kept = winner.objects();
    for made in marker.objects() {
        if kept.contains(&made) {
            continue;
        }
        if let Err(error) = store.delete(made).await {
            tracing::debug!(key = %made, %error, "cannot remove what another attempt outran");
        }
    }
    Ok(())
}

fn unreadable(file: &std::path::Path, error: &std::io::Error) -> StageError {
    StageError::scratch("cannot read", file, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::marker::{AudioMarker, StoredFile, VERSION};
    use reelmill_common::{Sha256, Timebase};
    use reelmill_store::{DirectoryStore, Faults, FaultyStore, When};

    fn object(epoch: u32) -> ObjectKey {
        ObjectKey::new(format!("transcoded/job/audio_0/{epoch}-worker/audio.mp4")).unwrap()
    }

    /// What an attempt leaves: its object, and a marker that names it.
    async fn attempt(store: &dyn Store, epoch: u32) -> AudioMarker {
        let key = object(epoch);
        store.put(&key, "sound".into()).await.unwrap();
        AudioMarker {
            version: VERSION,
            task: TaskKey::Audio { track: 0 },
            first_pts: Some(0),
            timebase: Timebase::MICROS,
            samples: 1,
            sample_rate: 48_000,
            channels: 2,
            file: Some(StoredFile {
                key,
                bytes: 5,
                sha256: Sha256::of(b"sound"),
            }),
            complaints: 0,
            notes: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_marker_whose_answer_was_lost_keeps_what_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DirectoryStore::open(dir.path()).unwrap());
        let key = ObjectKey::new("transcoded/job/audio_0.json").unwrap();
        let marker = attempt(store.as_ref(), 1).await;
        let lossy = FaultyStore::new(
            Arc::clone(&store),
            Faults::first(1, When::After).only("put_new"),
        );
        assert!(mark(&lossy, &key, &marker).await.unwrap_err().retryable);
        // As a client does that tries again by itself.
        mark(&lossy, &key, &marker).await.unwrap();
        assert!(exists(store.as_ref(), &object(1)).await.unwrap());

        let late = attempt(store.as_ref(), 2).await;
        mark(store.as_ref(), &key, &late).await.unwrap();
        assert!(!exists(store.as_ref(), &object(2)).await.unwrap());
        assert!(exists(store.as_ref(), &object(1)).await.unwrap());
    }
}
