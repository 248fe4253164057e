//! The ledger in Redis, shared by the processes of a cluster.
//!
//! Every method is one script, and so one round trip and atomic; time is the server's. Nothing is
//! here that the store could not tell, so that a server which lost everything is a server of an
//! empty ledger. A job's numbers are kept, not counted, so that a claim or a completion costs the
//! same among ten chunks and among a hundred thousand.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `job:<id>` | hash | what people ask for: `status`, `phase`, `total_chunks`, `completed_chunks`, … |
//! | `job:<id>:tasks` | hash | task → its frames, `… done`; `done` where it is not needed (yet); `retired` |
//! | `job:<id>:attempts` | hash | task → how often it was begun |
//! | `job:<id>:epochs` | hash | task → the last epoch given out |
//! | `job:<id>:leases` | hash | task → worker, epoch, end, frames reported |
//! | `jobs`, `jobs:<status>` | sorted set | ids of jobs, by their place in the list |
//! | `jobs:expiring` | sorted set | ids of jobs that have ended, by when they are forgotten |
//! | `worker:<id>` | hash | `slots`, `version`, `ffmpeg`, `yt_dlp`, `last_heartbeat` |
//! | `worker:<id>:leases` | set | `<job>/<task>` of the leases that it holds |
//! | `workers` | sorted set | ids of workers, by their last heartbeat |
//! | `holds` | hash | name → worker, end |
//!
//! Times are milliseconds since 1970. The keys of a job that has ended expire after
//! [`RedisOptions::retention`]; no other key ever does.
//!
//! One server has to have all keys, since one script touches those of a job and the lists: a single
//! Redis (or Valkey), or the primary of a replicated one at an address that follows it, as in front
//! of Sentinels. A Redis Cluster of more than one shard does not do.

mod connection;
mod failure;
mod options;
mod reply;
mod scripts;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use redis::{FromRedisValue, Script, ScriptInvocation};
use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};

use crate::error::NotTerminal;
use crate::{
    Claim, Completion, FORGET_WORKERS_AFTER, JobRecord, Lease, Ledger, LedgerError, Millis, NewJob,
    WorkerRecord, millis,
};
use connection::Connection;
use reply::{BoxError, Fields};
use scripts::Scripts;

pub use options::RedisOptions;

/// A ledger in Redis.
pub struct RedisLedger {
    connection: Connection,
    scripts: Scripts,
    prefix: String,
    retention: Millis,
}

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLedger")
            .field("connection", &self.connection)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl RedisLedger {
    /// Connects to the server. Should the connection be lost later, calls fail, retryably, and the
    /// next ones connect anew.
    ///
    /// For `rediss://` the process must have a cryptography provider of rustls.
    ///
    /// # Errors
    /// The address is none, the server cannot be reached or does not let us in, or it is set to
    /// drop keys when memory is short, among which might be leases.
    pub async fn connect(options: &RedisOptions) -> Result<Self, LedgerError> {
        let connection = Connection::open(options).await;
        Ok(Self {
            connection: connection.map_err(|failure| failure.during("connect to"))?,
            scripts: Scripts::new(),
            prefix: options.prefix.clone(),
            // A key that expired at once would be gone before the rest of its job.
            retention: millis(options.retention).max(1),
        })
    }

    /// A call of a script that is about a key, or that stands for all keys of its kind.
    fn on<'a>(&self, script: &'a Script, key: &str) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(format!("{}{key}", self.prefix)).arg(&self.prefix);
        call
    }

    fn on_job<'a>(&self, script: &'a Script, job: &JobId) -> ScriptInvocation<'a> {
        let mut call = self.on(script, &format!("job:{job}"));
        call.arg(job.as_str());
        call
    }

    fn on_worker<'a>(&self, script: &'a Script, worker: &WorkerId) -> ScriptInvocation<'a> {
        let mut call = self.on(script, &format!("worker:{worker}"));
        call.arg(worker.as_str());
        call
    }

    /// Makes a call; `read` is what its answer means, and `action` what it is for.
    async fn run<A: FromRedisValue, T>(
        &self,
        action: &'static str,
        call: &ScriptInvocation<'_>,
        read: impl FnOnce(A) -> Result<T, BoxError>,
    ) -> Result<T, LedgerError> {
        let answer = self.connection.call(call).await;
        let answer = answer.map_err(|failure| failure.during(action))?;
        let answer = redis::from_redis_value::<A>(answer).map_err(BoxError::from);
        answer.and_then(read).map_err(|source| LedgerError {
            action,
            retryable: false,
            source,
        })
    }
}

