//! Messages as Kafka carries them.
//!
//! The payload is as published. What the queue needs to know stands in headers, as text: `job`,
//! `priority`, `first_ms` (when it was first published), `not_before_ms` (for one that comes
//! later) and `retries` (how often it was put back). Headers of other names go with the message
//! wherever it goes. A message that has none was published by somebody else, and is taken as it is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};
use reelmill_common::message::Topic;
use reelmill_common::request::Priority;

use super::stream::{Place, Stream};
use crate::{Cause, DeadLetter, DeadLetterError, Outgoing};

const JOB: &str = "job";
const PRIORITY: &str = "priority";
const FIRST: &str = "first_ms";
const NOT_BEFORE: &str = "not_before_ms";
const RETRIES: &str = "retries";
/// The key as published, on records of dead letters: Kafka's own key names the letter there.
const KEY: &str = "key";
/// Where a dead letter's message was.
pub(super) const SOURCE: &str = "source";

const OURS: [&str; 7] = [JOB, PRIORITY, FIRST, NOT_BEFORE, RETRIES, KEY, SOURCE];

pub(super) type Headers = Vec<(String, Vec<u8>)>;

/// A record to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) stream: Stream,
    /// Its partition is this modulo the number of partitions.
    pub(super) spread: u32,
    pub(super) key: Vec<u8>,
    /// `None` removes the record of this key from a compacted topic.
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: Headers,
}

/// A record as a consumer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) place: Place,
    pub(super) offset: i64,
    /// The record's own time, in milliseconds since 1970.
    pub(super) timestamp: u64,
    pub(super) record_key: Vec<u8>,
    pub(super) job: String,
    pub(super) priority: Priority,
    /// As published.
    pub(super) key: String,
    /// `None` where a dead letter was handled.
    pub(super) payload: Option<Vec<u8>>,
    pub(super) due: u64,
    pub(super) first: u64,
    retries: u64,
    /// Headers that are not the queue's own, and where a dead letter came from.
    pub(super) others: Headers,
}

/// What was sent.
pub(super) struct Content {
    pub(super) key: Vec<u8>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: Headers,
}

/// Now, in milliseconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// FNV-1a: which partition a job begins at must be the same in every version.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn text(name: &str, value: &impl ToString) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_string().into_bytes())
}

/// Where a message goes that nobody should be given for `delay`, and the header that says so.
fn schedule(topic: Topic, delay: Duration, now: u64) -> (Stream, Option<(String, Vec<u8>)>) {
    if delay.is_zero() {
        return (Stream::main(topic), None);
    }
    let not_before = now.saturating_add(millis(delay));
    (Stream::later(topic), Some(text(NOT_BEFORE, &not_before)))
}

impl Record {
    /// A message as it is first published. `number` tells records of one time apart.
    pub(super) fn first(topic: Topic, message: &Outgoing, now: u64, number: u64) -> Self {
        let (stream, not_before) = schedule(topic, message.delay, now);
        let mut headers = vec![
            text(JOB, &message.job),
            text(PRIORITY, &message.priority.as_str()),
            text(FIRST, &now),
        ];
        headers.extend(not_before);
        let (mut key, mut spread) = (
            message.key.clone(),
            fnv1a(message.job.as_str().as_bytes()).wrapping_add(message.spread),
        );
        if topic == Topic::DeadLetters {
            headers.push(text(KEY, &key));
            key = format!("{key}@{now}-{number}");
            spread = fnv1a(key.as_bytes());
        }
        Self {
            stream,
            spread,
            key: key.into_bytes(),
            payload: Some(message.payload.clone()),
            headers,
        }
    }

    /// The same message again, to be given to anybody after `delay`.
    pub(super) fn again(message: &Incoming, delay: Duration, now: u64) -> Self {
        let (_, not_before) = schedule(message.place.stream.topic, delay, now);
        let mut headers = message.headers();
        headers.push(text(RETRIES, &message.retries.saturating_add(1)));
        headers.extend(not_before);
        Self {
            // Also without delay, so that the lag of the main topic is new work.
            stream: Stream::later(message.place.stream.topic),
            spread: message.place.partition.unsigned_abs(),
            key: message.record_key.clone(),
            payload: Some(message.payload.clone().unwrap_or_default()),
            headers,
        }
    }

