//! Sources that are segments in the store.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use reelmill_common::checksum::Summer;
use reelmill_common::digest::Hasher;
use reelmill_common::upload::{SEGMENT_BYTES, SOURCE_VERSION, StoredSource};
use reelmill_common::{Checksum, JobId, ObjectKey, Sha256, key};
use reelmill_store::{Store, StoreError};

use crate::SourceError;

/// A whole source in the store.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) job: JobId,
    pub(crate) list: StoredSource,
}

/// What every version has.
#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

impl Stored {
    /// Reads a source's list of segments and makes sure that it adds up.
    pub(crate) async fn load(store: &dyn Store, job: &JobId) -> Result<Self, SourceError> {
        let key = key::source(job);
        let bytes = store
            .get(&key)
            .await
            .map_err(|source| from_store(&key, source))?;
        let malformed = |reason: String| SourceError::Malformed {
            key: key.clone(),
            reason,
        };
        let no_list = |error: serde_json::Error| malformed(error.to_string());
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(no_list)?;
        if version != SOURCE_VERSION {
            return Err(malformed(match version > SOURCE_VERSION {
                true => format!("version {version} is newer than this reelmill"),
                false => format!("version {version} is of an older reelmill: upload it again"),
            }));
        }
        let list: StoredSource = serde_json::from_slice(&bytes).map_err(no_list)?;
        if list.size == 0 {
            return Err(SourceError::Empty(PathBuf::from(list.name)));
        }
        let segments = list.segments.len() as u64;
        if list.segment_bytes == 0 || list.size.div_ceil(list.segment_bytes) != segments {
            let (size, each) = (list.size, list.segment_bytes);
            return Err(malformed(format!(
                "{size} bytes do not lie in {segments} segments of {each}"
            )));
        }
        Ok(Self {
            job: job.clone(),
            list,
        })
    }
}

/// The store's answer as one about a source.
pub(crate) fn from_store(key: &ObjectKey, source: StoreError) -> SourceError {
    match source {
        StoreError::NotFound(key) => SourceError::NotStored(key),
        source => SourceError::Store {
            key: key.clone(),
            source,
        },
    }
}

/// Puts a local file into the store as the source of `job`, called `name`. Memory stays bounded.
///
/// What an earlier call for the same job and the same file has stored is not written again. Nothing
/// exists for readers until all of it does. `scratch` is an existing folder, best on the store's
/// own disk.
///
/// # Errors
/// The file cannot be read, the store cannot be written to, or the store holds another source of
/// this job.
pub async fn store_file(
    store: &dyn Store,
    job: &JobId,
    name: &str,
    path: &Path,
    scratch: &Path,
) -> Result<StoredSource, SourceError> {
    let failed = |source| SourceError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut list = StoredSource {
        version: SOURCE_VERSION,
        name: name.to_owned(),
        size: 0,
        sha256: Sha256::of(b""),
        segment_bytes: SEGMENT_BYTES,
        segments: Vec::new(),
    };
    let mut whole = Hasher::default();
    for index in 0.. {
        let scratch = scratch.to_path_buf();
        let cut = tokio::task::spawn_blocking(move || {
            let segment = cut(&mut file, &mut whole, &scratch);
            (file, whole, segment)
        });
        let (back, hasher, segment) = cut
            .await
            .map_err(|lost| failed(std::io::Error::other(lost)))?;
        (file, whole) = (back, hasher);
        let segment = segment.map_err(failed)?;
        if segment.len == 0 {
            break;
        }
        let key = key::segment(job, index);
        let is_there = match store.head(&key).await {
            Ok(meta) => meta.size == segment.len,
            Err(StoreError::NotFound(_)) => false,
            Err(error) => return Err(from_store(&key, error)),
        };
        if !is_there {
            let put = store.put_file(&key, segment.file.path()).await;
            put.map_err(|source| from_store(&key, source))?;
        }
        list.segments.push(segment.checksum);
    }
    (list.sha256, list.size) = whole.finish();
    let key = key::source(job);
    let bytes = serde_json::to_vec_pretty(&list).map_err(|error| SourceError::Malformed {
        key: key.clone(),
        reason: error.to_string(),
    })?;
    match store.put_new(&key, bytes.into()).await {
        Ok(()) => Ok(list),
        Err(StoreError::AlreadyExists(_)) => {
            let there = Stored::load(store, job).await?.list;
            match (there.size, there.sha256) == (list.size, list.sha256) {
                true => Ok(there),
                false => Err(SourceError::Changed(path.to_path_buf())),
            }
        }
        Err(error) => Err(from_store(&key, error)),
    }
}

/// A segment on its way into the store.
struct Cut {
    file: tempfile::NamedTempFile,
    len: u64,
    checksum: Checksum,
}

/// Copies the next segment of a file into a file of its own. Blocking.
fn cut(from: &mut std::fs::File, whole: &mut Hasher, scratch: &Path) -> std::io::Result<Cut> {
    let mut file = tempfile::NamedTempFile::new_in(scratch)?;
    let mut part = Summer::default();
    let mut from = from.take(SEGMENT_BYTES);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let bytes = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        whole.update(bytes);
        part.update(bytes);
        file.write_all(bytes)?;
    }
    let (checksum, len) = part.finish();
    Ok(Cut {
        file,
        len,
        checksum,
    })
}
