//! What one consumer knows: its partitions, what it fetched, what it gave out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::buffer::{Buffer, Waiting};
use super::error::Trouble;
use super::record::{Incoming, now};
use super::stream::{Place, Stream};
use super::tracker::{Seen, Tracker};
use crate::{Delivery, Receipt};

/// The state that the poll thread and the callers share. Nothing here waits for anything.
#[derive(Debug)]
pub(super) struct Member {
    assigned: BTreeMap<Place, Assigned>,
    last_epoch: u64,
    buffer: Buffer<Incoming>,
    /// By the number of the delivery. One that is not here is settled, or was lost with its
    /// partition: to settle it has no effect.
    open: HashMap<u64, Arc<Open>>,
    last_delivery: u64,
    /// The streams of which the group has once told which partitions are ours, if any.
    joined: BTreeSet<Stream>,
    pub(super) is_closed: bool,
    /// What the next caller must be told.
    pub(super) trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Assigned {
    /// Differs each time the partition is assigned.
    epoch: u64,
    tracker: Tracker,
    flow: Flow,
}

/// Whether messages of a partition come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Fetched,
    Paused,
    /// To be told so a few times more: in a rebalance the client may lose the word, and says nothing
    /// (librdkafka #5591). A partition that is fetched anyway is not touched by it.
    Resumed {
        again: u8,
    },
}

/// How often more a partition is told to go on.
const RESUME_AGAIN: u8 = 5;

/// A delivery in the hands of a caller.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) message: Incoming,
    /// Held by whoever settles it, so that a second one waits and then finds it settled.
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// Everything of a partition before this offset is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) place: Place,
    pub(super) offset: i64,
    /// Of the assignment that this was true of.
    epoch: u64,
}

impl Assigned {
    fn settled(&self, place: Place) -> Option<Commit> {
        let (offset, epoch) = (self.tracker.watermark()?, self.epoch);
        Some(Commit {
            place,
            offset,
            epoch,
        })
    }

    fn uncommitted(&self, place: Place) -> Option<Commit> {
        let settled = self.settled(place)?;
        self.tracker.is_uncommitted().then_some(settled)
    }
}

impl Member {
    pub(super) fn new() -> Self {
        Self {
            assigned: BTreeMap::new(),
            last_epoch: 0,
            buffer: Buffer::default(),
            open: HashMap::new(),
            // So that deliveries of later consumers have higher numbers: a receipt of one means
            // nothing to another.
            last_delivery: now() << 20,
            joined: BTreeSet::new(),
            is_closed: false,
            trouble: None,
        }
    }

    /// Takes partitions of a stream, each beginning with this tracker; there may be none for us.
    pub(super) fn assign(&mut self, stream: Stream, places: &[Place], tracker: &Tracker) {
        for place in places {
            self.last_epoch += 1;
            let assigned = Assigned {
                epoch: self.last_epoch,
                tracker: tracker.clone(),
                flow: Flow::Fetched,
            };
            self.assigned.insert(*place, assigned);
        }
        self.joined.insert(stream);
    }

    pub(super) fn has_joined(&self, streams: &[Stream]) -> bool {
        streams.iter().all(|stream| self.joined.contains(stream))
    }

    /// Gives up partitions, with what was fetched from them. What is still to be committed of them
    /// is returned. Deliveries that callers have go on; to settle them has no effect any more.
    pub(super) fn revoke(&mut self, places: &[Place]) -> Vec<Commit> {
        let mut uncommitted = vec![];
        for place in places {
            let assigned = self.assigned.remove(place);
            uncommitted.extend(assigned.and_then(|assigned| assigned.uncommitted(*place)));
        }
        self.forget(|place| places.contains(&place));
        uncommitted
    }

    /// Forgets what was fetched and given out of some partitions.
    fn forget(&mut self, which: impl Fn(Place) -> bool) {
        self.buffer.retain(|message| !which(message.place));
        let buffer = &mut self.buffer;
        self.open.retain(|_, open| {
            let is_kept = !which(open.message.place);
            if !is_kept {
                buffer.end(&open.message.job);
            }
            is_kept
        });
    }

    /// Takes in a message that was fetched.
    pub(super) fn take_in(&mut self, message: Incoming) {
        let place = message.place;
        let Some(assigned) = self.assigned.get_mut(&place) else {
            return;
        };
        if self.is_closed {
            return;
        }
        if assigned.flow == Flow::Paused {
            // The client lost the word.
            assigned.flow = Flow::Fetched;
        }
        if assigned.tracker.see(message.offset) == Seen::WentBack {
            tracing::info!(%place, offset = message.offset, "the topic was made anew");
            self.last_epoch += 1;
            assigned.epoch = self.last_epoch;
            self.forget(|other| other == place);
        }
        if message.is_handled_letter() {
            self.settle_at(place, message.offset);
            return;
        }
        let waiting = Waiting {
            job: message.job.clone(),
            priority: message.priority,
            due: message.due,
            message,
        };
        self.buffer.add(waiting, now());
    }

    fn settle_at(&mut self, place: Place, offset: i64) {
        if let Some(assigned) = self.assigned.get_mut(&place) {
            assigned.tracker.settle(offset);
        }
    }

