//! A member of the group, as its callers see it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};

use super::error::Trouble;
use super::producer::Producer;
use super::record::{Incoming, Record, now};
use super::shared::Shared;
use crate::{Consumer, Delivery, QueueError, Receipt, Settlement};

/// How long to wait for the group to tell which partitions are ours. A group in the middle of a
/// rebalance takes longer; then they come while we work.
const JOINING: Duration = Duration::from_secs(5);

/// How long leaving may take for whoever waits for it; the threads go on with it.
const LEAVING: Duration = Duration::from_secs(10);

/// The longest sleep until a message is due: the clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Longer than any wait that anybody means.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug)]
pub(super) struct KafkaConsumer {
    shared: Arc<Shared>,
    producer: Arc<Producer>,
}

impl KafkaConsumer {
    pub(super) async fn join(
        shared: Arc<Shared>,
        producer: Arc<Producer>,
    ) -> Result<Self, Trouble> {
        // Made first, so that the threads end when nobody waits any more.
        let consumer = Self { shared, producer };
        consumer.joined(Instant::now() + JOINING).await?;
        Ok(consumer)
    }

    async fn joined(&self, deadline: Instant) -> Result<(), Trouble> {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            self.check()?;
            if self.shared.member().has_joined(&self.shared.streams) {
                return Ok(());
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(deadline) => return Ok(()),
            }
        }
    }

    /// Whether there is something that a caller must be told instead of being given messages.
    fn check(&self) -> Result<(), Trouble> {
        let mut member = self.shared.member();
        if let Some(trouble) = member.trouble.take() {
            return Err(trouble);
        }
        if member.is_closed {
            return Err(Trouble::Closed);
        }
        if self.shared.has_lost_thread() {
            return Err(Trouble::Ended);
        }
        Ok(())
    }

    /// What must be published before a delivery may end.
    fn records(message: &Incoming, settlement: Settlement) -> Result<Vec<Record>, Trouble> {
        let handled = message
            .is_letter()
            .then(|| Record::handled(message.place.partition, &message.record_key));
        Ok(match settlement {
            Settlement::Ack => handled.into_iter().collect(),
            // A letter that comes later is the same letter, and takes its place.
            Settlement::Retry { delay } => vec![Record::again(message, delay, now())],
            Settlement::DeadLetter(cause) => {
                let letter = Record::letter(message, cause, now())?;
                std::iter::once(letter).chain(handled).collect()
            }
        })
    }

    async fn end(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), Trouble> {
        let Some(open) = self.shared.member().open(receipt) else {
            return Ok(());
        };
        let _turn = open.turn.lock().await;
        if self.shared.member().open(receipt).is_none() {
            return Ok(());
        }
        let records = Self::records(&open.message, settlement)?;
        self.producer.send(&records).await?;
        self.shared.member().end(receipt.delivery);
        Ok(())
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let deadline = Instant::now() + wait.min(A_YEAR);
        loop {
            // From here on no change goes unnoticed, also one that comes while we look.
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            self.check()
                .map_err(|trouble| trouble.during("receive from"))?;
            let (deliveries, due_in) = {
                let mut member = self.shared.member();
                (member.give_out(max.max(1)), member.due_in())
            };
            // There is no await between taking and returning: nothing is lost with the future.
            let now = Instant::now();
            if !deliveries.is_empty() || now >= deadline {
                return Ok(deliveries);
            }
            let look_again = due_in.map_or(deadline, |due_in| now + due_in.min(LONGEST_SLEEP));
            tokio::select! {
                () = changed => {}
                () = sleep_until(deadline.min(look_again)) => {}
            }
        }
    }

    async fn settle(&self, receipt: &Receipt, settlement: Settlement) -> Result<(), QueueError> {
        let ended = self.end(receipt, settlement).await;
        ended.map_err(|trouble| trouble.during("settle a message of"))
    }

    async fn close(&self) -> Result<(), QueueError> {
        self.shared.stop();
        match timeout(LEAVING, self.shared.left()).await {
            Ok(true) => Ok(()),
            _ => Err(Trouble::StillLeaving(LEAVING).during("leave")),
        }
    }
}

impl Drop for KafkaConsumer {
    /// The threads leave the group by themselves, as after [`close`](Consumer::close).
    fn drop(&mut self) {
        self.shared.stop();
    }
}
