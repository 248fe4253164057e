//! Whether neighbours agree where they meet, and what is done when they do not. Pure.
//!
//! The frames around a seam were decoded twice, from different starting points, by two processes.
//! Where both saw the same pictures at the same times, each decoder had settled before its window
//! began, and no frame was lost or doubled between them.

use std::ops::Range;

use reelmill_common::manifest::{PlacedChunk, Redo, Revision, VERSION};
use reelmill_common::marker::ChunkMarker;
use reelmill_common::time::Window;

/// After so many revisions chunks that do not fit become one without further attempts.
const MOST_REVISIONS: u32 = 12;

/// After so many more the whole source becomes one chunk.
const MOST_UNIONS: u32 = 4;

/// A chunk and what became of it.
pub(crate) type Finished<'a> = (&'a PlacedChunk, &'a ChunkMarker);

/// Why two neighbours do not fit; `None` when they do.
pub(crate) fn disagreement(earlier: Finished<'_>, later: Finished<'_>) -> Option<String> {
    let ((before, a), (after, b)) = (earlier, later);
    let name = format!("seam between chunks {} and {}", before.index, after.index);
    let seam = after.chunk.start_seam?;
    let boundary = after.chunk.window.start.unwrap_or(seam.from);
    let (ours, theirs) = (&a.end_seam, &b.start_seam);
    let first_difference = ours.iter().zip(theirs).find(|(x, y)| x != y);
    if let Some((x, y)) = first_difference {
        let what = if x.pts == y.pts {
            "pictures differ"
        } else {
            "times differ"
        };
        return Some(format!("{name}: {what} at {}", x.pts.min(y.pts)));
    }
    if ours.len() != theirs.len() {
        return Some(format!(
            "{name}: one side saw {} frames, the other {}",
            ours.len(),
            theirs.len()
        ));
    }
    if ours.is_empty() {
        return Some(format!("{name}: neither side saw a frame"));
    }
    // The later chunk must begin with the first frame that both saw after the boundary.
    let shared = ours
        .iter()
        .map(|frame| frame.pts)
        .find(|&pts| pts >= boundary);
    if shared.is_none() || shared != b.first_pts {
        return Some(format!("{name}: no shared frame begins the later chunk"));
    }
    for (left, right) in a.renditions.iter().zip(&b.renditions) {
        if left.init_sha256 != right.init_sha256 {
            return Some(format!(
                "{name}: the init segments of `{}` differ",
                left.name
            ));
        }
    }
    None
}

/// What is done about disagreeing seams, each given by the place of its earlier chunk in `layout`.
///
/// The later chunk is done again with a longer lead-in, up to the start of the source; then the
/// earlier one; when neither helps the two become one chunk. A chunk is changed once in a
/// revision: what still disagrees comes up again. When that has gone on for long, only what
/// disagrees becomes one, and the whole source when that was no end either.
pub(crate) fn revise(
    layout: &[PlacedChunk],
    disagreements: &[(usize, String)],
    number: u32,
) -> Revision {
    let mut revision = Revision {
        version: VERSION,
        number,
        reasons: Vec::new(),
        redo: Vec::new(),
        dropped: Vec::new(),
    };
    if number > MOST_REVISIONS {
        let all = 0..layout.len().saturating_sub(1);
        let (runs, what) = match number > MOST_REVISIONS + MOST_UNIONS {
            true => (vec![all], "the whole source becomes one chunk"),
            false => (runs(disagreements), "what disagrees becomes one chunk"),
        };
        revision.reasons.push(format!(
            "{} seams still disagree after {} revisions: {what}",
            disagreements.len(),
            number - 1
        ));
        for run in runs {
            let later = layout.get(run.start + 1..=run.end).unwrap_or_default();
            if let (Some(first), Some(last)) = (layout.get(run.start), later.last()) {
                revision.redo.push(united(first, last, layout));
                revision
                    .dropped
                    .extend(later.iter().map(|placed| placed.index));
            }
        }
        return revision;
    }
    let mut touched = vec![false; layout.len()];
    for (place, why) in disagreements {
        let (Some(earlier), Some(later)) = (layout.get(*place), layout.get(place + 1)) else {
            continue;
        };
        let is_touched = |at: usize| touched.get(at).copied().unwrap_or(true);
        if is_touched(*place) || is_touched(place + 1) {
            continue;
        }
        let (at, what) = if let Some(redo) = longer_lead_in(later) {
            revision.redo.push(redo);
            (
                place + 1,
                format!("chunk {} is decoded from further back", later.index),
            )
        } else if let Some(redo) = longer_lead_in(earlier) {
            revision.redo.push(redo);
            (
                *place,
                format!("chunk {} is decoded from further back", earlier.index),
            )
        } else {
            revision.redo.push(united(earlier, later, layout));
            revision.dropped.push(later.index);
            if let Some(touched) = touched.get_mut(place + 1) {
                *touched = true;
            }
            (
                *place,
                format!("chunks {} and {} become one", earlier.index, later.index),
            )
        };
        if let Some(touched) = touched.get_mut(at) {
            *touched = true;
        }
        revision.reasons.push(format!("{why}: {what}"));
    }
    revision
}

