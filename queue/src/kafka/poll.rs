//! The threads that poll Kafka.
//!
//! The broker takes a consumer for dead that does not poll, so nothing may hold such a thread up:
//! it hands what it is given to the [`Member`](super::member::Member) and goes on. How long anybody
//! works on a delivery is no matter here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset};

use super::commit::Committer;
use super::error::Trouble;
use super::options::KafkaOptions;
use super::record::Incoming;
use super::shared::Shared;
use super::stream::{Place, Stream};
use super::watcher::Watcher;

/// How long one poll may wait: as long as this the thread takes to hear that it should end.
const POLL: Duration = Duration::from_millis(100);

/// While it leaves it has nothing else to do.
const LEAVING_POLL: Duration = Duration::from_millis(20);

/// How often it is looked for room to go on with fetching.
const REGULATING: Duration = Duration::from_millis(500);

/// How long the last commit may take.
const LAST_COMMIT: Duration = Duration::from_secs(3);

/// How long leaving may take after that.
const LEAVING: Duration = Duration::from_secs(5);

/// The pause after a client that could not be made.
const OPENING_AGAIN: Duration = Duration::from_secs(1);

/// Starts the threads of a consumer of `streams`.
///
/// Each stream is read by a member of its own: the group deals out partitions evenly, but not those
/// of each topic, and a worker that was dealt only partitions for later would have nothing to do.
pub(super) fn start(
    options: &Arc<KafkaOptions>,
    streams: Vec<Stream>,
) -> Result<Arc<Shared>, Trouble> {
    let shared = Arc::new(Shared::new(options, streams));
    for stream in &shared.streams {
        if let Err(trouble) = start_one(&shared, *stream) {
            shared.stop();
            return Err(trouble);
        }
    }
    Ok(shared)
}

fn start_one(shared: &Arc<Shared>, stream: Stream) -> Result<(), Trouble> {
    let poller = Poller {
        presence: Presence::new(Arc::clone(shared)),
        client: Client::open(shared, stream, None)?,
        stream,
    };
    std::thread::Builder::new()
        .name("kafka-consumer".to_owned())
        .spawn(move || poller.run())
        .map_err(|error| Trouble::Start(error.to_string()))?;
    Ok(())
}

/// Says when the thread has ended, however it did.
struct Presence {
    shared: Arc<Shared>,
    has_left: bool,
}

impl Presence {
    fn new(shared: Arc<Shared>) -> Self {
        shared.thread_begins();
        let has_left = false;
        Self { shared, has_left }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.shared.thread_ends(self.has_left);
    }
}

/// A member of the group for one stream.
struct Client {
    committer: Committer,
    consumer: Arc<BaseConsumer<Watcher>>,
}

impl Client {
    /// Joins the group; `made_anew_at` as for [`Watcher::new`].
    fn open(
        shared: &Arc<Shared>,
        stream: Stream,
        made_anew_at: Option<Instant>,
    ) -> Result<Self, Trouble> {
        let options = &shared.options;
        let meaning = |error: &KafkaError| Trouble::of(error, &options.brokers, None);
        let watcher = Watcher::new(Arc::clone(shared), stream, made_anew_at);
        let consumer: BaseConsumer<Watcher> = options
            .member()
            .create_with_context(watcher)
            .map_err(|error| meaning(&error))?;
        consumer
            .subscribe(&[&stream.name(&options.topic_prefix)])
            .map_err(|error| meaning(&error))?;
        let consumer = Arc::new(consumer);
        Ok(Self {
            committer: Committer::start(Arc::clone(&consumer), options.commit_every)?,
            consumer,
        })
    }

    /// Leaves the group, so that others are given the partitions at once. Tells whether it did.
    fn leave(&self, stream: Stream) -> bool {
        // Asked once more the broker might let us wait.
        self.consumer.context().commits_no_more();
        let deadline = Instant::now() + LEAVING;
        match self.consumer.close_queue() {
            Ok(()) => {
                while !self.consumer.closed() && Instant::now() < deadline {
                    self.consumer.poll(LEAVING_POLL);
                }
            }
            Err(error) => tracing::debug!(%stream, %error, "cannot leave in order"),
        }
        self.consumer.closed()
    }
}

struct Poller {
    /// First, so that whoever waits need not wait for the end of the client, which may hang or
    /// worse when the brokers are away.
    presence: Presence,
    client: Client,
    stream: Stream,
}