/// More frames than any task has; their sum over a job is still a number that Lua has.
fn bounded(frames: u64) -> u64 {
    frames.min(u64::from(u32::MAX))
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn create_job(&self, job: &NewJob) -> Result<bool, LedgerError> {
        const ACTION: &str = "create a job in";
        let options = serde_json::to_string(&job.options).map_err(|source| LedgerError {
            action: ACTION,
            retryable: false,
            source: source.into(),
        })?;
        let mut call = self.on_job(&self.scripts.create_job, &job.id);
        call.arg(&job.profile).arg(&job.name).arg(options);
        self.run(ACTION, &call, Ok).await
    }

    async fn extend(
        &self,
        job: &JobId,
        tasks: &[(TaskKey, u64)],
        done: &[TaskKey],
        retired: &[TaskKey],
    ) -> Result<Completion, LedgerError> {
        let mut call = self.on_job(&self.scripts.extend, job);
        call.arg(tasks.len()).arg(done.len());
        for (task, frames) in tasks {
            call.arg(task.to_string()).arg(bounded(*frames));
        }
        for task in done.iter().chain(retired) {
            call.arg(task.to_string());
        }
        let read = |words: Vec<String>| reply::completion(&words);
        self.run("add tasks to", &call, read).await
    }

    async fn claim(
        &self,
        task: &TaskId,
        worker: &WorkerId,
        ttl: Duration,
        max_attempts: u32,
    ) -> Result<Claim, LedgerError> {
        let mut call = self.on_job(&self.scripts.claim, &task.job);
        call.arg(task.key.to_string())
            .arg(worker.as_str())
            .arg(millis(ttl))
            .arg(max_attempts);
        let read = |words: Vec<String>| reply::claim(task, worker, &words);
        self.run("claim a task in", &call, read).await
    }

    async fn renew(
        &self,
        leases: &[(Lease, u64)],
        ttl: Duration,
    ) -> Result<Vec<Lease>, LedgerError> {
        let Some((first, _)) = leases.first() else {
            return Ok(vec![]);
        };
        let mut call = self.on(&self.scripts.renew, &format!("job:{}", first.task.job));
        call.arg(millis(ttl));
        for (lease, frames) in leases {
            call.arg(lease.task.job.as_str())
                .arg(lease.task.key.to_string())
                .arg(lease.worker.as_str())
                .arg(lease.epoch)
                .arg(bounded(*frames));
        }
        let lost = |places: Vec<usize>| {
            let lost = places.into_iter().filter_map(|place| leases.get(place));
            Ok(lost.map(|(lease, _)| lease.clone()).collect())
        };
        self.run("renew leases in", &call, lost).await
    }

    async fn complete(&self, task: &TaskId) -> Result<Completion, LedgerError> {
        let mut call = self.on_job(&self.scripts.complete, &task.job);
        call.arg(task.key.to_string());
        let read = |words: Vec<String>| reply::completion(&words);
        self.run("complete a task in", &call, read).await
    }

    async fn release(&self, lease: &Lease, refund: bool) -> Result<(), LedgerError> {
        let mut call = self.on_job(&self.scripts.release, &lease.task.job);
        call.arg(lease.task.key.to_string())
            .arg(lease.worker.as_str())
            .arg(lease.epoch)
            .arg(u8::from(refund));
        self.run("release a lease of", &call, Ok).await
    }

    async fn release_all(&self, worker: &WorkerId) -> Result<(), LedgerError> {
        let call = self.on_worker(&self.scripts.release_all, worker);
        self.run("release leases of", &call, Ok).await
    }

    async fn hold(
        &self,
        name: &str,
        worker: &WorkerId,
        ttl: Duration,
    ) -> Result<bool, LedgerError> {
        let mut call = self.on(&self.scripts.hold, "holds");
        call.arg(name).arg(worker.as_str()).arg(millis(ttl));
        self.run("hold a name in", &call, Ok).await
    }

    async fn set_phase(&self, job: &JobId, phase: Phase) -> Result<(), LedgerError> {
        let mut call = self.on_job(&self.scripts.set_phase, job);
        call.arg(phase.as_str());
        self.run("update a job in", &call, Ok).await
    }

    async fn finish(
        &self,
        job: &JobId,
        status: JobStatus,
        error: Option<&JobError>,
    ) -> Result<Option<JobStatus>, LedgerError> {
        const ACTION: &str = "finish a job in";
        if !status.is_terminal() {
            return Err(LedgerError {
                action: ACTION,
                retryable: false,
                source: NotTerminal(status.as_str()).into(),
            });
        }
        let mut call = self.on_job(&self.scripts.finish, job);
        call.arg(status.as_str()).arg(self.retention);
        for (field, value) in error.map(reply::error_fields).unwrap_or_default() {
            call.arg(field).arg(value);
        }
        let read = |word: Option<String>| Ok(word.map(|word| word.parse()).transpose()?);
        self.run(ACTION, &call, read).await
    }

    async fn retry(&self, job: &JobId) -> Result<bool, LedgerError> {
        let call = self.on_job(&self.scripts.retry, job);
        self.run("retry a job in", &call, Ok).await
    }

    async fn forget(&self, job: &JobId) -> Result<(), LedgerError> {
        let call = self.on_job(&self.scripts.forget, job);
        self.run("forget a job in", &call, Ok).await
    }

    async fn job(&self, job: &JobId) -> Result<Option<JobRecord>, LedgerError> {
        let call = self.on_job(&self.scripts.job, job);
        let read = |fields: Fields| reply::job(&fields);
        self.run("read", &call, read).await
    }

    async fn jobs(
        &self,
        status: Option<JobStatus>,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        let mut call = self.on(&self.scripts.jobs, "jobs");
        // Beyond this no page is longer, and the server counts in signed numbers.
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        call.arg(status.map_or("", JobStatus::as_str))
            .arg(after.map_or("", JobId::as_str))
            .arg(limit);
        let read = |page: Vec<Fields>| {
            let jobs = page.iter().map(|fields| reply::job(fields).transpose());
            jobs.flatten().collect()
        };
        self.run("read", &call, read).await
    }

    async fn counts(&self) -> Result<BTreeMap<JobStatus, u64>, LedgerError> {
        let call = self.on(&self.scripts.counts, "jobs");
        let read = |counts: BTreeMap<String, u64>| {
            let counts = counts.into_iter();
            let counts = counts.map(|(status, jobs)| Ok((status.parse()?, jobs)));
            counts.collect()
        };
        self.run("read", &call, read).await
    }

    async fn heartbeat(&self, worker: &WorkerRecord) -> Result<(), LedgerError> {
        let mut call = self.on_worker(&self.scripts.heartbeat, &worker.id);
        call.arg(worker.slots)
            .arg(&worker.version)
            .arg(&worker.ffmpeg)
            .arg(worker.yt_dlp.as_deref().unwrap_or_default())
            .arg(millis(FORGET_WORKERS_AFTER));
        self.run("report a worker to", &call, Ok).await
    }

    async fn workers(&self, age: Duration) -> Result<Vec<WorkerRecord>, LedgerError> {
        let mut call = self.on(&self.scripts.workers, "workers");
        call.arg(millis(age));
        let read = |alive: Vec<Fields>| {
            let workers: Result<Vec<_>, _> = alive.iter().map(reply::worker).collect();
            let mut workers = workers?;
            workers.sort_by(|a, b| a.id.cmp(&b.id));
            Ok(workers)
        };
        self.run("read", &call, read).await
    }
}
