//! A store that counts and errs, sources in it, and the plainest HTTP client.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reelmill_common::manifest::{Location, SourceInfo};
use reelmill_common::upload::{SOURCE_VERSION, StoredSource};
use reelmill_common::{Checksum, JobId, ObjectKey, Place, Sha256, key};
use reelmill_source::{Opened, SourceSettings, Sources};
use reelmill_store::{DirectoryStore, ObjectMeta, Store, StoreError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// No answer here takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What goes wrong with a fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// What arrives has a byte flipped.
    Flipped,
    /// The store says that trying again may help.
    Unreachable,
}

/// A directory that counts fetches and puts, and does harm to as many fetches of a key as asked.
#[derive(Debug)]
pub(crate) struct TestStore {
    inner: DirectoryStore,
    fetched: watch::Sender<HashMap<ObjectKey, usize>>,
    put: Mutex<Vec<ObjectKey>>,
    troubles: Mutex<HashMap<ObjectKey, (Trouble, usize)>>,
}

impl TestStore {
    pub(crate) fn harm(&self, key: &ObjectKey, trouble: Trouble, times: usize) {
        let mut troubles = self.troubles.lock().unwrap();
        troubles.insert(key.clone(), (trouble, times));
    }

    pub(crate) fn fetches(&self, key: &ObjectKey) -> usize {
        self.fetched.borrow().get(key).copied().unwrap_or(0)
    }

    /// Waits until somebody has asked for a key.
    pub(crate) async fn asked_for(&self, key: &ObjectKey) {
        let mut fetched = self.fetched.subscribe();
        let asked = fetched.wait_for(|fetched| fetched.contains_key(key));
        tokio::time::timeout(SOON, asked).await.unwrap().unwrap();
    }

    pub(crate) fn puts(&self) -> Vec<ObjectKey> {
        self.put.lock().unwrap().clone()
    }

    fn trouble(&self, key: &ObjectKey) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().unwrap();
        let (trouble, left) = troubles.get_mut(key)?;
        *left = left.checked_sub(1)?;
        Some(*trouble)
    }
}

#[async_trait]
impl Store for TestStore {
    async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.put(key, bytes).await
    }

    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StoreError> {
        self.put.lock().unwrap().push(key.clone());
        self.inner.put_new(key, bytes).await
    }

    async fn put_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        self.put.lock().unwrap().push(key.clone());
        self.inner.put_file(key, file).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn get_file(&self, key: &ObjectKey, file: &Path) -> Result<(), StoreError> {
        self.fetched.send_modify(|fetched| {
            *fetched.entry(key.clone()).or_default() += 1;
        });
        match self.trouble(key) {
            None => self.inner.get_file(key, file).await,
            Some(Trouble::Flipped) => {
                let mut bytes = self.inner.get(key).await?.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::remove_file(file).ok();
                std::fs::write(file, bytes).unwrap();
                Ok(())
            }
            Some(Trouble::Unreachable) => Err(StoreError::Backend {
                action: "read",
                key: key.to_string(),
                retryable: true,
                source: "the network is down".into(),
            }),
        }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }
}

/// Sources over a store in a folder of its own.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) store: Arc<TestStore>,
    pub(crate) sources: Sources,
}

impl Bench {
    pub(crate) fn new(cache_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(TestStore {
            inner: DirectoryStore::open(dir.path().join("store")).unwrap(),
            fetched: watch::Sender::default(),
            put: Mutex::default(),
            troubles: Mutex::default(),
        });
        let settings = SourceSettings {
            cache: dir.path().join("cache"),
            cache_bytes,
        };
        let sources = Sources::new(Arc::clone(&store) as Arc<dyn Store>, settings);
        Self {
            dir,
            store,
            sources,
        }
    }

    /// Stores bytes as the source of a job, in segments of this size.
    pub(crate) async fn store(&self, job: &str, name: &str, bytes: &[u8], segment_bytes: usize) {
        let job = JobId::new(job).unwrap();
        let mut segments = Vec::new();
        for (index, part) in (0..).zip(bytes.chunks(segment_bytes)) {
            let part = Bytes::copy_from_slice(part);
            segments.push(Checksum::of(&part));
            let key = key::segment(&job, index);
            self.store.put(&key, part).await.unwrap();
        }
        let list = StoredSource {
            version: SOURCE_VERSION,
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes),
            segment_bytes: segment_bytes as u64,
            segments,
        };
        let json = serde_json::to_vec(&list).unwrap();
        let key = key::source(&job);
        self.store.put(&key, json.into()).await.unwrap();
    }

    pub(crate) async fn describe(&self, job: &str) -> SourceInfo {
        let location = located(job);
        self.sources.describe("a film", &location).await.unwrap()
    }

    pub(crate) async fn open(&self, job: &str) -> Opened {
        let source = self.describe(job).await;
        self.sources.open(&source).await.unwrap()
    }
}

pub(crate) fn located(job: &str) -> Location {
    let job = JobId::new(job).unwrap();
    Location::Stored { job }
}

pub(crate) fn segment(job: &str, index: u32) -> ObjectKey {
    key::segment(&JobId::new(job).unwrap(), index)
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

/// The address of what was opened, as `host:port` and the rest.
pub(crate) fn address(opened: &Opened) -> (String, String) {
    let Place::Loopback(url) = opened.place() else {
        panic!("{opened:?} is not served");
    };
    let secret = url.secret();
    let rest = secret.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    (host.to_owned(), format!("/{path}"))
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether as many bytes came as were promised.
    pub(crate) fn is_whole(&self) -> bool {
        self.header("content-length") == Some(self.body.len().to_string().as_str())
    }
}

/// Sends the head of a request on a new connection.
pub(crate) async fn begin(
    (host, path): &(String, String),
    method: &str,
    headers: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Sends a request and reads until the other side ends.
pub(crate) async fn ask(to: &(String, String), method: &str, headers: &str) -> Answer {
    let mut stream = begin(to, method, &format!("Connection: close\r\n{headers}")).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await;
    // A connection that is broken off may end with an error.
    read.unwrap().ok();
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    Answer {
        status: status.parse().unwrap(),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

/// All bytes of what was opened, in one request.
pub(crate) async fn get(to: &(String, String), range: Range<usize>) -> Vec<u8> {
    let header = format!("Range: bytes={}-{}\r\n", range.start, range.end - 1);
    let answer = ask(to, "GET", &header).await;
    assert_eq!(answer.status, 206);
    answer.body
}
