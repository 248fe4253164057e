//! A job as clients see it.

use std::collections::BTreeMap;
use std::time::Duration;

use reelmill_common::TaskKey;
use reelmill_common::job::{JobStatus, Phase as CommonPhase};
use reelmill_common::request::Priority as CommonPriority;
use reelmill_ledger::{JobRecord, Millis};
use serde::Serialize;
use utoipa::ToSchema;

use super::memory::{self, Facts, frames_per_second};
use crate::files::{self, OutputBody};
use crate::{Api, Problem, rfc3339};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Accepted, nothing started.
    Pending,
    /// Somebody works on it.
    Running,
    /// Its outputs are there and proven.
    Completed,
    /// It ended without outputs; `error` says why.
    Failed,
    /// Somebody asked for its end.
    Cancelled,
}

/// What a running job is busy with.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The source is being fetched.
    Downloading,
    /// The source is being probed and scanned.
    Scanning,
    /// Chunks are being encoded.
    Transcoding,
    /// Pieces are being joined.
    Merging,
    /// Outputs are being put into the store.
    Storing,
}

/// Whose turn it is first.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Priority {
    /// When nothing else is to be done.
    Low,
    /// As most jobs.
    Normal,
    /// Before all others.
    High,
}

/// One source and one profile, from upload to certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Names the job.
    #[schema(pattern = "^[a-z0-9][a-z0-9-]{0,63}$")]
    pub(crate) id: String,
    /// A name for people, such as that of the uploaded file.
    name: String,
    /// Where it stands.
    pub(crate) status: Status,
    /// What it is busy with while it runs.
    phase: Option<Phase>,
    /// The profile's name.
    profile: String,
    /// Whose turn it is first.
    priority: Priority,
    /// What the submitter gave to be given back.
    metadata: BTreeMap<String, String>,
    /// Seconds that it may take from its start to its end.
    time_limit_s: Option<u64>,
    /// The stream that its submitter chose for the picture, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    video_stream: Option<String>,
    /// The streams that its submitter chose for audio tracks, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_streams: Option<String>,
    /// By frames, without a picture by tasks; 100 only when it is completed.
    #[schema(minimum = 0, maximum = 100)]
    percent: f64,
    /// Tasks: chunks of the picture and audio tracks.
    chunks: Count,
    /// Frames; the total is an estimate until it is completed.
    frames: Count,
    /// Attempts at tasks so far.
    attempts: u32,
    /// Frames of the source encoded per second: now, or over all where it is completed.
    fps: Option<f64>,
    /// `fps` as a multiple of the source's own rate.
    speed: Option<f64>,
    /// Seconds until all frames are encoded at this speed; null until it is known.
    remaining_s: Option<u64>,
    /// When it was accepted.
    #[schema(format = DateTime)]
    created_at: String,
    /// When work on it began.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// When anything about it last changed.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When it and its files are removed; null for never, or while it has not ended.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Seconds spent in each phase, so far for the one it is in.
    timings: BTreeMap<String, f64>,
    /// What is transcoded, as soon as it is known.
    source: Option<Source>,
    /// The files to play or to take when it is completed; `links.outputs` names every file.
    outputs: Option<Vec<OutputBody>>,
    /// What the outputs leave out of the source, and what was guessed, cut, damaged or changed on the
    /// way: one sentence each. While the job runs, those that are known so far.
    notes: Vec<String>,
    /// Why it failed.
    error: Option<JobErrorBody>,
    /// Where to go from here.
    links: Links,
}

/// How many of how many.
#[derive(Debug, Serialize, ToSchema)]
struct Count {
    /// Complete.
    done: u64,
    /// All of them; 0 while it is not known.
    total: u64,
}

/// What is transcoded.
#[derive(Debug, Serialize, ToSchema)]
struct Source {
    /// The file's name.
    name: String,
    /// Its length.
    bytes: u64,
    /// Of all bytes.
    sha256: String,
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobError)]
struct JobErrorBody {
    /// A stable code in kebab-case.
    #[schema(example = "not-media")]
    code: String,
    /// One sentence that names the thing and the way out.
    message: String,
    /// The task that failed for good, such as `chunk-003`.
    task: Option<String>,
    /// The chunk's number, where it was one.
    chunk: Option<u32>,
    /// Whether the same job may succeed when it is run again.
    retryable: bool,
    /// The tail of ffmpeg's own words where they help, else empty.
    detail: String,
}

/// Where to go from a job.
#[derive(Debug, Serialize, ToSchema)]
struct Links {
    /// The job itself.
    #[serde(rename = "self")]
    itself: String,
    /// Its progress as server-sent events.
    events: String,
    /// Its files.
    outputs: String,
    /// The source as it was uploaded.
    source: String,
    /// The proof.
    certificate: String,
}

