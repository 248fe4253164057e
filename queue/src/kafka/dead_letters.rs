//! What an operator does with dead letters.
//!
//! The topic is compacted, and its keys name the messages that the letters are about. A letter that
//! was handled, retried or dropped, is followed by a record of the same key without a value, after
//! which the cleaner removes both.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::message::Topic;

use super::backlog::Kept;
use super::error::Trouble;
use super::reader::Reader;
use super::record::{Incoming, Record, SOURCE, now};
use super::stream::Stream;
use super::{KafkaQueue, blocking};
use crate::{Backlog, DeadLetter, QueueError};

/// How many letters are held in memory; of more, the oldest are only counted.
const LETTERS: usize = 10_000;

/// Dead letters that nobody has handled.
#[derive(Clone, Debug, Default)]
pub struct DeadLetters {
    /// The newest of them, up to 10,000, the oldest first.
    pub letters: Vec<StoredLetter>,
    /// How many there are.
    pub total: u64,
}

/// A dead letter where it lies.
#[derive(Clone, Debug)]
pub struct StoredLetter {
    /// Names it: `video-chunks/3/17@1700000000000` is about the message at offset 17 of partition 3
    /// of `video-chunks`, sent at that time.
    pub id: String,
    /// Where the message was; `None` in a letter that no consumer wrote.
    pub source: Option<LetterSource>,
    /// The job of the message.
    pub job: String,
    /// The letter, or why it cannot be read, in one sentence.
    pub letter: Result<DeadLetter, String>,
    record: Incoming,
}

/// Where the message of a dead letter was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterSource {
    /// The name of the topic, without prefix.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl LetterSource {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        Some(Self {
            topic: parts.next()?.to_owned(),
            partition: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        })
    }
}

impl StoredLetter {
    fn of(record: Incoming) -> Self {
        let source = record.others.iter().find(|(name, _)| name == SOURCE);
        let source = source.and_then(|(_, value)| std::str::from_utf8(value).ok());
        let payload = record.payload.as_deref().unwrap_or_default();
        Self {
            id: String::from_utf8_lossy(&record.record_key).into_owned(),
            source: source.and_then(LetterSource::read),
            job: record.job.clone(),
            letter: DeadLetter::decode(payload).map_err(|error| error.to_string()),
            record,
        }
    }
}

impl KafkaQueue {
    /// The dead letters that nobody has handled.
    ///
    /// # Errors
    /// Any failure.
    pub async fn dead_letters(&self) -> Result<DeadLetters, QueueError> {
        let scan = self.scan().await;
        let scan = scan.map_err(|trouble| trouble.during("read the dead letters of"))?;
        let total = scan.live.len() as u64;
        let letters = scan.letters.into_values().map(StoredLetter::of).collect();
        Ok(DeadLetters { letters, total })
    }

    /// Publishes the message of a dead letter again, then marks the letter as handled. Done twice,
    /// it is delivered twice.
    ///
    /// # Errors
    /// Any failure, and a letter that cannot be read. The message may have been published all the
    /// same; the letter is there until the end.
    pub async fn retry_dead_letter(&self, letter: &StoredLetter) -> Result<(), QueueError> {
        let retried = async {
            let message = match &letter.letter {
                Ok(message) => message,
                Err(reason) => return Err(Trouble::Letter(reason.clone())),
            };
            let record = Record::revived(message, &letter.record, now());
            self.producer.send(&[record]).await?;
            self.handled(letter).await
        };
        let retried = retried.await;
        retried.map_err(|trouble| trouble.during("retry a dead letter of"))
    }

    /// Marks a dead letter as handled. Idempotent.
    ///
    /// # Errors
    /// Any failure.
    pub async fn drop_dead_letter(&self, letter: &StoredLetter) -> Result<(), QueueError> {
        let dropped = self.handled(letter).await;
        dropped.map_err(|trouble| trouble.during("drop a dead letter of"))
    }

