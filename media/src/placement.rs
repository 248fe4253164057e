//! Where sound is missing or doubled, by the times of its decoded blocks. Pure.
//!
//! An encoded track has no holes: its samples follow one another. So a hole in the source must be
//! filled with silence and an overlap cut, or everything behind it is heard early or late. Times are
//! rarely exact, though: Matroska and FLV round to milliseconds, and captures jitter. A block counts as
//! out of place only when it and all blocks of the next second are, each by more than
//! [`TOLERANCE_MS`]. Distances are measured from the track's first sample, so that roundings never add
//! up.

use std::collections::VecDeque;

/// By how much a block may be out of place. Half of the 30 ms that people notice between lips and
/// voice, and less than a lost packet of any common codec (Opus 20 ms, AAC 21 ms).
const TOLERANCE_MS: i64 = 15;

/// Samples by which the times of Vorbis go to and fro: a block is timed as if it had the length of the
/// one before it, and the two lengths that encoders use give 2048 and 256 samples, of which half are
/// shared by neighbours. A lost long block is 1024.
const VORBIS_TOLERANCE: i64 = 1000;

/// How long a displacement must last, in milliseconds of sound.
const LASTING_MS: i64 = 1000;

/// A longer hole is a broken timestamp. Silence is encoded about a hundred times faster than it
/// plays, so that this takes minutes.
const LONGEST_HOLE_S: i64 = 12 * 3600;

/// How long after the picture a track may begin without silence before it. Players step over so much:
/// `maxBufferHole` of hls.js.
const LATEST_START_MS: i64 = 100;

/// A source with more changes than this has no usable times.
const MOST_EDITS: usize = 100_000;

/// A change that puts what follows in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Samples of the decoder before it.
    pub(crate) at: u64,
    /// Samples of silence to insert, or if negative how many to leave out.
    pub(crate) change: i64,
}

/// What became of a track's times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The first block's time; `None` without blocks.
    pub(crate) first: Option<i64>,
    /// In order of `at`.
    pub(crate) edits: Vec<Edit>,
    /// Holes that were too long to be true, and left as they are.
    pub(crate) broken: u64,
}

impl Placed {
    /// Samples of silence before the first block, so that the track begins at `start`.
    #[must_use]
    pub(crate) fn late_by(&self, start: i64, rate: u32) -> u64 {
        let late = self.first.map_or(0, |first| first.saturating_sub(start));
        let rate = i64::from(rate);
        let is_late = late > rate * LATEST_START_MS / 1000 && late <= rate * LONGEST_HOLE_S;
        u64::try_from(late).map_or(0, |late| if is_late { late } else { 0 })
    }

    /// Samples of silence that are inserted.
    #[must_use]
    pub(crate) fn inserted(&self) -> u64 {
        self.edits
            .iter()
            .map(|edit| u64::try_from(edit.change).unwrap_or(0))
            .sum()
    }

    /// Samples that are left out.
    #[must_use]
    pub(crate) fn removed(&self) -> u64 {
        self.edits
            .iter()
            .map(|edit| u64::try_from(-edit.change).unwrap_or(0))
            .sum()
    }
}

#[derive(Clone, Copy, Debug)]
struct Block {
    pts: i64,
    samples: i64,
}

/// Takes blocks in the decoder's order; memory does not grow with them.
#[derive(Debug)]
pub(crate) struct Placement {
    rate: i64,
    /// Samples by which a block may be out of place.
    tolerance: i64,
    pending: VecDeque<Block>,
    /// Samples in `pending`.
    ahead: i64,
    /// Where the next sample belongs.
    head: i64,
    /// Samples settled.
    taken: u64,
    /// Samples still to be left out.
    skip: i64,
    placed: Placed,
}

impl Placement {
    /// An empty track of a codec, as ffmpeg names it, in samples of a rate.
    #[must_use]
    pub(crate) fn new(codec: &str, rate: u32) -> Self {
        let rate = i64::from(rate);
        let usual = rate * TOLERANCE_MS / 1000;
        Self {
            rate,
            tolerance: match codec {
                "vorbis" => usual.max(VORBIS_TOLERANCE),
                _ => usual,
            },
            pending: VecDeque::new(),
            ahead: 0,
            head: 0,
            taken: 0,
            skip: 0,
            placed: Placed::default(),
        }
    }

