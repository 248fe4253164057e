//! Where to cut: boundaries on the grid, chosen so that all slots finish together and as little as
//! possible is decoded twice. Pure.

use crate::cost::START_UP_MS;

/// What the choice is made from. Everything is in milliseconds of one core.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    /// The place on the grid of each cell that has packets, ascending. Everything else here is by
    /// the order of these cells.
    pub(crate) index: Vec<i64>,
    /// To decode and encode each cell.
    pub(crate) cells: Vec<f64>,
    /// How many packets each cell has: a count, not a cost.
    pub(crate) packets: Vec<u64>,
    /// To begin at each cell: decoding the lead-in. The first is 0.
    pub(crate) lead_ins: Vec<f64>,
    /// What the audio tracks take, each a task that begins first.
    pub(crate) audio: Vec<f64>,
}

/// The choice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cuts {
    /// The first cell of each window, ascending, beginning with 0.
    pub(crate) starts: Vec<usize>,
    /// Whether the one window there is should be encoded with all cores.
    pub(crate) all_cores: bool,
}

/// How much of two cores one encode with two threads uses, and so on: what encoders' own
/// threading loses.
const THREADED_EFFICIENCY: f64 = 0.9;

/// The most work of one window: what a killed worker loses, and how evenly jobs share slots.
const MOST_WORK_MS: f64 = 120_000.0;

/// Frames of one window beyond which a worker that knows the time of each needs much memory. Only
/// hours of tiny pictures come near it: of others, windows are shorter for the work in them.
const MOST_FRAMES: u64 = 50_000;

/// The share of a window's work that start-up and lead-in may take, beyond which it is not cut
/// smaller.
const MOST_OVERHEAD: f64 = 0.05;

/// Cuts a source into windows for `slots` encodes at once. `longest` bounds a window in cells,
/// where one was asked for: then windows are that long.
///
/// `threads_repeat` tells whether encoders with several threads give the same bytes each time:
/// only then may one encode use all cores.
pub(crate) fn cut(costs: &Costs, slots: usize, longest: Option<i64>, threads_repeat: bool) -> Cuts {
    let slots = slots.max(1);
    if let Some(longest) = longest {
        return Cuts {
            starts: every(costs, longest.max(1)),
            all_cores: false,
        };
    }
    let total: f64 = costs.cells.iter().sum();
    let cores = slots as f64;
    let all_cores = slots > 1 && threads_repeat;
    let used = if all_cores {
        cores * THREADED_EFFICIENCY
    } else {
        1.0
    };
    let too_many_frames = costs.packets.iter().sum::<u64>() > MOST_FRAMES;
    let whole = START_UP_MS + total / used.max(1.0);
    let mut best = (
        if too_many_frames {
            f64::INFINITY
        } else {
            whole
        },
        Cuts {
            starts: vec![0],
            all_cores,
        },
    );
    for starts in candidates(costs, slots, total) {
        let time = makespan(costs, &starts, slots);
        if time < best.0 {
            best = (
                time,
                Cuts {
                    starts,
                    all_cores: false,
                },
            );
        }
    }
    // A long source is cut even where that gains nothing: a kill must not cost all of it.
    if best.1.starts.len() == 1 && (too_many_frames || total > MOST_WORK_MS * cores) {
        best.1 = Cuts {
            starts: shrinking(costs, slots, 2.0, total),
            all_cores: false,
        };
    }
    best.1
}

fn candidates(costs: &Costs, slots: usize, total: f64) -> Vec<Vec<usize>> {
    let mut candidates: Vec<_> = [1.2, 1.5, 2.0, 2.5, 3.0, 4.0]
        .map(|f| shrinking(costs, slots, f, total))
        .into();
    for rounds in 1..=6_usize {
        candidates.push(even(costs, slots * rounds, total));
    }
    candidates.retain(|starts| starts.len() > 1);
    candidates
}