    /// The message among the dead letters. Its key names the message, so that one that is buried
    /// twice, because an answer was lost, lies there once. The time tells it from one of a topic
    /// that was made anew.
    pub(super) fn letter(
        message: &Incoming,
        cause: Cause,
        now: u64,
    ) -> Result<Self, DeadLetterError> {
        let Place { stream, partition } = message.place;
        let source = format!("{stream}/{partition}/{}", message.offset);
        let key = format!("{source}@{}", message.timestamp);
        let letter = DeadLetter {
            topic: stream.topic,
            key: message.key.clone(),
            payload: message.payload.clone().unwrap_or_default(),
            cause,
            at: now,
        };
        let mut headers = message.headers();
        headers.retain(|(name, _)| name != KEY && name != SOURCE);
        headers.extend([text(KEY, &message.key), text(SOURCE, &source)]);
        Ok(Self {
            stream: Stream::main(Topic::DeadLetters),
            spread: fnv1a(key.as_bytes()),
            key: key.into_bytes(),
            payload: Some(letter.encode()?),
            headers,
        })
    }

    /// Marks a dead letter as handled. It must lie in the letter's own partition.
    pub(super) fn handled(partition: i32, key: &[u8]) -> Self {
        Self {
            stream: Stream::main(Topic::DeadLetters),
            spread: partition.unsigned_abs(),
            key: key.to_vec(),
            payload: None,
            headers: vec![],
        }
    }

    /// The message of a dead letter, to be delivered as if it had just been published.
    pub(super) fn revived(letter: &DeadLetter, as_buried: &Incoming, now: u64) -> Self {
        let mut headers = vec![
            text(JOB, &as_buried.job),
            text(PRIORITY, &as_buried.priority.as_str()),
            text(FIRST, &now),
        ];
        let others = as_buried.others.iter();
        headers.extend(others.filter(|(name, _)| name != SOURCE).cloned());
        Self {
            stream: Stream::main(letter.topic),
            spread: fnv1a(&as_buried.record_key),
            key: letter.key.clone().into_bytes(),
            payload: Some(letter.payload.clone()),
            headers,
        }
    }
}

impl Incoming {
    /// Copies a message out of the client's memory.
    pub(super) fn read(message: &BorrowedMessage<'_>, place: Place) -> Self {
        // The client panics at a header whose name is not UTF-8, which anybody may send.
        let headers = catch_unwind(AssertUnwindSafe(|| {
            let headers = message.headers().into_iter().flat_map(|all| all.iter());
            let owned = headers.map(|header| {
                let value = header.value.unwrap_or_default();
                (header.key.to_owned(), value.to_vec())
            });
            owned.collect()
        }));
        let timestamp = message.timestamp().to_millis();
        let content = Content {
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        };
        let timestamp = timestamp.and_then(|at| u64::try_from(at).ok());
        Self::new(
            place,
            message.offset(),
            timestamp.unwrap_or_default(),
            content,
        )
    }

    pub(super) fn new(place: Place, offset: i64, timestamp: u64, content: Content) -> Self {
        let own = |name: &str| {
            let header = content
                .headers
                .iter()
                .rev()
                .find(|(found, _)| found == name);
            header.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let number = |name: &str| own(name).and_then(|value| value.parse::<u64>().ok());
        let key = match own(KEY) {
            Some(key) => key.to_owned(),
            None => String::from_utf8_lossy(&content.key).into_owned(),
        };
        let named_by_key = || key.split_once('/').map_or("", |(job, _)| job);
        let others = content.headers.iter();
        let others = others.filter(|(name, _)| name == SOURCE || !OURS.contains(&name.as_str()));
        Self {
            place,
            offset,
            timestamp,
            job: own(JOB).unwrap_or_else(named_by_key).to_owned(),
            priority: own(PRIORITY)
                .and_then(|word| word.parse().ok())
                .unwrap_or_default(),
            due: number(NOT_BEFORE).unwrap_or_default(),
            first: number(FIRST).unwrap_or(timestamp),
            retries: number(RETRIES).unwrap_or_default(),
            others: others.cloned().collect(),
            key,
            record_key: content.key,
            payload: content.payload,
        }
    }

    /// Whether it lies among the dead letters.
    pub(super) fn is_letter(&self) -> bool {
        self.place.stream.topic == Topic::DeadLetters
    }

    /// Whether it only says that a dead letter was handled.
    pub(super) fn is_handled_letter(&self) -> bool {
        self.is_letter() && self.payload.is_none()
    }

    /// The headers that stay the same wherever the message goes.
    fn headers(&self) -> Headers {
        let mut headers = vec![
            text(JOB, &self.job),
            text(PRIORITY, &self.priority.as_str()),
            text(FIRST, &self.first),
        ];
        if self.key.as_bytes() != self.record_key {
            headers.push(text(KEY, &self.key));
        }
        headers.extend(self.others.iter().cloned());
        headers
    }
}
