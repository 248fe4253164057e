//! The service on real sockets and the real embedded backends.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reelmill_api::{Api, Settings};
use reelmill_common::checksum::Checksum;
use reelmill_common::digest::Sha256;
use reelmill_common::manifest::Location;
use reelmill_common::request::JobRequest;
use reelmill_common::upload::{SEGMENT_BYTES, SOURCE_VERSION, StoredSource, Upload};
use reelmill_common::{JobId, key};
use reelmill_ledger::SqliteLedger;
use reelmill_queue::SqliteQueue;
use reelmill_stage::{Ports, Shutdown, load_json};
use reelmill_store::{DirectoryStore, Store};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) const SEGMENT: usize = SEGMENT_BYTES as usize;

/// A service in a runtime of its own, so that it can be ended in the middle of anything.
pub(crate) struct Service {
    pub(crate) addr: SocketAddr,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) ports: Ports,
    /// Its end would end event streams.
    _open: tokio::sync::watch::Sender<bool>,
    runtime: Option<Runtime>,
}

pub(crate) fn settings(scratch: &Path) -> Settings {
    Settings {
        scratch: scratch.to_owned(),
        max_upload_bytes: 1 << 40,
        upload_expiry: Duration::from_secs(3600),
        retention: None,
        slots: 2,
        profiles: Vec::new(),
        window_ms: Some(5_000),
        default_profile: "h264-1080p".to_owned(),
        output_links: false,
        cors_origins: Vec::new(),
        max_requests: 100,
    }
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::start_on(folder, change, |store| store)
    }

    pub(crate) fn start_on(
        folder: Arc<TempDir>,
        change: impl FnOnce(&mut Settings),
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store> + Send,
    ) -> Self {
        // reqwest wants a provider, though nothing here is encrypted.
        let provider = rustls::crypto::ring::default_provider();
        drop(provider.install_default());
        let scratch = folder.path().join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let mut settings = settings(&scratch);
        change(&mut settings);
        let runtime = Runtime::new().unwrap();
        let begin = async {
            let store = DirectoryStore::open(folder.path().join("store")).unwrap();
            let ports = Ports {
                queue: Arc::new(SqliteQueue::open(folder.path().join("queue.db")).unwrap()),
                ledger: Arc::new(SqliteLedger::open(folder.path().join("ledger.db")).unwrap()),
                store: wrap(Arc::new(store)),
            };
            let (open, closing) = Shutdown::new();
            let api = Arc::new(Api::new(ports.clone(), settings, closing));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let router = reelmill_api::router(api);
            tokio::spawn(async move { axum::serve(listener, router).await });
            (addr, ports, open)
        };
        // A thread of its own, since the test is in a runtime already.
        let (addr, ports, open) =
            std::thread::scope(|scope| scope.spawn(|| runtime.block_on(begin)).join().unwrap());
        Self {
            addr,
            folder,
            ports,
            _open: open,
            runtime: Some(runtime),
        }
    }

    /// Ends it wherever it is, and gives the folder for another.
    pub(crate) fn kill(mut self) -> Arc<TempDir> {
        if let Some(runtime) = self.runtime.take() {
            let end = || runtime.shutdown_timeout(Duration::from_secs(10));
            std::thread::scope(|scope| scope.spawn(end).join().unwrap());
        }
        Arc::clone(&self.folder)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.ports.store.as_ref()
    }

    /// Keys of all objects but those of idempotency keys.
    pub(crate) async fn objects(&self) -> Vec<String> {
        let all = self.store().list("", None, 10_000).await.unwrap();
        let keys = all.into_iter().map(|meta| meta.key.to_string());
        keys.filter(|key| !key.starts_with("idempotency/"))
            .collect()
    }

    pub(crate) fn scratch_files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("scratch"))
            .unwrap()
            .count()
    }

    /// Waits until the first segment of an upload is stored: it is under way.
    pub(crate) async fn gets_a_segment(&self) {
        let is_there = |keys: &[String]| keys.iter().any(|key| key.ends_with("/segment_00000"));
        self.until(is_there).await;
    }

    /// Waits until nothing of any upload is left.
    pub(crate) async fn becomes_empty(&self) {
        self.until(|keys| keys.is_empty() && self.scratch_files() == 0)
            .await;
    }

    async fn until(&self, is_so: impl Fn(&[String]) -> bool) {
        let begun = Instant::now();
        loop {
            let objects = self.objects().await;
            if is_so(&objects) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{objects:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The job is there, with exactly these bytes and nothing half-made beside them.
    pub(crate) async fn holds(&self, job: &JobId, data: &[u8]) -> JobRequest {
        let store = self.store();
        let source: StoredSource = load_json(store, &key::source(job)).await.unwrap().unwrap();
        assert_eq!(source.version, SOURCE_VERSION);
        assert_eq!(source.size, data.len() as u64);
        assert_eq!(source.segment_bytes, SEGMENT_BYTES);
        assert_eq!(source.sha256, Sha256::of(data));
        let wanted: Vec<&[u8]> = data.chunks(SEGMENT).collect();
        assert_eq!(source.segments.len(), wanted.len());
        for (index, wanted) in wanted.iter().enumerate() {
            let segment = key::segment(job, u32::try_from(index).unwrap());
            let bytes = store.get(&segment).await.unwrap();
            assert!(bytes == *wanted, "{segment} is not what was sent");
            assert_eq!(source.segments[index], Checksum::of(wanted));
        }
        let raw = store
            .list(&format!("raw/{job}/"), None, 10_000)
            .await
            .unwrap();
        assert_eq!(raw.len(), wanted.len() + 2, "{raw:?}");
        let record: Option<Upload> = load_json(store, &key::upload(job)).await.unwrap();
        assert_eq!(record, None);
        let request: JobRequest = load_json(store, &key::request(job)).await.unwrap().unwrap();
        assert_eq!(request.location, Location::Stored { job: job.clone() });
        assert_eq!(request.name, source.name);
        assert_eq!(request.window_ms, Some(5_000));
        assert!(self.ports.ledger.job(job).await.unwrap().is_some());
        request
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Bytes that repeat nowhere near a segment's length.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The id in a 202 answer, which must say it twice in the same way.
pub(crate) async fn accepted(response: reqwest::Response) -> JobId {
    let status = response.status();
    let location = response.headers().get("location").cloned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(status, 202, "{body}");
    let id = body["id"].as_str().unwrap().to_owned();
    assert_eq!(location.unwrap(), format!("/v1/jobs/{id}"));
    JobId::new(id).unwrap()
}

/// Status, code and sentence of a problem.
pub(crate) async fn problem(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
    let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(body["status"], status);
    (status, word("code"), word("detail"))
}
