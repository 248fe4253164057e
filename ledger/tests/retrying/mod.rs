//! A caller that tries again whenever an error says that this may help.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId, retry};
use reelmill_ledger::{
    Claim, Completion, JobRecord, Lease, Ledger, LedgerError, NewJob, WorkerRecord,
};

#[derive(Debug)]
pub(crate) struct Retrying(Arc<dyn Ledger>);

impl Retrying {
    pub(crate) fn new(inner: Arc<dyn Ledger>) -> Self {
        Self(inner)
    }
}

#[async_trait]
impl Ledger for Retrying {
    async fn create_job(&self, job: &NewJob) -> Result<bool, LedgerError> {
        retry!(self.0.create_job(job))
    }
    async fn extend(
        &self,
        job: &JobId,
        tasks: &[(TaskKey, u64)],
        done: &[TaskKey],
        retired: &[TaskKey],
    ) -> Result<Completion, LedgerError> {
        retry!(self.0.extend(job, tasks, done, retired))
    }
    async fn claim(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        ttl: Duration,
        max_attempts: u32,
    ) -> Result<Claim, LedgerError> {
        retry!(self.0.claim(task, worker, ttl, max_attempts))
    }
    async fn renew(
        &self,
        leases: &[(Lease, u64)],
        ttl: Duration,
    ) -> Result<Vec<Lease>, LedgerError> {
        retry!(self.0.renew(leases, ttl))
    }
    async fn complete(&self, task: &TaskId) -> Result<Completion, LedgerError> {
        retry!(self.0.complete(task))
    }
    async fn release(&self, lease: &Lease, refund: bool) -> Result<(), LedgerError> {
        retry!(self.0.release(lease, refund))
    }
    async fn release_all(&self, worker: &WorkerId) -> Result<(), LedgerError> {
        retry!(self.0.release_all(worker))
    }
    async fn hold(
        &self,
        name: &str,
        worker: &WorkerId,
        ttl: Duration,
    ) -> Result<bool, LedgerError> {
        retry!(self.0.hold(name, worker, ttl))
    }
    async fn set_phase(&self, job: &JobId, phase: Phase) -> Result<(), LedgerError> {
        retry!(self.0.set_phase(job, phase))
    }
    async fn finish(
        &self,
        job: &JobId,
        status: JobStatus,
        error: Option<&JobError>,
    ) -> Result<Option<JobStatus>, LedgerError> {
        retry!(self.0.finish(job, status, error))
    }
    async fn retry(&self, job: &JobId) -> Result<bool, LedgerError> {
        retry!(self.0.retry(job))
    }
    async fn forget(&self, job: &JobId) -> Result<(), LedgerError> {
        retry!(self.0.forget(job))
    }
    async fn job(&self, job: &JobId) -> Result<Option<JobRecord>, LedgerError> {
        retry!(self.0.job(job))
    }
    async fn jobs(
        &self,
        status: Option<JobStatus>,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        retry!(self.0.jobs(status, after, limit))
    }
    async fn counts(&self) -> Result<BTreeMap<JobStatus, u64>, LedgerError> {
        retry!(self.0.counts())
    }
    async fn heartbeat(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        retry!(self.0.heartbeat(worker))
    }
    async fn workers(&self, age: Duration) -> Result<Vec<WorkerRecord>, LedgerError> {
        retry!(self.0.workers(age))
    }
}
