//! Segments of stored sources on this machine's disk, shared by all that read here.
//!
//! A segment is fetched whole, once for all who ask at the same time, and compared with its
//! checksum before anyone reads it. When the cache is full the segment goes that was not read for
//! longest; one that is being read stays, so that only what is read at once can exceed the bound.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use reelmill_common::{Checksum, JobId, ObjectKey, Retryable as _, key};
use reelmill_store::Store;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::SourceError;
use crate::stored::{Stored, from_store};

/// The time that a segment may take: less than ffprobe is given to read a header, so that a slow
/// store is told from a strange file.
const FETCH_LIMIT: Duration = Duration::from_secs(25);

/// How often the store is asked for one segment, and how long is waited in between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(250);

/// How many segments may be on their way that nobody waits for yet.
const AHEAD_AT_ONCE: usize = 2;

/// How many segments are fetched ahead of a reader.
const AHEAD: u64 = 2;

/// The cache has room for this many segments for each one fetched ahead; else readers would push
/// out what was fetched for each other.
const ROOM_PER_AHEAD: u64 = 8;

/// A segment on disk. It stays there while anybody holds it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    len: u64,
}

type Fetched = Result<Arc<Segment>, Arc<SourceError>>;
type SegmentId = (JobId, u32);

#[derive(Debug)]
enum Entry {
    Coming(Shared<BoxFuture<'static, Fetched>>),
    There { segment: Arc<Segment>, used: u64 },
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<SegmentId, Entry>,
    /// Of all entries, whether they are there or still coming.
    bytes: u64,
    /// Counts uses, so that the oldest is known.
    clock: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Cache {
    store: Arc<dyn Store>,
    folder: PathBuf,
    limit: u64,
    state: Mutex<State>,
    ahead: Arc<Semaphore>,
    /// Held, not read: another process would remove what is read here.
    _lock: File,
}

impl Cache {
    /// Opens a cache in `folder`, which it makes where there is none. What an earlier process left
    /// in it is removed: nobody knows whether that is whole. Blocking.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        folder: &Path,
        limit: u64,
    ) -> Result<Self, SourceError> {
        let failed = |source| SourceError::Cache {
            path: folder.to_path_buf(),
            source,
        };
        // A folder of its own inside: what else the named one holds is not ours to remove.
        let segments = folder.join("segments");
        std::fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::Error(error) => failed(error),
            std::fs::TryLockError::WouldBlock => {
                failed(std::io::Error::other("another reelmill uses it"))
            }
        })?;
        match std::fs::remove_dir_all(&segments) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        std::fs::create_dir(&segments).map_err(failed)?;
        Ok(Self {
            store,
            folder: segments,
            limit,
            state: Mutex::default(),
            ahead: Arc::new(Semaphore::new(AHEAD_AT_ONCE)),
            _lock: lock,
        })
    }

    /// A segment, fetched if it is not here.
    pub(crate) async fn segment(self: &Arc<Self>, source: &Arc<Stored>, index: u32) -> Fetched {
        let coming = {
            let mut state = self.state();
            state.clock += 1;
            let now = state.clock;
            match state.entries.get_mut(&(source.job.clone(), index)) {
                Some(Entry::There { segment, used }) => {
                    *used = now;
                    return Ok(Arc::clone(segment));
                }
                Some(Entry::Coming(coming)) => coming.clone(),
                None => self.start(&mut state, source, index, None),
            }
        };
        coming.await
    }

    /// Fetches the segments after `index` unless they are here; `false` when that must be asked for
    /// again because enough others are on their way.
    pub(crate) fn look_ahead(self: &Arc<Self>, source: &Arc<Stored>, index: u32) -> bool {
        let room = self.limit / source.list.segment_bytes.max(1) / ROOM_PER_AHEAD;
        let depth = u32::try_from(room.min(AHEAD)).unwrap_or(0);
        for next in (1..=depth).filter_map(|step| index.checked_add(step)) {
            if source.list.segment_len(next) == 0 {
                break;
            }
            let mut state = self.state();
            if state.entries.contains_key(&(source.job.clone(), next)) {
                continue;
            }
            let Ok(permit) = Arc::clone(&self.ahead).try_acquire_owned() else {
                return false;
            };
            // Nobody waits for it: it goes on by itself.
            drop(self.start(&mut state, source, next, Some(permit)));
        }
        true
    }

    /// Gives a segment back.
    pub(crate) fn release(&self, segment: Arc<Segment>) {
        drop(segment);
        self.make_room(&mut self.state(), 0);
    }

    /// Forgets a segment whose file somebody has removed.
    pub(crate) fn forget(&self, source: &Stored, index: u32) {
        let mut state = self.state();
        let id = (source.job.clone(), index);
        if let Some(Entry::There { segment, .. }) = state.entries.get(&id) {
            state.bytes = state.bytes.saturating_sub(segment.len);
            state.entries.remove(&id);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to fetch a segment. It goes on when those who wait for it have gone, since ffmpeg
    /// leaves a place and comes back to it.
    fn start(
        self: &Arc<Self>,
        state: &mut State,
        source: &Arc<Stored>,
        index: u32,
        permit: Option<tokio::sync::OwnedSemaphorePermit>,
    ) -> Shared<BoxFuture<'static, Fetched>> {
        let len = source.list.segment_len(index);
        self.make_room(state, len);
        state.bytes += len;
        let (cache, stored) = (Arc::clone(self), Arc::clone(source));
        let (tell, told) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let fetched = cache.fetch(&stored, index).await.map_err(Arc::new);
            cache.settle((stored.job.clone(), index), len, &fetched);
            drop(permit);
            // Where nobody waits any more there is nobody to tell.
            drop(tell.send(fetched));
        });
        let coming = told.map(|told| {
            told.unwrap_or_else(|_lost| {
                let source = std::io::Error::other("the runtime ends");
                Err(Arc::new(SourceError::Serve(source)))
            })
        });
        let coming = coming.boxed().shared();
        let entry = Entry::Coming(coming.clone());
        state.entries.insert((source.job.clone(), index), entry);
        coming
    }

    fn settle(&self, id: SegmentId, len: u64, fetched: &Fetched) {
        let mut state = self.state();
        state.clock += 1;
        match fetched {
            Ok(segment) => {
                let entry = Entry::There {
                    segment: Arc::clone(segment),
                    used: state.clock,
                };
                state.entries.insert(id, entry);
            }
            Err(_) => {
                state.entries.remove(&id);
                state.bytes = state.bytes.saturating_sub(len);
            }
        }
    }

    /// Removes what was not read for longest until `len` more bytes have room.
    fn make_room(&self, state: &mut State, len: u64) {
        while state.bytes.saturating_add(len) > self.limit {
            let entries = state.entries.iter();
            let idle = entries.filter_map(|(id, entry)| match entry {
                Entry::There { segment, used } if Arc::strong_count(segment) == 1 => {
                    Some((*used, id, segment))
                }
                _ => None,
            });
            let Some((_, id, segment)) = idle.min_by_key(|(used, ..)| *used) else {
                return;
            };
            // Under the lock, so that a fetch of the same segment cannot come in between.
            if let Err(error) = std::fs::remove_file(&segment.path) {
                let file = segment.path.display();
                tracing::debug!(%file, %error, "a cached segment was gone");
            }
            let (id, freed) = (id.clone(), segment.len);
            state.entries.remove(&id);
            state.bytes = state.bytes.saturating_sub(freed);
        }
    }

    async fn fetch(&self, source: &Stored, index: u32) -> Result<Arc<Segment>, SourceError> {
        let key = key::segment(&source.job, index);
        let fetched = timeout(FETCH_LIMIT, self.fetch_verified(source, index, &key)).await;
        fetched.unwrap_or(Err(SourceError::Slow {
            key,
            limit: FETCH_LIMIT,
        }))
    }

    async fn fetch_verified(
        &self,
        source: &Stored,
        index: u32,
        key: &ObjectKey,
    ) -> Result<Arc<Segment>, SourceError> {
        let folder = self.folder.join(source.job.as_str());
        let path = folder.join(key.file_name());
        let in_cache = |source| SourceError::Cache {
            path: path.clone(),
            source,
        };
        let len = source.list.segment_len(index);
        let Some(&checksum) = source.list.segments.get(index as usize) else {
            return Err(SourceError::NotStored(key.clone()));
        };
        tokio::fs::create_dir_all(&folder).await.map_err(in_cache)?;
        let mut was_corrupt = false;
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.store.get_file(key, &path).await {
                Ok(()) if is_right(&path, len, checksum).await.map_err(in_cache)? => {
                    return Ok(Arc::new(Segment { path, len }));
                }
                // What came over a network may have suffered there: once more, and no more.
                Ok(()) if !was_corrupt => {
                    tracing::warn!(%key, "a segment is not what was uploaded: getting it again");
                    was_corrupt = true;
                }
                Ok(()) => {
                    tokio::fs::remove_file(&path).await.map_err(in_cache)?;
                    return Err(SourceError::Corrupt(key.clone()));
                }
                Err(error) if error.is_retryable() && attempt < TRIES => {
                    tracing::debug!(%key, %error, "cannot get a segment: trying again");
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(from_store(key, error)),
            }
        }
        Err(SourceError::NotStored(key.clone()))
    }
}

/// Whether a file has this length and checksum.
async fn is_right(path: &Path, len: u64, checksum: Checksum) -> std::io::Result<bool> {
    let path = path.to_path_buf();
    let read = tokio::task::spawn_blocking(move || {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != len {
            return Ok(None);
        }
        Checksum::of_reader(&mut file).map(Some)
    });
    let read = read.await.map_err(std::io::Error::other)??;
    Ok(read == Some((checksum, len)))
}
