//! What the service remembers of jobs, to answer fast: it may be lost at any time.
//!
//! Plans and certificates never change once written, so they are read once. Progress is not
//! written anywhere: the ledger tells how many frames are done now, and what it told some seconds
//! ago gives the speed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reelmill_common::certificate::Certificate;
use reelmill_common::job::{JobStatus, Phase};
use reelmill_common::upload::StoredSource;
use reelmill_common::{JobId, Sha256, key};
use reelmill_ledger::{JobRecord, Millis};
use reelmill_stage::{load_json, manifest};

use crate::rfc3339::millis;
use crate::{Api, Problem};

/// How many jobs are remembered.
const MAX_JOBS: usize = 2048;

/// Speed is that over so long a time: short enough to follow, long enough to be calm.
const WINDOW: Duration = Duration::from_secs(30);

/// The first seconds say too little.
const MIN_SPAN: Duration = Duration::from_secs(3);

/// Samples nearer to each other than this add nothing.
const MIN_STEP: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    facts: Mutex<HashMap<JobId, Arc<Facts>>>,
    delivered: Mutex<HashMap<JobId, Arc<Delivered>>>,
    progress: Mutex<HashMap<JobId, VecDeque<(Instant, u64)>>>,
}

/// What is known of a job's source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Its name, length and digest.
    pub(crate) source: Option<(String, u64, Sha256)>,
    /// Frames per second of the source.
    pub(crate) frame_rate: Option<f64>,
    /// The plan's notes.
    pub(crate) notes: Vec<String>,
}

/// The part of a certificate that clients see in the job.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// Every file.
    pub(crate) outputs: Vec<Output>,
    /// The notes of every stage.
    pub(crate) notes: Vec<String>,
}

/// A file that a job delivered.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Its path.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Of all bytes.
    pub(crate) sha256: Sha256,
    /// What HTTP calls its kind.
    pub(crate) content_type: &'static str,
}

impl Memory {
    /// Forgets a job.
    pub(crate) fn forget(&self, job: &JobId) {
        lock(&self.facts).remove(job);
        lock(&self.delivered).remove(job);
        lock(&self.progress).remove(job);
    }

    /// Frames per second that the job is encoded with now.
    ///
    /// Between the oldest sample of the last half minute and now, where there are a few seconds of
    /// it; else since encoding began, which is right for a job that nobody has looked at before,
    /// and too much for one that was retried.
    pub(crate) fn fps(&self, record: &JobRecord, now: Millis) -> Option<f64> {
        if record.status != JobStatus::Running || record.total_frames == 0 {
            lock(&self.progress).remove(&record.id);
            return None;
        }
        let at = Instant::now();
        let frames = record.completed_frames;
        let (since, done) = self.sample(&record.id, at, frames);
        let began = record
            .phases
            .iter()
            .rev()
            .find(|entry| entry.phase == Phase::Transcoding);
        let phase = began.map(|entry| Duration::from_millis(now.saturating_sub(entry.at)));
        let (span, frames) = match phase {
            Some(phase) if since < MIN_SPAN && phase >= MIN_SPAN => (phase, frames),
            _ => (since, done),
        };
        let fps = frames_per_second(frames, span);
        (span >= MIN_SPAN && fps > 0.0).then_some(fps)
    }

    /// Adds a sample; the time and the frames since the oldest one that counts.
    fn sample(&self, job: &JobId, at: Instant, frames: u64) -> (Duration, u64) {
        let mut progress = lock(&self.progress);
        make_room(&mut progress, job);
        let samples = progress.entry(job.clone()).or_default();
        // A lease that ended takes its frames with it: what was before says nothing any more.
        if samples.back().is_some_and(|(_, before)| *before > frames) {
            samples.clear();
        }
        while samples.len() > 1 && samples.front().is_some_and(|(then, _)| at - *then > WINDOW) {
            samples.pop_front();
        }
        if samples
            .back()
            .is_none_or(|(then, _)| at - *then >= MIN_STEP)
        {
            samples.push_back((at, frames));
        }
        samples
            .front()
            .map_or((Duration::ZERO, 0), |(then, before)| {
                (at - *then, frames - before)
            })
    }
}

/// What a plan and an upload tell of a job's source.
pub(crate) async fn facts(api: &Api, record: &JobRecord) -> Result<Arc<Facts>, Problem> {
    let job = &record.id;
    if let Some(facts) = lock(&api.memory.facts).get(job) {
        return Ok(Arc::clone(facts));
    }
    let store = api.ports.store.as_ref();
    let planned = manifest(store, job).await?;
    // Before there is a plan, all of it may still change, also by a retry.
    let is_final = planned.is_some();
    let facts = match planned {
        Some(manifest) => {
            let rate = manifest
                .video
                .as_ref()
                .and_then(|video| video.stream.frame_rate);
            Facts {
                source: Some((
                    manifest.source.name,
                    manifest.source.size,
                    manifest.source.sha256,
                )),
                frame_rate: rate.map(|(num, den)| f64::from(num) / f64::from(den.max(1))),
                notes: manifest.notes,
            }
        }
        None => {
            let stored = load_json::<StoredSource>(store, &key::source(job)).await?;
            Facts {
                source: stored.map(|source| (source.name, source.size, source.sha256)),
                frame_rate: None,
                notes: Vec::new(),
            }
        }
    };
    let facts = Arc::new(facts);
    if is_final {
        let mut known = lock(&api.memory.facts);
        make_room(&mut known, job);
        known.insert(job.clone(), Arc::clone(&facts));
    }
    Ok(facts)
}

/// Reads what a job delivered from its certificate; `None` while it has none.
pub(crate) async fn delivered(api: &Api, job: &JobId) -> Result<Option<Arc<Delivered>>, Problem> {
    if let Some(delivered) = lock(&api.memory.delivered).get(job) {
        return Ok(Some(Arc::clone(delivered)));
    }
    let store = api.ports.store.as_ref();
    let Some(certificate) = load_json::<Certificate>(store, &key::certificate(job)).await? else {
        return Ok(None);
    };
    let outputs = certificate.outputs.into_iter().map(|output| Output {
        content_type: content_type(&output.path, output.video.is_some()),
        path: output.path,
        bytes: output.bytes,
        sha256: output.sha256,
    });
    let delivered = Arc::new(Delivered {
        outputs: outputs.collect(),
        notes: certificate.notes,
    });
    let mut known = lock(&api.memory.delivered);
    make_room(&mut known, job);
    known.insert(job.clone(), Arc::clone(&delivered));
    Ok(Some(delivered))
}

fn content_type(path: &str, has_picture: bool) -> &'static str {
    match path.rsplit_once('.') {
        Some((_, "m3u8")) => "application/vnd.apple.mpegurl",
        Some((_, "json")) => "application/json",
        Some((_, "mp4")) if !has_picture => "audio/mp4",
        Some((_, "mp4")) => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people only")]
pub(crate) fn frames_per_second(frames: u64, span: Duration) -> f64 {
    match millis(span) {
        0 => 0.0,
        span => frames as f64 * 1000.0 / span as f64,
    }
}

/// Lets go of some entry where there are too many: any one can be had again.
fn make_room<T>(entries: &mut HashMap<JobId, T>, job: &JobId) {
    if entries.len() >= MAX_JOBS && !entries.contains_key(job) {
        let some = entries.keys().next().cloned();
        some.map(|some| entries.remove(&some));
    }
}

/// What is remembered is whole after every step, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
