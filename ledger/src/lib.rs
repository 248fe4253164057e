//! The ledger port: own work, count it.
//!
//! The right to work is a lease held here, not a place in the queue. The ledger holds no unique
//! data: what it knows can be rebuilt from the store, so a flushed ledger loses nothing. Backends:
//! SQLite for the processes of one machine, and Redis for a cluster, where every method is one
//! round trip.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::request::{JobOptions, JobRequest};
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};

#[cfg(feature = "conformance")]
#[expect(clippy::unwrap_used, reason = "a suite fails by panicking")]
pub mod conformance;
mod error;
#[cfg(feature = "conformance")]
mod faulty;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "redis")]
pub use crate::redis::{RedisLedger, RedisOptions};
pub use error::LedgerError;
#[cfg(feature = "conformance")]
pub use faulty::FaultyLedger;
#[cfg(feature = "conformance")]
pub use reelmill_common::faults::{Faults, InjectedFault, When};
#[cfg(feature = "sqlite")]
pub use sqlite::{Clock, SqliteLedger};

/// A moment by the ledger's own clock, in milliseconds since 1970; never by a caller's clock.
pub type Millis = u64;

/// Workers that were silent for so long are forgotten: most ids never come back.
#[cfg(any(feature = "redis", feature = "sqlite"))]
const FORGET_WORKERS_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Bounded by three centuries, which every backend can add to what its clock shows.
#[cfg(any(feature = "redis", feature = "sqlite"))]
fn millis(duration: Duration) -> Millis {
    const MOST: Millis = 10_000_000_000_000;
    Millis::try_from(duration.as_millis()).map_or(MOST, |millis| millis.min(MOST))
}

/// The right to work on a task for a while.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// Who holds it.
    pub worker: WorkerId,
    /// Grows with every claim of the task, also across a flushed ledger as long as its clock does
    /// not step back (`max(last + 1, now)`): the fencing token that names what an attempt writes.
    pub epoch: u64,
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The task is the caller's until the lease ends.
    Claimed {
        /// To renew and to release.
        lease: Lease,
        /// Which try this is, from 1.
        attempt: u32,
    },
    /// The task is complete already.
    Done,
    /// Somebody holds it, maybe the caller itself.
    Held {
        /// Until when, unless renewed: how long from now.
        remaining: Duration,
    },
    /// The job has ended.
    Over(JobStatus),
    /// Every attempt is used up.
    Exhausted {
        /// How many there were.
        attempts: u32,
    },
    /// The ledger does not know the job: rebuild it from the store, or drop the message where the
    /// store does not know it either.
    Unknown,
}

/// The answer to a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// More tasks are missing.
    Partial,
    /// All tasks are complete and the job has not ended: publish the finalize message before
    /// settling. Said to every caller until the job has ended, so that no crash can lose it.
    Whole,
    /// The job has ended.
    Over(JobStatus),
    /// The ledger does not know the job.
    Unknown,
}

/// What a job is created with, or rebuilt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// The profile's name, for people.
    pub profile: String,
    /// A name for people, such as the source's file name.
    pub name: String,
    /// What its submitter chose.
    pub options: JobOptions,
}

impl NewJob {
    /// A job as it was asked for.
    #[must_use]
    pub fn of(id: &JobId, request: &JobRequest) -> Self {
        Self {
            id: id.clone(),
            profile: request.profile.name.clone(),
            name: request.name.clone(),
            options: request.options.clone(),
        }
    }
}

/// A job as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// The profile's name.
    pub profile: String,
    /// A name for people.
    pub name: String,
    /// What its submitter chose.
    pub options: JobOptions,
    /// Where it stands.
    pub status: JobStatus,
    /// What it is busy with while running.
    pub phase: Option<Phase>,
    /// Tasks that must be complete.
    pub total_chunks: u32,
    /// Tasks that are.
    pub completed_chunks: u32,
    /// Frames expected over all chunks; 0 before the plan.
    pub total_frames: u64,
    /// Frames encoded: those of complete chunks and those that running ones reported.
    pub completed_frames: u64,
    /// Attempts at the tasks that must be complete, those of an earlier life before a retry not
    /// counted.
    pub attempts: u32,
    /// When it was created.
    pub created_at: Millis,
    /// When the first of its tasks was claimed; after a retry, the first of this life.
    pub started_at: Option<Millis>,
    /// When it ended; `None` while it has not.
    pub ended_at: Option<Millis>,
    /// The phases that it has been in, in order, with when each began. One that it came back to
    /// stands there again.
    pub phases: Vec<PhaseStart>,
    /// When anything about it last changed.
    pub updated_at: Millis,
    /// Why it failed.
    pub error: Option<JobError>,
}

/// When a job entered a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseStart {
    /// The phase.
    pub phase: Phase,
    /// When it began; it lasts until the next one begins or the job ends.
    pub at: Millis,
}

/// A living worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    /// Its id.
    pub id: WorkerId,
    /// How many encodes it has room for.
    pub slots: u32,
    /// Its reelmill version.
    pub version: String,
    /// Its ffmpeg version.
    pub ffmpeg: String,
    /// Its yt-dlp version, where it has one.
    pub yt_dlp: Option<String>,
    /// When it last reported.
    pub last_heartbeat: Millis,
}

/// A worker that reported within this time, which is a few of its reports, is at work.
pub const ACTIVE: Duration = Duration::from_secs(15);

