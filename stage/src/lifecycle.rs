//! How a job begins, ends early, begins again and goes for good.

use bytes::Bytes;
use reelmill_common::job::{END_VERSION, JobEnd, JobError, JobStatus};
use reelmill_common::manifest::{Location, Manifest, Revision};
use reelmill_common::message::Message;
use reelmill_common::request::{JobRequest, VERSION};
use reelmill_common::upload::Upload;
use reelmill_common::{JobId, ObjectKey, TaskId, TaskKey, key};
use reelmill_ledger::{ACTIVE, NewJob};
use reelmill_store::Store;

use crate::leftovers::{delete_all, named_by};
use crate::rebuild::{known, load_json, publish, rebuild};
use crate::{Ports, StageError, create_json, exists, manifest, publish_missing, revisions};

/// Submits a job: its request, then its place in the ledger, then the message. Idempotent: after an
/// error, or to be sure, it is called again with the same request. A request that is there already
/// stays, since workers may have read it.
///
/// # Errors
/// A port that fails.
pub async fn submit(ports: &Ports, job: &JobId, request: &JobRequest) -> Result<(), StageError> {
    create_json(ports.store.as_ref(), &key::request(job), request).await?;
    mark_open(ports.store.as_ref(), job).await?;
    if ports.ledger.create_job(&NewJob::of(job, request)).await? {
        tracing::info!(%job, profile = request.profile.name, name = request.name, "accepted");
    }
    publish(ports, &[ingest(job, request)]).await
}

/// The message that asks for a job's plan.
pub(crate) fn ingest(job: &JobId, request: &JobRequest) -> Message {
    let task = TaskId {
        job: job.clone(),
        key: TaskKey::Ingest,
    };
    Message {
        profile: request.profile.name.clone(),
        priority: request.options.priority,
        ..Message::new(task)
    }
}

/// Turns an upload that is whole into its job, planned for as many encodes at once as the living
/// workers have room for; where none has reported, for `slots`. The upload's record goes last, so
/// that whoever finds it there calls this again.
///
/// # Errors
/// A port that fails.
pub async fn submit_upload(ports: &Ports, upload: &Upload, slots: u32) -> Result<(), StageError> {
    let alive = ports.ledger.workers(ACTIVE).await?;
    let alive = alive.iter().map(|worker| worker.slots).sum();
    let order = upload.order.clone();
    let request = JobRequest {
        version: VERSION,
        name: order.name,
        location: Location::Stored {
            job: upload.job.clone(),
        },
        profile: order.profile,
        proof: order.proof,
        slots: if alive == 0 { slots } else { alive },
        window_ms: order.window_ms,
        trusted: false,
        options: order.options,
    };
    submit(ports, &upload.job, &request).await?;
    Ok(ports.store.delete(&key::upload(&upload.job)).await?)
}

/// Ends a job as cancelled. The answer is the status that it then has, another one where it had
/// ended before; `None` when it is unknown.
///
/// Whoever works on it notices with the next renewal of its lease, drops the work and removes what
/// that had made so far. Whole chunks stay, so that a retry does only what is missing.
///
/// # Errors
/// A ledger that fails.
pub async fn cancel(ports: &Ports, job: &JobId) -> Result<Option<JobStatus>, StageError> {
    end(ports, job, JobStatus::Cancelled, None).await
}

/// Ends a job without a certificate: in the ledger, and in the store so that no ledger that was
/// emptied begins it again. The answer is the status that it then has, `None` when it is unknown.
///
/// # Errors
/// A ledger that fails. What could not be stored is stored by housekeeping.
pub(crate) async fn end(
    ports: &Ports,
    job: &JobId,
    status: JobStatus,
    error: Option<&JobError>,
) -> Result<Option<JobStatus>, StageError> {
    let ended = ports.ledger.finish(job, status, error).await?;
    if ended == Some(status)
        && let Err(error) = store_end(ports.store.as_ref(), job, status, error).await
    {
        tracing::warn!(%job, %error, "cannot store how the job ended: it is tried again");
    }
    Ok(ended)
}

