//! What attempts leave behind that came to nothing.

use std::collections::BTreeSet;

use reelmill_common::{JobId, ObjectKey, key};
use reelmill_store::Store;
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

/// Removes what attempts at an ended job made and no done-marker names, so that whole chunks stay
/// for a retry. Attempts that may still be running must not exist: an object is written before the
/// marker that names it.
///
/// # Errors
/// A store that fails; doing it again is right.
pub async fn clear(store: &dyn Store, job: &JobId) -> Result<(), StageError> {
    let prefix = format!("transcoded/{job}/");
    let mut named = BTreeSet::new();
    let keys = list(store, &prefix).await?;
    for record in keys.iter().filter(|key| is_record(key, &prefix)) {
        named.extend(named_by(store, record).await?);
    }
    let attempts = keys.iter().filter(|key| is_of_attempt(key, &prefix));
    for key in attempts.filter(|key| !named.contains(key.as_str())) {
        store.delete(key).await?;
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

/// Every key under a prefix.
pub(crate) async fn list(store: &dyn Store, prefix: &str) -> Result<Vec<ObjectKey>, StageError> {
    let mut keys: Vec<ObjectKey> = Vec::new();
    loop {
        let page = store.list(prefix, keys.last(), PAGE).await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page.into_iter().map(|meta| meta.key));
    }
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

/// Whether a key is that of something that an attempt made: `{task}/{epoch}-{worker}/{file}`.
fn is_of_attempt(key: &ObjectKey, prefix: &str) -> bool {
    let Some(rest) = key.as_str().strip_prefix(prefix) else {
        return false;
    };
    let mut parts = rest.split('/').skip(1);
    let attempt = parts.next().and_then(|attempt| attempt.split_once('-'));
    let has_epoch = attempt.is_some_and(|(epoch, _)| epoch.parse::<u64>().is_ok());
    has_epoch && parts.next().is_some()
}
