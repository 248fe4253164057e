//! Looks at topics and offsets without being a member of the group.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::error::Trouble;
use super::options::KafkaOptions;
use super::record::Incoming;
use super::report::Reporter;
use super::stream::{Place, Stream};

const POLL: Duration = Duration::from_millis(100);

const ASKING_AGAIN: Duration = Duration::from_millis(50);

/// How many events there may be between two questions; of more, some wait for the next.
const EVENTS: usize = 100;

impl ConsumerContext for Reporter {}

/// Its calls wait for brokers.
pub(super) struct Reader {
    options: Arc<KafkaOptions>,
    consumer: BaseConsumer<Reporter>,
    reporter: Reporter,
    is_outdated: AtomicBool,
}

/// An end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The first offset that there is.
    First,
    /// The offset that the next message will have.
    Last,
}

impl Reader {
    /// Begins at offsets that it is told.
    pub(super) fn of_offsets(options: &Arc<KafkaOptions>) -> Result<Self, Trouble> {
        let mut config = options.reader(false);
        // One message of each partition is all that is ever wanted.
        for (name, value) in [
            ("queued.min.messages", "1"),
            ("fetch.message.max.bytes", "65536"),
            ("fetch.queue.backoff.ms", "0"),
        ] {
            config.set(name, value);
        }
        Self::open(options, &config)
    }

    /// Reads topics from end to end.
    pub(super) fn of_everything(options: &Arc<KafkaOptions>) -> Result<Self, Trouble> {
        Self::open(options, &options.reader(true))
    }

    fn open(options: &Arc<KafkaOptions>, config: &rdkafka::ClientConfig) -> Result<Self, Trouble> {
        let reporter = Reporter::asked("reader");
        let consumer = config
            .create_with_context(reporter.clone())
            .map_err(|error| Trouble::of(&error, &options.brokers, None))?;
        Ok(Self {
            options: Arc::clone(options),
            consumer,
            reporter,
            is_outdated: AtomicBool::new(false),
        })
    }

    /// What the group has committed of each place, where it has.
    pub(super) fn committed(
        &self,
        places: &[Place],
        deadline: Instant,
    ) -> Result<HashMap<Place, i64>, Trouble> {
        let list = self.list(places.iter().map(|place| (*place, Offset::Invalid)))?;
        self.ask(deadline, |left| {
            self.consumer.committed_offsets(list.clone(), left)
        })
    }

    /// Where each place begins or ends.
    pub(super) fn ends(
        &self,
        places: &[Place],
        which: End,
        deadline: Instant,
    ) -> Result<HashMap<Place, i64>, Trouble> {
        // The client answers nothing when asked for nothing.
        if places.is_empty() {
            return Ok(HashMap::new());
        }
        // On the wire these are times before all others.
        let time = match which {
            End::First => Offset::Beginning,
            End::Last => Offset::End,
        };
        let list = self.list(places.iter().map(|place| (*place, time)))?;
        self.ask(deadline, |left| {
            self.consumer.offsets_for_times(list.clone(), left)
        })
    }

    /// Asks again while leaders and coordinators move.
    fn ask(
        &self,
        deadline: Instant,
        question: impl Fn(Duration) -> KafkaResult<TopicPartitionList>,
    ) -> Result<HashMap<Place, i64>, Trouble> {
        loop {
            match question(left(deadline)) {
                Err(error) if is_moving(&error) && Instant::now() < deadline => {
                    std::thread::sleep(ASKING_AGAIN);
                }
                answer => {
                    let refusal = match &answer {
                        Ok(list) => refusal(list),
                        Err(error) => Some(error.clone()),
                    };
                    if refusal.is_some_and(|refusal| knows_too_much(&refusal)) {
                        self.is_outdated.store(true, Ordering::Relaxed);
                    }
                    return Ok(self.offsets(&self.understood(answer)?));
                }
            }
        }
    }