/// The chunks that hang together by disagreeing seams: each from the first one's place to the
/// last one's.
fn runs(disagreements: &[(usize, String)]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &(place, _) in disagreements {
        match runs.last_mut() {
            Some(run) if run.end == place => run.end = place + 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

fn longer_lead_in(placed: &PlacedChunk) -> Option<Redo> {
    let lead_in = placed.lead_in + 1;
    ((lead_in as usize) < placed.chunk.lead_ins.len()).then(|| Redo {
        index: placed.index,
        generation: placed.generation + 1,
        lead_in,
        chunk: placed.chunk.clone(),
    })
}

/// One chunk for the windows of `first` to `last` and all between them.
fn united(first: &PlacedChunk, last: &PlacedChunk, layout: &[PlacedChunk]) -> Redo {
    let between = layout
        .iter()
        .filter(|p| (first.index..=last.index).contains(&p.index));
    let (packets, cost_ms) = between.fold((0, 0), |(packets, cost), placed| {
        (packets + placed.chunk.packets, cost + placed.chunk.cost_ms)
    });
    let mut chunk = first.chunk.clone();
    chunk.window = Window {
        start: first.chunk.window.start,
        end: last.chunk.window.end,
    };
    chunk.end_seam = last.chunk.end_seam;
    chunk.packets = packets;
    chunk.cost_ms = cost_ms;
    Redo {
        index: first.index,
        generation: first.generation + 1,
        lead_in: first.lead_in,
        chunk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::manifest::{ChunkPlan, LeadIn, MOST_LEAD_INS, SeamRange};
    use reelmill_common::marker::SeamFrame;
    use reelmill_common::{Sha256, TaskKey};

    fn placed(index: u32, lead_ins: usize, lead_in: u32) -> PlacedChunk {
        let (start, end) = (i64::from(index) * 100, i64::from(index + 1) * 100);
        let seam = |at| SeamRange {
            from: at - 20,
            to: at + 11,
        };
        PlacedChunk {
            index,
            generation: lead_in,
            lead_in,
            chunk: ChunkPlan {
                window: Window {
                    start: (index > 0).then_some(start),
                    end: Some(end),
                },
                lead_ins: vec![
                    LeadIn {
                        seek_us: None,
                        keyframe: None,
                        packets: 0
                    };
                    lead_ins
                ],
                start_seam: (index > 0).then(|| seam(start)),
                end_seam: Some(seam(end)),
                first_packet: None,
                packets: 10,
                cost_ms: 5,
            },
        }
    }

    fn marker(index: u32) -> ChunkMarker {
        let (start, end) = (i64::from(index) * 100, i64::from(index + 1) * 100);
        let frame = |pts: i64| SeamFrame {
            pts,
            hash: format!("{pts:x}"),
        };
        ChunkMarker {
            version: 1,
            task: TaskKey::Chunk {
                index,
                generation: 0,
            },
            window: Window::ALL,
            lead_in_us: None,
            frames: 10,
            first_pts: Some(start),
            last_pts: Some(end - 10),
            moved: 0,
            pts_digest: Sha256::of(b""),
            start_seam: [start - 20, start - 10, start, start + 10]
                .map(frame)
                .to_vec(),
            end_seam: [end - 20, end - 10, end, end + 10].map(frame).to_vec(),
            frames_digest: None,
            renditions: Vec::new(),
            complaints: 0,
            notes: Vec::new(),
        }
    }

    #[test]
    fn neighbours_that_saw_the_same_agree() {
        let (a, b) = ((placed(0, 0, 0), marker(0)), (placed(1, 2, 0), marker(1)));
        assert_eq!(disagreement((&a.0, &a.1), (&b.0, &b.1)), None);
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        let (a, b) = ((placed(0, 0, 0), marker(0)), (placed(1, 2, 0), marker(1)));
        let changed = |change: fn(&mut ChunkMarker)| {
            let mut marker = b.1.clone();
            change(&mut marker);
            disagreement((&a.0, &a.1), (&b.0, &marker)).unwrap()
        };
        assert!(changed(|m| m.start_seam[1].hash = "0".into()).ends_with("pictures differ at 90"));
        assert!(changed(|m| m.start_seam[2].pts = 101).ends_with("times differ at 100"));
        assert!(changed(|m| drop(m.start_seam.pop())).contains("4 frames, the other 3"));
        assert!(changed(|m| m.first_pts = Some(110)).contains("no shared frame"));
        let mut blind = (a.1.clone(), b.1.clone());
        blind.0.end_seam.clear();
        blind.1.start_seam.clear();
        assert!(
            disagreement((&a.0, &blind.0), (&b.0, &blind.1))
                .unwrap()
                .contains("neither")
        );
    }

    #[test]
    fn lead_ins_grow_then_chunks_unite() {
        let bad = [(0, "x".to_owned())];
        let revision = revise(&[placed(0, 0, 0), placed(1, 2, 0)], &bad, 1);
        assert_eq!((revision.redo[0].index, revision.redo[0].lead_in), (1, 1));
        assert!(revision.dropped.is_empty());

        let revision = revise(&[placed(1, 2, 0), placed(2, 2, 1)], &bad, 2);
        assert_eq!((revision.redo[0].index, revision.redo[0].lead_in), (1, 1));

        let revision = revise(&[placed(1, 2, 1), placed(2, 2, 1)], &bad, 3);
        assert_eq!(revision.dropped, [2]);
        assert_eq!(
            revision.redo[0].chunk.window,
            Window {
                start: Some(100),
                end: Some(300)
            }
        );
        assert_eq!(revision.redo[0].chunk.packets, 20);
    }

    #[test]
    fn stubborn_seams_cost_only_the_chunks_beside_them() {
        let layout: Vec<_> = (0..9).map(|index| placed(index, 3, 0)).collect();
        let bad: Vec<_> = [1, 2, 6].map(|place| (place, "x".to_owned())).into();
        let revision = revise(&layout, &bad, MOST_REVISIONS + 1);
        assert_eq!(revision.dropped, [2, 3, 7]);
        let redone = revision
            .redo
            .iter()
            .map(|redo| (redo.index, redo.chunk.window));
        let window = |start, end| Window {
            start: Some(start),
            end: Some(end),
        };
        assert_eq!(
            redone.collect::<Vec<_>>(),
            [(1, window(100, 400)), (6, window(600, 800))]
        );
    }

    /// One seam that never agrees, whatever is tried, among as many chunks as there may be.
    #[test]
    fn neighbours_become_one_before_attempts_run_out() {
        let mut layout = vec![placed(1, MOST_LEAD_INS, 0), placed(2, MOST_LEAD_INS, 0)];
        for number in 1..=MOST_REVISIONS {
            let revision = revise(&layout, &[(0, "x".to_owned())], number);
            if revision.dropped == [2] {
                return;
            }
            for redo in revision.redo {
                let at = usize::try_from(redo.index - 1).unwrap();
                layout[at].lead_in = redo.lead_in;
            }
        }
        panic!("they are still two: {layout:?}");
    }

    #[test]
    fn a_hopeless_source_ends_as_one_chunk() {
        let layout: Vec<_> = (0..5).map(|index| placed(index, 3, 0)).collect();
        let number = MOST_REVISIONS + MOST_UNIONS + 1;
        let revision = revise(&layout, &[(2, "x".to_owned())], number);
        assert_eq!(revision.dropped, [1, 2, 3, 4]);
        assert_eq!(
            revision.redo[0].chunk.window,
            Window {
                start: None,
                end: Some(500)
            }
        );
    }
}
