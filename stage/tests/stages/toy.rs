//! A job whose tasks take no time, and a handler for all of them that can be stopped anywhere.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::job::JobStatus;
use reelmill_common::manifest::{Location, Manifest, Proof};
use reelmill_common::message::Topic;
use reelmill_common::profile::builtin;
use reelmill_common::request::{JobOptions, JobRequest, VERSION};
use reelmill_common::{JobId, ObjectKey, TaskKey, WorkerId, key};
use reelmill_ledger::{JobRecord, SqliteLedger};
use reelmill_queue::SqliteQueue;
use reelmill_stage::{
    Handler, Outcome, Ports, Settings, Shutdown, StageError, Work, create_json, exists, load_json,
    planned, publish_missing, run, submit,
};
use reelmill_store::DirectoryStore;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TOPICS: [Topic; 3] = [Topic::Ingest, Topic::Chunks, Topic::Merges];

/// The embedded ports in a folder of their own.
pub(crate) struct Place {
    _folder: TempDir,
    pub(crate) ports: Ports,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = open(folder.path());
        Self {
            _folder: folder,
            ports,
        }
    }

    pub(crate) async fn record(&self, job: &JobId) -> JobRecord {
        self.ports.ledger.job(job).await.unwrap().unwrap()
    }

    pub(crate) async fn exists(&self, key: &ObjectKey) -> bool {
        exists(self.ports.store.as_ref(), key).await.unwrap()
    }

    /// The keys of a job's objects.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let page = self.ports.store.list(prefix, None, 10_000).await.unwrap();
        page.into_iter().map(|meta| meta.key.to_string()).collect()
    }

    /// Waits until so many chunks and tracks of a job are done; the ledger may forget it meanwhile.
    pub(crate) async fn done(&self, job: &JobId, count: u32) {
        until("so many tasks are done", async || {
            let record = self.ports.ledger.job(job).await.unwrap()?;
            (record.completed_chunks == count).then_some(())
        })
        .await;
    }

    /// Waits until a job has ended.
    pub(crate) async fn ended(&self, job: &JobId) -> JobRecord {
        until("the job ends", async || {
            let record = self.ports.ledger.job(job).await.unwrap();
            record.filter(|record| record.status.is_terminal())
        })
        .await
    }

    /// The same store with a queue and a ledger that know nothing.
    pub(crate) fn emptied(&self) -> Self {
        let place = Self::new();
        let ports = Ports {
            store: Arc::clone(&self.ports.store),
            ..place.ports.clone()
        };
        Self { ports, ..place }
    }

    /// The same store and ledger with a queue that has lost everything.
    pub(crate) fn without_messages(&self) -> Self {
        let place = self.emptied();
        let ports = Ports {
            ledger: Arc::clone(&self.ports.ledger),
            ..place.ports.clone()
        };
        Self { ports, ..place }
    }

    /// How many messages wait or are in hand.
    pub(crate) async fn messages(&self, topic: Topic) -> u64 {
        let backlog = self.ports.queue.backlog(topic).await.unwrap();
        backlog.unwrap().messages
    }
}

