//! Presentation times.

use reelmill_common::Timebase;

use super::{Mark, Verdict};
use crate::oracle::{Picture, Plain};

/// Compares every presentation time, counted from the first one.
pub(super) fn compare(plain: &Plain, truth: &Picture, ours: &Picture, verdict: &mut Verdict) {
    verdict.pts = Mark::Exact;
    let wrong = wrong_times(truth, ours);
    if let Some(&(i, expected, got)) = wrong.first() {
        let as_on_own_clock = plain.own.as_ref().is_some_and(|own| {
            own.frames.len() == truth.frames.len() && wrong_times(own, ours).is_empty()
        });
        let but = if as_on_own_clock {
            " (as with -copyts)"
        } else {
            ""
        };
        let text = format!(
            "{} PTS differ, frame {i} is {got:.6} s in, plain {expected:.6}{but}",
            wrong.len()
        );
        verdict.differs(|v| &mut v.pts, text);
    }
    let is_multiple = ticks_per_tick(truth.timebase, ours.timebase).1 == 1;
    if !is_multiple {
        let text = format!("PTS compared to a tick of {}", ours.timebase);
        verdict.notes.push(text);
    }
    let repeated = truth
        .frames
        .windows(2)
        .filter(|pair| pair[1].pts <= pair[0].pts)
        .count();
    if repeated > 0 {
        verdict.notes.push(format!(
            "{repeated} frames of the source do not come after another"
        ));
    }
}

/// The frames whose time is wrong: number, expected and got, in seconds from the first frame.
///
/// Times compare as fractions, without tolerance where the output's ticks divide the source's and
/// to one tick of the output elsewhere. Where a source shows several frames at one time, or goes
/// back, no player can follow: any time from the frame before to the next later one will do.
fn wrong_times(truth: &Picture, ours: &Picture) -> Vec<(usize, f64, f64)> {
    let (num, den) = ticks_per_tick(truth.timebase, ours.timebase);
    let tolerance = if den == 1 { 0 } else { den };
    let first = |picture: &Picture| picture.frames.first().and_then(|frame| frame.pts);
    let (Some(truth_first), Some(ours_first)) = (first(truth), first(ours)) else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    let (mut latest, mut before) = (i64::MIN, 0);
    for (i, (expected, got)) in truth.frames.iter().zip(&ours.frames).enumerate() {
        let (Some(expected), Some(got)) = (expected.pts, got.pts) else {
            continue;
        };
        // Both in ticks of the output, times `den`.
        let want = i128::from(expected - truth_first) * num;
        let have = i128::from(got - ours_first) * den;
        let fits = if expected > latest {
            (want - have).abs() <= tolerance
        } else {
            let later = truth.frames[i..].iter().filter_map(|frame| frame.pts);
            let next = later.filter(|pts| *pts > latest).min();
            let end = next.map_or(i128::MAX, |pts| i128::from(pts - truth_first) * num);
            have >= before && have <= end
        };
        if !fits {
            let seconds = |ticks, from, timebase: Timebase| timebase.seconds(ticks - from);
            wrong.push((
                i,
                seconds(expected, truth_first, truth.timebase),
                seconds(got, ours_first, ours.timebase),
            ));
        }
        latest = latest.max(expected);
        before = have;
    }
    wrong
}

/// How many ticks of `to` one tick of `from` is, as a reduced fraction.
fn ticks_per_tick(from: Timebase, to: Timebase) -> (i128, i128) {
    let num = i128::from(from.num()) * i128::from(to.den());
    let den = i128::from(from.den()) * i128::from(to.num());
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (num / a, den / a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Frame;

    fn picture(timebase: (u32, u32), pts: &[i64]) -> Picture {
        let frame = |pts: &i64| Frame {
            pts: Some(*pts),
            hash: String::new(),
        };
        Picture {
            timebase: Timebase::new(timebase.0, timebase.1).unwrap(),
            size: (16, 16),
            frames: pts.iter().map(frame).collect(),
        }
    }

    fn wrong(truth: ((u32, u32), &[i64]), ours: ((u32, u32), &[i64])) -> Vec<usize> {
        let wrong = wrong_times(&picture(truth.0, truth.1), &picture(ours.0, ours.1));
        wrong.into_iter().map(|(i, _, _)| i).collect()
    }

    #[test]
    fn a_multiple_of_the_timescale_must_be_exact() {
        let source = ((1001, 30_000), &[5, 6, 7][..]);
        assert_eq!(wrong(source, ((1, 30_000), &[0, 1001, 2002])), [0; 0]);
        assert_eq!(wrong(source, ((1, 30_000), &[9, 1010, 2012])), [2]);
    }

    #[test]
    fn another_timescale_may_round_by_a_tick() {
        let source = ((1, 1_200_000), &[0, 50_000, 100_001][..]);
        assert_eq!(wrong(source, ((1, 90_000), &[0, 3750, 7501])), [0; 0]);
        assert_eq!(wrong(source, ((1, 90_000), &[0, 3752, 7500])), [1]);
    }

    #[test]
    fn frames_at_one_time_may_spread_to_the_next() {
        let source = ((1, 1000), &[0, 40, 40, 80][..]);
        assert_eq!(wrong(source, ((1, 1000), &[0, 40, 40, 80])), [0; 0]);
        assert_eq!(wrong(source, ((1, 1000), &[0, 40, 41, 80])), [0; 0]);
        assert_eq!(wrong(source, ((1, 1000), &[0, 40, 39, 80])), [2]);
        assert_eq!(wrong(source, ((1, 1000), &[0, 40, 81, 80])), [2]);
    }
}