impl Poller {
    fn run(mut self) {
        let mut regulate_at = Instant::now() + REGULATING;
        while !self.shared().is_stopping() {
            let mut is_full = false;
            match self.client.consumer.poll(POLL) {
                Some(Ok(message)) => is_full = self.take_in(&message),
                Some(Err(error)) if self.complain(&error) => break,
                Some(Err(_)) | None => {}
            }
            if self.client.consumer.context().was_made_anew() {
                tracing::info!(stream = %self.stream, "the topic was made anew");
                self.begin_anew();
            }
            if is_full || Instant::now() >= regulate_at {
                self.regulate();
                regulate_at = Instant::now() + REGULATING;
            }
        }
        self.commit_the_last();
        self.presence.has_left = self.client.leave(self.stream);
    }

    /// Goes on with another client, which reads the topic from its beginning. The old one would stay
    /// at the offsets of the old topic, and where that ever had another leader, fetch nothing at all:
    /// of what brokers tell of partitions it believes only what has no lower epoch, also when the
    /// topic is another one (`rd_kafka_toppar_leader_update`).
    fn begin_anew(&mut self) {
        let made_anew_at = Some(Instant::now());
        self.client.consumer.context().replaced();
        self.shared().member().drop_stream(self.stream);
        self.client.leave(self.stream);
        while !self.shared().is_stopping() {
            match Client::open(&self.presence.shared, self.stream, made_anew_at) {
                Ok(client) => {
                    let old = std::mem::replace(&mut self.client, client);
                    // Its end may hang.
                    std::thread::spawn(move || drop(old));
                    return;
                }
                Err(trouble) => tracing::warn!(stream = %self.stream, %trouble, "tried again"),
            }
            std::thread::sleep(OPENING_AGAIN);
        }
    }

    fn shared(&self) -> &Shared {
        &self.presence.shared
    }

    /// Takes in a message, and tells whether there are a great many.
    fn take_in(&self, message: &BorrowedMessage<'_>) -> bool {
        let shared = self.shared();
        let place = Place {
            stream: self.stream,
            partition: message.partition(),
        };
        let message = Incoming::read(message, place);
        let is_full = {
            let mut member = shared.member();
            member.take_in(message);
            member.is_full(self.stream, shared.options.buffered_messages)
        };
        shared.changed.notify_waiters();
        is_full
    }

    /// Tells callers of what they should know, and whether the client can go on no more. Whatever
    /// may pass was logged, and the client tries again.
    fn complain(&self, error: &KafkaError) -> bool {
        let (code, is_fatal) = match error {
            KafkaError::MessageConsumptionFatal(code) => (*code, true),
            KafkaError::MessageConsumption(
                code @ (Code::GroupAuthorizationFailed | Code::TopicAuthorizationFailed),
            ) => (*code, false),
            _ => return false,
        };
        let options = &self.shared().options;
        let topic = self.stream.name(&options.topic_prefix);
        let trouble = Trouble::of_code(code, &options.brokers, Some(&topic));
        self.shared().tell(trouble);
        is_fatal
    }

    /// Stops fetching where too much is at hand, and goes on where there is room. Rarely done: of a
    /// partition that is paused the client throws away what it has.
    fn regulate(&self) {
        let at_most = self.shared().options.buffered_messages;
        let (pause, resume) = {
            let member = self.shared().member();
            (
                member.to_pause(self.stream, at_most),
                member.to_resume(self.stream, at_most),
            )
        };
        self.set_paused(&pause, true);
        self.set_paused(&resume, false);
    }

    fn set_paused(&self, places: &[Place], is_paused: bool) {
        let shared = self.shared();
        if places.is_empty() {
            return;
        }
        let list = shared.list(places.iter().map(|place| (*place, Offset::Invalid)));
        let done = match is_paused {
            true => self.client.consumer.pause(&list),
            false => self.client.consumer.resume(&list),
        };
        let stream = self.stream;
        if let Err(error) = done {
            tracing::debug!(%stream, is_paused, %error, "cannot regulate fetching; tried again");
            return;
        }
        tracing::debug!(%stream, partitions = places.len(), is_paused, "fetching was regulated");
        let mut member = shared.member();
        // The client tells of each partition apart whether it was done.
        for element in list.elements() {
            let place = shared.place(element.topic(), element.partition());
            if let (Some(place), Ok(())) = (place, element.error()) {
                member.regulated(place, is_paused);
            }
        }
    }

    /// What the broker does not take in time is delivered again.
    fn commit_the_last(&self) {
        let deadline = Instant::now() + LAST_COMMIT;
        while !self.shared().member().uncommitted(self.stream).is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.client.committer.commit_now(left);
            // A rebalance in which it was refused goes on by this.
            self.client.consumer.poll(LEAVING_POLL);
        }
    }
}
