//! What the threads that poll and the callers share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Notify, watch};

use super::error::Trouble;
use super::member::{Commit, Member};
use super::options::KafkaOptions;
use super::report::Reporter;
use super::stream::{Place, Stream};

/// What the threads and the callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Arc<KafkaOptions>,
    /// Each is read by a thread of its own.
    pub(super) streams: Vec<Stream>,
    pub(super) reporter: Reporter,
    member: Mutex<Member>,
    /// Told of whatever a caller may wait for.
    pub(super) changed: Notify,
    is_stopping: AtomicBool,
    threads: watch::Sender<Threads>,
}

/// How the threads are.
#[derive(Clone, Copy, Debug, Default)]
struct Threads {
    begun: usize,
    ended: usize,
    /// Of those that ended, how many left the group in order.
    left: usize,
}

impl Shared {
    pub(super) fn new(options: &Arc<KafkaOptions>, streams: Vec<Stream>) -> Self {
        Self {
            options: Arc::clone(options),
            streams,
            reporter: Reporter::new("consumer"),
            member: Mutex::new(Member::new()),
            changed: Notify::new(),
            is_stopping: AtomicBool::new(false),
            threads: watch::Sender::default(),
        }
    }

    /// The state, for moments: nothing waits with it in hand.
    pub(super) fn member(&self) -> MutexGuard<'_, Member> {
        self.member.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives out nothing any more, and tells the threads to leave the group.
    pub(super) fn stop(&self) {
        self.member().close();
        self.is_stopping.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    pub(super) fn thread_begins(&self) {
        self.threads.send_modify(|threads| threads.begun += 1);
    }

    pub(super) fn thread_ends(&self, has_left: bool) {
        self.threads.send_modify(|threads| {
            threads.ended += 1;
            threads.left += usize::from(has_left);
        });
        self.changed.notify_waiters();
    }

    /// Whether messages are missing from now on, because a thread has ended.
    pub(super) fn has_lost_thread(&self) -> bool {
        self.threads.borrow().ended > 0
    }

    /// Whether the group was left, once all threads are done with that.
    pub(super) async fn left(&self) -> bool {
        let mut threads = self.threads.subscribe();
        let ended = threads.wait_for(|threads| threads.ended == threads.begun);
        ended
            .await
            .is_ok_and(|threads| threads.left == threads.begun)
    }

    pub(super) fn tell(&self, trouble: Trouble) {
        self.member().trouble = Some(trouble);
        self.changed.notify_waiters();
    }

    pub(super) fn place(&self, topic: &str, partition: i32) -> Option<Place> {
        let stream = Stream::named(topic, &self.options.topic_prefix)?;
        Some(Place { stream, partition })
    }

    pub(super) fn places(&self, list: &TopicPartitionList) -> Vec<Place> {
        let elements = list.elements();
        let places = elements.iter();
        places
            .filter_map(|element| self.place(element.topic(), element.partition()))
            .collect()
    }

    pub(super) fn list(
        &self,
        places: impl IntoIterator<Item = (Place, Offset)>,
    ) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (Place { stream, partition }, offset) in places {
            let topic = stream.name(&self.options.topic_prefix);
            // Refused is only an offset below zero, which is none of a message.
            if list
                .add_partition_offset(&topic, partition, offset)
                .is_err()
            {
                tracing::debug!(topic, partition, ?offset, "this is no offset");
            }
        }
        list
    }

    pub(super) fn commits(&self, commits: &[Commit]) -> TopicPartitionList {
        let commits = commits.iter();
        self.list(commits.map(|commit| (commit.place, Offset::Offset(commit.offset))))
    }
}
