//! The ports and the stages on them: the only place that knows every backend.

#[cfg(feature = "cluster")]
pub(crate) mod cluster;
#[cfg(not(feature = "cluster"))]
#[path = "no_cluster.rs"]
mod cluster;
mod ports;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reelmill_common::message::Topic;
use reelmill_common::{TaskKey, WorkerId};
use reelmill_media::Tools;
use reelmill_merger::Merger;
use reelmill_source::Sources;
use reelmill_splitter::{Splitter, WorkBounds};
use reelmill_stage::{Handler, Outcome, Ports, Settings, Shutdown, StageError, Work, run};
use reelmill_worker::Worker;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub(crate) use ports::{embedded, ports, store};

/// What the stages of one process share.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) ports: Ports,
    pub(crate) tools: Arc<Tools>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) scratch: PathBuf,
    pub(crate) worker: WorkerId,
    pub(crate) slots: Slots,
    pub(crate) lease: Duration,
    pub(crate) bounds: WorkBounds,
}

/// When encoding began and ended.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    pub(crate) first: Option<Instant>,
    pub(crate) last: Option<Instant>,
    /// Audio tracks that are done, also by an earlier run.
    pub(crate) tracks: BTreeSet<u32>,
    /// The first failure for want of room. Other machines may have some; here nothing is gained by
    /// trying again until somebody has freed some.
    pub(crate) out_of_room: Option<StageError>,
}

impl Machine {
    /// The three stages on this machine.
    pub(crate) fn stages(&self) -> [Stage; 3] {
        let Self {
            ports,
            tools,
            sources,
            scratch,
            slots,
            ..
        } = self;
        let splitter = Splitter {
            ports: ports.clone(),
            tools: Arc::clone(tools),
            sources: Arc::clone(sources),
            scratch: scratch.clone(),
            bounds: self.bounds,
        };
        let worker = Worker {
            ports: ports.clone(),
            tools: Arc::clone(tools),
            sources: Arc::clone(sources),
            scratch: scratch.clone(),
        };
        let merger = Merger {
            ports: ports.clone(),
            tools: Arc::clone(tools),
            sources: Arc::clone(sources),
            scratch: scratch.clone(),
        };
        let stage = |topic, handler, slots| Stage {
            topic,
            handler,
            slots,
        };
        [
            stage(Topic::Ingest, Arc::new(splitter), slots.ingest),
            stage(Topic::Chunks, Arc::new(worker), slots.chunks),
            stage(Topic::Merges, Arc::new(merger), slots.merges),
        ]
    }

    /// Runs one stage until shutdown, or until a port fails for good.
    pub(crate) fn run(
        &self,
        stage: Stage,
        shutdown: Shutdown,
    ) -> impl Future<Output = Result<(), StageError>> + Send + use<> {
        let settings = Settings {
            worker: self.worker.clone(),
            slots: stage.slots as usize,
            lease: self.lease,
            renew_every: Duration::from_millis(500),
            max_attempts: 6,
            retry_delay: Duration::from_millis(200),
        };
        let ports = self.ports.clone();
        async move { run(ports, stage.handler, &[stage.topic], settings, shutdown).await }
    }
}

/// How many tasks of each stage run at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) ingest: u32,
    pub(crate) chunks: u32,
    pub(crate) merges: u32,
}

/// One of the three stages, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) topic: Topic,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) slots: u32,
}

/// Starts all three stages, observed by a clock.
pub(crate) fn start(
    machine: &Machine,
    shutdown: &Shutdown,
    clock: &Arc<Mutex<Clock>>,
) -> JoinSet<Result<(), StageError>> {
    let mut tasks = JoinSet::new();
    for stage in machine.stages() {
        let handler = Arc::new(Watched {
            inner: stage.handler,
            encodes: stage.topic == Topic::Chunks,
            clock: Arc::clone(clock),
        });
        tasks.spawn(machine.run(Stage { handler, ..stage }, shutdown.clone()));
    }
    tasks
}

/// Notes when the first encode begins and the last one ends, and when there is no room left.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Handler>,
    encodes: bool,
    clock: Arc<Mutex<Clock>>,
}

#[async_trait]
impl Handler for Watched {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        if self.encodes {
            let mut clock = self.clock.lock().await;
            clock.first.get_or_insert_with(Instant::now);
        }
        let outcome = self.inner.handle(work).await;
        let mut clock = self.clock.lock().await;
        if self.encodes {
            clock.last = Some(Instant::now());
        }
        if let (TaskKey::Audio { track }, Ok(Outcome::Complete)) = (work.task.key, &outcome) {
            clock.tracks.insert(track);
        }
        if let Some(error) = outcome.as_ref().err().filter(|error| error.is_disk_full()) {
            clock.out_of_room.get_or_insert_with(|| error.clone());
        }
        outcome
    }
}
