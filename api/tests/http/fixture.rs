//! A service on a folder of its own, and jobs put there by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use reelmill_api::server::{self, Limits};
use reelmill_api::{Api, Events, Settings, router};
use reelmill_common::job::{JobError, JobStatus, Phase};
use reelmill_common::manifest::{Location, Proof};
use reelmill_common::request::{JobOptions, JobRequest, Priority};
use reelmill_common::upload::{SOURCE_VERSION, StoredSource};
use reelmill_common::{
    Checksum, JobId, ObjectKey, Sha256, TaskId, TaskKey, WorkerId, key, profile,
};
use reelmill_ledger::{Claim, Lease, NewJob, SqliteLedger};
use reelmill_queue::SqliteQueue;
use reelmill_stage::{Ports, Shutdown, create_json};
use reelmill_store::DirectoryStore;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The note in the certificate of every completed job.
pub(crate) const NOTE: &str = "audio track 0 is silent from 3 s to 7 s";

/// A running service.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) ports: Ports,
    pub(crate) client: reqwest::Client,
    pub(crate) folder: TempDir,
    scheme: &'static str,
    closing: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
}

/// What is unusual about it.
pub(crate) struct Options {
    pub(crate) limits: Limits,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) client: reqwest::Client,
    /// Last changes to the state.
    pub(crate) change: Box<dyn FnOnce(&mut Api)>,
    /// Another router than that of the API.
    pub(crate) router: Option<axum::Router>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tls: None,
            client: client(),
            change: Box::new(|_| {}),
            router: None,
        }
    }
}