/// Decides who works on what, and counts what is done.
///
/// Every method is atomic. Time is the ledger's own. Methods that name a job which the ledger does
/// not know say so in their answer and change nothing.
#[async_trait]
pub trait Ledger: std::fmt::Debug + Send + Sync {
    /// Creates a job as pending. Idempotent: a job that is there stays as it is. `false` when it
    /// was there.
    ///
    /// # Errors
    /// Any failure.
    async fn create_job(&self, job: &NewJob) -> Result<bool, LedgerError>;

    /// Adds tasks to what must be complete, each with the frames it stands for, and adds those
    /// frames to the job's total. Merges, never overwrites: a task that is there stays as it is,
    /// so that many callers may do this at once and again. `done` are tasks whose markers exist;
    /// they become complete. `retired` tasks are no longer needed: they and their frames leave
    /// the totals. Answers like [`complete`](Self::complete).
    ///
    /// # Errors
    /// Any failure.
    async fn extend(
        &self,
        job: &JobId,
        tasks: &[(TaskKey, u64)],
        done: &[TaskKey],
        retired: &[TaskKey],
    ) -> Result<Completion, LedgerError>;

    /// Asks for a task. Counts an attempt before it answers [`Claim::Claimed`], so that work which
    /// kills its worker is counted too; the `max_attempts + 1`st claim is [`Claim::Exhausted`].
    /// The first claim of a pending job makes it running. [`TaskKey::Ingest`] and
    /// [`TaskKey::Finalize`] may be claimed although [`extend`](Self::extend) never named them.
    ///
    /// # Errors
    /// Any failure; no attempt is counted.
    async fn claim(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        ttl: Duration,
        max_attempts: u32,
    ) -> Result<Claim, LedgerError>;

    /// Renews leases for `ttl` from now and records how many frames each has encoded so far.
    /// Returns those that are no longer the caller's: expired and claimed by another, complete, or
    /// of a job that has ended. A lease that expired and that nobody claimed is renewed.
    ///
    /// # Errors
    /// Any failure; leases are as they were.
    async fn renew(
        &self,
        leases: &[(Lease, u64)],
        ttl: Duration,
    ) -> Result<Vec<Lease>, LedgerError>;

    /// Records that a task's marker exists. Not fenced by the lease: the marker in the store chose
    /// the winner, this mirrors it. Idempotent; ends any lease on the task.
    ///
    /// # Errors
    /// Any failure; calling again is right.
    async fn complete(&self, task: &TaskId) -> Result<Completion, LedgerError>;

    /// Gives a lease back, so that another may claim at once. `refund` takes the attempt back: for
    /// a shutdown, not for a failure. A lease that is no longer the caller's is left alone.
    ///
    /// # Errors
    /// Any failure.
    async fn release(&self, lease: &Lease, refund: bool) -> Result<(), LedgerError>;

    /// Gives back every lease of a worker that is known to be dead, with refund, and whatever it
    /// [holds](Self::hold).
    ///
    /// # Errors
    /// Any failure.
    async fn release_all(&self, worker: &WorkerId) -> Result<(), LedgerError>;

    /// Takes or renews a lease that belongs to no job, such as that of the one process which clears
    /// up: `name` is the caller's alone until `ttl` from now. Idempotent: its holder is given it
    /// again. A `ttl` of zero gives it back. `false` when another worker holds it.
    ///
    /// # Errors
    /// Any failure.
    async fn hold(&self, name: &str, worker: &WorkerId, ttl: Duration)
    -> Result<bool, LedgerError>;

    /// Says what a running job is busy with. No effect on a job that has ended.
    ///
    /// # Errors
    /// Any failure.
    async fn set_phase(&self, job: &JobId, phase: Phase) -> Result<(), LedgerError>;

    /// Ends a job: completed, failed with its error, or cancelled. The first end stays; returns
    /// the status that the job then has, `None` when it is unknown. Leases of an ended job are
    /// reported as lost by [`renew`](Self::renew).
    ///
    /// # Errors
    /// Any failure.
    async fn finish(
        &self,
        job: &JobId,
        status: JobStatus,
        error: Option<&JobError>,
    ) -> Result<Option<JobStatus>, LedgerError>;

    /// Brings a failed or cancelled job back to running, with every attempt count at zero. What
    /// is complete stays so. `false` when the job is not in such a state.
    ///
    /// # Errors
    /// Any failure.
    async fn retry(&self, job: &JobId) -> Result<bool, LedgerError>;

    /// Forgets a job and all about it. Idempotent.
    ///
    /// # Errors
    /// Any failure.
    async fn forget(&self, job: &JobId) -> Result<(), LedgerError>;

    /// One job; `None` when it is unknown.
    ///
    /// # Errors
    /// Any failure.
    async fn job(&self, job: &JobId) -> Result<Option<JobRecord>, LedgerError>;

    /// Jobs with the newest first, of one status or all, at most `limit`, after the job `after`.
    ///
    /// # Errors
    /// Any failure.
    async fn jobs(
        &self,
        status: Option<JobStatus>,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>, LedgerError>;

    /// How many jobs there are of each status; a status that no job has may be missing.
    ///
    /// # Errors
    /// Any failure.
    async fn counts(&self) -> Result<BTreeMap<JobStatus, u64>, LedgerError>;

    /// Reports a worker as alive; its `last_heartbeat` is set by the ledger.
    ///
    /// # Errors
    /// Any failure.
    async fn heartbeat(&self, worker: &WorkerRecord) -> Result<(), LedgerError>;

    /// Every worker that reported within `age`, sorted by id.
    ///
    /// # Errors
    /// Any failure.
    async fn workers(&self, age: Duration) -> Result<Vec<WorkerRecord>, LedgerError>;
}
