//! What the scripts answer, as the port says it.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use reelmill_common::job::{JobError, Phase};
use reelmill_common::{JobId, TaskId, WorkerId};

use crate::{Claim, Completion, JobRecord, Lease, PhaseStart, WorkerRecord};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The names and values of a hash's fields.
pub(super) type Fields = HashMap<String, String>;

/// Of a job's hash. A change gets a new one.
const VERSION: u32 = 1;

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("redis answered `{0}`, which this reelmill does not know: update it")]
    Answer(String),
    #[error("a hash in redis has no field `{0}`: delete its key to have it rebuilt")]
    Missing(&'static str),
    #[error(
        "`{value}` is no value of the field `{name}` in redis: delete its key to have it rebuilt"
    )]
    Value { name: &'static str, value: String },
    #[error(
        "job `{job}` has version {found} in redis, this reelmill reads up to {VERSION}: update it"
    )]
    Newer { job: String, found: u32 },
}

pub(super) fn claim(task: &TaskId, worker: &WorkerId, words: &[String]) -> Result<Claim, BoxError> {
    let said: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match said[..] {
        ["claimed", epoch, attempt] => {
            let lease = Lease {
                task: task.clone(),
                worker: worker.clone(),
                epoch: epoch.parse()?,
            };
            let attempt = attempt.parse()?;
            Claim::Claimed { lease, attempt }
        }
        ["done"] => Claim::Done,
        ["held", millis] => Claim::Held {
            remaining: Duration::from_millis(millis.parse()?),
        },
        ["over", status] => Claim::Over(status.parse()?),
        ["exhausted", attempts] => Claim::Exhausted {
            attempts: attempts.parse()?,
        },
        ["unknown"] => Claim::Unknown,
        _ => return Err(Unreadable::Answer(words.join(" ")).into()),
    })
}

pub(super) fn completion(words: &[String]) -> Result<Completion, BoxError> {
    let said: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match said[..] {
        ["partial"] => Completion::Partial,
        ["whole"] => Completion::Whole,
        ["over", status] => Completion::Over(status.parse()?),
        ["unknown"] => Completion::Unknown,
        _ => return Err(Unreadable::Answer(words.join(" ")).into()),
    })
}

/// A job; `None` where there are no fields.
pub(super) fn job(fields: &Fields) -> Result<Option<JobRecord>, BoxError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let id = text(fields, "id")?;
    let found = value(fields, "version")?;
    if found > VERSION {
        let job = id.to_owned();
        return Err(Unreadable::Newer { job, found }.into());
    }
    let counted: u64 = value(fields, "completed_frames")?;
    let idle: u64 = value(fields, "idle_frames")?;
    Ok(Some(JobRecord {
        id: JobId::new(id)?,
        profile: text(fields, "profile")?.to_owned(),
        name: text(fields, "name")?.to_owned(),
        options: serde_json::from_str(text(fields, "options")?)?,
        status: value(fields, "status")?,
        phase: known(fields, "phase")?,
        total_chunks: value(fields, "total_chunks")?,
        completed_chunks: value(fields, "completed_chunks")?,
        total_frames: value(fields, "total_frames")?,
        completed_frames: counted.saturating_sub(idle),
        attempts: value(fields, "attempts")?,
        created_at: value(fields, "created_at")?,
        started_at: known(fields, "started_at")?,
        ended_at: known(fields, "ended_at")?,
        phases: phases(fields)?,
        updated_at: value(fields, "updated_at")?,
        error: error(fields)?,
    }))
}

/// `scanning 1700000000000, transcoding 1700000001000`, as people read it.
fn phases(fields: &Fields) -> Result<Vec<PhaseStart>, BoxError> {
    let Some(list) = fields.get("phases") else {
        return Ok(vec![]);
    };
    let mut phases = vec![];
    for entry in list.split(", ") {
        let (phase, at) = entry.split_once(' ').ok_or_else(|| bad("phases", list))?;
        phases.push(PhaseStart {
            phase: Phase::from_str(phase)?,
            at: at.parse()?,
        });
    }
    Ok(phases)
}

/// The fields that a job's error is written to.
pub(super) fn error_fields(error: &JobError) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("error", error.message.clone()),
        ("error_code", error.code.clone()),
        ("error_retryable", error.retryable.to_string()),
        ("error_detail", error.detail.clone()),
    ];
    if let Some(task) = error.task {
        fields.push(("error_task", task.to_string()));
    }
    fields
}