    /// Adds a decoded block. One without a time belongs behind the one before it.
    pub(crate) fn push(&mut self, pts: Option<i64>, samples: i64) {
        if samples <= 0 {
            return;
        }
        let behind = self
            .pending
            .back()
            .map(|last| last.pts.saturating_add(last.samples));
        let pts = pts.or(behind).unwrap_or(self.head);
        if self.placed.first.is_none() {
            self.placed.first = Some(pts);
            self.head = pts;
        }
        self.pending.push_back(Block { pts, samples });
        self.ahead += samples;
        while self.ahead > self.rate * LASTING_MS / 1000 && self.pending.len() > 1 {
            self.settle();
        }
    }

    /// Settles the rest.
    #[must_use]
    pub(crate) fn finish(mut self) -> Placed {
        while !self.pending.is_empty() {
            self.settle();
        }
        self.placed
    }

    /// Decides on the first block.
    fn settle(&mut self) {
        let Some(first) = self.pending.front().copied() else {
            return;
        };
        if self.skip > 0 {
            let dropped = self.skip.min(first.samples);
            self.skip -= dropped;
            self.take(dropped);
            return;
        }
        let tolerance = self.tolerance;
        let off = first.pts.saturating_sub(self.head);
        if off.abs() > tolerance && self.placed.edits.len() < MOST_EDITS {
            let lasting = self.lasting(off);
            if off > self.rate * LONGEST_HOLE_S {
                self.placed.broken += 1;
                self.head = first.pts;
            } else if lasting.abs() > tolerance {
                let edit = Edit {
                    at: self.taken,
                    change: lasting,
                };
                self.placed.edits.push(edit);
                if lasting < 0 {
                    self.skip = -lasting;
                    return;
                }
                self.head += lasting;
            }
        }
        self.head += first.samples;
        self.take(first.samples);
    }

    /// The displacement, of the same direction as `off`, that all pending blocks have.
    fn lasting(&self, off: i64) -> i64 {
        let mut head = self.head;
        let mut least = off;
        for block in &self.pending {
            let off = block.pts.saturating_sub(head);
            least = match least {
                1.. => least.min(off.max(0)),
                _ => least.max(off.min(0)),
            };
            head += block.samples;
        }
        least
    }

