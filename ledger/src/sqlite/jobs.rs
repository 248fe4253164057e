//! What people see: jobs and workers.

use std::collections::BTreeMap;

use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::{JobId, WorkerId};
use reelmill_sqlite::BoxError;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::tasks;
use crate::error::NotTerminal;
use crate::{FORGET_WORKERS_AFTER, JobRecord, Millis, NewJob, PhaseStart, WorkerRecord, millis};

pub(super) fn create(tx: &Transaction<'_>, now: Millis, job: &NewJob) -> Result<bool, BoxError> {
    let created = tx.execute(
        "INSERT INTO job (id, profile, name, options, status, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (id) DO NOTHING",
        params![
            job.id.as_str(),
            job.profile,
            job.name,
            serde_json::to_string(&job.options)?,
            JobStatus::Pending.as_str(),
            now
        ],
    )?;
    Ok(created > 0)
}

pub(super) fn status(tx: &Transaction<'_>, job: &JobId) -> Result<Option<JobStatus>, BoxError> {
    let word: Option<String> = tx
        .prepare_cached("SELECT status FROM job WHERE id = ?1")?
        .query_row([job.as_str()], |row| row.get(0))
        .optional()?;
    Ok(word.map(|word| word.parse()).transpose()?)
}

/// Notes that something about a job changed. An ended job keeps the time of its end.
pub(super) fn touch(tx: &Transaction<'_>, now: Millis, job: &JobId) -> Result<(), BoxError> {
    tx.prepare_cached(
        "UPDATE job SET updated_at = ?2 WHERE id = ?1 AND status IN ('pending', 'running')",
    )?
    .execute(params![job.as_str(), now])?;
    Ok(())
}

/// Notes that a task of a job was claimed.
pub(super) fn start(tx: &Transaction<'_>, now: Millis, job: &JobId) -> Result<(), BoxError> {
    tx.prepare_cached(
        "UPDATE job SET status = 'running', updated_at = ?2, started_at = coalesce(started_at, ?2)
         WHERE id = ?1 AND status IN ('pending', 'running')",
    )?
    .execute(params![job.as_str(), now])?;
    Ok(())
}

pub(super) fn set_phase(
    tx: &Transaction<'_>,
    now: Millis,
    job: &JobId,
    phase: Phase,
) -> Result<(), BoxError> {
    tx.execute(
        "UPDATE job SET phase = ?2, updated_at = ?3,
                phases = json_insert(phases, '$[#]', json_array(?2, ?3))
         WHERE id = ?1 AND status = 'running' AND phase IS NOT ?2",
        params![job.as_str(), phase.as_str(), now],
    )?;
    Ok(())
}

pub(super) fn finish(
    tx: &Transaction<'_>,
    now: Millis,
    job: &JobId,
    end: JobStatus,
    error: Option<&JobError>,
) -> Result<Option<JobStatus>, BoxError> {
    if !end.is_terminal() {
        return Err(NotTerminal(end.as_str()).into());
    }
    match status(tx, job)? {
        Some(status) if !status.is_terminal() => {}
        ended_or_unknown => return Ok(ended_or_unknown),
    }
    let error = error.map(serde_json::to_string).transpose()?;
    tx.execute(
        "UPDATE job SET status = ?2, phase = NULL, error = ?3, updated_at = ?4, ended_at = ?4
         WHERE id = ?1",
        params![job.as_str(), end.as_str(), error, now],
    )?;
    tasks::end_leases(tx, job)?;
    Ok(Some(end))
}

pub(super) fn retry(tx: &Transaction<'_>, now: Millis, job: &JobId) -> Result<bool, BoxError> {
    let revived = tx.execute(
        "UPDATE job SET status = 'running', phase = NULL, error = NULL, phases = '[]',
                updated_at = ?2, started_at = NULL, ended_at = NULL
         WHERE id = ?1 AND status IN ('failed', 'cancelled')",
        params![job.as_str(), now],
    )?;
    if revived > 0 {
        tasks::refund_all(tx, job)?;
    }
    Ok(revived > 0)
}

pub(super) fn forget(tx: &Transaction<'_>, job: &JobId) -> Result<(), BoxError> {
    // Its tasks go with it.
    tx.execute("DELETE FROM job WHERE id = ?1", [job.as_str()])?;
    Ok(())
}

/// A job and what its tasks add up to. Frames of a lease that has ended are not being made any
/// more.
const SELECT: &str = "
    SELECT id, profile, name, status, phase, error, created_at, updated_at,
           options, phases, started_at, ended_at, coalesce(sum(attempts), 0),
           count(key), coalesce(sum(done), 0), coalesce(sum(frames), 0),
           coalesce(sum(CASE
               WHEN done THEN frames
               WHEN worker IS NOT NULL AND expires_at > ?1 THEN min(reported, frames)
               ELSE 0 END), 0)
    FROM job LEFT JOIN task ON task.job = job.id AND needed AND NOT retired";

