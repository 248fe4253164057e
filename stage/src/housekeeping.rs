//! What nobody else does: ends what takes too long, removes what is kept no longer, and picks up
//! what a crash left between two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reelmill_common::job::{JobError, JobStatus};
use reelmill_common::message::{Message, Topic};
use reelmill_common::request::JobRequest;
use reelmill_common::upload::{IDEMPOTENCY_SECONDS, Upload};
use reelmill_common::{JobId, ObjectKey, WorkerId, key};
use reelmill_ledger::{JobRecord, Millis};
use reelmill_store::ObjectMeta;

use crate::leftovers::{clear, delete_all, list, objects};
use crate::lifecycle::{end, ingest, remove, store_end, submit_upload};
use crate::rebuild::{known, load_json, missing, publish, restore};
use crate::{Ports, Shutdown, StageError, exists, manifest, revisions};

/// The lease that makes one process of all do this.
const NAME: &str = "housekeeping";

/// A job of which nothing was heard for so long may have lost its messages.
const QUIET: Duration = Duration::from_secs(2 * 60);

/// Ended jobs are looked through so often: there may be many.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);

/// Whoever worked on a job has dropped it so long after its end.
const DROPPED_AFTER: Duration = Duration::from_secs(60);

/// Stores tell when something was written in whole seconds, S3, or in ticks of the kernel, files: up
/// to so long before it was.
const COARSE: Millis = 1_000;

/// What is left of a job that ended longer ago was removed by an earlier process.
const SWEPT_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// No write into the store takes so long.
const UNFINISHED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Why most jobs are removed.
const KEPT: &str = "it was kept long enough";

/// How many jobs are listed at once.
const PAGE: usize = 200;

const OPEN: [JobStatus; 2] = [JobStatus::Pending, JobStatus::Running];
const ENDED: [JobStatus; 3] = [
    JobStatus::Completed,
    JobStatus::Failed,
    JobStatus::Cancelled,
];

/// How a process keeps house.
#[derive(Clone, Debug)]
pub struct HousekeepingSettings {
    /// In whose name the lease is held.
    pub worker: WorkerId,
    /// How often it looks; half a minute is good.
    pub every: Duration,
    /// How long ended jobs are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// How many encodes are expected to run at once, for jobs that it submits.
    pub slots: u32,
}

/// Keeps house until shutdown. Any number of processes may do this: one of them works, the others
/// take over when it dies. What fails is logged and done again the next time.
pub async fn housekeep(ports: Ports, settings: HousekeepingSettings, mut shutdown: Shutdown) {
    let (every, worker) = (settings.every, settings.worker.clone());
    let mut keeper = Housekeeper::new(ports, settings);
    while !shutdown.is_set() {
        tokio::select! {
            // First: a lease that is asked for must not outlive the one that is given back below.
            biased;
            () = shutdown.wait() => break,
            () = keeper.tick(now()) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = shutdown.wait() => break,
        }
    }
    let given_back = keeper.ports.ledger.hold(NAME, &worker, Duration::ZERO);
    if let Err(error) = given_back.await {
        tracing::debug!(error = %StageError::of(&error), "others keep house after a while only");
    }
}

fn now() -> Millis {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, millis)
}

fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Keeps house step by step.
#[derive(Debug)]
pub struct Housekeeper {
    ports: Ports,
    settings: HousekeepingSettings,
    next_sweep: Millis,
    /// Ends after which nothing was left to clear.
    cleared: BTreeSet<(JobId, Millis)>,
}

impl Housekeeper {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(ports: Ports, settings: HousekeepingSettings) -> Self {
        Self {
            ports,
            settings,
            next_sweep: 0,
            cleared: BTreeSet::new(),
        }
    }

