//! The part of a service's answers that commands show. Fields that a later service adds are no
//! trouble, and neither are those that it leaves out.

use reelmill_common::JobId;
use reelmill_common::job::{JobStatus, Phase};
use reelmill_common::request::JobOptions;
use reelmill_ledger::JobRecord;
use serde::Deserialize;

use crate::failure::{Exit, Failure};

/// A job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobView {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) phase: Option<String>,
    pub(crate) profile: String,
    pub(crate) percent: f64,
    pub(crate) chunks: Count,
    pub(crate) frames: Count,
    pub(crate) fps: Option<f64>,
    pub(crate) speed: Option<f64>,
    pub(crate) remaining_s: Option<f64>,
    pub(crate) created_at: String,
    pub(crate) ended_at: Option<String>,
    pub(crate) error: Option<ErrorView>,
    pub(crate) outputs: Option<Vec<OutputView>>,
    pub(crate) notes: Vec<String>,
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Count {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// Why a job failed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorView {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: String,
}

/// A file of a job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OutputView {
    pub(crate) path: String,
    pub(crate) url: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl JobView {
    /// Its status; `None` for a word of a later service.
    pub(crate) fn status(&self) -> Option<JobStatus> {
        self.status.parse().ok()
    }

    /// Whether it has ended, and how: its failure where it did not succeed.
    pub(crate) fn ended(&self) -> Option<Result<(), Failure>> {
        let status = self.status().filter(|status| status.is_terminal())?;
        Some(match (status, &self.error) {
            (JobStatus::Completed, _) => Ok(()),
            (_, Some(error)) => Err(Failure {
                detail: error.detail.clone(),
                ..Failure::new(Exit::Failed, &error.code, error.message.clone())
            }),
            (status, None) => Err(Failure::failed(format!(
                "the job `{}` is {}",
                self.id,
                status.as_str()
            ))),
        })
    }

    /// Seconds of video in all frames, where the service has told enough to know.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let (fps, speed) = (self.fps?, self.speed?);
        (fps > 0.0 && self.frames.total > 0).then(|| self.frames.total as f64 * speed / fps)
    }

    /// What a progress bar needs of it.
    pub(crate) fn record(&self) -> Option<JobRecord> {
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Some(JobRecord {
            id: JobId::new(self.id.clone()).ok()?,
            profile: self.profile.clone(),
            name: self.name.clone(),
            options: JobOptions::default(),
            status: self.status()?,
            phase: self
                .phase
                .as_ref()
                .and_then(|phase| phase.parse::<Phase>().ok()),
            total_chunks: count(self.chunks.total),
            completed_chunks: count(self.chunks.done),
            total_frames: self.frames.total,
            completed_frames: self.frames.done,
            attempts: 0,
            created_at: 0,
            started_at: None,
            ended_at: None,
            phases: Vec::new(),
            updated_at: 0,
            error: None,
        })
    }
}
