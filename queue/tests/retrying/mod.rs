//! A caller that tries again whenever an error says that this may help.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reelmill_common::message::Topic;
use reelmill_common::retry;
use reelmill_queue::{
    Backlog, Consumer, Delivery, Outgoing, Queue, QueueError, Receipt, Settlement,
};

#[derive(Debug)]
pub(crate) struct Retrying(Arc<dyn Queue>);

#[derive(Debug)]
struct RetryingConsumer(Box<dyn Consumer>);

impl Retrying {
    pub(crate) fn new(inner: Arc<dyn Queue>) -> Self {
        Self(inner)
    }
}

#[async_trait]
impl Queue for Retrying {
    async fn publish(&self, topic: Topic, messages: &[Outgoing]) -> Result<(), QueueError> {
        retry!(self.0.publish(topic, messages))
    }
    async fn subscribe(&self, topics: &[Topic]) -> Result<Box<dyn Consumer>, QueueError> {
        let consumer = retry!(self.0.subscribe(topics))?;
        Ok(Box::new(RetryingConsumer(consumer)))
    }
    async fn backlog(&self, topic: Topic) -> Result<Option<Backlog>, QueueError> {
        retry!(self.0.backlog(topic))
    }
}

#[async_trait]
impl Consumer for RetryingConsumer {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        retry!(self.0.receive(max, wait))
    }
    async fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), QueueError> {
        retry!(self.0.settle(receipt, settlement.clone()))
    }
    async fn close(&self) -> Result<(), QueueError> {
        retry!(self.0.close())
    }
}