    /// Does once all there is to do at the time `now`, unless another process does it.
    pub async fn tick(&mut self, now: Millis) {
        let ttl = self.settings.every.saturating_mul(3);
        let ledger = &self.ports.ledger;
        match ledger.hold(NAME, &self.settings.worker, ttl).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return log("keep house", &StageError::of(&error)),
        }
        match jobs(&self.ports, &OPEN).await {
            Ok(open) => {
                if let Err(error) = self.look_after_open_jobs(&open, now).await {
                    log("look after jobs", &error);
                }
                if let Err(error) = self.look_after_ends(&open).await {
                    log("look after ends", &error);
                }
            }
            Err(error) => log("list the open jobs", &error),
        }
        if let Err(error) = self.look_after_uploads(now).await {
            log("look after uploads", &error);
        }
        if now >= self.next_sweep {
            self.next_sweep = now.saturating_add(millis(SWEEP_EVERY));
            if let Err(error) = self.sweep(now).await {
                log("clear up after jobs", &error);
            }
        }
    }

    /// Ends jobs that take longer than they may, and asks again for what nobody seems to do.
    async fn look_after_open_jobs(
        &self,
        open: &[JobRecord],
        now: Millis,
    ) -> Result<(), StageError> {
        for job in open.iter().filter(|job| is_late(job, now)) {
            let limit = job.options.time_limit_s.unwrap_or_default();
            let error = JobError {
                code: "time-limit".to_owned(),
                message: format!(
                    "`{}` took longer than its limit of {limit} s: raise it or choose a faster profile",
                    job.name
                ),
                retryable: true,
                detail: String::new(),
                task: None,
            };
            let failed = JobStatus::Failed;
            let ended = end(&self.ports, &job.id, failed, Some(&error)).await?;
            if ended == Some(failed) {
                tracing::error!(job = %job.id, code = error.code, error = error.message, "the job fails");
            }
        }
        let quiet = |job: &&JobRecord| now.saturating_sub(job.updated_at) >= millis(QUIET);
        if open.iter().any(|job| quiet(&job)) {
            republish(&self.ports, open).await?;
        }
        Ok(())
    }

    /// Compares the jobs that may not have ended with the ledger: one that it has forgotten it
    /// learns of again, and one that has ended is taken from the list once the store has its end.
    /// The ledger is not asked for those that were open a moment ago: it would be one call for each.
    async fn look_after_ends(&self, open: &[JobRecord]) -> Result<(), StageError> {
        let open: BTreeSet<&JobId> = open.iter().map(|record| &record.id).collect();
        let store = self.ports.store.as_ref();
        for entry in list(store, "open/").await? {
            let Ok(job) = JobId::new(entry.file_name()) else {
                continue;
            };
            if open.contains(&job) {
                continue;
            }
            match known(&self.ports, &job).await? {
                None => store.delete(&entry).await?,
                Some(record) if record.status.is_terminal() => {
                    store_end(store, &job, record.status, record.error.as_ref()).await?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Submits what is whole and clears away what has expired.
    async fn look_after_uploads(&self, now: Millis) -> Result<(), StageError> {
        for record in list(self.ports.store.as_ref(), "uploads/").await? {
            if let Err(error) = self.look_after_upload(&record, now).await {
                tracing::warn!(upload = %record, %error, "cannot look after an upload");
            }
        }
        Ok(())
    }

    async fn look_after_upload(&self, record: &ObjectKey, now: Millis) -> Result<(), StageError> {
        let store = self.ports.store.as_ref();
        let Some(upload) = load_json::<Upload>(store, record).await? else {
            return Ok(());
        };
        if exists(store, &key::source(&upload.job)).await? {
            // Whoever was about to submit it may have died.
            return submit_upload(&self.ports, &upload, self.settings.slots).await;
        }
        if upload.expires_at > now {
            return Ok(());
        }
        tracing::info!(job = %upload.job, "an upload was not finished in time and is removed");
        delete_all(store, &format!("raw/{}/", upload.job)).await?;
        Ok(store.delete(record).await?)
    }

    /// Removes what is kept no longer, and what attempts left that came to nothing.
    async fn sweep(&mut self, now: Millis) -> Result<(), StageError> {
        let store = Arc::clone(&self.ports.store);
        let mut cleared = BTreeSet::new();
        for entry in objects(store.as_ref(), "closed/").await? {
            let Ok(job) = JobId::new(entry.key.file_name()) else {
                continue;
            };
            match self.clear_up(&job, written_at(&entry), now).await {
                Ok(end) => cleared.extend(end.map(|end| (job, end))),
                Err(error) => tracing::warn!(%job, %error, "cannot clear up after the job"),
            }
        }
        self.cleared = cleared;
        // Those that ended before they were to be kept for a while only have no entry any more.
        if let Some(kept) = self.settings.retention {
            for job in jobs(&self.ports, &ENDED).await? {
                if job.ended_at.is_some_and(|end| age(end, now) >= kept) {
                    self.remove(&job.id, KEPT).await;
                }
            }
        }
        let unfinished = store.clear_unfinished(UNFINISHED_AFTER).await?;
        if unfinished > 0 {
            tracing::info!(unfinished, "what dead writers left in the store is removed");
        }
        self.forget_keys(now).await
    }

    /// Clears up after one job that was closed then. The answer is its end where nothing is left to
    /// clear and its entry stays, because it is to be removed some day.
    async fn clear_up(
        &self,
        job: &JobId,
        closed_at: Millis,
        now: Millis,
    ) -> Result<Option<Millis>, StageError> {
        let store = self.ports.store.as_ref();
        // A ledger that was emptied learns of it again.
        let Some(record) = known(&self.ports, job).await? else {
            // Neither its request nor its plan is there.
            self.remove(job, "its removal was begun").await;
            return Ok(None);
        };
        let Some(ended_at) = record.ended_at.filter(|_| record.status.is_terminal()) else {
            store.delete(&key::closed(job)).await?;
            return Ok(None);
        };
        // A ledger that was emptied takes the moment when it learned of the job again for its end.
        let age = age(ended_at.min(closed_at + COARSE), now);
        let kept = self.settings.retention;
        if kept.is_some_and(|kept| age >= kept) {
            self.remove(job, KEPT).await;
            return Ok(None);
        }
        if age < DROPPED_AFTER {
            return Ok(None);
        }
        let is_clear = self.cleared.contains(&(job.clone(), ended_at));
        if !is_clear && (kept.is_none() || age < SWEPT_AFTER) {
            clear(store, job, ended_at).await?;
        }
        if kept.is_none() {
            store.delete(&key::closed(job)).await?;
        }
        Ok(kept.map(|_| ended_at))
    }

    async fn remove(&self, job: &JobId, why: &str) {
        match remove(&self.ports, job).await {
            Ok(()) => tracing::info!(%job, "removed: {why}"),
            Err(error) => tracing::warn!(%job, %error, "cannot remove the job"),
        }
    }

    /// Removes what `Idempotency-Key`s stood for, once they stand for nothing.
    async fn forget_keys(&self, now: Millis) -> Result<(), StageError> {
        let store = self.ports.store.as_ref();
        let kept = Duration::from_secs(IDEMPOTENCY_SECONDS);
        for record in objects(store, "idempotency/").await? {
            if age(written_at(&record), now) > kept {
                store.delete(&record.key).await?;
            }
        }
        Ok(())
    }
}

fn written_at(object: &ObjectMeta) -> Millis {
    let written = object.modified.duration_since(SystemTime::UNIX_EPOCH);
    written.map_or(0, millis)
}

fn age(then: Millis, now: Millis) -> Duration {
    Duration::from_millis(now.saturating_sub(then))
}

fn log(what: &str, error: &StageError) {
    tracing::warn!(%error, "cannot {what}");
}

/// Whether a job has taken longer than its submitter allowed.
fn is_late(job: &JobRecord, now: Millis) -> bool {
    let (Some(limit), Some(started_at)) = (job.options.time_limit_s, job.started_at) else {
        return false;
    };
    now.saturating_sub(started_at) >= limit.saturating_mul(1000)
}

/// Every job of these statuses.
async fn jobs(ports: &Ports, statuses: &[JobStatus]) -> Result<Vec<JobRecord>, StageError> {
    let mut all = Vec::new();
    for status in statuses {
        let mut after = None;
        loop {
            let page = ports
                .ledger
                .jobs(Some(*status), after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            all.extend(page);
        }
    }
    Ok(all)
}

/// Goes on where an earlier process stopped: to be called once when a service starts. Publishes what
/// open jobs need and the queue has lost, and learns from the store what a ledger that was emptied
/// has forgotten.
///
/// # Errors
/// A port that fails.
pub async fn resume(ports: &Ports) -> Result<(), StageError> {
    if ports.ledger.counts().await?.values().all(|jobs| *jobs == 0) {
        learn(ports).await?;
    }
    let open = jobs(ports, &OPEN).await?;
    republish(ports, &open).await
}

/// Makes every job of the store known to an empty ledger.
async fn learn(ports: &Ports) -> Result<(), StageError> {
    let store = ports.store.as_ref();
    for record in list(store, "raw/").await? {
        if record.file_name() != "request.json" {
            continue;
        }
        let job = record.as_str().split('/').nth(1).map(JobId::new);
        let Some(Ok(job)) = job else { continue };
        restore(ports, &job).await?;
    }
    Ok(())
}

/// Publishes what jobs need, of each topic only where the queue has fewer messages than are needed
/// and so must have lost some: one that has lost none would deliver everything twice.
async fn republish(ports: &Ports, open: &[JobRecord]) -> Result<(), StageError> {
    let mut needed: BTreeMap<Topic, Vec<Message>> = BTreeMap::new();
    for job in open {
        match needed_by(ports, &job.id).await {
            Ok(messages) => {
                for message in messages {
                    needed.entry(message.topic()).or_default().push(message);
                }
            }
            Err(error) => tracing::warn!(job = %job.id, %error, "cannot tell what a job needs"),
        }
    }
    for (topic, messages) in needed {
        let waiting = ports.queue.backlog(topic).await?;
        let has_lost_some = waiting.is_none_or(|waiting| waiting.messages < messages.len() as u64);
        if has_lost_some {
            tracing::info!(%topic, messages = messages.len(), "the queue has lost messages");
            publish(ports, &messages).await?;
        }
    }
    Ok(())
}

async fn needed_by(ports: &Ports, job: &JobId) -> Result<Vec<Message>, StageError> {
    let store = ports.store.as_ref();
    if let Some(manifest) = manifest(store, job).await? {
        let revisions = revisions(store, job).await?;
        return Ok(missing(ports, &manifest, &revisions).await?.0);
    }
    let request = load_json::<JobRequest>(store, &key::request(job)).await?;
    Ok(request.iter().map(|request| ingest(job, request)).collect())
}
