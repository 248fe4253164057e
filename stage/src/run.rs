//! The loop that every worker runs: receive, claim, work, settle.

use std::sync::Arc;
use std::time::Duration;

use reelmill_common::WorkerId;
use reelmill_common::message::Topic;
use reelmill_queue::Consumer;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::process::Stage;
use crate::work::Handler;
use crate::{Ports, StageError};

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In whose name leases are held.
    pub worker: WorkerId,
    /// How many tasks are worked on at once.
    pub slots: usize,
    /// How long a lease lasts without renewal.
    pub lease: Duration,
    /// How often leases are renewed and progress is reported; well under `lease`.
    pub renew_every: Duration,
    /// How many attempts a task has.
    pub max_attempts: u32,
    /// The wait before the second attempt; it grows fourfold with each, up to ten minutes.
    pub retry_delay: Duration,
}

/// Tells loops to take no more work.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A switch and its receiving end.
    #[must_use]
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether the switch was thrown.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the switch is thrown or gone.
    pub async fn wait(&mut self) {
        // An error means that whoever could throw the switch is gone: that is an end as well.
        self.0.wait_for(|set| *set).await.ok();
    }
}

/// Works on the messages of `topics` until shutdown. Tasks in hand are then dropped, their leases
/// given back with refund, so that another worker may begin at once.
///
/// # Errors
/// A queue that fails for good, once the tasks in hand are done, and a port on a disk that is full:
/// nothing can be recorded there any more, not even that a job failed. Whatever may pass is logged
/// and tried again, for ever.
pub async fn run(
    ports: Ports,
    handler: Arc<dyn Handler>,
    topics: &[Topic],
    settings: Settings,
    mut shutdown: Shutdown,
) -> Result<(), StageError> {
    let consumer: Arc<dyn Consumer> = Arc::from(ports.queue.subscribe(topics).await?);
    crate::metrics::slots(topics, settings.slots);
    let stage = Arc::new(Stage {
        ports,
        handler,
        settings,
        consumer,
        blamed: Default::default(),
    });
    let mut tasks = JoinSet::new();
    let mut out_of_room = None;
    while !shutdown.is_set() && out_of_room.is_none() {
        while let Some(ended) = tasks.try_join_next() {
            out_of_room = out_of_room.or(no_room(ended));
        }
        let free = stage.settings.slots.saturating_sub(tasks.len());
        if free == 0 {
            tokio::select! {
                Some(ended) = tasks.join_next() => out_of_room = out_of_room.or(no_room(ended)),
                () = shutdown.wait() => break,
            }
            continue;
        }
        let deliveries = tokio::select! {
            deliveries = stage.consumer.receive(free, Duration::from_secs(1)) => deliveries,
            () = shutdown.wait() => break,
        };
        match deliveries {
            Ok(deliveries) => {
                for delivery in deliveries {
                    tasks.spawn(Arc::clone(&stage).process(delivery));
                }
            }
            Err(error) => {
                let error = StageError::of(&error);
                tracing::warn!(%error, "cannot receive");
                if error.is_disk_full() {
                    out_of_room = Some(error);
                    break;
                }
                if !error.retryable {
                    // What is in hand is as good as ever, and its lease is kept elsewhere.
                    while !shutdown.is_set() && !tasks.is_empty() {
                        tokio::select! {
                            _ended = tasks.join_next() => {}
                            () = shutdown.wait() => {}
                        }
                    }
                    tasks.shutdown().await;
                    return Err(error);
                }
                tokio::select! {
                    () = tokio::time::sleep(stage.settings.retry_delay) => {}
                    () = shutdown.wait() => break,
                }
            }
        }
    }
    tasks.shutdown().await;
    if let Some(error) = out_of_room {
        return Err(error);
    }
    stage
        .ports
        .ledger
        .release_all(&stage.settings.worker)
        .await?;
    stage.consumer.close().await?;
    Ok(())
}

/// The error of a task that ended because a port has no room left.
fn no_room(ended: Result<Option<StageError>, tokio::task::JoinError>) -> Option<StageError> {
    ended.ok().flatten()
}