/// Windows of `cells` cells of the grid each.
fn every(costs: &Costs, cells: i64) -> Vec<usize> {
    let mut starts = vec![0];
    let neighbours = costs.index.iter().zip(costs.index.iter().skip(1));
    for ((before, after), start) in neighbours.zip(1..) {
        if before / cells != after / cells {
            starts.push(start);
        }
    }
    starts
}

/// Windows of equal work.
fn even(costs: &Costs, count: usize, total: f64) -> Vec<usize> {
    let share = total / count.max(1) as f64;
    place(costs, |_remaining| share)
}

/// Large windows first, small ones last ("factoring"): each takes a share of what remains, so
/// that wrong estimates of the large ones are evened out by the small ones.
fn shrinking(costs: &Costs, slots: usize, factor: f64, total: f64) -> Vec<usize> {
    let smallest = smallest(costs, total);
    place(costs, |remaining| {
        (remaining / (slots as f64 * factor)).max(smallest)
    })
}

/// The work below which a window costs more than it evens out.
fn smallest(costs: &Costs, total: f64) -> f64 {
    let cells = costs.lead_ins.len().max(1) as f64;
    let lead_in = costs.lead_ins.iter().sum::<f64>() / cells;
    ((START_UP_MS + lead_in) / MOST_OVERHEAD).min(total / 2.0)
}

/// Places boundaries so that each window has about the work that `share` gives for what remains,
/// preferring, within a quarter of that, cells that are cheap to begin at. None has more than
/// [`MOST_FRAMES`] unless one cell has.
fn place(costs: &Costs, share: impl Fn(f64) -> f64) -> Vec<usize> {
    let mut remaining: f64 = costs.cells.iter().sum();
    let mut starts = vec![0];
    let mut begin = 0;
    while begin < costs.cells.len() {
        let target = share(remaining).min(MOST_WORK_MS);
        let Some((end, work)) = boundary(costs, begin, target) else {
            break;
        };
        remaining -= work;
        starts.push(end);
        begin = end;
    }
    starts
}

/// The best end of a window that begins at `begin`, and its work; `None` when the rest is one
/// window.
fn boundary(costs: &Costs, begin: usize, target: f64) -> Option<(usize, f64)> {
    let mut best: Option<(f64, usize, f64)> = None;
    let packets = |cell: usize| costs.packets.get(cell).copied().unwrap_or_default();
    let (mut work, mut frames) = (0.0, 0);
    for end in begin + 1..costs.cells.len() {
        work += costs.cells.get(end - 1).copied().unwrap_or_default();
        frames += packets(end - 1);
        let full = frames + packets(end) > MOST_FRAMES;
        if work > target * 1.25 && best.is_some() {
            break;
        }
        if work >= target * 0.75 || full {
            let lead_in = costs.lead_ins.get(end).copied().unwrap_or_default();
            let price = (work - target).abs() * 0.1 + lead_in;
            if best.is_none_or(|(cheapest, _, _)| price < cheapest) {
                best = Some((price, end, work));
            }
        }
        if full {
            break;
        }
    }
    best.map(|(_, end, work)| (end, work))
}

/// When the last slot is done, averaged over estimates that are wrong by up to a fifth: a plan is
/// only as good as it is when windows take longer or shorter than thought.
fn makespan(costs: &Costs, starts: &[usize], slots: usize) -> f64 {
    const TRIALS: u64 = 8;
    let ends = starts.iter().skip(1).copied().chain([costs.cells.len()]);
    let windows: Vec<f64> = starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let work: f64 = costs.cells.get(start..end).unwrap_or_default().iter().sum();
            START_UP_MS + costs.lead_ins.get(start).copied().unwrap_or_default() + work
        })
        .collect();
    let mut sum = 0.0;
    for trial in 0..TRIALS {
        let mut busy = vec![0.0_f64; slots];
        for (index, cost) in costs.audio.iter().chain(&windows).enumerate() {
            let wrong = 1.0 + 0.2 * noise(trial, index as u64);
            if let Some(free) = busy.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                *free += cost * wrong;
            }
        }
        sum += busy.into_iter().fold(0.0, f64::max);
    }
    sum / TRIALS as f64
}