    /// Removes samples from the front.
    fn take(&mut self, samples: i64) {
        self.taken += u64::try_from(samples).unwrap_or(0);
        self.ahead -= samples;
        if let Some(first) = self.pending.front_mut() {
            first.samples -= samples;
            first.pts = first.pts.saturating_add(samples);
            if first.samples <= 0 {
                self.pending.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn placed(rate: u32, blocks: impl IntoIterator<Item = (i64, i64)>) -> Placed {
        let mut placement = Placement::new("opus", rate);
        for (pts, samples) in blocks {
            placement.push(Some(pts), samples);
        }
        placement.finish()
    }

    /// Packets of 960 samples at 48 kHz, without those that `missing` names.
    fn packets(count: i64, missing: impl Fn(i64) -> bool) -> Vec<(i64, i64)> {
        let kept = (0..count).filter(|n| !missing(*n));
        kept.map(|n| (4800 + n * 960, 960)).collect()
    }

    #[test]
    fn a_hole_is_filled_where_it_is() {
        let placed = placed(48_000, packets(600, |n| (150..350).contains(&n)));
        assert_eq!(placed.first, Some(4800));
        assert_eq!(
            placed.edits,
            [Edit {
                at: 150 * 960,
                change: 200 * 960
            }]
        );
        assert_eq!(
            (placed.inserted(), placed.removed(), placed.broken),
            (192_000, 0, 0)
        );
    }

    #[test]
    fn each_lost_packet_and_each_pause_is_filled() {
        let lost = placed(48_000, packets(600, |n| n == 100 || n == 110));
        let at = |at, change| Edit { at, change };
        assert_eq!(lost.edits, [at(100 * 960, 960), at(109 * 960, 960)]);
        // Discontinuous transmission: one packet in twenty.
        let pauses = placed(
            48_000,
            packets(600, |n| (200..400).contains(&n) && n % 20 != 0),
        );
        assert_eq!(pauses.inserted(), 190 * 960);
        // The last packet alone, too.
        let end = placed(48_000, packets(300, |n| (100..299).contains(&n)));
        assert_eq!(end.edits, [at(100 * 960, 199 * 960)]);
    }

    #[test]
    fn an_overlap_is_left_out_once() {
        let first = packets(100, |_| false);
        let second = first
            .iter()
            .map(|(pts, samples)| (pts + 100 * 960 - 24_000, *samples));
        let placed = placed(48_000, first.iter().copied().chain(second));
        assert_eq!(
            placed.edits,
            [Edit {
                at: 96_000,
                change: -24_000
            }]
        );
    }

    #[test]
    fn one_block_out_of_place_moves_nothing() {
        let mut blocks = packets(300, |_| false);
        blocks[100].0 += 40_000;
        blocks[200].0 -= 40_000;
        assert_eq!(placed(48_000, blocks).edits, []);
    }

    /// As libvorbis makes it: long blocks for seconds, timed late by what a short one is shorter.
    #[test]
    fn vorbis_goes_to_and_fro() {
        let blocks = |codec| {
            let mut placement = Placement::new(codec, 44_100);
            for n in 0..600_i64 {
                let late = if (200..400).contains(&n) { 900 } else { 0 };
                placement.push(Some(n * 1024 + late), 1024);
            }
            placement.finish().edits.len()
        };
        assert_eq!((blocks("vorbis"), blocks("opus")), (0, 2));
    }

    #[test]
    fn a_broken_time_is_no_hole() {
        let mut blocks = packets(300, |_| false);
        for block in &mut blocks[150..] {
            block.0 += 48_000 * 3600 * 100;
        }
        let placed = placed(48_000, blocks);
        assert_eq!((placed.edits.len(), placed.broken), (0, 1));
    }

    #[test]
    fn a_late_start_is_told_from_a_usual_one() {
        let late = |first, start| {
            let placed = Placed {
                first,
                ..Placed::default()
            };
            placed.late_by(start, 48_000)
        };
        assert_eq!(late(Some(144_000), 0), 144_000);
        assert_eq!(late(Some(4_800), 0), 0);
        assert_eq!(late(Some(4_801), 0), 4_801);
        assert_eq!(late(Some(0), 144_000), 0);
        assert_eq!(late(Some(48_000 * 3600 * 100), 0), 0);
        assert_eq!(late(None, 0), 0);
    }

    #[test]
    fn blocks_without_times_follow_one_another() {
        let mut placement = Placement::new("opus", 48_000);
        placement.push(Some(100), 960);
        for _ in 0..200 {
            placement.push(None, 960);
        }
        assert_eq!(
            placement.finish(),
            Placed {
                first: Some(100),
                ..Placed::default()
            }
        );
    }

    proptest! {
        /// Times rounded to a millisecond, however long: never a change.
        #[test]
        fn roundings_never_add_up(rate in prop::sample::select(vec![8000_i64, 22_050, 44_100, 48_000]), start in 0_i64..1_000_000) {
            let ms = |samples: i64| samples * 1000 / rate;
            let blocks = (0..20_000).map(|n| {
                let exact = start + n * 1024;
                (ms(exact) * rate / 1000, 1024)
            });
            let placed = placed(rate as u32, blocks);
            prop_assert_eq!(placed.edits, vec![]);
        }

        /// Wherever packets are missing, what is there ends up within the tolerance of its time.
        #[test]
        fn every_block_ends_up_in_its_place(missing in prop::collection::btree_set(1_i64..400, 0..200)) {
            let blocks = packets(400, |n| missing.contains(&n));
            let placed = placed(48_000, blocks.clone());
            let mut edits = placed.edits.iter().peekable();
            let (mut at, mut taken) = (4800, 0);
            for (pts, samples) in blocks {
                while let Some(edit) = edits.next_if(|edit| edit.at <= taken) {
                    at += edit.change;
                }
                prop_assert!((at - pts).abs() <= 48 * TOLERANCE_MS, "{at} for {pts}");
                at += samples;
                taken += samples as u64;
            }
        }
    }
}
