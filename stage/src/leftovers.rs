//! What attempts leave behind that came to nothing.

use std::collections::BTreeSet;

use reelmill_common::{JobId, ObjectKey, key};
use reelmill_store::{ObjectMeta, Store};
use serde_json::Value;

use crate::rebuild::load_json;
use crate::{StageError, Work};

/// How many objects are listed at once.
const PAGE: usize = 1000;

/// Removes what an attempt made that was dropped, unless its marker got there. Whatever cannot be
/// removed is left to [`clear`].
pub(crate) async fn clear_attempt(store: &dyn Store, work: &Work) {
    let (job, task) = (&work.task.job, work.task.key);
    let prefix = key::attempt_prefix(job, task, work.lease.epoch, &work.lease.worker);
    let cleared = async {
        let named = named_by(store, &key::marker(job, task)).await?;
        delete_but(store, &prefix, &named).await
    };
    if let Err(error) = cleared.await {
        tracing::debug!(%error, "what a dropped attempt made is left for later");
    }
}

/// Removes what attempts made and no done-marker names; of a finished job all that attempts made,
/// since its outputs hold it. Only attempts with an epoch up to `until`
/// are looked at, and none of them may still be running: an object is written before the marker that
/// names it.
pub(crate) async fn clear(store: &dyn Store, job: &JobId, until: u64) -> Result<(), StageError> {
    let prefix = format!("transcoded/{job}/");
    let keys = list(store, &prefix).await?;
    let of_attempts: Vec<&ObjectKey> = keys
        .iter()
        .filter(|key| epoch(key, &prefix).is_some_and(|epoch| epoch <= until))
        .collect();
    if of_attempts.is_empty() {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    if !keys.contains(&key::certificate(job)) {
        for record in keys.iter().filter(|key| is_record(key, &prefix)) {
            named.extend(named_by(store, record).await?);
        }
    }
    for key in of_attempts {
        if !named.contains(key.as_str()) {
            store.delete(key).await?;
        }
    }
    Ok(())
}

/// Removes every object under a prefix.
pub(crate) async fn delete_all(store: &dyn Store, prefix: &str) -> Result<(), StageError> {
    delete_but(store, prefix, &BTreeSet::new()).await
}

async fn delete_but(
    store: &dyn Store,
    prefix: &str,
    kept: &BTreeSet<String>,
) -> Result<(), StageError> {
    for key in list(store, prefix).await? {
        if !kept.contains(key.as_str()) {
            store.delete(&key).await?;
        }
    }
    Ok(())
}

/// Every object under a prefix.
pub(crate) async fn objects(
    store: &dyn Store,
    prefix: &str,
) -> Result<Vec<ObjectMeta>, StageError> {
    let mut objects: Vec<ObjectMeta> = Vec::new();
    loop {
        let after = objects.last().map(|object| &object.key);
        let page = store.list(prefix, after, PAGE).await?;
        if page.is_empty() {
            return Ok(objects);
        }
        objects.extend(page);
    }
}

/// Every key under a prefix.
pub(crate) async fn list(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectKey>, StageError> {
    let objects = objects(store, prefix).await?.into_iter();
    Ok(objects.map(|object| object.key).collect())
}

/// Every string in a JSON object of the store, among them the keys that it names, whichever kind of
/// marker it is; nothing when it is not there.
pub(crate) async fn named_by(
    store: &dyn Store,
    record: &ObjectKey,
) -> Result<BTreeSet<String>, StageError> {
    let mut named = BTreeSet::new();
    if let Some(value) = load_json::<Value>(store, record).await? {
        gather(value, &mut named);
    }
    Ok(named)
}

fn gather(value: Value, strings: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            strings.insert(text);
        }
        Value::Array(values) => values.into_iter().for_each(|value| gather(value, strings)),
        Value::Object(fields) => fields
            .into_iter()
            .for_each(|(_, value)| gather(value, strings)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a key is that of a marker or of the certificate.
fn is_record(key: &ObjectKey, prefix: &str) -> bool {
    key.as_str()
        .strip_prefix(prefix)
        .is_some_and(|name| name.ends_with(".json") && !name.contains('/'))
}

/// The epoch of the attempt that made an object: `{task}/{epoch}-{worker}/{file}`.
fn epoch(key: &ObjectKey, prefix: &str) -> Option<u64> {
    let mut parts = key.as_str().strip_prefix(prefix)?.split('/').skip(1);
    let (epoch, _worker) = parts.next()?.split_once('-')?;
    parts.next()?;
    epoch.parse().ok()
}
