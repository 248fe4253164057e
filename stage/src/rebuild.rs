//! From the store, which is the truth, to the ledger and the queue, which are not.

use bytes::Bytes;
use reelmill_common::id::JobId;
use reelmill_common::job::{JobEnd, JobStatus};
use reelmill_common::key;
use reelmill_common::manifest::{Manifest, Revision};
use reelmill_common::message::{Message, Topic};
use reelmill_common::request::JobRequest;
use reelmill_common::{ObjectKey, TaskId, TaskKey};
use reelmill_ledger::{Completion, JobRecord, NewJob};
use reelmill_queue::Outgoing;
use reelmill_store::{Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Ports, StageError};

/// Reads a JSON object; `None` when there is none.
///
/// # Errors
/// A store that fails, or JSON that is not of this shape.
pub async fn load_json<T: DeserializeOwned>(
    store: &dyn Store,
    key: &ObjectKey,
) -> Result<Option<T>, StageError> {
    let bytes = match store.get(key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        StageError::permanent(
            "object-malformed",
            format!("cannot understand `{key}`: {error}"),
        )
    })
}

/// Writes a JSON object only where none is; `false` when somebody else was first. An object of the
/// very same bytes is the caller's own, whose first answer was lost on the way.
///
/// # Errors
/// A store that fails.
pub async fn create_json(
    store: &dyn Store,
    key: &ObjectKey,
    value: &(impl Serialize + Sync),
) -> Result<bool, StageError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| {
        StageError::permanent(
            "object-unwritable",
            format!("cannot write `{key}`: {error}"),
        )
    })?;
    let bytes = Bytes::from(bytes);
    match store.put_new(key, bytes.clone()).await {
        Ok(()) => Ok(true),
        Err(StoreError::AlreadyExists(_)) => Ok(store.get(key).await? == bytes),
        Err(error) => Err(error.into()),
    }
}

