//! What every queue must do, one function for each promise.
//!
//! A backend runs all of it with [`queue_conformance!`](crate::queue_conformance). Each case gets
//! an empty queue of its own that nobody else uses. A backend with partitions is given at least 8
//! of each topic, so that messages with different `spread` can lie in different ones.
//!
//! Duplicates are allowed by the contract only where something was lost: the cases accept none
//! from a group whose members come and go in order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::JobId;
use reelmill_common::message::Topic;
use reelmill_common::request::Priority;
use tokio::time::Instant;

use crate::{Cause, Consumer, Delivery, Outgoing, Queue, Settlement};

mod delivering;
mod settling;
mod sharing;

pub use delivering::*;
pub use settling::*;
pub use sharing::*;

/// An empty queue.
#[derive(Debug)]
pub struct Fixture {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    reach: Duration,
    _guard: Box<dyn Guard>,
}

/// Whatever must live as long as a queue under test.
pub trait Guard: std::fmt::Debug + Send + Sync {}
impl<T: std::fmt::Debug + Send + Sync> Guard for T {}

impl Fixture {
    /// Wraps a queue; `guard` is dropped after it, such as the directory that it lives in.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, guard: impl Guard + 'static) -> Self {
        Self {
            queue,
            reach: Duration::ZERO,
            _guard: Box::new(guard),
        }
    }

    /// For a backend that fetches ahead: so long after it was published a message is surely at hand
    /// wherever it may be given out. Whose turn it is can be told only of those.
    #[must_use]
    pub fn reaching_after(mut self, reach: Duration) -> Self {
        self.reach = reach;
        self
    }

    /// Waits until everything that was published is at hand.
    async fn at_hand(&self) {
        tokio::time::sleep(self.reach).await;
    }

    async fn subscribe(&self, topics: &[Topic]) -> Box<dyn Consumer> {
        self.queue.subscribe(topics).await.unwrap()
    }

    async fn publish(&self, topic: Topic, messages: &[Outgoing]) {
        self.queue.publish(topic, messages).await.unwrap();
    }
}

