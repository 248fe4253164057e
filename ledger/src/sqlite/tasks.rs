//! Who works on what, and what is done.

use std::time::Duration;

use reelmill_common::{JobId, TaskId, TaskKey, WorkerId};
use reelmill_sqlite::BoxError;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::jobs;
use crate::{Claim, Completion, Lease, Millis, millis};

/// What decides about a claim.
struct Task {
    needed: bool,
    over: bool,
    attempts: u32,
    epoch: u64,
    held_until: Option<Millis>,
}

pub(super) fn extend(
    tx: &Transaction<'_>,
    now: Millis,
    job: &JobId,
    tasks: &[(TaskKey, u64)],
    done: &[TaskKey],
    retired: &[TaskKey],
) -> Result<Completion, BoxError> {
    if jobs::status(tx, job)?.is_none() {
        return Ok(Completion::Unknown);
    }
    let mut changed = 0;
    {
        // A row that is there may be there for a claim or a completion only. A task that is needed
        // already keeps its frames.
        let mut add = tx.prepare_cached(
            "INSERT INTO task (job, key, needed, frames) VALUES (?1, ?2, 1, ?3)
             ON CONFLICT (job, key) DO UPDATE SET needed = 1, frames = excluded.frames
             WHERE NOT needed",
        )?;
        for (key, frames) in tasks {
            // SQLite's integers are signed; no job has as many frames.
            let frames = (*frames).min(u64::from(u32::MAX));
            changed += add.execute(params![job.as_str(), key.to_string(), frames])?;
        }
        let mut retire = tx.prepare_cached(
            "INSERT INTO task (job, key, retired) VALUES (?1, ?2, 1)
             ON CONFLICT (job, key) DO UPDATE
             SET retired = 1, worker = NULL, expires_at = NULL, reported = 0 WHERE NOT retired",
        )?;
        for key in retired {
            changed += retire.execute(params![job.as_str(), key.to_string()])?;
        }
    }
    for key in done {
        changed += mark_done(tx, job, *key)?;
    }
    if changed > 0 {
        jobs::touch(tx, now, job)?;
    }
    completion(tx, job)
}

pub(super) fn claim(
    tx: &Transaction<'_>,
    now: Millis,
    id: &TaskId,
    worker: &WorkerId,
    ttl: Duration,
    max_attempts: u32,
) -> Result<Claim, BoxError> {
    match jobs::status(tx, &id.job)? {
        None => return Ok(Claim::Unknown),
        Some(status) if status.is_terminal() => return Ok(Claim::Over(status)),
        Some(_) => {}
    }
    let task = find(tx, id)?;
    if task.over {
        return Ok(Claim::Done);
    }
    if !task.needed && !matches!(id.key, TaskKey::Ingest | TaskKey::Finalize) {
        // The job is known only in part: whoever rebuilds it names the task, or retires it.
        return Ok(Claim::Unknown);
    }
    if let Some(until) = task.held_until.filter(|until| *until > now) {
        return Ok(Claim::Held {
            remaining: Duration::from_millis(until - now),
        });
    }
    if task.attempts >= max_attempts {
        return Ok(Claim::Exhausted {
            attempts: task.attempts,
        });
    }
    let epoch = now.max(task.epoch + 1);
    let attempt = task.attempts + 1;
    tx.prepare_cached(
        "INSERT INTO task (job, key, attempts, epoch, worker, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (job, key) DO UPDATE SET attempts = excluded.attempts, reported = 0,
         epoch = excluded.epoch, worker = excluded.worker, expires_at = excluded.expires_at",
    )?
    .execute(params![
        id.job.as_str(),
        id.key.to_string(),
        attempt,
        epoch,
        worker.as_str(),
        now.saturating_add(millis(ttl)),
    ])?;
    jobs::start(tx, now, &id.job)?;
    let lease = Lease {
        task: id.clone(),
        worker: worker.clone(),
        epoch,
    };
    Ok(Claim::Claimed { lease, attempt })
}

fn find(tx: &Transaction<'_>, id: &TaskId) -> Result<Task, BoxError> {
    let mut select = tx.prepare_cached(
        "SELECT needed, done OR retired, attempts, epoch,
                CASE WHEN worker IS NOT NULL THEN expires_at END
         FROM task WHERE job = ?1 AND key = ?2",
    )?;
    let task = select
        .query_row(params![id.job.as_str(), id.key.to_string()], |row| {
            Ok(Task {
                needed: row.get(0)?,
                over: row.get(1)?,
                attempts: row.get(2)?,
                epoch: row.get(3)?,
                held_until: row.get(4)?,
            })
        })
        .optional()?;
    let never_seen = Task {
        needed: false,
        over: false,
        attempts: 0,
        epoch: 0,
        held_until: None,
    };
    Ok(task.unwrap_or(never_seen))
}