    async fn handled(&self, letter: &StoredLetter) -> Result<(), Trouble> {
        let (place, key) = (letter.record.place, &letter.record.record_key);
        let record = Record::handled(place.partition, key);
        self.producer.send(&[record]).await
    }

    /// What of the dead letters is not handled, whoever read them.
    pub(super) async fn letters_kept(&self) -> Result<Backlog, Trouble> {
        let kept = self.counter.letters(async {
            let scan = self.scan().await?;
            Ok(Kept {
                letters: scan.live.len() as u64,
                oldest: scan.live.values().min().map_or(0, |(at, ..)| *at),
            })
        });
        let Kept { letters, oldest } = kept.await?;
        let age = if letters == 0 {
            0
        } else {
            now().saturating_sub(oldest)
        };
        Ok(Backlog {
            messages: letters,
            oldest: Duration::from_millis(age),
        })
    }

    async fn scan(&self) -> Result<Scan, Trouble> {
        let stream = Stream::main(Topic::DeadLetters);
        let partitions = self.producer.partitions(stream).await?;
        let options = Arc::clone(&self.options);
        blocking(move || {
            let mut scan = Scan::default();
            let reader = Reader::of_everything(&options)?;
            reader.read_all(stream, partitions, |record| scan.see(record))?;
            Ok(scan)
        })
        .await
    }
}

/// The order in which letters were written: by time, then by partition and offset.
type Position = (u64, i32, i64);

/// What is left of the records that were read.
#[derive(Debug, Default)]
struct Scan {
    /// By partition and key.
    live: HashMap<(i32, Vec<u8>), Position>,
    letters: BTreeMap<Position, Incoming>,
}

impl Scan {
    fn see(&mut self, record: Incoming) {
        let partition = record.place.partition;
        let key = (partition, record.record_key.clone());
        if let Some(position) = self.live.remove(&key) {
            self.letters.remove(&position);
        }
        if record.payload.is_none() {
            return;
        }
        let position = (record.timestamp, partition, record.offset);
        self.live.insert(key, position);
        self.letters.insert(position, record);
        if self.letters.len() > LETTERS {
            self.letters.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Content;
    use super::super::stream::Place;
    use super::*;

    fn record(partition: i32, offset: i64, key: &str, payload: Option<&str>) -> Incoming {
        let stream = Stream::main(Topic::DeadLetters);
        let content = Content {
            key: key.as_bytes().to_vec(),
            payload: payload.map(|payload| payload.as_bytes().to_vec()),
            headers: vec![],
        };
        Incoming::new(Place { stream, partition }, offset, 1000, content)
    }

    #[test]
    fn what_is_left_is_the_last_of_each_that_was_not_handled() {
        let mut scan = Scan::default();
        for (offset, key, payload) in [
            (0, "a", Some("first")),
            (1, "b", Some("b")),
            (2, "a", Some("again")),
            (3, "b", None),
            (4, "nobody", None),
            (5, "c", Some("c")),
        ] {
            scan.see(record(0, offset, key, payload));
        }
        // Of the same name in another partition, as after partitions were added.
        scan.see(record(1, 0, "c", None));
        assert_eq!(scan.live.len(), 2);
        let left: Vec<_> = scan.letters.into_values().map(StoredLetter::of).collect();
        let ids: Vec<_> = left.iter().map(|letter| letter.id.as_str()).collect();
        assert_eq!(ids, ["a", "c"]);
        assert_eq!(left[0].record.payload.as_deref(), Some(&b"again"[..]));
    }

    #[test]
    fn of_a_great_many_the_newest_are_kept_and_all_are_counted() {
        let mut scan = Scan::default();
        for number in 0..LETTERS as i64 + 5 {
            scan.see(record(0, number, &number.to_string(), Some("x")));
        }
        scan.see(record(0, 1 << 20, "0", None));
        assert_eq!(scan.live.len(), LETTERS + 4);
        assert_eq!(scan.letters.len(), LETTERS);
        assert_eq!(
            scan.letters
                .first_key_value()
                .map(|((_, _, offset), _)| *offset),
            Some(5)
        );
    }
}