/// Keeps how a job ended, unless that is kept already, and takes it from the open ones to those that
/// are to be cleared up after.
pub(crate) async fn store_end(
    store: &dyn Store,
    job: &JobId,
    status: JobStatus,
    error: Option<&JobError>,
) -> Result<(), StageError> {
    if status != JobStatus::Completed {
        let end = JobEnd {
            version: END_VERSION,
            status,
            error: error.cloned(),
        };
        create_json(store, &key::ended(job), &end).await?;
    }
    store.put(&key::closed(job), Bytes::new()).await?;
    Ok(store.delete(&key::open(job)).await?)
}

/// Counts a job among those that may not have ended.
async fn mark_open(store: &dyn Store, job: &JobId) -> Result<(), StageError> {
    Ok(store.put(&key::open(job), Bytes::new()).await?)
}

/// Runs a failed or cancelled job once more, without doing again what is done, also one that the
/// ledger has forgotten. `false` when the job is in no such state. One that dies half-way leaves a
/// running job, whose messages housekeeping publishes.
///
/// # Errors
/// A port that fails; also when the store has neither the job's plan nor its request.
pub async fn retry(ports: &Ports, job: &JobId) -> Result<bool, StageError> {
    let (store, ledger) = (ports.store.as_ref(), &ports.ledger);
    let record = known(ports, job).await?;
    let ended = record
        .is_some_and(|record| record.status.is_terminal() && record.status != JobStatus::Completed);
    if !ended {
        return Ok(false);
    }
    // Whoever finds these two and an ended job in the ledger stores the end anew.
    mark_open(store, job).await?;
    store.delete(&key::ended(job)).await?;
    store.delete(&key::closed(job)).await?;
    let Some(manifest) = manifest(store, job).await? else {
        let request = load_json::<JobRequest>(store, &key::request(job)).await?;
        let Some(request) = request else {
            let message = format!("`{}` is gone: submit the job again", key::request(job));
            return Err(StageError::permanent("request-missing", message));
        };
        // Before the message: whoever gets it must not find a job that has ended.
        let revived = ledger.retry(job).await?;
        if revived {
            publish(ports, &[ingest(job, &request)]).await?;
        }
        return Ok(revived);
    };
    let revisions = revisions(store, job).await?;
    let revived = if unmark_torn(store, &manifest, &revisions).await? {
        // A ledger does not take back that a task is done.
        ledger.forget(job).await?;
        rebuild(ports, job).await?
    } else {
        ledger.retry(job).await?
    };
    if revived {
        publish_missing(ports, &manifest, &revisions).await?;
    }
    Ok(revived)
}

/// Removes every done-marker that names an object which is gone, and tells whether there was one.
///
/// A worker that is dropped removes what it made unless its marker is there. A marker that was on
/// its way at that moment may arrive later and then names nothing.
async fn unmark_torn(
    store: &dyn Store,
    manifest: &Manifest,
    revisions: &[Revision],
) -> Result<bool, StageError> {
    let pieces = format!("transcoded/{}/", manifest.job);
    let mut found = false;
    for task in manifest.tasks(revisions) {
        let marker = key::marker(&manifest.job, task);
        let named = named_by(store, &marker).await?;
        for name in named.iter().filter(|name| name.starts_with(&pieces)) {
            let Ok(piece) = ObjectKey::new(name.as_str()) else {
                continue;
            };
            if !exists(store, &piece).await? {
                tracing::warn!(job = %manifest.job, %task, %piece, "a piece is gone: done again");
                store.delete(&marker).await?;
                found = true;
                break;
            }
        }
    }
    Ok(found)
}

/// Removes a job: everything that the store has of it, at last its place in the ledger. Idempotent;
/// one that died half-way is finished by the next call. A job that is running is cancelled first.
///
/// # Errors
/// A port that fails.
pub async fn remove(ports: &Ports, job: &JobId) -> Result<(), StageError> {
    let (store, ledger) = (ports.store.as_ref(), &ports.ledger);
    ledger.finish(job, JobStatus::Cancelled, None).await?;
    // Whoever lists jobs by the ledger finds it until all is gone.
    for folder in ["transcoded", "chunks", "raw"] {
        delete_all(store, &format!("{folder}/{job}/")).await?;
    }
    store.delete(&key::upload(job)).await?;
    store.delete(&key::open(job)).await?;
    // Whoever keeps house finds it by this until all is gone, also where the ledger is emptied.
    store.delete(&key::closed(job)).await?;
    Ok(ledger.forget(job).await?)
}
