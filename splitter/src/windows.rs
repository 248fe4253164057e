//! Where to cut: boundaries on the grid, chosen so that all slots finish together and as little as
//! possible is decoded twice. Pure.

use crate::cost::START_UP_MS;

/// What the choice is made from. Everything is in milliseconds of one core.
#[derive(Clone, Debug, Default)]
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
    /// To decode one frame.
    pub(crate) decode: f64,
    /// To open the encoders, in every window.
    pub(crate) open: f64,
    /// What part of the encoding each of the ffmpegs does that share the last window.
    pub(crate) shares: Vec<f64>,
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

/// The most work of one window, its lead-in included: what a killed worker loses, and how evenly jobs
/// share slots.
pub(crate) const MOST_WORK_MS: f64 = 30_000.0;

/// How many times its lead-in a window's own work may be where [`MOST_WORK_MS`] leaves less: where
/// keyframes are far apart, shorter windows would decode more than they encode.
const MOST_LEAD_IN: f64 = 4.0;

/// Frames of one window beyond which a worker that knows the time of each needs much memory. Only
/// hours of tiny pictures come near it: of others, windows are shorter for the work in them.
const MOST_FRAMES: u64 = 50_000;

/// What a source that is cut may take of the time that it takes in one window, if that is to be worth
/// the lead-ins, the memory for more encoders, and the seams.
const WORTH_A_CUT: f64 = 0.95;

/// How many makespans of a plan are averaged: fewer would choose a plan for its luck.
const TRIALS: u64 = 100;

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
    let too_many_frames = costs.packets.iter().sum::<u64>() > MOST_FRAMES;
    // A long source is cut even where that gains nothing: a kill must not cost all of it.
    let whole = if too_many_frames || total > MOST_WORK_MS {
        f64::INFINITY
    } else if all_cores {
        START_UP_MS + (costs.open + total) / (cores * THREADED_EFFICIENCY).max(1.0)
    } else {
        makespan(costs, &[0], slots) * WORTH_A_CUT
    };
    let mut best = (
        whole,
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
    best.1
}

