//! The packets of each stream, counted.

use std::collections::BTreeMap;

use reelmill_common::Timebase;
use reelmill_media::scan::Packet;

/// More streams than any source has that is transcoded: those beyond are not counted, so that
/// memory has a bound.
const MOST_STREAMS: usize = 4096;

/// The packets of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Packets that are presented.
    pub(crate) packets: u64,
    /// Packets that the container says are encrypted.
    pub(crate) encrypted: u64,
    /// The smallest timestamp, in ticks of the stream.
    pub(crate) first: Option<i64>,
    /// Where the last packet ends, in ticks of the stream.
    pub(crate) end: Option<i64>,
}

impl Tally {
    /// How long the stream lasts, in seconds; `None` where its packets have no timestamps.
    pub(crate) fn seconds(&self, timebase: Option<Timebase>) -> Option<f64> {
        let ticks = self.end?.saturating_sub(self.first?);
        Some(timebase?.seconds(ticks))
    }
}

/// The packets of every stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tallies(BTreeMap<u32, Tally>);

impl Tallies {
    pub(crate) fn add(&mut self, packet: &Packet) {
        let is_full = self.0.len() >= MOST_STREAMS;
        if is_full && !self.0.contains_key(&packet.stream) {
            return;
        }
        let tally = self.0.entry(packet.stream).or_default();
        tally.encrypted += u64::from(packet.encrypted);
        if packet.discard {
            return;
        }
        tally.packets += 1;
        if let Some(at) = packet.pts.or(packet.dts) {
            let end = at.saturating_add(packet.duration.unwrap_or(0));
            tally.first = Some(tally.first.map_or(at, |first| first.min(at)));
            tally.end = Some(tally.end.map_or(end, |last| last.max(end)));
        }
    }

    /// What was counted of a stream; nothing where it has no packets.
    pub(crate) fn get(&self, stream: u32) -> Tally {
        self.0.get(&stream).copied().unwrap_or_default()
    }
}