/// Whether an object exists.
///
/// # Errors
/// A store that fails.
pub async fn exists(store: &dyn Store, key: &ObjectKey) -> Result<bool, StageError> {
    match store.head(key).await {
        Ok(_) => Ok(true),
        Err(StoreError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The manifest of a job that was planned.
///
/// # Errors
/// As [`manifest`]; also when there is none.
pub async fn planned(store: &dyn Store, job: &JobId) -> Result<Manifest, StageError> {
    manifest(store, job).await?.ok_or_else(|| {
        let message = format!("`{}` is not in the store", key::manifest(job));
        StageError::permanent("manifest-missing", message)
    })
}

/// A job's manifest; `None` while it has none.
///
/// # Errors
/// As [`load_json`]; also when a newer reelmill wrote it.
pub async fn manifest(store: &dyn Store, job: &JobId) -> Result<Option<Manifest>, StageError> {
    let manifest: Option<Manifest> = load_json(store, &key::manifest(job)).await?;
    if let Some(newer) = manifest
        .as_ref()
        .filter(|m| m.version > reelmill_common::manifest::VERSION)
    {
        return Err(StageError::permanent(
            "manifest-newer",
            format!(
                "the manifest of `{job}` has version {}: update reelmill",
                newer.version
            ),
        ));
    }
    Ok(manifest)
}

/// A job's revisions in order.
///
/// # Errors
/// As [`load_json`].
pub async fn revisions(store: &dyn Store, job: &JobId) -> Result<Vec<Revision>, StageError> {
    let mut revisions = Vec::new();
    for number in 1.. {
        match load_json(store, &key::revision(job, number)).await? {
            Some(revision) => revisions.push(revision),
            None => break,
        }
    }
    Ok(revisions)
}

/// Makes the ledger know what the store knows of a job, and asks for the joining where all else is
/// done. `false` when the store knows nothing of it beyond what an upload may have left.
///
/// Safe to run by many at once and after new progress: it merges, it does not overwrite.
///
/// # Errors
/// A port that fails.
pub async fn rebuild(ports: &Ports, job: &JobId) -> Result<bool, StageError> {
    let store = ports.store.as_ref();
    let Some(manifest) = manifest(store, job).await? else {
        return Ok(false);
    };
    let revisions = revisions(store, job).await?;
    let new = NewJob {
        id: job.clone(),
        profile: manifest.profile.clone(),
        name: manifest.source.name.clone(),
        options: manifest.options.clone(),
    };
    ports.ledger.create_job(&new).await?;
    let (completion, _done) = extend(ports, &manifest, &revisions).await?;
    if !end_as_stored(ports, job).await? && completion == Completion::Whole {
        // Whoever finished the last task may be gone, and its message with it.
        publish(ports, &[message(&manifest, TaskKey::Finalize)]).await?;
    }
    Ok(true)
}

/// What the ledger knows of a job. One that it has forgotten, as it forgets those that ended long
/// ago, it learns of again from the store; `None` when the store does not know it either.
///
/// # Errors
/// A port that fails.
pub async fn known(ports: &Ports, job: &JobId) -> Result<Option<JobRecord>, StageError> {
    let record = ports.ledger.job(job).await?;
    if record.is_some() || !restore(ports, job).await? {
        return Ok(record);
    }
    tracing::info!(%job, "the ledger had forgotten the job and knows it again");
    match ports.ledger.job(job).await? {
        // Emptied once more at this moment. To say that nobody knows the job would have it removed.
        None => {
            let message = format!("the ledger was emptied while it learned of `{job}`: try again");
            Err(StageError::passing("ledger-emptied", message))
        }
        known => Ok(known),
    }
}

/// Makes the ledger know a job that it has forgotten, whatever the store has of it: its plan or only
/// what was asked for, and its end. `false` when the store does not know it either.
pub(crate) async fn restore(ports: &Ports, job: &JobId) -> Result<bool, StageError> {
    if rebuild(ports, job).await? {
        return Ok(true);
    }
    let store = ports.store.as_ref();
    let Some(request) = load_json::<JobRequest>(store, &key::request(job)).await? else {
        return Ok(false);
    };
    ports.ledger.create_job(&NewJob::of(job, &request)).await?;
    end_as_stored(ports, job).await?;
    Ok(true)
}

/// Tells the ledger of the end that the store knows of; `false` where it knows of none. A certificate
/// is the last word.
async fn end_as_stored(ports: &Ports, job: &JobId) -> Result<bool, StageError> {
    let (store, ledger) = (ports.store.as_ref(), &ports.ledger);
    if exists(store, &key::certificate(job)).await? {
        ledger.finish(job, JobStatus::Completed, None).await?;
    } else if let Some(end) = load_json::<JobEnd>(store, &key::ended(job)).await? {
        ledger.finish(job, end.status, end.error.as_ref()).await?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Tells the ledger of every task of a plan, with those whose markers exist as done, and gives
/// these.
async fn extend(
    ports: &Ports,
    manifest: &Manifest,
    revisions: &[Revision],
) -> Result<(Completion, Vec<TaskKey>), StageError> {
    let layout = manifest.layout(revisions);
    let tasks: Vec<(TaskKey, u64)> = manifest
        .tasks(revisions)
        .into_iter()
        .map(|task| {
            let placed = layout.iter().find(|placed| placed.task() == task);
            (task, placed.map_or(0, |placed| placed.chunk.packets))
        })
        .collect();
    let mut done = Vec::new();
    for (task, _) in &tasks {
        if exists(ports.store.as_ref(), &key::marker(&manifest.job, *task)).await? {
            done.push(*task);
        }
    }
    let keys = |revisions| manifest.tasks(revisions);
    let retired: Vec<TaskKey> = (0..revisions.len())
        .filter_map(|count| revisions.get(..count))
        .flat_map(keys)
        .filter(|old| !tasks.iter().any(|(task, _)| task == old))
        .collect();
    let ledger = &ports.ledger;
    let completion = ledger
        .extend(&manifest.job, &tasks, &done, &retired)
        .await?;
    Ok((completion, done))
}

/// Brings a plan to the ledger and publishes a message for every task that is not done, or the
/// finalize message when all are. The answer is the tasks that are done.
///
/// # Errors
/// A port that fails; doing it again is right.
pub async fn publish_missing(
    ports: &Ports,
    manifest: &Manifest,
    revisions: &[Revision],
) -> Result<Vec<TaskKey>, StageError> {
    let (messages, done) = missing(ports, manifest, revisions).await?;
    // The queue promises no order, but gives out at once what it has.
    for wave in waves(messages) {
        publish(ports, &wave).await?;
    }
    Ok(done)
}

/// What must not be the last to begin, and then the rest: a long task that is alone at the end keeps
/// a single slot busy.
fn waves(messages: Vec<Message>) -> [Vec<Message>; 2] {
    let longest = messages.iter().map(|message| message.cost_ms).max();
    let half = longest.unwrap_or_default() / 2;
    let (first, rest) = messages.into_iter().partition(|message| {
        matches!(message.task, TaskKey::Audio { .. }) || message.cost_ms >= half
    });
    [first, rest]
}

/// Brings a plan to the ledger. The answer is the messages for what is to be done, and the tasks
/// that are done.
pub(crate) async fn missing(
    ports: &Ports,
    manifest: &Manifest,
    revisions: &[Revision],
) -> Result<(Vec<Message>, Vec<TaskKey>), StageError> {
    let (mut completion, mut done) = extend(ports, manifest, revisions).await?;
    if completion == Completion::Unknown && rebuild(ports, &manifest.job).await? {
        (completion, done) = extend(ports, manifest, revisions).await?;
    }
    match completion {
        Completion::Partial => {}
        Completion::Whole => return Ok((vec![message(manifest, TaskKey::Finalize)], done)),
        // It has ended or was removed: nothing is to be done.
        Completion::Over(_) | Completion::Unknown => return Ok((vec![], done)),
    }
    let layout = manifest.layout(revisions);
    let mut messages = Vec::new();
    // Audio first: a track is one long task, and must not be the last to begin.
    let missing = manifest.tasks(revisions).into_iter();
    for task in missing.filter(|task| !done.contains(task)) {
        let mut message = message(manifest, task);
        if let Some(placed) = layout.iter().find(|placed| placed.task() == task) {
            message.window = Some(placed.chunk.window);
            message.cost_ms = placed.chunk.cost_ms;
        } else if let TaskKey::Audio { track } = task {
            message.cost_ms = manifest
                .audio
                .get(track as usize)
                .map_or(0, |plan| plan.cost_ms);
        }
        messages.push(message);
    }
    Ok((messages, done))
}

fn message(manifest: &Manifest, task: TaskKey) -> Message {
    let task = TaskId {
        job: manifest.job.clone(),
        key: task,
    };
    Message {
        profile: manifest.profile.clone(),
        priority: manifest.options.priority,
        ..Message::new(task)
    }
}

/// Publishes messages to the topics of their tasks.
pub(crate) async fn publish(ports: &Ports, messages: &[Message]) -> Result<(), StageError> {
    for topic in Topic::ALL {
        let of_topic = messages.iter().filter(|message| message.topic() == topic);
        let outgoing = of_topic.map(outgoing).collect::<Result<Vec<_>, _>>()?;
        if !outgoing.is_empty() {
            ports.queue.publish(topic, &outgoing).await?;
        }
    }
    Ok(())
}

fn outgoing(message: &Message) -> Result<Outgoing, StageError> {
    let spread = match message.task {
        TaskKey::Chunk { index, .. } => index,
        TaskKey::Audio { track } => track,
        TaskKey::Ingest | TaskKey::Finalize => 0,
    };
    Ok(Outgoing {
        job: message.job.clone(),
        priority: message.priority,
        key: message.task_id().to_string(),
        spread,
        payload: message.encode()?,
        delay: std::time::Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tasks_and_audio_go_ahead() {
        let task = |key, cost_ms| {
            let job = JobId::new("job").unwrap();
            let task = TaskId { job, key };
            let message = Message::new(task);
            Message { cost_ms, ..message }
        };
        let chunk = |index, cost_ms| {
            let generation = 0;
            task(TaskKey::Chunk { index, generation }, cost_ms)
        };
        let audio = task(TaskKey::Audio { track: 0 }, 9);
        let (long, half, short) = (chunk(0, 900), chunk(1, 450), chunk(2, 449));
        let plan = [&short, &audio, &long, &half].map(Clone::clone);
        let [first, rest] = waves(plan.into());
        assert_eq!(first, [audio, long, half]);
        assert_eq!(rest, [short]);

        let unknown = [0, 1].map(|index| chunk(index, 0));
        assert_eq!(waves(unknown.clone().into()), [unknown.to_vec(), vec![]]);
    }
}
