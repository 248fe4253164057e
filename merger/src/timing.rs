//! When each track begins on the delivered timelines. Pure.

use reelmill_common::Timebase;

/// A track as it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    /// The first frame or sample on the source's timeline.
    pub(crate) first: i64,
    /// The unit of `first`.
    pub(crate) timebase: Timebase,
    /// Microseconds of encoder delay that precede the first sample in its file; 0 for video.
    pub(crate) priming_us: i64,
}

/// When a track begins, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// In a progressive file, where edit lists hide the encoder's delay: the earliest track
    /// begins at 0, the others are as far behind it as in the source.
    pub(crate) progressive_us: i64,
    /// In fragments, which have no edit lists: late enough that no delay reaches before 0.
    pub(crate) fragments_us: i64,
}

/// Places tracks relative to one another as they are in the source.
pub(crate) fn starts(tracks: &[Measured]) -> Vec<Start> {
    let us: Vec<i64> = tracks
        .iter()
        .map(|t| t.timebase.rescale_nearest(t.first, Timebase::MICROS))
        .collect();
    let earliest = us.iter().copied().min().unwrap_or_default();
    let progressive: Vec<i64> = us.iter().map(|at| at - earliest).collect();
    let early = progressive
        .iter()
        .zip(tracks)
        .map(|(at, track)| track.priming_us - at);
    let room = early.max().unwrap_or_default().max(0);
    progressive
        .into_iter()
        .map(|at| Start {
            progressive_us: at,
            fragments_us: at + room,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(first_ms: i64, priming_us: i64) -> Measured {
        Measured {
            first: first_ms,
            timebase: Timebase::new(1, 1000).unwrap(),
            priming_us,
        }
    }

    #[test]
    fn tracks_keep_their_distance() {
        let placed = starts(&[track(1480, 0), track(1400, 21_333)]);
        assert_eq!(
            placed[1],
            Start {
                progressive_us: 0,
                fragments_us: 21_333
            }
        );
        assert_eq!(
            placed[0],
            Start {
                progressive_us: 80_000,
                fragments_us: 101_333
            }
        );
    }

    #[test]
    fn a_late_track_needs_no_room_for_its_delay() {
        let placed = starts(&[track(0, 0), track(3000, 21_333)]);
        assert_eq!(
            placed[0],
            Start {
                progressive_us: 0,
                fragments_us: 0
            }
        );
        assert_eq!(placed[1].fragments_us, 3_000_000);
    }
}