    /// Gives out up to `max` messages.
    pub(super) fn give_out(&mut self, max: usize) -> Vec<Delivery> {
        let now = now();
        let mut deliveries = vec![];
        while deliveries.len() < max
            && let Some(message) = self.buffer.take(now)
        {
            self.last_delivery += 1;
            let delivery = Delivery {
                receipt: Receipt {
                    topic: message.place.stream.topic,
                    partition: message.place.partition,
                    offset: message.offset,
                    delivery: self.last_delivery,
                },
                topic: message.place.stream.topic,
                key: message.key.clone(),
                payload: message.payload.clone().unwrap_or_default(),
            };
            let open = Open {
                message,
                turn: tokio::sync::Mutex::default(),
            };
            self.open.insert(self.last_delivery, Arc::new(open));
            deliveries.push(delivery);
        }
        deliveries
    }

    /// How long until a message that waits is due.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let due = self.buffer.next_due()?;
        Some(Duration::from_millis(due.saturating_sub(now())))
    }

    /// The delivery that a receipt names, while it is open.
    pub(super) fn open(&self, receipt: &Receipt) -> Option<Arc<Open>> {
        let open = self.open.get(&receipt.delivery)?;
        let Incoming { place, offset, .. } = open.message;
        let named = (receipt.topic, receipt.partition, receipt.offset);
        let is_named = (place.stream.topic, place.partition, offset) == named;
        is_named.then(|| Arc::clone(open))
    }

    /// Ends a delivery.
    pub(super) fn end(&mut self, delivery: u64) {
        if let Some(open) = self.open.remove(&delivery) {
            self.buffer.end(&open.message.job);
            self.settle_at(open.message.place, open.message.offset);
        }
    }

    /// Gives out nothing any more. Deliveries that are open stay so for the group.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        self.open.clear();
        self.buffer = Buffer::default();
    }

    /// What of a stream the broker does not know yet.
    pub(super) fn uncommitted(&self, stream: Stream) -> Vec<Commit> {
        let assigned = self.assigned_of(stream);
        let uncommitted = assigned.filter_map(|(place, assigned)| assigned.uncommitted(place));
        uncommitted.collect()
    }

    /// What of a stream the broker should know.
    pub(super) fn settled(&self, stream: Stream) -> Vec<Commit> {
        let assigned = self.assigned_of(stream);
        let settled = assigned.filter_map(|(place, assigned)| assigned.settled(place));
        settled.collect()
    }

    /// The broker knows it now.
    pub(super) fn committed(&mut self, commits: &[Commit]) {
        for commit in commits {
            let assigned = self.assigned.get_mut(&commit.place);
            if let Some(assigned) = assigned.filter(|assigned| assigned.epoch == commit.epoch) {
                assigned.tracker.commit(commit.offset);
            }
        }
    }

    /// Gives up all partitions of a stream whose topic was made anew: nothing that is known of the
    /// old one says anything of it.
    pub(super) fn drop_stream(&mut self, stream: Stream) {
        self.assigned.retain(|place, _| place.stream != stream);
        self.forget(|place| place.stream == stream);
    }

    /// Up to where a partition of this consumer is settled, whatever the broker knows.
    pub(super) fn watermark(&self, place: Place) -> Option<i64> {
        self.tracker(place)?.watermark()
    }

    /// How many messages are not settled of a partition of this consumer that ends before `end`.
    pub(super) fn unsettled(&self, place: Place, end: i64) -> Option<u64> {
        self.tracker(place)?.unsettled(end)
    }

    fn tracker(&self, place: Place) -> Option<&Tracker> {
        let assigned = self.assigned.get(&place).filter(|_| !self.is_closed);
        assigned.map(|assigned| &assigned.tracker)
    }

    /// The partitions of a stream that should stop being fetched. A stream for later is full of
    /// messages that are not due; they do not stop the others.
    pub(super) fn to_pause(&self, stream: Stream, at_most: usize) -> Vec<Place> {
        let is_full = self.is_full(stream, at_most);
        let to_pause = self.assigned_of(stream).filter(|(_, assigned)| {
            // One that was just assigned is left alone: the client would lose its place.
            let has_begun = assigned.tracker.watermark().is_some();
            is_full && has_begun && assigned.flow != Flow::Paused
        });
        to_pause.map(|(place, _)| place).collect()
    }

    /// The partitions of a stream that should go on being fetched.
    pub(super) fn to_resume(&self, stream: Stream, at_most: usize) -> Vec<Place> {
        let has_room = self.load(stream) <= at_most / 2;
        let to_resume = self
            .assigned_of(stream)
            .filter(|(_, assigned)| has_room && assigned.flow != Flow::Fetched);
        to_resume.map(|(place, _)| place).collect()
    }

    /// The client was told to stop, or to go on with, fetching a partition.
    pub(super) fn regulated(&mut self, place: Place, is_paused: bool) {
        if let Some(assigned) = self.assigned.get_mut(&place) {
            assigned.flow = match (is_paused, assigned.flow) {
                (true, _) => Flow::Paused,
                (false, Flow::Paused) => Flow::Resumed {
                    again: RESUME_AGAIN,
                },
                (false, Flow::Resumed { again }) if again > 1 => Flow::Resumed { again: again - 1 },
                (false, _) => Flow::Fetched,
            };
        }
    }

    /// Whether so much of a stream is at hand that no more should be fetched.
    pub(super) fn is_full(&self, stream: Stream, at_most: usize) -> bool {
        self.load(stream) >= at_most
    }

    fn load(&self, stream: Stream) -> usize {
        let parked = if stream.retry {
            self.buffer.parked()
        } else {
            0
        };
        self.buffer.ready() + parked
    }

    fn assigned_of(&self, stream: Stream) -> impl Iterator<Item = (Place, &Assigned)> {
        let assigned = self.assigned.iter();
        let assigned = assigned.map(|(place, assigned)| (*place, assigned));
        assigned.filter(move |(place, _)| place.stream == stream)
    }
}
