//! What of a topic is not settled yet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reelmill_common::message::Topic;
use tokio::time::timeout;

use super::blocking;
use super::error::Trouble;
use super::options::KafkaOptions;
use super::producer::Producer;
use super::reader::{End, Reader};
use super::record::now;
use super::shared::Shared;
use super::stream::{Place, Stream};
use crate::Backlog;

/// How long the age of the oldest message may take to be found.
const READING: Duration = Duration::from_secs(2);

/// Counts, one question after the other.
pub(super) struct Counter {
    options: Arc<KafkaOptions>,
    producer: Arc<Producer>,
    /// Opened at the first question: most processes ask none.
    reader: Arc<tokio::sync::Mutex<Option<Reader>>>,
    letters: Mutex<Option<Letters>>,
}

/// The dead letters as they were when their partitions reached so far.
#[derive(Clone, Debug)]
struct Letters {
    ends: Vec<(Place, i64, i64)>,
    kept: Kept,
}

/// How many dead letters there are that nobody handled, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    pub(super) letters: u64,
    /// Milliseconds since 1970; 0 where there is none.
    pub(super) oldest: u64,
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    pub(super) fn new(options: &Arc<KafkaOptions>, producer: &Arc<Producer>) -> Self {
        Self {
            options: Arc::clone(options),
            producer: Arc::clone(producer),
            reader: Arc::default(),
            letters: Mutex::default(),
        }
    }

    /// Counts what is behind the committed offsets. Consumers of this process know more: what they
    /// settled and have not committed, and what they settled behind an open message.
    pub(super) async fn backlog(
        &self,
        topic: Topic,
        members: Vec<Arc<Shared>>,
    ) -> Result<Backlog, Trouble> {
        let mut places = vec![];
        for stream in Stream::of(topic) {
            places.extend(self.places(stream).await?);
        }
        let backlog =
            self.ask(move |reader, deadline| backlog(reader, &places, &members, deadline));
        let backlog = backlog.await;
        if backlog.is_err() {
            // The topic may be another one.
            Stream::of(topic).for_each(|stream| self.producer.forget(stream));
        }
        backlog
    }

    /// Where each partition of the dead letters begins and ends.
    async fn letter_ends(&self) -> Result<Vec<(Place, i64, i64)>, Trouble> {
        let places = self.places(Stream::main(Topic::DeadLetters)).await?;
        self.ask(move |reader, deadline| {
            let first = reader.ends(&places, End::First, deadline)?;
            let last = reader.ends(&places, End::Last, deadline)?;
            let end = |place: &Place| Some((*place, *first.get(place)?, *last.get(place)?));
            Ok(places.iter().filter_map(end).collect())
        })
        .await
    }

    /// How many dead letters there are; `count` reads them, where any came or went.
    pub(super) async fn letters(
        &self,
        count: impl Future<Output = Result<Kept, Trouble>>,
    ) -> Result<Kept, Trouble> {
        let ends = self.letter_ends().await?;
        if ends.iter().all(|(_, first, last)| first == last) {
            return Ok(Kept::default());
        }
        let known = self
            .letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(known) = known.filter(|known| known.ends == ends) {
            return Ok(known.kept);
        }
        let kept = count.await?;
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        *letters = Some(Letters { ends, kept });
        Ok(kept)
    }

    async fn places(&self, stream: Stream) -> Result<Vec<Place>, Trouble> {
        let partitions = self.producer.partitions(stream).await?;
        let partitions = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        Ok(partitions
            .map(|partition| Place { stream, partition })
            .collect())
    }

    /// Asks the reader, in a bounded time.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&Reader, Instant) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let options = Arc::clone(&self.options);
        let turn = Arc::clone(&self.reader).lock_owned();
        let Ok(mut reader) = timeout(options.request_timeout, turn).await else {
            return Err(Trouble::Unreachable {
                brokers: options.brokers.clone(),
                reason: "earlier questions have no answer yet".to_owned(),
            });
        };
        blocking(move || {
            let deadline = Instant::now() + options.request_timeout;
            let open = || Reader::of_offsets(&options);
            let asked = reader.take().map_or_else(open, Ok)?;
            let answer = question(&asked, deadline);
            if asked.is_outdated() {
                return question(reader.insert(open()?), deadline);
            }
            *reader = Some(asked);
            answer
        })
        .await
    }
}

fn backlog(
    reader: &Reader,
    places: &[Place],
    members: &[Arc<Shared>],
    deadline: Instant,
) -> Result<Backlog, Trouble> {
    let mut committed = reader.committed(places, deadline)?;
    let last = reader.ends(places, End::Last, deadline)?;
    // Of an earlier topic of the same name: whoever reads this one begins at its beginning.
    committed.retain(|place, offset| last.get(place).is_none_or(|last| *offset <= *last));
    let watermark = |place: &Place| {
        let mut members = members.iter();
        let local = members.find_map(|shared| shared.member().watermark(*place));
        local.max(committed.get(place).copied())
    };
    let unknown: Vec<Place> = places
        .iter()
        .copied()
        .filter(|place| watermark(place).is_none())
        .collect();
    let first = reader.ends(&unknown, End::First, deadline)?;
    let mut messages = 0;
    let mut oldest = vec![];
    for place in places {
        let from = watermark(place).or(first.get(place).copied());
        let (Some(from), Some(last)) = (from, last.get(place)) else {
            continue;
        };
        let local = members
            .iter()
            .find_map(|shared| shared.member().unsettled(*place, *last));
        let unsettled = local.unwrap_or_else(|| u64::try_from(last - from).unwrap_or_default());
        if unsettled > 0 {
            messages += unsettled;
            oldest.push((*place, from));
        }
    }
    let oldest = age_of(reader, &oldest, deadline)?;
    Ok(Backlog { messages, oldest })
}

/// How long ago the oldest of the messages at these offsets was first published.
fn age_of(reader: &Reader, at: &[(Place, i64)], deadline: Instant) -> Result<Duration, Trouble> {
    if at.is_empty() {
        return Ok(Duration::ZERO);
    }
    let messages = reader.read_at(at, deadline.min(Instant::now() + READING))?;
    let first = messages.iter().map(|message| message.first).min();
    let age = first.map_or(0, |first| now().saturating_sub(first));
    Ok(Duration::from_millis(age))
}
