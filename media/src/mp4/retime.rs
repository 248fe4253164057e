//! Gives encoded samples the times of the frames that they show.

use super::error::{Fault, RetimeError};
use super::read::Sample;

/// An edit list would be applied on top of the new times.
pub(super) fn check_edits(edit_shift: i64) -> Result<(), Fault> {
    if edit_shift == 0 {
        return Ok(());
    }
    Err(Fault::unsupported(format!(
        "its init segment has an edit list that shifts presentation by {edit_shift} ticks"
    )))
}

/// See [`Fragmented::retime_video`](super::Fragmented::retime_video). On an error nothing has
/// changed.
pub(super) fn retime(
    samples: &mut [Sample],
    pts: &[i64],
    end: Option<i64>,
) -> Result<(), RetimeError> {
    let (expected, found) = (pts.len(), samples.len());
    if expected != found {
        return Err(RetimeError::FrameCount { expected, found });
    }
    let mut order: Vec<usize> = (0..samples.len()).collect();
    // Equal times stay in decode order; they are an error found below.
    order.sort_by_key(|&index| samples.get(index).map(|sample| sample.pts));

    let mut before: Option<(i64, i64)> = None;
    for (rank, (wanted, index)) in pts.iter().zip(&order).enumerate() {
        let Some(sample) = samples.get(*index) else {
            continue;
        };
        if let Some((wanted_before, found_before)) = before {
            if wanted <= &wanted_before {
                return Err(RetimeError::NotIncreasing { index: rank });
            }
            let expected = i128::from(*wanted) - i128::from(wanted_before);
            let found = i128::from(sample.pts) - i128::from(found_before);
            if expected != found {
                return Err(RetimeError::FrameTime {
                    index: rank,
                    expected,
                    found,
                });
            }
        }
        before = Some((*wanted, sample.pts));
    }

    // Decode times are the presentation times in order, so the sample at place `i` of the file is
    // decoded at `pts[i]`, whatever frame it shows.
    let mut retimed = samples.to_vec();
    for (wanted, index) in pts.iter().zip(&order) {
        if let Some(sample) = retimed.get_mut(*index) {
            sample.pts = *wanted;
        }
    }
    let next = pts.iter().skip(1).map(|pts| Some(*pts)).chain([end]);
    for (index, ((sample, dts), next)) in retimed.iter_mut().zip(pts).zip(next).enumerate() {
        sample.dts = *dts;
        let offset = i128::from(sample.pts) - i128::from(*dts);
        if i32::try_from(offset).is_err() {
            return Err(RetimeError::TooLong {
                index,
                ticks: offset,
            });
        }
        sample.duration = match next {
            Some(next) if next <= *dts => {
                return Err(RetimeError::EndTooEarly {
                    last: *dts,
                    end: next,
                });
            }
            Some(next) => {
                let ticks = i128::from(next) - i128::from(*dts);
                u32::try_from(ticks).map_err(|_overflow| RetimeError::TooLong { index, ticks })?
            }
            None => sample.duration.max(1),
        };
    }
    samples.copy_from_slice(&retimed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(pts: i64) -> Sample {
        Sample {
            offset: 0,
            size: 1,
            duration: 7,
            sync: true,
            flags: 0,
            dts: 0,
            pts,
        }
    }

    fn window(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<i64>> {
        (
            -1_000_000_i64..1_000_000,
            prop::collection::vec(1_i64..5000, len),
        )
            .prop_map(|(first, steps)| {
                steps
                    .into_iter()
                    .scan(first, |at, step| {
                        *at += step;
                        Some(*at)
                    })
                    .collect()
            })
    }

    fn shuffled() -> impl Strategy<Value = (Vec<i64>, Vec<usize>)> {
        window(0..40).prop_flat_map(|pts| {
            let ranks: Vec<usize> = (0..pts.len()).collect();
            (Just(pts), Just(ranks).prop_shuffle())
        })
    }

    proptest! {
        /// Whatever the order of decoding and the encoder's delay, each sample gets its own
        /// frame's time and the tables tile the window.
        #[test]
        fn any_order_is_restored((pts, ranks) in shuffled(), delay in -1_000_000_i64..1_000_000) {
            let mut samples: Vec<Sample> =
                ranks.iter().map(|&rank| sample(pts[rank] + delay)).collect();
            let end = pts.last().map(|last| last + 40);
            retime(&mut samples, &pts, end).unwrap();
            let mut at = pts.first().copied().unwrap_or_default();
            for (sample, rank) in samples.iter().zip(&ranks) {
                prop_assert_eq!(sample.pts, pts[*rank]);
                prop_assert_eq!(sample.dts, at);
                at += i64::from(sample.duration);
            }
            prop_assert_eq!(at, end.unwrap_or_default());
        }

        /// One frame moved by any amount is found, and named; nothing has changed then.
        #[test]
        fn a_wrong_time_is_named(
            (pts, ranks) in shuffled(), which in any::<prop::sample::Index>(), by in 1_i64..100,
        ) {
            prop_assume!(pts.len() > 2);
            let mut samples: Vec<Sample> = ranks.iter().map(|&rank| sample(pts[rank])).collect();
            // Later, but not as late as the frame after it: the order stays.
            let rank = which.index(pts.len() - 2) + 1;
            let by = by.min(pts[rank + 1] - pts[rank] - 1);
            prop_assume!(by > 0);
            let at = ranks.iter().position(|&other| other == rank).unwrap();
            samples[at].pts += by;
            let before = samples.clone();
            let error = retime(&mut samples, &pts, None).unwrap_err();
            let expected = i128::from(pts[rank] - pts[rank - 1]);
            let found = expected + i128::from(by);
            prop_assert_eq!(error, RetimeError::FrameTime { index: rank, expected, found });
            prop_assert_eq!(samples, before);
        }

        #[test]
        fn a_lost_frame_is_found(pts in window(1..40), which in any::<prop::sample::Index>()) {
            let mut samples: Vec<Sample> = pts.iter().map(|&pts| sample(pts)).collect();
            samples.remove(which.index(pts.len()));
            let (expected, found) = (pts.len(), pts.len() - 1);
            prop_assert_eq!(
                retime(&mut samples, &pts, None).unwrap_err(),
                RetimeError::FrameCount { expected, found }
            );
        }

        /// Numbers at the edges end in an answer, not in an overflow.
        #[test]
        fn extremes_do_not_wrap(
            pts in prop::collection::vec(any::<i64>(), 0..5), end in any::<Option<i64>>(),
            found in prop::collection::vec(any::<i64>(), 0..5),
        ) {
            let mut samples: Vec<Sample> = found.into_iter().map(sample).collect();
            if retime(&mut samples, &pts, end).is_ok() {
                prop_assert!(samples.iter().map(|sample| sample.dts).eq(pts));
            }
        }
    }

    #[test]
    fn the_last_sample_lasts_until_the_end() {
        let mut samples = [sample(10)];
        retime(&mut samples, &[5000], Some(5040)).unwrap();
        assert_eq!(
            (samples[0].dts, samples[0].pts, samples[0].duration),
            (5000, 5000, 40)
        );
        retime(&mut samples, &[1], None).unwrap();
        assert_eq!(samples[0].duration, 40);
        samples[0].duration = 0;
        retime(&mut samples, &[1], None).unwrap();
        assert_eq!(samples[0].duration, 1);
        assert_eq!(
            retime(&mut samples, &[7], Some(7)).unwrap_err(),
            RetimeError::EndTooEarly { last: 7, end: 7 }
        );
        assert!(matches!(
            retime(&mut samples, &[7], Some(1 << 40)).unwrap_err(),
            RetimeError::TooLong { index: 0, .. }
        ));
    }

    #[test]
    fn times_that_do_not_increase_are_refused() {
        let mut samples = [sample(0), sample(0)];
        assert_eq!(
            retime(&mut samples, &[5, 5], None).unwrap_err(),
            RetimeError::NotIncreasing { index: 1 }
        );
        assert!(check_edits(0).is_ok() && check_edits(-1).is_err());
    }
}