fn error(fields: &Fields) -> Result<Option<JobError>, BoxError> {
    let Some(message) = fields.get("error") else {
        return Ok(None);
    };
    Ok(Some(JobError {
        code: text(fields, "error_code")?.to_owned(),
        message: message.clone(),
        retryable: value(fields, "error_retryable")?,
        detail: text(fields, "error_detail")?.to_owned(),
        task: known(fields, "error_task")?,
    }))
}

pub(super) fn worker(fields: &Fields) -> Result<WorkerRecord, BoxError> {
    Ok(WorkerRecord {
        id: WorkerId::new(text(fields, "id")?)?,
        slots: value(fields, "slots")?,
        version: text(fields, "version")?.to_owned(),
        ffmpeg: text(fields, "ffmpeg")?.to_owned(),
        // Workers of an older build do not say.
        yt_dlp: fields.get("yt_dlp").filter(|it| !it.is_empty()).cloned(),
        last_heartbeat: value(fields, "last_heartbeat")?,
    })
}

fn text<'a>(fields: &'a Fields, name: &'static str) -> Result<&'a str, Unreadable> {
    let text = fields.get(name).map(String::as_str);
    text.ok_or(Unreadable::Missing(name))
}

fn value<T: FromStr>(fields: &Fields, name: &'static str) -> Result<T, Unreadable> {
    let text = text(fields, name)?;
    text.parse().map_err(|_source| bad(name, text))
}

/// The value of a field that need not be there.
fn known<T: FromStr>(fields: &Fields, name: &'static str) -> Result<Option<T>, Unreadable> {
    if fields.contains_key(name) {
        value(fields, name).map(Some)
    } else {
        Ok(None)
    }
}

fn bad(name: &'static str, value: &str) -> Unreadable {
    let value = value.to_owned();
    Unreadable::Value { name, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    fn stored() -> Fields {
        fields(&[
            ("id", "j1"),
            ("version", "1"),
            ("status", "running"),
            ("phase", "transcoding"),
            ("profile", "web"),
            ("name", "a.mp4"),
            ("options", "{}"),
            ("total_chunks", "10"),
            ("completed_chunks", "4"),
            ("total_frames", "1000"),
            ("completed_frames", "450"),
            ("idle_frames", "20"),
            ("attempts", "6"),
            ("created_at", "1700000000000"),
            ("started_at", "1700000000500"),
            ("updated_at", "1700000009000"),
            (
                "phases",
                "scanning 1700000000600, transcoding 1700000001000",
            ),
        ])
    }

    #[test]
    fn a_hash_is_a_job() {
        let job = job(&stored()).unwrap().unwrap();
        assert_eq!((job.total_chunks, job.completed_chunks), (10, 4));
        assert_eq!((job.total_frames, job.completed_frames), (1000, 430));
        assert_eq!(job.phase, Some(Phase::Transcoding));
        let phases: Vec<_> = job
            .phases
            .iter()
            .map(|start| (start.phase, start.at))
            .collect();
        let expected = [
            (Phase::Scanning, 1_700_000_000_600),
            (Phase::Transcoding, 1_700_000_001_000),
        ];
        assert_eq!(phases, expected);
        assert_eq!((job.ended_at, job.error), (None, None));
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do() {
        let told = |name: &'static str, value: Option<&str>| {
            let mut fields = stored();
            match value {
                Some(value) => fields.insert(name.to_owned(), value.to_owned()),
                None => fields.remove(name),
            };
            job(&fields).unwrap_err().to_string()
        };
        assert_eq!(
            told("attempts", None),
            "a hash in redis has no field `attempts`: delete its key to have it rebuilt"
        );
        assert_eq!(
            told("total_chunks", Some("many")),
            "`many` is no value of the field `total_chunks` in redis: delete its key to have it \
             rebuilt"
        );
        assert_eq!(
            told("version", Some("2")),
            "job `j1` has version 2 in redis, this reelmill reads up to 1: update it"
        );
        assert_eq!(
            completion(&["most".to_owned()]).unwrap_err().to_string(),
            "redis answered `most`, which this reelmill does not know: update it"
        );
    }
}
