//! Opens a source in place, and makes sure that it is still the one that was planned for.
//!
//! A file is opened by its path. A source in the store is opened by an address on loopback, behind
//! which this process serves its bytes from a cache on disk, as ffmpeg asks for them.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use reelmill_common::manifest::{Location, SourceInfo};
use reelmill_common::{JobId, Place, Sha256};
use reelmill_store::Store;
use tokio::sync::OnceCell;

mod cache;
mod error;
mod file;
mod range;
mod reader;
mod server;
mod stored;

pub use error::SourceError;
pub use file::regular_file;
pub use stored::store_file;

use cache::Cache;
use file::{Files, Known};
use server::{Registration, Server};
use stored::Stored;

/// The bound of the cache unless another is set: four gibibytes.
pub const CACHE_BYTES: u64 = 4 << 30;

/// Where parts of stored sources are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// A folder for this process alone; it need not exist. It is best on the disk of a store that
    /// is a directory: then what is in it takes no room of its own.
    pub cache: PathBuf,
    /// Bytes that the cache may hold. What is being read at the moment may exceed it.
    pub cache_bytes: u64,
}

/// Opens sources. The stages of a process share one, and with it what is known of files and what
/// was fetched of stored sources.
#[derive(Debug, Default)]
pub struct Sources {
    files: Arc<Files>,
    stored: Option<StoredSources>,
}

/// What is needed for sources in the store; the server starts with the first of them.
#[derive(Debug)]
struct StoredSources {
    store: Arc<dyn Store>,
    settings: SourceSettings,
    server: OnceCell<Server>,
}

impl Sources {
    /// Opens files, and what lies in `store`. [`Sources::default`] opens files only.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: SourceSettings) -> Self {
        Self::default().with_store(store, settings)
    }

    /// The same with a store, and with all that is known of files already.
    #[must_use]
    pub fn with_store(self, store: Arc<dyn Store>, settings: SourceSettings) -> Self {
        let stored = StoredSources {
            store,
            settings,
            server: OnceCell::new(),
        };
        Self {
            stored: Some(stored),
            ..self
        }
    }

    /// Describes a source: size and digest, under the name by which it was asked for. A file is
    /// read whole, unless it was before and has not changed; a stored source tells its digest.
    ///
    /// # Errors
    /// [`SourceError`] when it is not a readable regular file with bytes in it, or not a whole
    /// source in the store.
    pub async fn describe(
        &self,
        name: &str,
        location: &Location,
    ) -> Result<SourceInfo, SourceError> {
        let name = name.to_owned();
        match location {
            Location::Path(path) => {
                let known = self.look(path.clone()).await?;
                Ok(SourceInfo {
                    name,
                    size: known.size,
                    sha256: known.sha256,
                    location: Location::Path(known.path),
                })
            }
            Location::Stored { job } => {
                let stored = self.load(&name, job).await?;
                Ok(SourceInfo {
                    name,
                    size: stored.list.size,
                    sha256: stored.list.sha256,
                    location: location.clone(),
                })
            }
        }
    }

    /// Makes sure that a source is the one described. Cheap for a file while size and modification
    /// time are those of one that was read before.
    ///
    /// # Errors
    /// [`SourceError::Changed`] when it is another; the others as for [`describe`](Self::describe).
    pub async fn confirm(&self, source: &SourceInfo) -> Result<(), SourceError> {
        let now = self.describe(&source.name, &source.location).await?;
        is_same(source, now.size, now.sha256)
    }

    /// Opens a source after making sure that it is the one described.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm) and [`open_undescribed`](Self::open_undescribed).
    pub async fn open(&self, source: &SourceInfo) -> Result<Opened, SourceError> {
        match &source.location {
            Location::Path(path) => {
                self.confirm(source).await?;
                Ok(Opened::file(path.clone()))
            }
            Location::Stored { job } => {
                let stored = self.load(&source.name, job).await?;
                is_same(source, stored.list.size, stored.list.sha256)?;
                self.serve(stored).await
            }
        }
    }

    /// Opens what lies there without knowing what it should be, so that a first look need not wait
    /// for the digest.
    ///
    /// # Errors
    /// What lies in the store is not a whole source, or this machine lacks a disk or a loopback. A
    /// path is not looked at.
    pub async fn open_undescribed(&self, location: &Location) -> Result<Opened, SourceError> {
        match location {
            Location::Path(path) => Ok(Opened::file(path.clone())),
            Location::Stored { job } => self.serve(self.load(job.as_str(), job).await?).await,
        }
    }

    /// Reads the first bytes of a source, at most `most`.
    ///
    /// # Errors
    /// The file or the store cannot be read.
    pub async fn beginning(&self, location: &Location, most: u64) -> Result<Vec<u8>, SourceError> {
        match location {
            Location::Path(path) => {
                let named = path.clone();
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = Vec::new();
                    let file = std::fs::File::open(&path);
                    file.and_then(|file| file.take(most).read_to_end(&mut bytes))
                        .map(|_length| bytes)
                });
                let read = read.await.map_err(std::io::Error::other).flatten();
                read.map_err(|source| SourceError::Io {
                    path: named,
                    source,
                })
            }
            Location::Stored { job } => {
                let key = reelmill_common::key::segment(job, 0);
                let store = &self.stored(job.as_str())?.store;
                let bytes = store.get_range(&key, 0..most).await;
                let bytes = bytes.map_err(|error| stored::from_store(&key, error))?;
                Ok(bytes.into())
            }
        }
    }

    /// `name` is what an error calls it.
    async fn load(&self, name: &str, job: &JobId) -> Result<Stored, SourceError> {
        Stored::load(self.stored(name)?.store.as_ref(), job).await
    }

    async fn serve(&self, source: Stored) -> Result<Opened, SourceError> {
        let ours = self.stored(source.job.as_str())?;
        let server = ours.server.get_or_try_init(|| ours.start()).await?;
        let (url, registration) = server.register(source);
        Ok(Opened {
            place: Place::Loopback(url),
            served: Some(registration),
        })
    }

    async fn look(&self, path: PathBuf) -> Result<Known, SourceError> {
        let (files, asked) = (Arc::clone(&self.files), path.clone());
        let looked = tokio::task::spawn_blocking(move || files.look(&asked)).await;
        looked.map_err(|lost| SourceError::Io {
            path,
            source: std::io::Error::other(lost),
        })?
    }

    fn stored(&self, name: &str) -> Result<&StoredSources, SourceError> {
        self.stored
            .as_ref()
            .ok_or_else(|| SourceError::NoStore(name.to_owned()))
    }
}