    /// The first message at or after each offset; of some, when time is up before.
    pub(super) fn read_at(
        &self,
        from: &[(Place, i64)],
        deadline: Instant,
    ) -> Result<Vec<Incoming>, Trouble> {
        self.take_in_events();
        let offsets = from.iter();
        let list = self.list(offsets.map(|(place, offset)| (*place, Offset::Offset(*offset))))?;
        self.understood(self.consumer.assign(&list))?;
        let mut found = HashMap::new();
        while found.len() < from.len() && Instant::now() < deadline {
            if let Some(Ok(message)) = self.consumer.poll(POLL)
                && let Some(message) = self.incoming(&message)
            {
                found.entry(message.place).or_insert(message);
            }
        }
        self.understood(self.consumer.unassign())?;
        Ok(found.into_values().collect())
    }

    /// Gives every message of a stream to `each`, up to the end that each partition has meanwhile.
    pub(super) fn read_all(
        &self,
        stream: Stream,
        partitions: u32,
        mut each: impl FnMut(Incoming),
    ) -> Result<(), Trouble> {
        let numbers: Vec<i32> = (0..i32::try_from(partitions).unwrap_or(i32::MAX)).collect();
        let places = numbers.iter().map(|partition| Place {
            stream,
            partition: *partition,
        });
        let list = self.list(places.map(|place| (place, Offset::Beginning)))?;
        self.understood(self.consumer.assign(&list))?;
        let mut unread: HashSet<i32> = numbers.into_iter().collect();
        let mut deadline = Instant::now() + self.options.request_timeout;
        while !unread.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    self.incoming(&message).map(&mut each);
                    deadline = Instant::now() + self.options.request_timeout;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                }
                Some(Err(_)) | None if Instant::now() < deadline => {}
                Some(Err(error)) => return Err(self.meaning(&error)),
                None => return Err(self.silence()),
            }
        }
        self.understood(self.consumer.unassign())
    }

    /// Whether a topic was made anew, and this client does not believe what has a lower epoch than
    /// the old one (`rd_kafka_toppar_leader_update`). A new client does.
    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }

    /// Takes in what was said while nobody asked.
    fn take_in_events(&self) {
        for _ in 0..EVENTS {
            // The answer does not tell whether there was one.
            self.consumer.poll(Duration::ZERO);
        }
    }

    fn incoming(&self, message: &BorrowedMessage<'_>) -> Option<Incoming> {
        let stream = Stream::named(message.topic(), &self.options.topic_prefix)?;
        let partition = message.partition();
        Some(Incoming::read(message, Place { stream, partition }))
    }

    fn list(
        &self,
        places: impl IntoIterator<Item = (Place, Offset)>,
    ) -> Result<TopicPartitionList, Trouble> {
        let mut list = TopicPartitionList::new();
        for (Place { stream, partition }, offset) in places {
            let topic = stream.name(&self.options.topic_prefix);
            self.understood(list.add_partition_offset(&topic, partition, offset))?;
        }
        Ok(list)
    }

    fn offsets(&self, list: &TopicPartitionList) -> HashMap<Place, i64> {
        let elements = list.elements();
        let offsets = elements.iter().filter_map(|element| {
            let stream = Stream::named(element.topic(), &self.options.topic_prefix)?;
            let partition = element.partition();
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(offset)) => Some((Place { stream, partition }, offset)),
                _ => None,
            }
        });
        offsets.collect()
    }

    fn understood<T>(&self, answer: KafkaResult<T>) -> Result<T, Trouble> {
        answer.map_err(|error| self.meaning(&error))
    }

    fn meaning(&self, error: &KafkaError) -> Trouble {
        self.take_in_events();
        let trouble = Trouble::of(error, &self.options.brokers, None);
        trouble.because(self.reporter.last_reason())
    }

    fn silence(&self) -> Trouble {
        let error = KafkaError::Global(Code::OperationTimedOut);
        self.meaning(&error)
    }
}

/// Why a partition was left out of an answer.
fn refusal(list: &TopicPartitionList) -> Option<KafkaError> {
    let elements = list.elements();
    elements.iter().find_map(|element| element.error().err())
}

fn knows_too_much(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::FencedLeaderEpoch | Code::UnknownLeaderEpoch)
    )
}

fn is_moving(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::CoordinatorLoadInProgress
                | Code::CoordinatorNotAvailable
                | Code::LeaderNotAvailable
                | Code::NotCoordinator
                | Code::NotLeaderForPartition
                | Code::OffsetNotAvailable
        )
    )
}

/// What is left of the time; a little at least, because none means for ever to the client.
fn left(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}
