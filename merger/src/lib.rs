//! The third stage: compares seams and sends back chunks that do not fit, joins fragments, muxes
//! audio, packages, certifies and publishes.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use reelmill_common::job::{JobStatus, Phase};
use reelmill_common::key;
use reelmill_common::manifest::{Manifest, PlacedChunk, Revision};
use reelmill_common::marker::{AudioMarker, ChunkMarker};
use reelmill_media::Tools;
use reelmill_source::Sources;
use reelmill_stage::{
    Handler, Outcome, Ports, StageError, Work, create_json, exists, load_json, planned,
    publish_missing, revisions,
};

mod assemble;
mod certify;
pub mod hls;
mod package;
mod seams;
mod timing;

/// Finishes jobs.
#[derive(Debug)]
pub struct Merger {
    /// The three ports.
    pub ports: Ports,
    /// The ffmpeg at hand.
    pub tools: Arc<Tools>,
    /// Shared with the other stages of this process.
    pub sources: Arc<Sources>,
    /// Where scratch folders are made.
    pub scratch: PathBuf,
}

#[async_trait]
impl Handler for Merger {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let job = &work.task.job;
        let store = self.ports.store.as_ref();
        let manifest = planned(store, job).await?;
        if !exists(store, &key::certificate(job)).await? {
            let revisions = revisions(store, job).await?;
            let Some(parts) = self.parts(&manifest, &revisions).await? else {
                // Told too early, or of a plan that has changed since: what is missing is asked
                // for once more.
                publish_missing(&self.ports, &manifest, &revisions).await?;
                return Ok(Outcome::Yielded);
            };
            if let Some(revision) = revise(&parts, &revisions) {
                self.send_back(&manifest, revisions, revision).await?;
                return Ok(Outcome::Yielded);
            }
            self.tools.are_of(&manifest.ffmpeg)?;
            self.ports.ledger.set_phase(job, Phase::Merging).await?;
            self.sources.confirm(&manifest.source).await?;
            self.finish(&manifest, &revisions, &parts).await?;
        }
        self.ports
            .ledger
            .finish(job, JobStatus::Completed, None)
            .await?;
        Ok(Outcome::Yielded)
    }
}

/// What the workers made, in order.
#[derive(Debug)]
struct Parts {
    chunks: Vec<(PlacedChunk, ChunkMarker)>,
    audio: Vec<AudioMarker>,
}

impl Parts {
    /// What the workers found while they encoded, one sentence each.
    fn notes(&self) -> impl Iterator<Item = &String> {
        let chunks = self.chunks.iter().flat_map(|(_, marker)| &marker.notes);
        chunks.chain(self.audio.iter().flat_map(|marker| &marker.notes))
    }
}

impl Merger {
    /// The markers of all tasks; `None` while one is missing.
    async fn parts(
        &self,
        manifest: &Manifest,
        revisions: &[Revision],
    ) -> Result<Option<Parts>, StageError> {
        let store = self.ports.store.as_ref();
        let mut parts = Parts {
            chunks: Vec::new(),
            audio: Vec::new(),
        };
        for placed in manifest.layout(revisions) {
            let key = key::marker(&manifest.job, placed.task());
            let Some(marker) = load_json::<ChunkMarker>(store, &key).await? else {
                return Ok(None);
            };
            parts.chunks.push((placed, marker));
        }
        for task in manifest.tasks(revisions) {
            if !matches!(task, reelmill_common::TaskKey::Audio { .. }) {
                continue;
            }
            let key = key::marker(&manifest.job, task);
            let Some(marker) = load_json::<AudioMarker>(store, &key).await? else {
                return Ok(None);
            };
            parts.audio.push(marker);
        }
        Ok(Some(parts))
    }

    /// Writes a revision and asks for its chunks; should another merger have written one with this
    /// number, that one counts.
    async fn send_back(
        &self,
        manifest: &Manifest,
        mut revisions: Vec<Revision>,
        revision: Revision,
    ) -> Result<(), StageError> {
        let key = key::revision(&manifest.job, revision.number);
        let store = self.ports.store.as_ref();
        let revision = match create_json(store, &key, &revision).await? {
            true => revision,
            false => load_json(store, &key).await?.unwrap_or(revision),
        };
        for reason in &revision.reasons {
            tracing::info!(job = %manifest.job, revision = revision.number, "{reason}");
        }
        revisions.push(revision);
        publish_missing(&self.ports, manifest, &revisions).await?;
        Ok(())
    }
}

/// The next change of the plan; `None` when every seam agrees.
fn revise(parts: &Parts, revisions: &[Revision]) -> Option<Revision> {
    let pairs = parts
        .chunks
        .iter()
        .zip(parts.chunks.iter().skip(1))
        .enumerate();
    let disagreements: Vec<(usize, String)> = pairs
        .filter_map(|(place, (a, b))| {
            seams::disagreement((&a.0, &a.1), (&b.0, &b.1)).map(|why| (place, why))
        })
        .collect();
    if disagreements.is_empty() {
        return None;
    }
    let layout: Vec<PlacedChunk> = parts
        .chunks
        .iter()
        .map(|(placed, _)| placed.clone())
        .collect();
    let number = revisions.last().map_or(1, |last| last.number + 1);
    Some(seams::revise(&layout, &disagreements, number))
}
