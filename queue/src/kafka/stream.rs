//! Which topic of Kafka carries which messages.

use std::fmt;

use reelmill_common::message::Topic;

/// A topic of Kafka: the one of a [`Topic`], or the one beside it for messages that come later.
///
/// Messages that wait lie apart so that those at once are committed, and counted, without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stream {
    pub(super) topic: Topic,
    pub(super) retry: bool,
}

impl Stream {
    pub(super) fn main(topic: Topic) -> Self {
        let retry = false;
        Self { topic, retry }
    }

    /// Where messages go that nobody should be given yet. Dead letters stay in their only topic:
    /// people read them, and nobody is in a hurry.
    pub(super) fn later(topic: Topic) -> Self {
        let retry = topic != Topic::DeadLetters;
        Self { topic, retry }
    }

    /// What a consumer of `topic` reads.
    pub(super) fn of(topic: Topic) -> impl Iterator<Item = Self> {
        let (main, later) = (Self::main(topic), Self::later(topic));
        [Some(main), (later != main).then_some(later)]
            .into_iter()
            .flatten()
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        Topic::ALL.into_iter().flat_map(Self::of)
    }

    /// The name on the broker.
    pub(super) fn name(self, prefix: &str) -> String {
        format!("{prefix}{self}")
    }

    /// The stream that has this name on the broker.
    pub(super) fn named(name: &str, prefix: &str) -> Option<Self> {
        let name = name.strip_prefix(prefix)?;
        Self::all().find(|stream| stream.to_string() == name)
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.retry { ".retry" } else { "" };
        write!(f, "{}{suffix}", self.topic)
    }
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) stream: Stream,
    pub(super) partition: i32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators and their dashboards know these names.
    #[test]
    fn names_stay_as_they_are() {
        let names: Vec<_> = Stream::all().map(|stream| stream.name("")).collect();
        let expected = [
            "video-ingest",
            "video-ingest.retry",
            "video-chunks",
            "video-chunks.retry",
            "video-merges",
            "video-merges.retry",
            "video-dead-letters",
        ];
        assert_eq!(names, expected);
        for stream in Stream::all() {
            let name = stream.name("test.");
            assert_eq!(Stream::named(&name, "test."), Some(stream));
            assert_eq!(Stream::named(&name, ""), None);
        }
    }
}