pub(super) fn one(
    tx: &Transaction<'_>,
    now: Millis,
    job: &JobId,
) -> Result<Option<JobRecord>, BoxError> {
    let mut select = tx.prepare_cached(&format!("{SELECT} WHERE id = ?2 GROUP BY serial"))?;
    let mut rows = select.query(params![now, job.as_str()])?;
    rows.next()?.map(record).transpose()
}

pub(super) fn page(
    tx: &Transaction<'_>,
    now: Millis,
    status: Option<JobStatus>,
    after: Option<&JobId>,
    limit: usize,
) -> Result<Vec<JobRecord>, BoxError> {
    let mut before = i64::MAX;
    if let Some(after) = after {
        let serial = tx
            .query_row(
                "SELECT serial FROM job WHERE id = ?1",
                [after.as_str()],
                |row| row.get(0),
            )
            .optional()?;
        // The place of a job that was forgotten is not known any more.
        let Some(serial) = serial else {
            return Ok(vec![]);
        };
        before = serial;
    }
    // Two statements, so that a status is looked up in its index.
    let filter = if status.is_some() {
        "status = ?3"
    } else {
        "?3 IS NULL"
    };
    let mut select = tx.prepare_cached(&format!(
        "{SELECT} WHERE serial < ?2 AND {filter} GROUP BY serial ORDER BY serial DESC LIMIT ?4"
    ))?;
    let status = status.map(JobStatus::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![now, before, status, limit])?;
    let mut page = vec![];
    while let Some(row) = rows.next()? {
        page.push(record(row)?);
    }
    Ok(page)
}

fn record(row: &Row<'_>) -> Result<JobRecord, BoxError> {
    let (status, phase): (String, Option<String>) = (row.get(3)?, row.get(4)?);
    let error: Option<String> = row.get(5)?;
    let (options, phases): (String, String) = (row.get(8)?, row.get(9)?);
    Ok(JobRecord {
        id: JobId::new(row.get::<_, String>(0)?)?,
        profile: row.get(1)?,
        name: row.get(2)?,
        status: status.parse()?,
        phase: phase.map(|word| word.parse()).transpose()?,
        options: serde_json::from_str(&options)?,
        total_chunks: row.get(13)?,
        completed_chunks: row.get(14)?,
        total_frames: row.get(15)?,
        completed_frames: row.get(16)?,
        attempts: row.get(12)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
        started_at: row.get(10)?,
        ended_at: row.get(11)?,
        phases: phase_starts(&phases)?,
        error: error.map(|json| serde_json::from_str(&json)).transpose()?,
    })
}

fn phase_starts(json: &str) -> Result<Vec<PhaseStart>, BoxError> {
    let entries: Vec<(Phase, Millis)> = serde_json::from_str(json)?;
    Ok(entries
        .into_iter()
        .map(|(phase, at)| PhaseStart { phase, at })
        .collect())
}

pub(super) fn counts(tx: &Transaction<'_>) -> Result<BTreeMap<JobStatus, u64>, BoxError> {
    let mut select = tx.prepare_cached("SELECT status, count(*) FROM job GROUP BY status")?;
    let mut rows = select.query([])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        counts.insert(row.get::<_, String>(0)?.parse()?, row.get(1)?);
    }
    Ok(counts)
}

pub(super) fn heartbeat(
    tx: &Transaction<'_>,
    now: Millis,
    worker: &WorkerRecord,
) -> Result<(), BoxError> {
    tx.execute(
        "INSERT OR REPLACE INTO worker (id, slots, version, ffmpeg, yt_dlp, last_heartbeat)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            worker.id.as_str(),
            worker.slots,
            worker.version,
            worker.ffmpeg,
            worker.yt_dlp,
            now
        ],
    )?;
    let oldest = now.saturating_sub(millis(FORGET_WORKERS_AFTER));
    tx.execute("DELETE FROM worker WHERE last_heartbeat < ?1", [oldest])?;
    Ok(())
}

pub(super) fn workers(tx: &Transaction<'_>, since: Millis) -> Result<Vec<WorkerRecord>, BoxError> {
    let mut select = tx.prepare_cached(
        "SELECT id, slots, version, ffmpeg, yt_dlp, last_heartbeat FROM worker
         WHERE last_heartbeat >= ?1 ORDER BY id",
    )?;
    let mut rows = select.query([since])?;
    let mut workers = vec![];
    while let Some(row) = rows.next()? {
        workers.push(WorkerRecord {
            id: WorkerId::new(row.get::<_, String>(0)?)?,
            slots: row.get(1)?,
            version: row.get(2)?,
            ffmpeg: row.get(3)?,
            yt_dlp: row.get(4)?,
            last_heartbeat: row.get(5)?,
        });
    }
    Ok(workers)
}
