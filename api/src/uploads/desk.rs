//! Who writes which upload in this process, and what is remembered between two requests of one.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use reelmill_common::JobId;
use reelmill_common::digest::Sha256;
use reelmill_stage::StageError;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::writer::{Progress, SCRATCH_PREFIX};
use crate::Problem;

/// How long a request waits for the one before it to store what it has.
const PATIENCE: Duration = Duration::from_secs(15);

/// Uploads that are remembered; of others the segments are read once more at the end.
const REMEMBERED: usize = 1024;

/// How long one is remembered.
const MEMORY: Duration = Duration::from_secs(6 * 3600);

/// The uploads of this process.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    // Not a Tokio mutex: it is held for look-ups only.
    places: Mutex<HashMap<JobId, Place>>,
    /// Requests with an `Idempotency-Key` that are being answered.
    pub(super) keys: Mutex<HashMap<Sha256, Sha256>>,
    is_tidy: OnceCell<()>,
}

#[derive(Debug)]
struct Place {
    memory: Arc<AsyncMutex<Option<Progress>>>,
    /// Ends the request that has the place or is the next to have it.
    stop: CancellationToken,
    used: Instant,
}

impl Place {
    fn new() -> Self {
        Self {
            memory: Arc::default(),
            stop: CancellationToken::new(),
            used: Instant::now(),
        }
    }

    /// Whether no request has it or waits for it.
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.memory) == 1
    }
}

/// The right to change one upload.
#[derive(Debug)]
pub(super) struct Held {
    memory: OwnedMutexGuard<Option<Progress>>,
    /// Fires when another request wants the place.
    pub(super) stop: CancellationToken,
}

impl Held {
    /// What is known of the upload, which is then forgotten.
    pub(super) fn recall(&mut self) -> Option<Progress> {
        self.memory.take()
    }

    /// Remembers it for the next request.
    pub(super) fn remember(&mut self, progress: Progress) {
        *self.memory = Some(progress);
    }
}

impl Desk {
    /// Makes the scratch folder fit for use, once: what a killed process left there belongs to
    /// nobody, since the folder is this process's alone.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) async fn prepare(&self, scratch: &Path) -> Result<(), StageError> {
        let prepare = || async {
            let folder = scratch.to_owned();
            let done = reelmill_stage::blocking(move || clear_scratch(&folder)).await?;
            done.map_err(|error| StageError::scratch("cannot work in", scratch, &error))
        };
        self.is_tidy.get_or_try_init(prepare).await?;
        Ok(())
    }

    /// Takes an upload's place. A request that has it is asked to end: clients whose line broke
    /// come again long before the old connection is known to be dead.
    ///
    /// # Errors
    /// The other request does not end in time, or yet another one has asked after this.
    pub(super) async fn take(&self, job: &JobId) -> Result<Held, Problem> {
        let stop = CancellationToken::new();
        let memory = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            tidy(&mut places);
            let place = places.entry(job.clone()).or_insert_with(Place::new);
            place.used = Instant::now();
            std::mem::replace(&mut place.stop, stop.clone()).cancel();
            Arc::clone(&place.memory)
        };
        match tokio::time::timeout(PATIENCE, memory.lock_owned()).await {
            Ok(memory) if !stop.is_cancelled() => Ok(Held { memory, stop }),
            _ => Err(taken()),
        }
    }

    /// Forgets an upload that is no more.
    pub(super) fn forget(&self, job: &JobId) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.remove(job);
    }
}

fn clear_scratch(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(SCRATCH_PREFIX)
        {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Drops what has not been used for long, and the oldest when there is too much.
fn tidy(places: &mut HashMap<JobId, Place>) {
    if places.len() < REMEMBERED {
        return;
    }
    places.retain(|_, place| !place.is_idle() || place.used.elapsed() < MEMORY);
    if places.len() < REMEMBERED {
        return;
    }
    let oldest = places
        .iter()
        .filter(|(_, place)| place.is_idle())
        .min_by_key(|(_, place)| place.used)
        .map(|(job, _)| job.clone());
    if let Some(oldest) = oldest {
        places.remove(&oldest);
    }
}

/// What a request is told that another one came after.
pub(super) fn taken() -> Problem {
    Problem::new(
        StatusCode::LOCKED,
        "upload-busy",
        "another request writes this upload: ask for its offset and go on from there",
    )
}
