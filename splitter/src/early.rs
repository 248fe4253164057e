//! Packets that are read while the header is still being looked at.
//!
//! Probing and scanning are two runs of ffprobe, and starting one takes longer than reading many a
//! source. Both begin at once; what the scan gives before the probe has told how to count it is
//! kept here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reelmill_media::scan::Packet;

use crate::summary::{Scanner, Summary};

/// Packets kept, 10 MiB of them: more than are read while a header is.
pub(crate) const MOST: usize = 1 << 18;

/// Takes the packets of a scan, before and after it is known how to count them.
#[derive(Debug)]
pub(crate) struct Packets {
    state: Mutex<State>,
    most: usize,
}

#[derive(Debug)]
enum State {
    /// Nobody has told yet.
    Kept(Vec<Packet>),
    /// Too many came before anybody told: the scan has been in vain.
    Lost,
    Counted(Box<Scanner>),
}

impl Packets {
    /// Of which at most `most` are kept.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State::Kept(Vec::new())),
            most,
        }
    }

    /// Takes the next packet.
    pub(crate) fn add(&self, packet: Packet) {
        let mut state = self.state();
        match &mut *state {
            State::Counted(scanner) => scanner.add(packet),
            State::Kept(packets) if packets.len() < self.most => packets.push(packet),
            State::Kept(_) => *state = State::Lost,
            State::Lost => {}
        }
    }

    /// Tells how to count. `false` when packets were lost: the scan must begin again.
    #[must_use]
    pub(crate) fn count_with(&self, mut scanner: Scanner) -> bool {
        let mut state = self.state();
        let are_all_here = !matches!(*state, State::Lost);
        if let State::Kept(packets) = &mut *state {
            for packet in packets.drain(..) {
                scanner.add(packet);
            }
        }
        *state = State::Counted(Box::new(scanner));
        are_all_here
    }

    /// What all of them come to, if there were any and somebody told how to count them.
    pub(crate) fn finish(&self) -> Option<Summary> {
        let ended = std::mem::replace(&mut *self.state(), State::Lost);
        match ended {
            State::Counted(scanner) => scanner.finish(),
            State::Kept(_) | State::Lost => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reelmill_common::Timebase;

    use super::*;

    fn packet(pts: i64) -> Packet {
        Packet {
            pts: Some(pts),
            dts: Some(pts),
            duration: Some(40),
            size: 100,
            key: true,
            discard: false,
        }
    }

    fn scanner() -> Scanner {
        Scanner::new(Timebase::new(1, 1000).unwrap(), 2000, "mov")
    }

    #[test]
    fn it_does_not_matter_when_somebody_tells() {
        let summaries = [0, 1, 5, 9].map(|told_after| {
            let packets = Packets::new(9);
            for number in 0..10 {
                if number == told_after {
                    assert!(packets.count_with(scanner()));
                }
                packets.add(packet(number * 40));
            }
            packets.finish().unwrap()
        });
        for summary in &summaries {
            assert_eq!(summary.packets, 10);
            assert_eq!(summary.cells, summaries[0].cells);
        }
    }

    #[test]
    fn too_many_early_ones_are_asked_for_again() {
        let packets = Packets::new(3);
        for number in 0..4 {
            packets.add(packet(number));
        }
        assert!(!packets.count_with(scanner()));
        for number in 0..4 {
            packets.add(packet(number));
        }
        assert_eq!(packets.finish().unwrap().packets, 4);
    }
}
