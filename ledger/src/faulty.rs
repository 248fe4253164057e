//! A ledger whose calls fail as often as asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};

use crate::{Claim, Completion, JobRecord, Lease, Ledger, LedgerError, NewJob, WorkerRecord};
use reelmill_common::faults::{Faults, InjectedFault, Injector};

/// Wraps a ledger and injects faults.
///
/// A call that fails after its effect is one whose answer was lost, as it may be on the way from any
/// server: a claim then counts although its caller got an error.
#[derive(Debug)]
pub struct FaultyLedger {
    inner: Arc<dyn Ledger>,
    injector: Injector,
}

impl FaultyLedger {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Ledger>, faults: Faults) -> Self {
        Self {
            inner,
            injector: Injector::new(faults),
        }
    }
}

impl From<InjectedFault> for LedgerError {
    fn from(fault: InjectedFault) -> Self {
        Self {
            action: "reach",
            retryable: true,
            source: Box::new(fault),
        }
    }
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn create_job(&self, job: &NewJob) -> Result<bool, LedgerError> {
        self.injector
            .run("create_job", self.inner.create_job(job))
            .await
    }

    async fn extend(
        &self,
        job: &JobId,
        tasks: &[(TaskKey, u64)],
        done: &[TaskKey],
        retired: &[TaskKey],
    ) -> Result<Completion, LedgerError> {
        self.injector
            .run("extend", self.inner.extend(job, tasks, done, retired))
            .await
    }

    async fn claim(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        ttl: Duration,
        max_attempts: u32,
    ) -> Result<Claim, LedgerError> {
        self.injector
            .run("claim", self.inner.claim(task, worker, ttl, max_attempts))
            .await
    }

    async fn renew(
        &self,
        leases: &[(Lease, u64)],
        ttl: Duration,
    ) -> Result<Vec<Lease>, LedgerError> {
        self.injector
            .run("renew", self.inner.renew(leases, ttl))
            .await
    }

    async fn complete(&self, task: &TaskId) -> Result<Completion, LedgerError> {
        self.injector
            .run("complete", self.inner.complete(task))
            .await
    }

    async fn release(&self, lease: &Lease, refund: bool) -> Result<(), LedgerError> {
        self.injector
            .run("release", self.inner.release(lease, refund))
            .await
    }

    async fn release_all(&self, worker: &WorkerId) -> Result<(), LedgerError> {
        self.injector
            .run("release_all", self.inner.release_all(worker))
            .await
    }

    async fn hold(
        &self,
        name: &str,
        worker: &WorkerId,
        ttl: Duration,
    ) -> Result<bool, LedgerError> {
        self.injector
            .run("hold", self.inner.hold(name, worker, ttl))
            .await
    }

    async fn set_phase(&self, job: &JobId, phase: Phase) -> Result<(), LedgerError> {
        self.injector
            .run("set_phase", self.inner.set_phase(job, phase))
            .await
    }

    async fn finish(
        &self,
        job: &JobId,
        status: JobStatus,
        error: Option<&JobError>,
    ) -> Result<Option<JobStatus>, LedgerError> {
        self.injector
            .run("finish", self.inner.finish(job, status, error))
            .await
    }

    async fn retry(&self, job: &JobId) -> Result<bool, LedgerError> {
        self.injector.run("retry", self.inner.retry(job)).await
    }

    async fn forget(&self, job: &JobId) -> Result<(), LedgerError> {
        self.injector.run("forget", self.inner.forget(job)).await
    }

    async fn job(&self, job: &JobId) -> Result<Option<JobRecord>, LedgerError> {
        self.injector.run("job", self.inner.job(job)).await
    }

    async fn jobs(
        &self,
        status: Option<JobStatus>,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        self.injector
            .run("jobs", self.inner.jobs(status, after, limit))
            .await
    }

    async fn counts(&self) -> Result<BTreeMap<JobStatus, u64>, LedgerError> {
        self.injector.run("counts", self.inner.counts()).await
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        self.injector
            .run("heartbeat", self.inner.heartbeat(worker))
            .await
    }

    async fn workers(&self, age: Duration) -> Result<Vec<WorkerRecord>, LedgerError> {
        self.injector.run("workers", self.inner.workers(age)).await
    }
}