/// Compares what is there with what was described.
fn is_same(source: &SourceInfo, size: u64, sha256: Sha256) -> Result<(), SourceError> {
    if (size, sha256) == (source.size, source.sha256) {
        return Ok(());
    }
    Err(SourceError::Changed(match &source.location {
        Location::Path(path) => path.clone(),
        Location::Stored { .. } => PathBuf::from(&source.name),
    }))
}

impl StoredSources {
    async fn start(&self) -> Result<Server, SourceError> {
        let SourceSettings { cache, cache_bytes } = self.settings.clone();
        let (store, folder) = (Arc::clone(&self.store), cache.clone());
        let opened =
            tokio::task::spawn_blocking(move || Cache::open(store, &folder, cache_bytes)).await;
        let lost = |lost| SourceError::Cache {
            path: cache,
            source: std::io::Error::other(lost),
        };
        Server::start(opened.map_err(lost)??)
    }
}

/// A source that is open for one purpose. When this is dropped an address on loopback stops
/// working.
#[derive(Debug)]
pub struct Opened {
    place: Place,
    served: Option<Registration>,
}

impl Opened {
    fn file(path: PathBuf) -> Self {
        Self {
            place: Place::File(path),
            served: None,
        }
    }

    /// Where programs of this machine read it.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whether everybody who read it here was given its bytes. To be asked after each program, also
    /// one that ended well: ffmpeg takes a read that failed for the end of the source.
    ///
    /// # Errors
    /// The first reason for which a read failed.
    pub fn check(&self) -> Result<(), SourceError> {
        match self.served.as_ref().and_then(Registration::failure) {
            Some(error) => Err(SourceError::Shared(error)),
            None => Ok(()),
        }
    }
}