/// A client that trusts no proxy and follows nothing.
pub(crate) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
    let builder = reqwest::Client::builder().no_proxy();
    builder.timeout(Duration::from_secs(20)).build().unwrap()
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let ports = Ports {
            queue: Arc::new(SqliteQueue::open(at.join("queue.sqlite")).unwrap()),
            ledger: Arc::new(SqliteLedger::open(at.join("ledger.sqlite")).unwrap()),
            store: Arc::new(DirectoryStore::open(at.join("store")).unwrap()),
        };
        let settings = Settings {
            scratch: at.join("scratch"),
            max_upload_bytes: 1 << 40,
            upload_expiry: Duration::from_secs(3600),
            retention: None,
            slots: 2,
            profiles: vec![],
            window_ms: None,
            default_profile: profile::DEFAULT.to_owned(),
            output_links: false,
            cors_origins: vec![],
            max_requests: 64,
        };
        let (closing, shutdown) = Shutdown::new();
        let mut api = Api::new(ports.clone(), settings, shutdown.clone());
        api.events = Events {
            poll: Duration::from_millis(20),
            heartbeat: Duration::from_millis(100),
        };
        (options.change)(&mut api);
        let router = options.router.unwrap_or_else(|| router(Arc::new(api)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let serving = server::serve(listener, options.tls, options.limits, router, shutdown);
        Self {
            address,
            ports,
            client: options.client,
            folder,
            scheme,
            closing,
            serving: Some(tokio::spawn(serving)),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Begins the shutdown.
    pub(crate) fn close(&self) {
        self.closing.send(true).unwrap();
    }

    /// Waits until the service has shut down.
    pub(crate) async fn closed(&mut self) {
        let serving = self.serving.take().unwrap();
        tokio::time::timeout(Duration::from_secs(10), serving)
            .await
            .unwrap()
            .unwrap();
    }

    /// A job that waits.
    pub(crate) async fn job(&self, id: &str) -> JobId {
        let id = JobId::new(id).unwrap();
        let new = NewJob {
            id: id.clone(),
            profile: "h264-1080p".to_owned(),
            name: "movie.mp4".to_owned(),
            options: JobOptions {
                priority: Priority::High,
                metadata: [("customer".to_owned(), "7".to_owned())].into(),
                time_limit_s: Some(600),
                ..JobOptions::default()
            },
        };
        assert!(self.ports.ledger.create_job(&new).await.unwrap());
        id
    }

    /// A job of two chunks of 50 frames and an audio track, the first chunk in the hands of the
    /// worker whose lease it is.
    pub(crate) async fn running(&self, id: &str) -> (JobId, Lease) {
        let id = self.job(id).await;
        let mut manifest: Value = golden("manifest_v1.json");
        manifest["job"] = json!(id);
        create_json(self.ports.store.as_ref(), &key::manifest(&id), &manifest)
            .await
            .unwrap();
        let chunk = |index| TaskKey::Chunk {
            index,
            generation: 0,
        };
        let tasks = [
            (chunk(0), 50),
            (chunk(1), 50),
            (TaskKey::Audio { track: 0 }, 0),
        ];
        let ledger = &self.ports.ledger;
        ledger.extend(&id, &tasks, &[], &[]).await.unwrap();
        let task = TaskId {
            job: id.clone(),
            key: chunk(0),
        };
        let worker = WorkerId::new("w1").unwrap();
        let claim = ledger.claim(&task, &worker, Duration::from_secs(60), 3);
        let Claim::Claimed { lease, .. } = claim.await.unwrap() else {
            panic!("the task is free")
        };
        ledger.set_phase(&id, Phase::Transcoding).await.unwrap();
        (id, lease)
    }

    /// A job that is completed, with these outputs.
    pub(crate) async fn completed(&self, id: &str, outputs: &[(&str, Vec<u8>)]) -> JobId {
        let (id, lease) = self.running(id).await;
        let mut certificate: Value = golden("certificate_v1.json");
        certificate["job"] = json!(id);
        certificate["deviations"] = json!([NOTE]);
        let picture = certificate["outputs"][0]["video"].clone();
        let mut listed = vec![];
        for (path, bytes) in outputs {
            let key = key::output(&id, path).unwrap();
            let store = &self.ports.store;
            store.put(&key, bytes.clone().into()).await.unwrap();
            let mut output =
                json!({"path": path, "bytes": bytes.len(), "sha256": Sha256::of(bytes)});
            if path.ends_with("p.mp4") {
                output["video"] = picture.clone();
            }
            listed.push(output);
        }
        certificate["outputs"] = Value::Array(listed);
        create_json(
            self.ports.store.as_ref(),
            &key::certificate(&id),
            &certificate,
        )
        .await
        .unwrap();
        for index in 0..2 {
            self.complete(
                &id,
                TaskKey::Chunk {
                    index,
                    generation: 0,
                },
            )
            .await;
        }
        self.complete(&id, TaskKey::Audio { track: 0 }).await;
        let _ = lease;
        self.finish(&id, JobStatus::Completed, None).await;
        id
    }

    pub(crate) async fn complete(&self, id: &JobId, key: TaskKey) {
        let task = TaskId {
            job: id.clone(),
            key,
        };
        self.ports.ledger.complete(&task).await.unwrap();
    }

    pub(crate) async fn finish(&self, id: &JobId, status: JobStatus, error: Option<&JobError>) {
        let end = self.ports.ledger.finish(id, status, error).await.unwrap();
        assert_eq!(end, Some(status));
    }

    /// The source of a job, uploaded in segments of this length.
    pub(crate) async fn uploaded(&self, id: &JobId, name: &str, bytes: &[u8], segment: usize) {
        let store = self.ports.store.as_ref();
        let mut checksums = vec![];
        for (index, part) in (0..).zip(bytes.chunks(segment)) {
            let key = key::segment(id, index);
            store.put(&key, part.to_vec().into()).await.unwrap();
            checksums.push(Checksum::of(part));
        }
        let source = StoredSource {
            version: SOURCE_VERSION,
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::of(bytes),
            segment_bytes: segment as u64,
            segments: checksums,
        };
        create_json(store, &key::source(id), &source).await.unwrap();
        self.request(id, name, Location::Stored { job: id.clone() })
            .await;
    }

    /// What was asked for of a job.
    pub(crate) async fn request(&self, id: &JobId, name: &str, location: Location) {
        let profile = profile::builtin(profile::DEFAULT).unwrap();
        let request = JobRequest {
            version: SOURCE_VERSION,
            name: name.to_owned(),
            location,
            profile: profile.profile().unwrap(),
            proof: Proof::Seams,
            slots: 2,
            window_ms: None,
            trusted: false,
            options: JobOptions::default(),
        };
        create_json(self.ports.store.as_ref(), &key::request(id), &request)
            .await
            .unwrap();
    }

    /// Every object of the store with its bytes.
    pub(crate) async fn objects(&self) -> Vec<(ObjectKey, bytes::Bytes)> {
        let store = &self.ports.store;
        let mut objects = vec![];
        for meta in store.list("", None, 10_000).await.unwrap() {
            let bytes = store.get(&meta.key).await.unwrap();
            objects.push((meta.key, bytes));
        }
        objects
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// What outlives a process, as `common` promises it.
pub(crate) fn golden(name: &str) -> Value {
    let path = format!(
        "{}/../common/tests/golden/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Checks that an answer is a problem of this status and code, and gives its sentence.
pub(crate) async fn problem(response: reqwest::Response, status: u16, code: &str) -> String {
    let url = response.url().clone();
    assert_eq!(response.status().as_u16(), status, "{url}");
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(header("content-type"), "application/problem+json", "{url}");
    let id = header("x-request-id");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status, "{url}");
    assert_eq!(body["code"], code, "{url}: {body}");
    assert_eq!(body["request_id"], id, "{url}");
    body["detail"].as_str().unwrap().to_owned()
}
