//! Object keys and the scheme they follow.
//!
//! ```text
//! raw/{job}/request.json                          what was asked for
//! open/{job}                                      empty: a job that has not ended yet, for whoever looks for such
//! uploads/{job}.json                              an upload that has not become a job yet
//! idempotency/{sha256}.json                       what a client's `Idempotency-Key` stands for
//! raw/{job}/segment_00000 …                       a source as it arrived; immutable
//! raw/{job}/partial_00003                         what has arrived of a segment to come
//! raw/{job}/source.json                           written last; the upload is complete from here on
//! chunks/{job}/manifest.json                      create-only; the job exists from here on
//! chunks/{job}/revision_001.json                  create-only; chunks to redo after a seam disagreed
//! transcoded/{job}/chunk_000/{epoch}-{worker}/{rendition}.mp4
//! transcoded/{job}/chunk_000.json                 create-only done-marker (chunk_000.g1.json after a redo)
//! transcoded/{job}/audio_0.json                   create-only done-marker of an audio track
//! transcoded/{job}/output_1080p.mp4  hls/ …
//! transcoded/{job}/certificate.json               written last; the job is finished from here on
//! transcoded/{job}/ended.json                     how a job ended that has no certificate
//! ```

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::id::{JobId, WorkerId};
use crate::task::TaskKey;

/// The name of an object in the store.
///
/// Holds to these invariants, so that a key can never leave a backend's root: 1 to 512 bytes; parts
/// separated by single `/`; no part empty, `.` or `..` or beginning with `.`; only ASCII letters,
/// digits and `-`, `_`, `.`, `+`, `=`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// Why a string is not an object key.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not an object key: parts of A-Z, a-z, 0-9, -, _, ., + and = separated by `/` are expected, none beginning with a dot"
)]
pub struct InvalidKey(String);