/// A repeatable number in -1..1 (SplitMix64, Steele et al. 2014).
fn noise(trial: u64, index: u64) -> f64 {
    let mut z = (trial << 32 | index)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn costs(cells: Vec<f64>) -> Costs {
        let lead_ins = (0..cells.len())
            .map(|n| if n == 0 { 0.0 } else { 100.0 })
            .collect();
        Costs {
            index: (0..).take(cells.len()).collect(),
            packets: vec![1; cells.len()],
            cells,
            lead_ins,
            audio: vec![500.0],
        }
    }

    #[test]
    fn a_short_clip_is_not_cut() {
        let cuts = cut(&costs(vec![2000.0, 2000.0, 1000.0]), 2, None, true);
        assert_eq!(
            cuts,
            Cuts {
                starts: vec![0],
                all_cores: true
            }
        );
    }

    #[test]
    fn a_short_clip_is_cut_where_threads_do_not_repeat() {
        let cuts = cut(&costs(vec![2000.0, 2000.0, 1000.0]), 2, None, false);
        assert!(cuts.starts.len() > 1 && !cuts.all_cores, "{cuts:?}");
    }

    #[test]
    fn a_minute_is_cut_with_small_windows_last() {
        let costs = costs(vec![3000.0; 32]);
        let cuts = cut(&costs, 2, None, true);
        assert!(cuts.starts.len() >= 4, "{cuts:?}");
        let ideal = costs.cells.iter().sum::<f64>() / 2.0;
        let time = makespan(&costs, &cuts.starts, 2);
        assert!(time < ideal * 1.1, "{time} of {ideal} by {cuts:?}");
    }

    #[test]
    fn a_window_begins_where_that_is_cheap() {
        let mut costs = costs(vec![2000.0; 40]);
        for (cell, lead_in) in costs.lead_ins.iter_mut().enumerate() {
            *lead_in = if cell % 5 == 0 { 20.0 } else { 900.0 };
        }
        let cuts = cut(&costs, 2, None, true);
        let cheap = cuts.starts.iter().filter(|start| *start % 5 == 0).count();
        assert!(
            cuts.starts.len() > 2 && cheap * 2 > cuts.starts.len(),
            "{cuts:?}"
        );
    }

    #[test]
    fn asked_for_windows_are_that_long() {
        let mut costs = costs(vec![10.0; 7]);
        costs.index = vec![0, 1, 2, 3, 5, 6, 1_000_000_000];
        let cuts = cut(&costs, 2, Some(2), true);
        assert_eq!(cuts.starts, [0, 2, 4, 5, 6]);
    }

    proptest! {
        /// Windows cover the cells without gap or overlap.
        #[test]
        fn windows_tile_the_grid(
            cells in prop::collection::vec(0.1_f64..50_000.0, 1..400),
            slots in 1_usize..9,
            longest in prop::option::of(1_i64..20),
        ) {
            let costs = costs(cells);
            let cuts = cut(&costs, slots, longest, true);
            prop_assert_eq!(cuts.starts[0], 0);
            prop_assert!(cuts.starts.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(cuts.starts.iter().all(|&s| s < costs.cells.len()));
        }

        /// However little work there is in its frames, no window has more than its worker can
        /// remember.
        #[test]
        fn no_window_has_too_many_frames(
            packets in prop::collection::vec(0_u64..20_000, 1..200),
            slots in 1_usize..9,
            threads_repeat: bool,
        ) {
            let mut costs = costs(packets.iter().map(|&n| n as f64 * 0.01).collect());
            costs.packets = packets;
            let cuts = cut(&costs, slots, None, threads_repeat);
            let ends = cuts.starts.iter().skip(1).copied().chain([costs.cells.len()]);
            for (&start, end) in cuts.starts.iter().zip(ends) {
                prop_assert!(costs.packets[start..end].iter().sum::<u64>() <= MOST_FRAMES);
            }
        }
    }
}