fn candidates(costs: &Costs, slots: usize, total: f64) -> Vec<Vec<usize>> {
    let mut candidates: Vec<_> = [1.2, 1.5, 2.0, 2.5, 3.0, 4.0]
        .map(|f| shrinking(costs, slots, f, total))
        .into();
    for count in (1..=6).map(|rounds| slots * rounds) {
        candidates.push(even(costs, count - 1, total / count as f64));
        for rest in [0.05, 0.1, 0.15] {
            candidates.push(even(costs, count, total * (1.0 - rest) / count as f64));
        }
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

/// `count` windows of `share` each, and the rest.
fn even(costs: &Costs, count: usize, share: f64) -> Vec<usize> {
    let mut shares = std::iter::repeat_n(share, count);
    place(costs, |_remaining| shares.next().unwrap_or(f64::INFINITY))
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
    ((START_UP_MS + costs.open + lead_in) / MOST_OVERHEAD).min(total / 2.0)
}

/// Places boundaries so that each window has about the work that `share` gives for what remains,
/// preferring, within a quarter of that, cells that are cheap to begin at. None has more than
/// [`MOST_FRAMES`] or [`most_work`] unless one cell has.
fn place(costs: &Costs, mut share: impl FnMut(f64) -> f64) -> Vec<usize> {
    let mut remaining: f64 = costs.cells.iter().sum();
    let mut starts = vec![0];
    let mut begin = 0;
    while begin < costs.cells.len() {
        let target = share(remaining).min(most_work(costs, begin));
        let Some((end, work)) = boundary(costs, begin, target) else {
            break;
        };
        remaining -= work;
        starts.push(end);
        begin = end;
    }
    starts
}

/// The most work of a window that begins at `begin`, without its lead-in.
fn most_work(costs: &Costs, begin: usize) -> f64 {
    let lead_in = costs.lead_ins.get(begin).copied().unwrap_or_default();
    (MOST_WORK_MS - lead_in).max(lead_in * MOST_LEAD_IN)
}

/// The best end of a window that begins at `begin`, and its work; `None` when the rest is one
/// window.
fn boundary(costs: &Costs, begin: usize, target: f64) -> Option<(usize, f64)> {
    let mut best: Option<(f64, usize, f64)> = None;
    let packets = |cell: usize| costs.packets.get(cell).copied().unwrap_or_default();
    let cost = |cell: usize| costs.cells.get(cell).copied().unwrap_or_default();
    let most = most_work(costs, begin);
    let (mut work, mut frames) = (0.0, 0);
    for end in begin + 1..costs.cells.len() {
        work += cost(end - 1);
        frames += packets(end - 1);
        let full = frames + packets(end) > MOST_FRAMES || work + cost(end) > most;
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
    let ends = starts.iter().skip(1).copied().chain([costs.cells.len()]);
    let mut windows: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
    let Some(last) = windows.pop() else {
        return 0.0;
    };
    let windows: Vec<f64> = windows.iter().map(|&window| alone(costs, window)).collect();
    let spread = Spread::of(costs, last);
    let mut sum = 0.0;
    for trial in 0..TRIALS {
        let mut busy = vec![0.0_f64; slots];
        let mut wrong = (0..).map(|index| 1.0 + 0.2 * noise(trial, index));
        for (cost, wrong) in costs.audio.iter().chain(&windows).zip(&mut wrong) {
            if let Some(free) = busy.iter_mut().min_by(|a, b| a.total_cmp(b)) {
                *free += cost * wrong;
            }
        }
        sum += spread.end(&busy, wrong.next().unwrap_or(1.0));
    }
    sum / TRIALS as f64
}

/// What a window takes that one ffmpeg encodes.
fn alone(costs: &Costs, (start, end): (usize, usize)) -> f64 {
    let work: f64 = costs.cells.get(start..end).unwrap_or_default().iter().sum();
    begin(costs, start) + costs.open + work
}

/// What it takes to come to a window's first frame, before any is encoded.
fn begin(costs: &Costs, start: usize) -> f64 {
    START_UP_MS + costs.lead_ins.get(start).copied().unwrap_or_default()
}

/// What the last window takes, which several ffmpegs may share.
struct Spread {
    /// All of them together.
    sum: f64,
    /// The one that takes longest.
    longest: f64,
}

impl Spread {
    fn of(costs: &Costs, window: (usize, usize)) -> Self {
        let packets = costs.packets.get(window.0..window.1).unwrap_or_default();
        // What each of them does anew.
        let decode = packets.iter().sum::<u64>() as f64 * costs.decode;
        let each = begin(costs, window.0) + decode;
        let encode = (alone(costs, window) - each).max(0.0);
        let longest = costs.shares.iter().copied().fold(0.0, f64::max);
        Self {
            sum: each * costs.shares.len().max(1) as f64 + encode,
            longest: each + encode * longest,
        }
    }

    /// When all is done, by when each slot has done everything else. The system shares its cores
    /// among whatever runs, so that nothing waits for a slot as long as there is work for all.
    fn end(&self, busy: &[f64], wrong: f64) -> f64 {
        let free = busy.iter().copied().fold(f64::INFINITY, f64::min);
        let others = busy.iter().copied().fold(0.0, f64::max);
        let evenly = (busy.iter().sum::<f64>() + self.sum * wrong) / busy.len().max(1) as f64;
        (free + self.longest * wrong).max(others).max(evenly)
    }
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
            decode: 4.0,
            open: 0.0,
            shares: vec![1.0],
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

    /// Cutting costs lead-ins and more encoders; sharing out the ladder costs a second decode.
    #[test]
    fn a_short_ladder_is_shared_out_and_not_cut() {
        let mut costs = costs(vec![2000.0, 2000.0, 1000.0]);
        costs.open = 200.0;
        let alone = cut(&costs, 2, None, false);
        assert!(alone.starts.len() > 1);
        costs.shares = vec![0.55, 0.45];
        let shared = cut(&costs, 2, None, false);
        assert_eq!(shared.starts, [0]);
        let [shared, alone] = [shared, alone].map(|cuts| makespan(&costs, &cuts.starts, 2));
        assert!(shared < alone * 1.05, "{shared} and {alone}");
    }

    /// The largest rung of a long ladder would be at work long after the others.
    #[test]
    fn a_long_ladder_is_cut_and_its_end_shared_out() {
        let mut costs = costs(vec![3000.0; 32]);
        let alone = makespan(&costs, &cut(&costs, 2, None, false).starts, 2);
        costs.shares = vec![0.55, 0.45];
        let cuts = cut(&costs, 2, None, false);
        assert!(cuts.starts.len() > 2, "{cuts:?}");
        assert!(makespan(&costs, &cuts.starts, 2) < alone);
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

    /// As one chunk it would be encoded as soon, but a kill would cost all of it.
    #[test]
    fn two_minutes_are_cut_although_that_gains_nothing() {
        let costs = costs(vec![2000.0; 60]);
        for (slots, repeat) in [(1, true), (2, true), (16, true), (2, false)] {
            let cuts = cut(&costs, slots, None, repeat);
            assert!(cuts.starts.len() > 4, "{slots} slots: {cuts:?}");
        }
    }

    /// Shorter windows would decode the same lead-in again and again.
    #[test]
    fn keyframes_far_apart_make_longer_windows() {
        let mut costs = costs(vec![1000.0; 600]);
        costs.lead_ins = (0..600).map(|cell| f64::from(cell % 300) * 100.0).collect();
        let cuts = cut(&costs, 2, None, true);
        let lead_ins: f64 = cuts.starts.iter().map(|&start| costs.lead_ins[start]).sum();
        assert!(lead_ins < 600_000.0 * 0.5, "{lead_ins} {cuts:?}");
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

        /// A kill loses little, unless one cell of the grid or a lead-in is that much work.
        #[test]
        fn no_window_is_too_much_work(
            cells in prop::collection::vec(0.1_f64..40_000.0, 1..400),
            slots in 1_usize..9,
            threads_repeat: bool,
        ) {
            let costs = costs(cells);
            let cuts = cut(&costs, slots, None, threads_repeat);
            let ends = cuts.starts.iter().skip(1).copied().chain([costs.cells.len()]);
            for (&start, end) in cuts.starts.iter().zip(ends) {
                let work: f64 = costs.cells[start..end].iter().sum();
                let all = work + costs.lead_ins[start];
                prop_assert!(all <= MOST_WORK_MS + 0.001 || end - start == 1, "{all} in {start}..{end}");
            }
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
