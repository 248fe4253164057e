//! One audio track, whole.

use reelmill_common::manifest::{AudioPlan, Manifest};
use reelmill_common::marker::{AudioMarker, StoredFile, VERSION};
use reelmill_common::{Retryable as _, Sha256, Timebase};
use reelmill_media::audio::{AudioRequest, EncodedAudio, TRACK_FILE, encode};
use reelmill_media::mp4::{Mp4Error, inspect, plain_channel_configuration};
use reelmill_media::process::Ended;
use reelmill_media::{Input, MediaError};
use reelmill_stage::{StageError, Work, blocking, scratch_folder};

use crate::Worker;

impl Worker {
    pub(crate) async fn audio(
        &self,
        work: &Work,
        manifest: &Manifest,
        track: u32,
    ) -> Result<(), StageError> {
        let Some(plan) = manifest.audio.get(track as usize) else {
            let message = format!("the plan has no audio track {track}");
            return Err(StageError::permanent("plan-broken", message));
        };
        let source = self.sources.open(&manifest.source).await?;
        let input = Input::at(source.place()).opened(manifest.opening);
        let dir = scratch_folder(&self.scratch, &work.task.key.to_string())?;
        let request = AudioRequest {
            input: &input,
            plan,
            copy_timestamps: manifest.copy_timestamps,
            timeline: &manifest.timeline,
        };
        let encoded = match encode(&self.tools, &request, dir.path()).await {
            // The same again for every worker: what else the job delivers is worth having.
            Err(error @ MediaError::Failed { .. }) => {
                source.check()?;
                self.sources.confirm(&manifest.source).await?;
                tracing::warn!(job = %work.task.job, track, %error, detail = error.detail(), "an audio track is left out");
                left_out(plan, "ffmpeg cannot encode it")
            }
            encoded => self.checked(manifest, &source, encoded).await?,
        };
        let mut marker = AudioMarker {
            version: VERSION,
            task: work.task.key,
            first_pts: encoded.first_pts,
            timebase: encoded.timebase,
            samples: 0,
            sample_rate: plan.stream.sample_rate,
            channels: plan.stream.channels,
            file: None,
            complaints: encoded.ended.complaints,
            notes: encoded.notes,
        };
        if encoded.first_pts.is_some() {
            let path = dir.path().join(TRACK_FILE);
            let inspected = path.clone();
            let (configuration, tracks) = blocking(move || {
                let configuration = plain_channel_configuration(&inspected)?;
                Ok::<_, Mp4Error>((configuration, inspect(&inspected)?))
            })
            .await??;
            let Some(made) = tracks.first() else {
                let message = format!("ffmpeg encoded audio track {track} into a file without one");
                return Err(StageError::permanent("audio-broken", message));
            };
            if configuration == Some(0) {
                let made = left_out(
                    plan,
                    "AAC has no number for its channels, and browsers refuse it",
                );
                marker.first_pts = None;
                marker.notes = made.notes;
                return self.mark(&work.task.job, work.task.key, &marker).await;
            }
            // What precedes the first sample is the encoder's delay.
            let samples = made.duration + made.first_pts.unwrap_or(0).min(0);
            marker.samples = u64::try_from(samples).unwrap_or(0);
            marker.sample_rate = made.sample_rate;
            marker.channels = made.channels;
            let hashed = path.clone();
            let (sha256, bytes) = blocking(move || digest(&hashed)).await??;
            let key = self.keep(work, &path).await?;
            marker.file = Some(StoredFile { key, bytes, sha256 });
        }
        self.mark(&work.task.job, work.task.key, &marker).await
    }
}

/// What a track comes to that is not delivered.
fn left_out(plan: &AudioPlan, why: &str) -> EncodedAudio {
    EncodedAudio {
        first_pts: None,
        timebase: Timebase::new(1, plan.stream.sample_rate).unwrap_or(Timebase::MICROS),
        ended: Ended::default(),
        notes: vec![format!(
            "the sound in stream {} is left out: {why}",
            plan.stream.index
        )],
    }
}

fn digest(path: &std::path::Path) -> Result<(Sha256, u64), StageError> {
    let open = std::fs::File::open(path);
    open.and_then(|mut file| Sha256::of_reader(&mut file))
        .map_err(|error| crate::unreadable(path, &error))
}