/// Makes a job of its record.
pub(crate) async fn job(api: &Api, record: &JobRecord) -> Result<Job, Problem> {
    let facts = memory::facts(api, record).await?;
    let delivered = match record.status {
        JobStatus::Completed => memory::delivered(api, &record.id).await?,
        _ => None,
    };
    let notes = match &delivered {
        Some(delivered) => &delivered.notes,
        None => &facts.notes,
    };
    let now = rfc3339::now();
    let end = record.ended_at.unwrap_or(now);
    let timings = timings(record, end);
    let fps = match record.status {
        JobStatus::Completed => overall_fps(record, &timings),
        _ => api.memory.fps(record, now),
    };
    let retention = api.settings.retention.map(rfc3339::millis);
    let expires = record.ended_at.zip(retention);
    let base = format!("/v1/jobs/{}", record.id);
    let options = &record.options;
    Ok(Job {
        id: record.id.to_string(),
        name: record.name.clone(),
        status: record.status.into(),
        phase: record.phase.map(Phase::from),
        profile: record.profile.clone(),
        priority: options.priority.into(),
        metadata: options.metadata.clone(),
        time_limit_s: options.time_limit_s,
        video_stream: options.video_stream.map(|stream| stream.to_string()),
        audio_streams: options.audio_streams.as_ref().map(ToString::to_string),
        percent: percent(record),
        chunks: Count {
            done: record.completed_chunks.into(),
            total: record.total_chunks.into(),
        },
        frames: Count {
            done: record.completed_frames,
            total: record.total_frames,
        },
        attempts: record.attempts,
        fps: fps.map(|fps| rounded(fps, 10.0)),
        speed: speed(fps, &facts),
        remaining_s: remaining(record, fps),
        created_at: rfc3339::text(record.created_at),
        started_at: record.started_at.map(rfc3339::text),
        ended_at: record.ended_at.map(rfc3339::text),
        updated_at: rfc3339::text(record.updated_at),
        expires_at: expires.map(|(end, kept)| rfc3339::text(end.saturating_add(kept))),
        timings,
        source: facts.source.as_ref().map(|(name, bytes, sha256)| Source {
            name: name.clone(),
            bytes: *bytes,
            sha256: sha256.to_string(),
        }),
        notes: notes.clone(),
        outputs: delivered.map(|delivered| files::main_outputs(&record.id, &delivered.outputs)),
        error: record.error.as_ref().map(|error| JobErrorBody {
            code: error.code.clone(),
            message: error.message.clone(),
            task: error.task.map(|task| task.to_string()),
            chunk: match error.task {
                Some(TaskKey::Chunk { index, .. }) => Some(index),
                _ => None,
            },
            retryable: error.retryable,
            detail: error.detail.clone(),
        }),
        links: Links {
            events: format!("{base}/events"),
            outputs: format!("{base}/outputs"),
            source: format!("{base}/source"),
            certificate: format!("{base}/certificate"),
            itself: base,
        },
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people only")]
fn percent(record: &JobRecord) -> f64 {
    if record.status == JobStatus::Completed {
        return 100.0;
    }
    let (done, total) = match record.total_frames {
        0 => (record.completed_chunks.into(), record.total_chunks.into()),
        total => (record.completed_frames, total),
    };
    if total == 0 {
        return 0.0;
    }
    // All encoded is not all done: the pieces are still to be joined and proven.
    (done as f64 * 1000.0 / total as f64).floor().min(999.0) / 10.0
}

/// Seconds in each phase.
#[expect(clippy::cast_precision_loss, reason = "for people only")]
fn timings(record: &JobRecord, end: Millis) -> BTreeMap<String, f64> {
    let begins = record.phases.iter().map(|entry| entry.at);
    let ends = begins.skip(1).chain([end]);
    let mut spent: BTreeMap<String, Millis> = BTreeMap::new();
    for (entry, until) in record.phases.iter().zip(ends) {
        let word = entry.phase.as_str().to_owned();
        *spent.entry(word).or_default() += until.saturating_sub(entry.at);
    }
    spent
        .into_iter()
        .map(|(word, ms)| (word, ms as f64 / 1000.0))
        .collect()
}

/// Frames per second over the whole of the encoding of a completed job.
fn overall_fps(record: &JobRecord, timings: &BTreeMap<String, f64>) -> Option<f64> {
    let seconds = *timings.get(CommonPhase::Transcoding.as_str())?;
    let fps = frames_per_second(record.completed_frames, Duration::from_secs_f64(seconds));
    (fps > 0.0).then_some(fps)
}

fn speed(fps: Option<f64>, facts: &Facts) -> Option<f64> {
    let rate = facts.frame_rate.filter(|rate| *rate > 0.0)?;
    fps.map(|fps| rounded(fps / rate, 100.0))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate for people, positive and small"
)]
fn remaining(record: &JobRecord, fps: Option<f64>) -> Option<u64> {
    if record.status.is_terminal() {
        return None;
    }
    let missing = record.total_frames.saturating_sub(record.completed_frames);
    fps.map(|fps| (missing as f64 / fps).ceil() as u64)
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

impl From<JobStatus> for Status {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Pending => Self::Pending,
            JobStatus::Running => Self::Running,
            JobStatus::Completed => Self::Completed,
            JobStatus::Failed => Self::Failed,
            JobStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Status> for JobStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Running => Self::Running,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

impl From<CommonPhase> for Phase {
    fn from(phase: CommonPhase) -> Self {
        match phase {
            CommonPhase::Downloading => Self::Downloading,
            CommonPhase::Scanning => Self::Scanning,
            CommonPhase::Transcoding => Self::Transcoding,
            CommonPhase::Merging => Self::Merging,
            CommonPhase::Storing => Self::Storing,
        }
    }
}

impl From<CommonPriority> for Priority {
    fn from(priority: CommonPriority) -> Self {
        match priority {
            CommonPriority::Low => Self::Low,
            CommonPriority::Normal => Self::Normal,
            CommonPriority::High => Self::High,
        }
    }
}
