//! The ledger in one SQLite file, shared by any number of processes of one machine.
//!
//! Every number that a job shows is counted from its tasks when somebody asks, so that no crash
//! and no repetition can make a counter wrong.

mod jobs;
mod tasks;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};
use reelmill_sqlite::{BoxError, Failure, Schema, read, transact};

use crate::{
    Claim, Completion, JobRecord, Lease, Ledger, LedgerError, Millis, NewJob, WorkerRecord, millis,
};

const SCHEMA: Schema = Schema {
    kind: "ledger",
    // "rmLe"
    application_id: 0x726d_4c65,
    version: 2,
    script: include_str!("schema.sql"),
    upgrades: &["ALTER TABLE worker ADD COLUMN yt_dlp TEXT"],
};

type Db = reelmill_sqlite::Db<LedgerError>;

impl From<Failure> for LedgerError {
    fn from(failure: Failure) -> Self {
        Self {
            action: failure.action,
            retryable: failure.retryable,
            source: failure.source,
        }
    }
}

/// A ledger in an SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteLedger {
    db: Db,
    clock: Clock,
}

/// Tells the time to a ledger, in milliseconds since 1970.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    /// A clock that calls `now`.
    #[must_use]
    pub fn new(now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(0, millis)
        })
    }

    fn now(&self) -> Millis {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}

impl SqliteLedger {
    /// Opens the ledger in the file `path`, making the file where there is none. Its folder must
    /// exist and lie on a local file system. Waits for other processes that have the file open.
    ///
    /// # Errors
    /// The file cannot be opened, is not a ledger, or was written by a newer reelmill.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        Self::open_with_clock(path, Clock::system())
    }

    /// Like [`open`](Self::open), with another clock. All processes that share a file must agree
    /// on it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_with_clock(path: impl AsRef<Path>, clock: Clock) -> Result<Self, LedgerError> {
        Ok(Self {
            db: Db::open(path.as_ref(), &SCHEMA)?,
            clock,
        })
    }

    /// Changes the file, at the time that the second argument of `work` tells.
    async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>, Millis) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let clock = self.clock.clone();
        let run = move |connection: &mut rusqlite::Connection| {
            // Once the lock is held: whoever waited for it must not write a time that has passed.
            transact(connection, |transaction| work(transaction, clock.now()))
        };
        self.db.run(action, run).await
    }

    /// Reads one state of the file.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Transaction<'_>, Millis) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let clock = self.clock.clone();
        let run = move |connection: &mut rusqlite::Connection| {
            read(connection, |transaction| work(transaction, clock.now()))
        };
        self.db.run("read", run).await
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn create_job(&self, job: &NewJob) -> Result<bool, LedgerError> {
        let job = job.clone();
        self.write("create a job in", move |tx, now| {
            jobs::create(tx, now, &job)
        })
        .await
    }

    async fn extend(
        &self,
        job: &JobId,
        tasks: &[(TaskKey, u64)],
        done: &[TaskKey],
        retired: &[TaskKey],
    ) -> Result<Completion, LedgerError> {
        let (job, tasks) = (job.clone(), tasks.to_vec());
        let (done, retired) = (done.to_vec(), retired.to_vec());
        self.write("add tasks to", move |tx, now| {
            tasks::extend(tx, now, &job, &tasks, &done, &retired)
        })
        .await
    }

    async fn claim(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        ttl: Duration,
        max_attempts: u32,
    ) -> Result<Claim, LedgerError> {
        let (task, worker) = (task.clone(), worker.clone());
        self.write("claim a task in", move |tx, now| {
            tasks::claim(tx, now, &task, &worker, ttl, max_attempts)
        })
        .await
    }

    async fn renew(
        &self,
        leases: &[(Lease, u64)],
        ttl: Duration,
    ) -> Result<Vec<Lease>, LedgerError> {
        if leases.is_empty() {
            return Ok(vec![]);
        }
        let leases = leases.to_vec();
        self.write("renew leases in", move |tx, now| {
            tasks::renew(tx, now, leases, ttl)
        })
        .await
    }

    async fn complete(&self, task: &TaskId) -> Result<Completion, LedgerError> {
        let task = task.clone();
        self.write("complete a task in", move |tx, now| {
            tasks::complete(tx, now, &task)
        })
        .await
    }

    async fn release(&self, lease: &Lease, refund: bool) -> Result<(), LedgerError> {
        let lease = lease.clone();
        self.write("release a lease of", move |tx, _| {
            tasks::release(tx, &lease, refund)
        })
        .await
    }

    async fn release_all(&self, worker: &WorkerId) -> Result<(), LedgerError> {
        let worker = worker.clone();
        self.write("release leases of", move |tx, _| {
            tasks::release_all(tx, &worker)
        })
        .await
    }

    async fn hold(
        &self,
        name: &str,
        worker: &WorkerId,
        ttl: Duration,
    ) -> Result<bool, LedgerError> {
        let (name, worker) = (name.to_owned(), worker.clone());
        self.write("hold a name in", move |tx, now| {
            tasks::hold(tx, now, &name, &worker, ttl)
        })
        .await
    }

    async fn set_phase(&self, job: &JobId, phase: Phase) -> Result<(), LedgerError> {
        let job = job.clone();
        self.write("update a job in", move |tx, now| {
            jobs::set_phase(tx, now, &job, phase)
        })
        .await
    }

    async fn finish(
        &self,
        job: &JobId,
        status: JobStatus,
        error: Option<&JobError>,
    ) -> Result<Option<JobStatus>, LedgerError> {
        let (job, error) = (job.clone(), error.cloned());
        self.write("finish a job in", move |tx, now| {
            jobs::finish(tx, now, &job, status, error.as_ref())
        })
        .await
    }

    async fn retry(&self, job: &JobId) -> Result<bool, LedgerError> {
        let job = job.clone();
        self.write("retry a job in", move |tx, now| jobs::retry(tx, now, &job))
            .await
    }

    async fn forget(&self, job: &JobId) -> Result<(), LedgerError> {
        let job = job.clone();
        self.write("forget a job in", move |tx, _| jobs::forget(tx, &job))
            .await
    }

    async fn job(&self, job: &JobId) -> Result<Option<JobRecord>, LedgerError> {
        let job = job.clone();
        self.read(move |tx, now| jobs::one(tx, now, &job)).await
    }

    async fn jobs(
        &self,
        status: Option<JobStatus>,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        let after = after.cloned();
        self.read(move |tx, now| jobs::page(tx, now, status, after.as_ref(), limit))
            .await
    }

    async fn counts(&self) -> Result<BTreeMap<JobStatus, u64>, LedgerError> {
        self.read(|tx, _| jobs::counts(tx)).await
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let worker = worker.clone();
        self.write("report a worker to", move |tx, now| {
            jobs::heartbeat(tx, now, &worker)
        })
        .await
    }

    async fn workers(&self, age: Duration) -> Result<Vec<WorkerRecord>, LedgerError> {
        self.read(move |tx, now| jobs::workers(tx, now.saturating_sub(millis(age))))
            .await
    }
}