fn open(folder: &Path) -> Ports {
    Ports {
        queue: Arc::new(SqliteQueue::open(folder.join("queue.sqlite")).unwrap()),
        ledger: Arc::new(SqliteLedger::open(folder.join("ledger.sqlite")).unwrap()),
        store: Arc::new(DirectoryStore::open(folder.join("store")).unwrap()),
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => break answer,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}

pub(crate) fn job(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

pub(crate) fn worker() -> WorkerId {
    WorkerId::new("w1").unwrap()
}

pub(crate) fn chunk(index: u32) -> TaskKey {
    TaskKey::Chunk {
        index,
        generation: 0,
    }
}

pub(crate) fn request() -> JobRequest {
    JobRequest {
        version: VERSION,
        name: "movie.mp4".to_owned(),
        location: Location::Path("/films/movie.mp4".into()),
        profile: builtin("h264-1080p").unwrap().profile().unwrap(),
        proof: Proof::Seams,
        slots: 2,
        window_ms: None,
        trusted: false,
        options: JobOptions::default(),
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        worker: worker(),
        slots: 2,
        lease: Duration::from_secs(60),
        renew_every: Duration::from_millis(20),
        max_attempts: 3,
        retry_delay: Duration::from_millis(5),
    }
}

/// A plan of one audio track and `chunks` chunks.
pub(crate) fn plan(job: &JobId, chunks: usize) -> Manifest {
    let golden = include_str!("../../../common/tests/golden/manifest_v1.json");
    let mut manifest: Manifest = serde_json::from_str(golden).unwrap();
    manifest.job = job.clone();
    let video = manifest.video.as_mut().unwrap();
    let chunk = video.chunks[0].clone();
    video.chunks = vec![chunk; chunks];
    manifest
}

/// Where a task can be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before it has made anything.
    Start,
    /// When its object is in the store and its marker is not.
    Made,
    /// When its marker is in the store, which the ledger does not know.
    Marked,
}

/// Stops one task, once.
#[derive(Debug)]
pub(crate) struct Gate {
    task: TaskKey,
    at: At,
    /// The task has come here.
    pub(crate) reached: Notify,
    /// It may go on.
    pub(crate) open: Notify,
    passed: AtomicU32,
    /// How often the task was given up while it waited here.
    pub(crate) dropped: AtomicU32,
}

impl Gate {
    pub(crate) fn new(task: TaskKey, at: At) -> Arc<Self> {
        Arc::new(Self {
            task,
            at,
            reached: Notify::new(),
            open: Notify::new(),
            passed: AtomicU32::new(0),
            dropped: AtomicU32::new(0),
        })
    }

    async fn pass(&self, work: &Work, at: At) {
        if self.task != work.task.key || self.at != at {
            return;
        }
        if self.passed.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        struct Waiting<'a>(Option<&'a AtomicU32>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                if let Some(dropped) = self.0 {
                    dropped.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let mut waiting = Waiting(Some(&self.dropped));
        self.reached.notify_one();
        self.open.notified().await;
        waiting.0 = None;
    }

    pub(crate) async fn was_dropped(&self) {
        until("the task is dropped", async || {
            (self.dropped.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
    }
}

/// Does every kind of task.
#[derive(Debug)]
pub(crate) struct Toy {
    pub(crate) ports: Ports,
    pub(crate) chunks: usize,
    pub(crate) gate: Option<Arc<Gate>>,
    /// How often a chunk or an audio track was begun.
    pub(crate) begun: AtomicU32,
}

impl Toy {
    pub(crate) fn new(ports: &Ports, chunks: usize, gate: Option<&Arc<Gate>>) -> Arc<Self> {
        Arc::new(Self {
            ports: ports.clone(),
            chunks,
            gate: gate.cloned(),
            begun: AtomicU32::new(0),
        })
    }

    async fn gate(&self, work: &Work, at: At) {
        if let Some(gate) = &self.gate {
            gate.pass(work, at).await;
        }
    }

    async fn encode(&self, work: &Work) -> Result<Outcome, StageError> {
        let (store, job) = (self.ports.store.as_ref(), &work.task.job);
        let (epoch, worker) = (work.lease.epoch, &work.lease.worker);
        self.begun.fetch_add(1, Ordering::SeqCst);
        let marker = key::marker(job, work.task.key);
        if exists(store, &marker).await? {
            return Ok(Outcome::Complete);
        }
        self.gate(work, At::Start).await;
        let made = key::attempt(job, work.task.key, epoch, worker, "1080p.mp4").unwrap();
        store.put(&made, "frames".into()).await?;
        self.gate(work, At::Made).await;
        create_json(store, &marker, &serde_json::json!({ "key": made })).await?;
        self.gate(work, At::Marked).await;
        Ok(Outcome::Complete)
    }

    async fn merge(&self, work: &Work) -> Result<Outcome, StageError> {
        let (store, job) = (self.ports.store.as_ref(), &work.task.job);
        let manifest = planned(store, job).await?;
        for task in manifest.tasks(&[]) {
            let marker = key::marker(job, task);
            let marker: Option<serde_json::Value> = load_json(store, &marker).await?;
            let Some(marker) = marker else {
                publish_missing(&self.ports, &manifest, &[]).await?;
                return Ok(Outcome::Yielded);
            };
            let made = ObjectKey::new(marker["key"].as_str().unwrap()).unwrap();
            if !exists(store, &made).await? {
                return Err(StageError::permanent("piece-missing", made.to_string()));
            }
        }
        create_json(store, &key::certificate(job), &"certified").await?;
        self.gate(work, At::Marked).await;
        let ledger = &self.ports.ledger;
        ledger.finish(job, JobStatus::Completed, None).await?;
        Ok(Outcome::Yielded)
    }
}

#[async_trait]
impl Handler for Toy {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let (store, job) = (self.ports.store.as_ref(), &work.task.job);
        match work.task.key {
            TaskKey::Ingest => {
                self.gate(work, At::Start).await;
                let manifest = plan(job, self.chunks);
                create_json(store, &key::manifest(job), &manifest).await?;
                publish_missing(&self.ports, &manifest, &[]).await?;
                Ok(Outcome::Complete)
            }
            TaskKey::Finalize => self.merge(work).await,
            TaskKey::Chunk { .. } | TaskKey::Audio { .. } => self.encode(work).await,
        }
    }
}

/// Stages at work until told to stop.
pub(crate) struct Running {
    switch: watch::Sender<bool>,
    stages: JoinHandle<()>,
}

impl Running {
    /// Starts the stages, again whenever they end, as whoever watches over a process does.
    pub(crate) fn start(ports: &Ports, handler: Arc<dyn Handler>, settings: Settings) -> Self {
        let (switch, shutdown) = Shutdown::new();
        let ports = ports.clone();
        let stages = tokio::spawn(async move {
            while !shutdown.is_set() {
                let handler = Arc::clone(&handler);
                let running = run(
                    ports.clone(),
                    handler,
                    &TOPICS,
                    settings.clone(),
                    shutdown.clone(),
                );
                running.await.ok();
            }
        });
        Self { switch, stages }
    }

    pub(crate) async fn stop(self) {
        self.switch.send(true).unwrap();
        self.stages.await.unwrap();
    }
}

/// A job that toys are at work on.
pub(crate) async fn at_work(
    place: &Place,
    chunks: usize,
    gate: Option<&Arc<Gate>>,
    settings: Settings,
) -> (JobId, Arc<Toy>, Running) {
    let job = job("j1");
    submit(&place.ports, &job, &request()).await.unwrap();
    let toy = Toy::new(&place.ports, chunks, gate);
    let handler: Arc<dyn Handler> = Arc::<Toy>::clone(&toy);
    let running = Running::start(&place.ports, handler, settings);
    (job, toy, running)
}