/// Expands to a module with one test for each case of the suite. `$fixture` names an async function
/// without arguments that returns a [`Fixture`]. Where the tests need what not every machine has,
/// `ignore = "needs …"` says so.
#[macro_export]
macro_rules! queue_conformance {
    ($module:ident, $fixture:ident) => {
        $crate::queue_conformance! { @list {} $module, $fixture }
    };
    ($module:ident, $fixture:ident, ignore = $reason:literal) => {
        $crate::queue_conformance! { @list { #[ignore = $reason] } $module, $fixture }
    };
    (@list $attributes:tt $module:ident, $fixture:ident) => {
        $crate::queue_conformance! { @cases $attributes $module, $fixture:
            a_message_arrives_as_published
            bytes_that_are_no_message_arrive_too
            publishing_nothing_does_nothing
            messages_with_the_same_key_are_several
            topics_are_apart
            a_consumer_of_several_topics_gets_all
            receive_gives_at_most_as_many_as_asked
            receive_gives_up_after_its_wait
            receive_returns_when_a_message_comes
            receiving_given_up_loses_nothing
            a_delayed_message_comes_late
            a_delayed_message_holds_up_no_other
            many_messages_arrive_once
            two_consumers_share
            what_is_acknowledged_is_gone
            settling_twice_has_no_effect
            a_retry_cannot_be_taken_back
            a_retry_comes_again
            a_retry_comes_after_its_delay
            a_late_settle_of_an_old_delivery_has_no_effect
            a_late_settle_by_another_consumer_has_no_effect
            a_closed_consumer_gives_back_what_is_open
            a_lost_consumer_loses_no_message
            closing_twice_is_closing
            a_dead_letter_tells_where_it_came_from
            a_dead_letter_keeps_any_payload
            a_dead_letter_can_be_published_again
            lag_counts_what_is_not_settled
            the_age_of_the_oldest_message_is_told
            a_higher_priority_comes_first
            a_short_job_does_not_wait_for_a_long_one
            a_job_with_work_in_hand_waits_for_one_without
        }
    };
    (@cases $attributes:tt $module:ident, $fixture:ident: $($case:ident)*) => {
        mod $module {
            $( $crate::queue_conformance! { @case $attributes $fixture $case } )*
        }
    };
    (@case { $($attribute:tt)* } $fixture:ident $case:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($attribute)*
        async fn $case() {
            let fixture = super::$fixture().await;
            $crate::conformance::$case(&fixture).await;
        }
    };
}

/// How long a case waits for what must come: groups of some backends take seconds to settle.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a case watches for what must not come.
const QUIET: Duration = Duration::from_millis(150);

/// A delay that a case can wait for.
const DELAY: Duration = Duration::from_millis(300);

/// A message, for tests; others have other numbers.
#[must_use]
pub fn message(number: u32) -> Outgoing {
    Outgoing {
        job: JobId::new("j1").unwrap(),
        priority: Priority::Normal,
        key: format!("j1/chunk-{number:03}"),
        spread: number,
        payload: format!("payload {number}").into_bytes(),
        delay: Duration::ZERO,
    }
}

fn messages(numbers: std::ops::Range<u32>) -> Vec<Outgoing> {
    numbers.map(message).collect()
}

fn delayed(number: u32, delay: Duration) -> Outgoing {
    Outgoing {
        delay,
        ..message(number)
    }
}

fn keys(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries
        .iter()
        .map(|delivery| delivery.key.clone())
        .collect()
}

fn keys_of(messages: &[Outgoing]) -> BTreeSet<String> {
    messages.iter().map(|message| message.key.clone()).collect()
}

/// Receives until there are `count`, which must come.
#[track_caller]
fn receive_all(
    consumer: &dyn Consumer,
    count: usize,
) -> impl Future<Output = Vec<Delivery>> + use<'_> {
    let caller = std::panic::Location::caller();
    async move {
        let begin = Instant::now();
        let mut all: Vec<Delivery> = vec![];
        while all.len() < count {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let got = consumer.receive(count - all.len(), left).await.unwrap();
            assert!(
                !got.is_empty(),
                "{caller}: {} of {count} messages came",
                all.len()
            );
            all.extend(got);
        }
        all
    }
}

#[track_caller]
fn receive_one(consumer: &dyn Consumer) -> impl Future<Output = Delivery> + use<'_> {
    let all = receive_all(consumer, 1);
    async move { all.await.remove(0) }
}

#[track_caller]
fn receive_nothing(consumer: &dyn Consumer) -> impl Future<Output = ()> + use<'_> {
    let caller = std::panic::Location::caller();
    async move {
        let got = consumer.receive(10, QUIET).await.unwrap();
        assert_eq!(got, [], "{caller}: nothing was to come");
    }
}

async fn ack(consumer: &dyn Consumer, delivery: &Delivery) {
    consumer
        .settle(&delivery.receipt, Settlement::Ack)
        .await
        .unwrap();
}

async fn retry(consumer: &dyn Consumer, delivery: &Delivery, delay: Duration) {
    consumer
        .settle(&delivery.receipt, Settlement::Retry { delay })
        .await
        .unwrap();
}

async fn bury(consumer: &dyn Consumer, delivery: &Delivery, reason: &str) {
    let cause = Cause::new(reason);
    consumer
        .settle(&delivery.receipt, Settlement::DeadLetter(cause))
        .await
        .unwrap();
}

#[cfg(test)]
mod tests {
    /// A case that the macro forgets would never run.
    #[test]
    fn the_macro_names_every_case() {
        let sources = concat!(
            include_str!("conformance/delivering.rs"),
            include_str!("conformance/settling.rs"),
            include_str!("conformance/sharing.rs"),
        );
        let listed = include_str!("conformance.rs");
        for line in sources.lines() {
            if let Some(rest) = line.strip_prefix("pub async fn ") {
                let name = rest.split('(').next().unwrap();
                assert!(
                    listed.lines().any(|line| line.trim() == name),
                    "`{name}` is not listed"
                );
            }
        }
    }
}