impl ObjectKey {
    /// Makes a key from its text.
    ///
    /// # Errors
    /// [`InvalidKey`] when an invariant of the type does not hold.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidKey> {
        let key = key.into();
        let part_is_good = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.+=".contains(&b))
        };
        if key.len() <= 512 && key.split('/').all(part_is_good) {
            Ok(Self(key))
        } else {
            Err(InvalidKey(key))
        }
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part of the key.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidKey;
    fn try_from(value: String) -> Result<Self, InvalidKey> {
        Self::new(value)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

/// What was asked for: `raw/{job}/request.json`.
#[must_use]
pub fn request(job: &JobId) -> ObjectKey {
    ObjectKey(format!("raw/{job}/request.json"))
}

/// Says by being there that a job may not have ended yet: `open/{job}`.
#[must_use]
pub fn open(job: &JobId) -> ObjectKey {
    ObjectKey(format!("open/{job}"))
}

/// Says by being there that a job has ended and is still to be cleared up after, or is kept for a
/// while only: `closed/{job}`.
#[must_use]
pub fn closed(job: &JobId) -> ObjectKey {
    ObjectKey(format!("closed/{job}"))
}

/// An upload that has not become a job yet: `uploads/{job}.json`.
#[must_use]
pub fn upload(job: &JobId) -> ObjectKey {
    ObjectKey(format!("uploads/{job}.json"))
}

/// What a client's `Idempotency-Key` stands for, by the key's digest: `idempotency/{sha256}.json`.
#[must_use]
pub fn idempotency(key: &Sha256) -> ObjectKey {
    ObjectKey(format!("idempotency/{key}.json"))
}

/// A segment of an uploaded source: `raw/{job}/segment_00000`.
#[must_use]
pub fn segment(job: &JobId, index: u32) -> ObjectKey {
    ObjectKey(format!("raw/{job}/segment_{index:05}"))
}

/// What has arrived of a segment to come: `raw/{job}/partial_00000`.
#[must_use]
pub fn partial(job: &JobId, index: u32) -> ObjectKey {
    ObjectKey(format!("raw/{job}/partial_{index:05}"))
}

/// The list of a whole source's segments: `raw/{job}/source.json`.
#[must_use]
pub fn source(job: &JobId) -> ObjectKey {
    ObjectKey(format!("raw/{job}/source.json"))
}

/// The job's manifest: `chunks/{job}/manifest.json`.
#[must_use]
pub fn manifest(job: &JobId) -> ObjectKey {
    ObjectKey(format!("chunks/{job}/manifest.json"))
}

/// The `number`th change of the plan, counted from 1: `chunks/{job}/revision_001.json`.
#[must_use]
pub fn revision(job: &JobId, number: u32) -> ObjectKey {
    ObjectKey(format!("chunks/{job}/revision_{number:03}.json"))
}

/// What one attempt at a task made: `transcoded/{job}/chunk_000/{epoch}-{worker}/{file}`.
///
/// # Errors
/// [`InvalidKey`] when `file` cannot be part of a key.
pub fn attempt(
    job: &JobId,
    task: TaskKey,
    epoch: u64,
    worker: &WorkerId,
    file: &str,
) -> Result<ObjectKey, InvalidKey> {
    let folder = attempt_prefix(job, task, epoch, worker);
    ObjectKey::new(format!("{folder}{file}"))
}

/// What all objects of one attempt begin with: `transcoded/{job}/chunk_000/{epoch}-{worker}/`.
#[must_use]
pub fn attempt_prefix(job: &JobId, task: TaskKey, epoch: u64, worker: &WorkerId) -> String {
    format!("{}/{epoch}-{worker}/", task_stem(job, task))
}

/// The create-only done-marker of a task: `transcoded/{job}/chunk_000.json`.
#[must_use]
pub fn marker(job: &JobId, task: TaskKey) -> ObjectKey {
    ObjectKey(format!("{}.json", task_stem(job, task)))
}

/// The certificate, written last: `transcoded/{job}/certificate.json`.
#[must_use]
pub fn certificate(job: &JobId) -> ObjectKey {
    ObjectKey(format!("transcoded/{job}/certificate.json"))
}

/// How a job ended that failed or was cancelled: `transcoded/{job}/ended.json`.
#[must_use]
pub fn ended(job: &JobId) -> ObjectKey {
    ObjectKey(format!("transcoded/{job}/ended.json"))
}

/// A delivered file: `transcoded/{job}/{path}`, `path` being such as `hls/master.m3u8`.
///
/// # Errors
/// [`InvalidKey`] when `path` cannot be part of a key.
pub fn output(job: &JobId, path: &str) -> Result<ObjectKey, InvalidKey> {
    ObjectKey::new(format!("transcoded/{job}/{path}"))
}

fn task_stem(job: &JobId, task: TaskKey) -> String {
    match task {
        TaskKey::Chunk {
            index,
            generation: 0,
        } => format!("transcoded/{job}/chunk_{index:03}"),
        TaskKey::Chunk { index, generation } => {
            format!("transcoded/{job}/chunk_{index:03}.g{generation}")
        }
        TaskKey::Audio { track } => format!("transcoded/{job}/audio_{track}"),
        TaskKey::Ingest => format!("transcoded/{job}/ingest"),
        TaskKey::Finalize => format!("transcoded/{job}/finalize"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_root() {
        for good in ["a", "raw/j/segment_00000", "transcoded/j/chunk_000.g1.json"] {
            assert!(ObjectKey::new(good).is_ok(), "{good}");
        }
        let long = "a".repeat(513);
        for bad in [
            "", "/a", "a/", "a//b", "..", "a/../b", ".a", "a/.tmp", "a\\b", "a\0", &long,
        ] {
            assert!(ObjectKey::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scheme_reads_as_documented() {
        let job = JobId::new("j1").unwrap();
        let worker = WorkerId::new("w1").unwrap();
        let task = TaskKey::Chunk {
            index: 3,
            generation: 1,
        };
        assert_eq!(manifest(&job).as_str(), "chunks/j1/manifest.json");
        assert_eq!(
            marker(&job, task).as_str(),
            "transcoded/j1/chunk_003.g1.json"
        );
        assert_eq!(
            attempt(&job, task, 7, &worker, "1080p.mp4")
                .unwrap()
                .as_str(),
            "transcoded/j1/chunk_003.g1/7-w1/1080p.mp4"
        );
        assert!(output(&job, "../x").is_err());
    }
}
