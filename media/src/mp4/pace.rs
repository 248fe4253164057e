//! How close frames follow one another at a track's fastest.

use std::collections::{BTreeMap, VecDeque};

/// Frames that are looked at together: over so many, times that were rounded to milliseconds or
/// moved by a tick say what they were.
const RUN: usize = 16;

/// The share of a track, as its inverse, that must be as fast to be counted.
const USUAL: u64 = 100;

/// Bits that are told apart of a run's length, so that few lengths are kept whatever they are.
const PRECISION: u32 = 8;

/// Takes in the distances between frames one by one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The last ones, and their sum.
    recent: VecDeque<u32>,
    span: u64,
    /// By rounded length: how many runs there were, and their sum.
    runs: BTreeMap<u64, (u64, u64)>,
    count: u64,
}

impl Pace {
    pub(super) fn add(&mut self, distance: u32) {
        self.recent.push_back(distance);
        self.span += u64::from(distance);
        if self.recent.len() > RUN {
            self.span -= self.recent.pop_front().map_or(0, u64::from);
        }
        if self.recent.len() == RUN {
            let dropped = (u64::BITS - self.span.leading_zeros()).saturating_sub(PRECISION);
            let run = self.runs.entry(self.span >> dropped << dropped);
            let (count, sum) = run.or_default();
            *count += 1;
            *sum += self.span;
            self.count += 1;
        }
    }

    /// Frames and the ticks that they last where they follow each other most closely, leaving out
    /// what is rarer than one in a hundred; `None` without frames.
    pub(super) fn fastest(&self) -> Option<(u64, u64)> {
        let mut seen = 0;
        let usual = self.runs.values().find(|(count, _)| {
            seen += count;
            seen * USUAL >= self.count
        });
        let (frames, ticks) = match usual {
            Some((count, sum)) => (count * RUN as u64, *sum),
            None => (self.recent.len() as u64, self.span),
        };
        (ticks > 0).then_some((frames, ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fastest(distances: impl IntoIterator<Item = u32>) -> f64 {
        let mut pace = Pace::default();
        distances
            .into_iter()
            .for_each(|distance| pace.add(distance));
        let (frames, ticks) = pace.fastest().unwrap();
        ticks as f64 / frames as f64
    }

    #[test]
    fn a_steady_track_is_as_fast_as_it_is() {
        assert_eq!(fastest([3003; 1000]), 3003.0);
        assert_eq!(fastest([40; 3]), 40.0);
        assert_eq!(Pace::default().fastest(), None);
    }

    #[test]
    fn rounded_times_do_not_count_as_speed() {
        let at = |frame: u32| (frame * 1000 + 30) / 60;
        let rounded = (0..1000).map(|frame| at(frame + 1) - at(frame));
        let fastest = fastest(rounded);
        assert!((fastest - 1000.0 / 60.0).abs() < 0.1, "{fastest}");
    }

    #[test]
    fn the_fast_part_counts_and_a_glitch_does_not() {
        let mixed = [40; 900].into_iter().chain([20; 100]).chain([5000]);
        assert_eq!(fastest(mixed), 20.0);
        let glitch = [40; 4000].into_iter().chain([1, 1]).chain([40; 4000]);
        assert_eq!(fastest(glitch), 40.0);
    }

    #[test]
    fn few_lengths_are_kept() {
        let mut pace = Pace::default();
        (0..1_000_000_u32).for_each(|n| pace.add(n.wrapping_mul(2_654_435_761)));
        assert!(pace.runs.len() < 10_000, "{}", pace.runs.len());
    }
}
