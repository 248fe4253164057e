//! A queue whose calls fail as often as asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::message::Topic;

use crate::{Backlog, Consumer, Delivery, Outgoing, Queue, QueueError, Receipt, Settlement};
use reelmill_common::faults::{Faults, InjectedFault, Injector, When};

/// Wraps a queue and its consumers and injects faults.
///
/// A call that fails after its effect is one whose answer was lost, as it may be on the way from any
/// server. Deliveries that were lost with it come with a later answer.
#[derive(Debug)]
pub struct FaultyQueue {
    inner: Arc<dyn Queue>,
    injector: Arc<Injector>,
}

impl FaultyQueue {
    /// Wraps `inner`. The calls of all its consumers are counted together.
    #[must_use]
    pub fn new(inner: Arc<dyn Queue>, faults: Faults) -> Self {
        Self {
            inner,
            injector: Arc::new(Injector::new(faults)),
        }
    }
}

impl From<InjectedFault> for QueueError {
    fn from(fault: InjectedFault) -> Self {
        Self {
            action: "reach",
            retryable: true,
            source: Box::new(fault),
        }
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), QueueError> {
        self.injector
            .run("publish", self.inner.publish(topic, messages))
            .await
    }

    async fn subscribe(&self, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError> {
        let inner = self
            .injector
            .run("subscribe", self.inner.subscribe(topics))
            .await?;
        let injector = Arc::clone(&self.injector);
        Ok(Box::new(FaultyConsumer {
            inner,
            injector,
            kept: Mutex::default(),
        }))
    }

    async fn backlog(&self, topic: Topic) -> Result<Option<Backlog>, QueueError> {
        self.injector
            .run("backlog", self.inner.backlog(topic))
            .await
    }
}

#[derive(Debug)]
struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    injector: Arc<Injector>,
    /// Made, and not told to anybody yet.
    kept: Mutex<VecDeque<Delivery>>,
}

impl FaultyConsumer {
    fn take_kept(&self, max: usize) -> Vec<Delivery> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let count = kept.len().min(max.max(1));
        kept.drain(..count).collect()
    }
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let fate = self.injector.begin("receive").await;
        if fate == Some(When::Before) {
            return Err(InjectedFault::in_operation("receive").into());
        }
        let mut deliveries = self.take_kept(max);
        if deliveries.is_empty() {
            deliveries = self.inner.receive(max, wait).await?;
        }
        if fate.is_some() {
            self.kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(deliveries);
            return Err(InjectedFault::in_operation("receive").into());
        }
        Ok(deliveries)
    }

    async fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), QueueError> {
        self.injector
            .run("settle", self.inner.settle(receipt, settlement))
            .await
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.injector.run("close", self.inner.close()).await
    }
}
