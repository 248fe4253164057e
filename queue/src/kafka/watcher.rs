//! What the client tells while it is polled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::shared::Shared;
use super::stream::{Place, Stream};
use super::tracker::Tracker;

/// How the client writes the id of a topic that it does not know yet.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// How long a broker may take to forget what was committed of a topic that was deleted.
const FORGETTING: Duration = Duration::from_secs(60);

/// What the client calls, always on the thread that polls.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    stream: Stream,
    /// Held by whoever commits.
    commit_turn: Mutex<()>,
    /// Whether the last commit was made, or could not be.
    is_leaving: AtomicBool,
    /// Whether another client has taken over: what this one is given and loses is nobody's any more.
    is_replaced: AtomicBool,
    /// Whether the topic was made anew, and nobody has begun anew with it.
    is_made_anew: AtomicBool,
    made_anew_at: Mutex<Option<Instant>>,
}

impl Watcher {
    /// For a client that begins; `made_anew_at` is when the topic was, where that is the reason.
    pub(super) fn new(shared: Arc<Shared>, stream: Stream, made_anew_at: Option<Instant>) -> Self {
        Self {
            shared,
            stream,
            commit_turn: Mutex::default(),
            is_leaving: AtomicBool::new(false),
            is_replaced: AtomicBool::new(false),
            is_made_anew: AtomicBool::new(false),
            made_anew_at: Mutex::new(made_anew_at),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    pub(super) fn commit_turn(&self) -> MutexGuard<'_, ()> {
        self.commit_turn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn commits_no_more(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    pub(super) fn replaced(&self) {
        self.is_replaced.store(true, Ordering::Release);
    }

    fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Acquire)
    }

    /// Whether the topic was made anew since this was last asked.
    pub(super) fn was_made_anew(&self) -> bool {
        self.is_made_anew.swap(false, Ordering::AcqRel)
    }

    fn made_anew_at(&self) -> MutexGuard<'_, Option<Instant>> {
        let made_anew_at = self.made_anew_at.lock();
        made_anew_at.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what the group committed may be of an earlier topic of the same name.
    fn doubts_commits(&self) -> bool {
        self.made_anew_at()
            .is_some_and(|made_anew_at| made_anew_at.elapsed() < FORGETTING)
    }

    /// Whether the client says that the topic of this name is another one now.
    ///
    /// It goes on at the offset where it was in the old one, past all that lies before, and tells
    /// nobody but its log (a `FIXME` in `rd_kafka_topic_metadata_update`).
    fn says_made_anew(&self, line: &str) -> bool {
        let topic = self.stream.name(&self.shared.options.topic_prefix);
        let line = line
            .strip_prefix("Topic ")
            .and_then(|line| line.strip_prefix(&topic));
        let ids = line.and_then(|line| line.strip_prefix(" changed id from "));
        ids.is_some_and(|ids| !ids.starts_with(NO_ID))
    }
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if matches!(level, RDKafkaLogLevel::Debug) {
            // The client puts its own name before each line.
            let line = line.rsplit("]: ").next().unwrap_or_default();
            if self.says_made_anew(line) {
                *self.made_anew_at() = Some(Instant::now());
                self.is_made_anew.store(true, Ordering::Release);
            }
            if !self.shared.options.is_debugging() {
                return;
            }
        }
        self.shared.reporter.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.shared.reporter.error(error, reason);
    }
}

impl ConsumerContext for Watcher {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let list = match rebalance {
            _ if self.is_replaced() => return,
            Rebalance::Revoke(list) => list,
            Rebalance::Assign(list) => {
                if self.doubts_commits() {
                    begin_at_the_beginning(list);
                }
                return;
            }
            Rebalance::Error(_) => return,
        };
        let places = self.shared.places(list);
        let is_lost = consumer.assignment_lost();
        tracing::info!(partitions = ?Shown(&places), is_lost, "partitions were taken");
        // Partitions that were lost may be somebody else's already, and a broker would believe us.
        // On the way out everything was committed, or could not be.
        if is_lost || self.is_leaving.load(Ordering::Acquire) {
            self.shared.member().revoke(&places);
            return;
        }
        // The next owner begins where this says, so it must be said before. Without a coordinator
        // this waits for the session's timeout, after which the partitions are lost anyway.
        let _turn = self.commit_turn();
        let uncommitted = self.shared.member().revoke(&places);
        if uncommitted.is_empty() {
            return;
        }
        let committed = consumer.commit(&self.shared.commits(&uncommitted), CommitMode::Sync);
        if let Err(error) = committed {
            tracing::debug!(%error, "cannot commit what was settled; it is delivered again");
        }
    }

    fn post_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            _ if self.is_replaced() => {}
            Rebalance::Assign(list) => {
                let places = self.shared.places(list);
                tracing::info!(partitions = ?Shown(&places), "partitions were given");
                let tracker = match self.doubts_commits() {
                    true => Tracker::of_the_beginning(),
                    false => Tracker::default(),
                };
                self.shared.member().assign(self.stream, &places, &tracker);
                self.shared.changed.notify_waiters();
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "cannot rebalance"),
        }
    }
}

/// Has partitions read from their beginning, whatever was committed.
fn begin_at_the_beginning(list: &TopicPartitionList) {
    for mut element in list.elements() {
        if let Err(error) = element.set_offset(Offset::Beginning) {
            tracing::debug!(%error, "cannot begin at the beginning");
        }
    }
}

/// Partitions as `video-chunks/0 video-chunks/1`.
struct Shown<'a>(&'a [Place]);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, place) in self.0.iter().enumerate() {
            let gap = if number == 0 { "" } else { " " };
            write!(f, "{gap}{place}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use reelmill_common::message::Topic;

    use super::super::options::KafkaOptions;
    use super::*;

    fn watcher() -> Watcher {
        let stream = Stream::main(Topic::Chunks);
        let shared = Shared::new(&Arc::new(KafkaOptions::default()), vec![stream]);
        Watcher::new(Arc::new(shared), stream, None)
    }

    /// That the client says so, and in these words, is tested on a broker.
    #[test]
    fn a_topic_made_anew_is_heard_of_once() {
        let watcher = watcher();
        let ids = "changed id from YsQeUKn0QUKp6TElGhRLIA to Ww9msX04TyShht6zPPsZnA";
        for line in [
            format!("[thrd:main]: Topic video-chunks.retry {ids}"),
            format!("[thrd:main]: Topic video-chunks changed id from {NO_ID} to Ww9msX04TyShht"),
            "[thrd:main]: Topic video-chunks [0] Leader 1 Epoch 0".to_owned(),
        ] {
            watcher.log(RDKafkaLogLevel::Debug, "METADATA", &line);
            assert!(
                !watcher.was_made_anew() && !watcher.doubts_commits(),
                "{line}"
            );
        }
        let line = format!("[thrd:main]: Topic video-chunks {ids}");
        watcher.log(RDKafkaLogLevel::Debug, "METADATA", &line);
        assert!(watcher.was_made_anew() && watcher.doubts_commits());
        assert!(!watcher.was_made_anew() && watcher.doubts_commits());
    }

    #[test]
    fn partitions_may_be_read_from_their_beginning_whatever_was_committed() {
        let mut list = TopicPartitionList::new();
        list.add_partition("video-chunks", 0);
        list.add_partition_offset("video-chunks", 1, Offset::Offset(7))
            .unwrap();
        begin_at_the_beginning(&list);
        let elements = list.elements();
        assert!(
            elements
                .iter()
                .all(|element| element.offset() == Offset::Beginning)
        );
    }
}
