//! Packets that the scan reads before the probe has finished.
//!
//! Probing and scanning are two runs of ffprobe, and starting one takes longer than reading many a
//! source. Both begin at once. The splitter buffers packets here until the probe has told which
//! stream's packets it plans with, and counts the packets of every stream from the first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reelmill_media::scan::Packet;

use crate::summary::{Scanner, Summary};
use crate::tally::Tallies;

/// Packets kept, 18 MiB of them: more than are read while a header is.
pub(crate) const MOST: usize = 1 << 18;

/// Takes the packets of a scan, before and after it is known how to count them.
#[derive(Debug)]
pub(crate) struct Packets {
    state: Mutex<State>,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    tallies: Tallies,
    plan: Plan,
}

#[derive(Debug, Default)]
enum Plan {
    /// The picture is not known yet.
    Kept(Vec<Packet>),
    /// Too many packets came before the picture was known: the scan must begin again.
    #[default]
    Lost,
    Counted(u32, Box<Scanner>),
}

/// What a whole scan found.
#[derive(Debug)]
pub(crate) struct Counted {
    /// The packets of every stream.
    pub(crate) tallies: Tallies,
    /// The stream whose packets were put on the grid, and what they come to; `None` where no stream
    /// was named or its packets were lost.
    pub(crate) picture: Option<(u32, Option<Summary>)>,
}

impl Packets {
    /// Of which at most `most` are kept.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                tallies: Tallies::default(),
                plan: Plan::Kept(Vec::new()),
            }),
            most,
        }
    }

    /// Counts the packets of this stream from the first on.
    pub(crate) fn of(stream: u32, scanner: Scanner) -> Self {
        let packets = Self::new(0);
        packets.count_with(stream, scanner);
        packets
    }

    /// Takes the next packet.
    pub(crate) fn add(&self, packet: Packet) {
        let mut state = self.state();
        state.tallies.add(&packet);
        match &mut state.plan {
            Plan::Counted(stream, scanner) if *stream == packet.stream => scanner.add(packet),
            Plan::Counted(..) | Plan::Lost => {}
            Plan::Kept(packets) if packets.len() < self.most => packets.push(packet),
            Plan::Kept(_) => state.plan = Plan::Lost,
        }
    }

    /// Tells which stream's packets to put on the grid. Does nothing where packets were lost.
    pub(crate) fn count_with(&self, stream: u32, mut scanner: Scanner) {
        let mut state = self.state();
        if let Plan::Kept(packets) = &mut state.plan {
            let own = packets.drain(..).filter(|packet| packet.stream == stream);
            own.for_each(|packet| scanner.add(packet));
            state.plan = Plan::Counted(stream, Box::new(scanner));
        }
    }

    /// What all packets come to; nothing is left here.
    pub(crate) fn finish(&self) -> Counted {
        let State { tallies, plan } = std::mem::take(&mut *self.state());
        let picture = match plan {
            Plan::Counted(stream, scanner) => Some((stream, scanner.finish())),
            Plan::Kept(_) | Plan::Lost => None,
        };
        Counted { tallies, picture }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reelmill_common::Timebase;

    use super::*;

    fn packet(stream: u32, pts: i64) -> Packet {
        Packet {
            stream,
            pts: Some(pts),
            dts: Some(pts),
            duration: Some(40),
            size: 100,
            key: true,
            ..Packet::default()
        }
    }

    fn scanner() -> Scanner {
        Scanner::new(Timebase::new(1, 1000).unwrap(), 2000, "mov")
    }

    #[test]
    fn it_does_not_matter_when_the_picture_is_known() {
        let summaries = [0, 1, 5, 9].map(|told_after| {
            let packets = Packets::new(20);
            for number in 0..10 {
                if number == told_after {
                    packets.count_with(1, scanner());
                }
                packets.add(packet(1, number * 40));
                packets.add(packet(0, number * 20));
            }
            let counted = packets.finish();
            assert_eq!(counted.tallies.get(0).packets, 10);
            let (stream, summary) = counted.picture.unwrap();
            assert_eq!(stream, 1);
            summary.unwrap()
        });
        for summary in &summaries {
            assert_eq!(summary.packets, 10);
            assert_eq!(summary.cells, summaries[0].cells);
        }
    }

    #[test]
    fn too_many_early_packets_are_counted_and_not_kept() {
        let packets = Packets::new(3);
        (0..4).for_each(|number| packets.add(packet(0, number)));
        packets.count_with(0, scanner());
        (4..6).for_each(|number| packets.add(packet(0, number)));
        let counted = packets.finish();
        assert!(counted.picture.is_none());
        assert_eq!(counted.tallies.get(0).packets, 6);
    }
}
