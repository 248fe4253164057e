//! How a window's renditions are shared out to several ffmpegs. Pure.
//!
//! The last window decides when a job ends: while one slot works on it the others have nothing left
//! to do. Encoders know nothing of each other, so that its renditions may as well be made by several
//! ffmpegs at once, at the price of decoding the window once more for each.

/// Groups of renditions, each for one ffmpeg, from what each rendition takes: the largest by itself,
/// and so many others together as take no longer, in at most `most` groups. More ffmpegs would
/// decode more and end no sooner.
pub(crate) fn spread(costs: &[f64], most: usize) -> Vec<Vec<usize>> {
    let longest = costs.iter().copied().fold(0.0, f64::max);
    let mut by_cost: Vec<(usize, f64)> = costs.iter().copied().enumerate().collect();
    by_cost.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut groups: Vec<(f64, Vec<usize>)> = Vec::new();
    for (index, cost) in by_cost {
        let has_room = |(sum, _): &&mut (f64, Vec<usize>)| *sum + cost <= longest;
        let is_full = groups.len() >= most.max(1);
        let group = match groups.iter_mut().find(has_room) {
            None if is_full => groups.iter_mut().min_by(|a, b| a.0.total_cmp(&b.0)),
            found => found,
        };
        match group {
            Some((sum, group)) => {
                *sum += cost;
                group.push(index);
            }
            None => groups.push((cost, vec![index])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// What part of the encoding each group is.
pub(crate) fn shares(groups: &[Vec<usize>], costs: &[f64]) -> Vec<f64> {
    let all: f64 = costs.iter().sum();
    let part = |group: &Vec<usize>| {
        let costs = group.iter().filter_map(|&index| costs.get(index));
        costs.sum::<f64>() / all
    };
    groups.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_ladder_is_its_top_and_the_rest() {
        let ladder = [36.0, 16.0, 8.0, 5.0];
        assert_eq!(spread(&ladder, 2), [vec![0], vec![1, 2, 3]]);
        assert_eq!(spread(&ladder, 16), [vec![0], vec![1, 2, 3]]);
        assert_eq!(spread(&ladder, 1), [[0, 1, 2, 3]]);
        assert_eq!(shares(&spread(&[3.0, 1.0], 2), &[3.0, 1.0]), [0.75, 0.25]);
    }

    #[test]
    fn one_rendition_cannot_be_shared_out() {
        assert_eq!(spread(&[5.0], 8), [[0]]);
        assert!(spread(&[], 8).is_empty());
    }

    proptest! {
        /// Every rendition is in one group, and there are no more groups than asked for.
        #[test]
        fn none_is_lost(costs in prop::collection::vec(0.1_f64..100.0, 1..12), most in 0_usize..9) {
            let groups = spread(&costs, most);
            prop_assert!(groups.len() <= most.max(1));
            let mut all = groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..costs.len()).collect::<Vec<_>>());
            let sum: f64 = shares(&groups, &costs).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-9);
        }
    }
}