pub(super) fn renew(
    tx: &Transaction<'_>,
    now: Millis,
    leases: Vec<(Lease, u64)>,
    ttl: Duration,
) -> Result<Vec<Lease>, BoxError> {
    let mut lost = vec![];
    for (lease, frames) in leases {
        let frames = frames.min(u64::from(u32::MAX));
        // Leases of a job that has ended, and of tasks that are done or retired, have no worker.
        let reported: Option<u64> = tx
            .prepare_cached(
                "SELECT reported FROM task
                 WHERE job = ?1 AND key = ?2 AND worker = ?3 AND epoch = ?4",
            )?
            .query_row(name(&lease), |row| row.get(0))
            .optional()?;
        let Some(reported) = reported else {
            lost.push(lease);
            continue;
        };
        tx.prepare_cached(
            "UPDATE task SET expires_at = ?3, reported = ?4 WHERE job = ?1 AND key = ?2",
        )?
        .execute(params![
            lease.task.job.as_str(),
            lease.task.key.to_string(),
            now.saturating_add(millis(ttl)),
            frames,
        ])?;
        if reported != frames {
            jobs::touch(tx, now, &lease.task.job)?;
        }
    }
    Ok(lost)
}

fn name(lease: &Lease) -> (&str, String, &str, u64) {
    (
        lease.task.job.as_str(),
        lease.task.key.to_string(),
        lease.worker.as_str(),
        lease.epoch,
    )
}

pub(super) fn complete(
    tx: &Transaction<'_>,
    now: Millis,
    id: &TaskId,
) -> Result<Completion, BoxError> {
    if jobs::status(tx, &id.job)?.is_none() {
        return Ok(Completion::Unknown);
    }
    if mark_done(tx, &id.job, id.key)? > 0 {
        jobs::touch(tx, now, &id.job)?;
    }
    completion(tx, &id.job)
}

/// Mirrors a marker. Also for a job that has ended: should it be retried, what is done is done.
fn mark_done(tx: &Transaction<'_>, job: &JobId, key: TaskKey) -> Result<usize, BoxError> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO task (job, key, done) VALUES (?1, ?2, 1)
         ON CONFLICT (job, key) DO UPDATE
         SET done = 1, worker = NULL, expires_at = NULL, reported = 0 WHERE NOT done",
    )?;
    Ok(insert.execute(params![job.as_str(), key.to_string()])?)
}

fn completion(tx: &Transaction<'_>, job: &JobId) -> Result<Completion, BoxError> {
    match jobs::status(tx, job)? {
        None => return Ok(Completion::Unknown),
        Some(status) if status.is_terminal() => return Ok(Completion::Over(status)),
        Some(_) => {}
    }
    let (total, done): (u32, u32) = tx
        .prepare_cached(
            "SELECT count(*), coalesce(sum(done), 0) FROM task
             WHERE job = ?1 AND needed AND NOT retired",
        )?
        .query_row([job.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // A job that has no tasks yet has no plan yet.
    Ok(if total > 0 && done == total {
        Completion::Whole
    } else {
        Completion::Partial
    })
}

pub(super) fn release(tx: &Transaction<'_>, lease: &Lease, refund: bool) -> Result<(), BoxError> {
    let (job, key, worker, epoch) = name(lease);
    tx.execute(
        "UPDATE task SET worker = NULL, expires_at = NULL, reported = 0,
                attempts = max(attempts - ?5, 0)
         WHERE job = ?1 AND key = ?2 AND worker = ?3 AND epoch = ?4",
        params![job, key, worker, epoch, refund],
    )?;
    Ok(())
}

pub(super) fn release_all(tx: &Transaction<'_>, worker: &WorkerId) -> Result<(), BoxError> {
    tx.execute(
        "UPDATE task SET worker = NULL, expires_at = NULL, reported = 0,
                attempts = max(attempts - 1, 0)
         WHERE worker = ?1",
        [worker.as_str()],
    )?;
    tx.execute("DELETE FROM hold WHERE worker = ?1", [worker.as_str()])?;
    Ok(())
}

pub(super) fn hold(
    tx: &Transaction<'_>,
    now: Millis,
    name: &str,
    worker: &WorkerId,
    ttl: Duration,
) -> Result<bool, BoxError> {
    let changed = tx.execute(
        "INSERT INTO hold (name, worker, expires_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE
         SET worker = excluded.worker, expires_at = excluded.expires_at
         WHERE worker = excluded.worker OR expires_at <= ?4",
        params![name, worker.as_str(), now.saturating_add(millis(ttl)), now],
    )?;
    Ok(changed > 0)
}

/// Ends every lease of a job.
pub(super) fn end_leases(tx: &Transaction<'_>, job: &JobId) -> Result<(), BoxError> {
    tx.execute(
        "UPDATE task SET worker = NULL, expires_at = NULL, reported = 0
         WHERE job = ?1 AND worker IS NOT NULL",
        [job.as_str()],
    )?;
    Ok(())
}

/// Gives every task of a job its attempts back.
pub(super) fn refund_all(tx: &Transaction<'_>, job: &JobId) -> Result<(), BoxError> {
    tx.execute(
        "UPDATE task SET attempts = 0 WHERE job = ?1",
        [job.as_str()],
    )?;
    Ok(())
}
