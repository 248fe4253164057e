//! How far a partition is settled.

use std::collections::BTreeSet;

/// What was seen of one partition since it was assigned, and what of it is still open.
///
/// Messages are settled in any order. What is committed is the watermark: everything before it is
/// settled, so a crash redelivers what was settled behind an open message, and never loses one.
/// Offsets may have gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    /// One more than the last offset seen.
    next: Option<i64>,
    open: BTreeSet<i64>,
    committed: Option<i64>,
}

/// Where a message stands to those seen before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Next,
    /// Offsets never go back while the topic lives: it was deleted and made anew, and whatever is
    /// known of the old one is void.
    WentBack,
}

impl Tracker {
    /// Of a partition that is read from its beginning, whatever was committed: that is to be said,
    /// or the next owner would begin at what was committed of an earlier topic of the same name.
    pub(super) fn of_the_beginning() -> Self {
        Self {
            next: Some(0),
            ..Self::default()
        }
    }

    /// Takes note of a message. Where offsets went back the tracker begins anew with it.
    pub(super) fn see(&mut self, offset: i64) -> Seen {
        let seen = match self.next {
            Some(next) if offset < next => Seen::WentBack,
            _ => Seen::Next,
        };
        if seen == Seen::WentBack {
            *self = Self::default();
        }
        self.open.insert(offset);
        self.next = Some(offset + 1);
        seen
    }

    /// Takes note that a message is settled.
    pub(super) fn settle(&mut self, offset: i64) {
        self.open.remove(&offset);
    }

    /// Everything before this offset is settled; `None` where nothing was seen.
    pub(super) fn watermark(&self) -> Option<i64> {
        self.open.first().copied().or(self.next)
    }

    /// Whether the broker does not have the watermark. It is given the first one although nothing is
    /// settled yet, so that the group's lag is known from the first message on.
    pub(super) fn is_uncommitted(&self) -> bool {
        self.watermark() != self.committed
    }

    /// Takes note of what the broker has.
    pub(super) fn commit(&mut self, offset: i64) {
        self.committed = Some(offset);
    }

    /// How many messages are not settled of a partition that ends before `end`.
    pub(super) fn unsettled(&self, end: i64) -> Option<u64> {
        let unseen = u64::try_from(end - self.next?).unwrap_or_default();
        Some(unseen + self.open.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_out_of_order_waits_for_what_is_before_it() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.watermark(), None);
        for offset in 10..15 {
            assert_eq!(tracker.see(offset), Seen::Next);
        }
        assert!(tracker.is_uncommitted());
        tracker.commit(10);
        assert!(!tracker.is_uncommitted());
        tracker.settle(14);
        tracker.settle(11);
        tracker.settle(11);
        assert_eq!(tracker.watermark(), Some(10));
        assert_eq!(tracker.unsettled(17), Some(3 + 2));
        tracker.settle(10);
        assert_eq!(tracker.watermark(), Some(12));
        tracker.settle(12);
        tracker.settle(13);
        assert_eq!(
            (tracker.watermark(), tracker.is_uncommitted()),
            (Some(15), true)
        );
        tracker.commit(15);
        assert_eq!(
            (tracker.is_uncommitted(), tracker.unsettled(15)),
            (false, Some(0))
        );
    }

    #[test]
    fn the_beginning_is_said_before_any_message_is_seen() {
        let mut tracker = Tracker::of_the_beginning();
        assert_eq!(
            (tracker.watermark(), tracker.is_uncommitted()),
            (Some(0), true)
        );
        tracker.commit(0);
        assert_eq!(
            (tracker.is_uncommitted(), tracker.unsettled(2)),
            (false, Some(2))
        );
        // What was before is no longer kept.
        assert_eq!(tracker.see(7), Seen::Next);
        assert_eq!(tracker.watermark(), Some(7));
    }

    #[test]
    fn gaps_need_no_care() {
        let mut tracker = Tracker::default();
        tracker.see(3);
        tracker.see(100);
        tracker.settle(3);
        assert_eq!(tracker.watermark(), Some(100));
        tracker.settle(100);
        assert_eq!(tracker.watermark(), Some(101));
    }

    #[test]
    fn a_topic_made_anew_is_followed_from_its_beginning() {
        let mut tracker = Tracker::default();
        for offset in 0..5 {
            tracker.see(offset);
        }
        tracker.settle(0);
        tracker.commit(1);
        assert_eq!(tracker.see(0), Seen::WentBack);
        // Less than what was committed, and said all the same.
        assert_eq!(
            (tracker.watermark(), tracker.is_uncommitted()),
            (Some(0), true)
        );
        tracker.settle(0);
        assert_eq!(tracker.watermark(), Some(1));
    }

    /// Against the plain definition: the first offset from the beginning that is not settled.
    #[test]
    fn the_watermark_never_passes_an_open_message() {
        let mut random = 1_u64;
        let mut draw = move |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) as usize % below
        };
        for _ in 0..200 {
            let mut tracker = Tracker::default();
            let (mut seen, mut settled): (Vec<i64>, BTreeSet<i64>) = Default::default();
            let mut last = 0;
            for _ in 0..200 {
                if seen.is_empty() || draw(2) == 0 {
                    let offset = seen.last().map_or(7, |last| last + 1) + draw(3) as i64;
                    assert_eq!(tracker.see(offset), Seen::Next);
                    seen.push(offset);
                } else {
                    let offset = seen[draw(seen.len())];
                    tracker.settle(offset);
                    settled.insert(offset);
                }
                let first_open = seen.iter().find(|offset| !settled.contains(offset));
                let expected = *first_open.unwrap_or(&(seen[seen.len() - 1] + 1));
                assert_eq!(tracker.watermark(), Some(expected));
                assert!(expected >= last, "the watermark goes on only");
                last = expected;
                let open = (seen.len() - settled.len()) as u64;
                assert_eq!(tracker.unsettled(seen[seen.len() - 1] + 1), Some(open));
            }
        }
    }
}
