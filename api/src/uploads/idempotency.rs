//! `Idempotency-Key`: the same request gives the same job, however often it is sent.
//!
//! Which job a key stands for is written before the first byte of its upload is kept, under
//! `idempotency/{sha256 of the caller's name and the key}.json`, and so outlives the process. A job
//! that never came to be, because its upload broke off or the process died, does not hold its key.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::request::Parts;
use reelmill_common::digest::{Hasher, Sha256};
use reelmill_common::{JobId, ObjectKey, key, upload};
use reelmill_stage::{StageError, exists, load_json};
use reelmill_store::Store;
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::stored::{Record, clear, millis, now, sealed};
use super::submit_upload;
use crate::auth::Caller;
use crate::{Api, Problem};

/// The version that this build writes.
const VERSION: u32 = 1;

/// How long a key is remembered.
const KEPT: Duration = Duration::from_secs(upload::IDEMPOTENCY_SECONDS);

/// Bytes of a key.
const MAX_KEY: usize = 255;

/// Seconds after which a client may ask again.
pub(super) const RETRY_AFTER: &str = "5";

/// The code of a request whose like is being answered.
pub(super) const IN_PROGRESS: &str = "idempotency-in-progress";

/// What a key stands for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    version: u32,
    job: JobId,
    request: Sha256,
    /// Milliseconds since 1970.
    expires_at: u64,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Turn {
    /// Do it; with its key, if it has one.
    First(Option<Ticket>),
    /// It was done, and this is its job.
    Again(JobId),
}

/// A key that is held while its request is answered.
#[derive(Debug)]
pub(super) struct Ticket {
    object: ObjectKey,
    key: Sha256,
    desk: Arc<Desk>,
}

impl Ticket {
    /// Gives the key back: the request came to nothing.
    pub(super) async fn give_back(self, store: &dyn Store) {
        if let Err(error) = store.delete(&self.object).await {
            tracing::debug!(%error, "a key of a request that failed was left behind");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut keys = self
            .desk
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}

/// The digest of what makes two requests the same.
pub(super) fn request_digest(parts: &[&str]) -> Sha256 {
    let mut hasher = Hasher::default();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finish().0
}

/// Looks whether a request was seen before; if not, writes down that `job` is to be its job.
pub(super) async fn begin(
    api: &Arc<Api>,
    desk: &Arc<Desk>,
    parts: &Parts,
    request: Sha256,
    job: &JobId,
) -> Result<Turn, Problem> {
    let Some(ticket) = ticket(desk, parts, request)? else {
        return Ok(Turn::First(None));
    };
    let store = api.ports.store.as_ref();
    let known: Option<Remembered> = load_json(store, &ticket.object).await?;
    if let Some(known) = known.filter(|known| known.expires_at > now()) {
        if known.request != request {
            return Err(reused());
        }
        if is_job(api, &known.job).await? {
            return Ok(Turn::Again(known.job));
        }
        clear(store, &known.job).await?;
    }
    let remembered = Remembered {
        version: VERSION,
        job: job.clone(),
        request,
        expires_at: now().saturating_add(millis(KEPT)),
    };
    let json = serde_json::to_vec_pretty(&remembered).map_err(|error| {
        StageError::permanent("object-unwritable", format!("cannot write a key: {error}"))
    })?;
    store
        .put(&ticket.object, json.into())
        .await
        .map_err(|error| Problem::of(&error))?;
    Ok(Turn::First(Some(ticket)))
}

/// Whether an upload has become a job. One that is whole becomes it now.
async fn is_job(api: &Api, job: &JobId) -> Result<bool, Problem> {
    let store = &api.ports.store;
    if sealed(store.as_ref(), job).await?.is_some()
        && let Some(record) = Record::load(store, job, api.settings.upload_expiry).await?
    {
        submit_upload(&api.ports, &record.upload, api.settings.slots).await?;
    }
    Ok(exists(store.as_ref(), &key::request(job)).await?)
}

fn ticket(desk: &Arc<Desk>, parts: &Parts, request: Sha256) -> Result<Option<Ticket>, Problem> {
    let Some(value) = parts.headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.as_bytes();
    let is_good = |byte: &u8| (0x20..0x7f).contains(byte);
    if text.is_empty() || text.len() > MAX_KEY || !text.iter().all(is_good) {
        let detail = format!("`Idempotency-Key` must be 1 to {MAX_KEY} printable ASCII characters");
        let code = "idempotency-key-malformed";
        return Err(Problem::new(StatusCode::BAD_REQUEST, code, detail));
    }
    // Two callers who choose the same words do not mean the same request.
    let caller = parts.extensions.get::<Caller>();
    let digest = match caller {
        Some(Caller(name)) => Sha256::of(&[name.as_bytes(), b"\n", text].concat()),
        None => Sha256::of(text),
    };
    let object = key::idempotency(&digest);
    let mut keys = desk.keys.lock().unwrap_or_else(PoisonError::into_inner);
    match keys.get(&digest) {
        Some(other) if *other != request => Err(reused()),
        Some(_) => Err(Problem::new(
            StatusCode::CONFLICT,
            IN_PROGRESS,
            "the same request is being answered: ask again in a moment",
        )),
        None => {
            keys.insert(digest, request);
            drop(keys);
            let desk = Arc::clone(desk);
            Ok(Some(Ticket {
                object,
                key: digest,
                desk,
            }))
        }
    }
}

fn reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "the `Idempotency-Key` was sent with another request before: use a new one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_by_later_versions() {
        let golden = r#"{
  "version": 1,
  "job": "j1",
  "request": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "expires_at": 1700000000000
}"#;
        let remembered = Remembered {
            version: 1,
            job: JobId::new("j1").unwrap(),
            request: Sha256::of(b""),
            expires_at: 1_700_000_000_000,
        };
        assert_eq!(serde_json::to_string_pretty(&remembered).unwrap(), golden);
        assert_eq!(
            serde_json::from_str::<Remembered>(golden).unwrap(),
            remembered
        );
    }

    #[test]
    fn parts_of_a_request_do_not_run_into_each_other() {
        assert_ne!(request_digest(&["a", "bc"]), request_digest(&["ab", "c"]));
    }
}
