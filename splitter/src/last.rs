//! How long a source's last frame is shown. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use reelmill_common::Timebase;
use reelmill_media::scan::Packet;

use crate::jumps::REORDER;

/// The longest that a last frame is shown, in seconds. A longer time is taken for damage.
const LONGEST: f64 = 3600.0;

/// Whether a container says of each packet how long it lasts. Of others ffprobe works that out from
/// frame rates, which are wrong where frames are not equally long.
fn says_durations(format: &str) -> bool {
    const SAYING: [&str; 6] = ["mov", "gif", "matroska", "avi", "mxf", "asf"];
    format.split(',').any(|name| SAYING.contains(&name))
}

/// Looks at packets in the file's order for when the last frame ends, and for frames of one time.
#[derive(Debug)]
pub(crate) struct Last {
    timebase: Timebase,
    says_durations: bool,
    /// PTS and duration of the last packets.
    recent: VecDeque<(i64, Option<i64>)>,
    /// Whether several packets are presented at one time.
    repeats: bool,
}

impl Last {
    /// `format` is the demuxer's name.
    pub(crate) fn new(timebase: Timebase, format: &str) -> Self {
        Self {
            timebase,
            says_durations: says_durations(format),
            recent: VecDeque::new(),
            repeats: false,
        }
    }

    /// Takes in the next presented packet.
    pub(crate) fn add(&mut self, pts: i64, packet: &Packet) {
        self.repeats |= self.recent.iter().any(|&(other, _)| other == pts);
        if self.recent.len() == REORDER {
            self.recent.pop_front();
        }
        self.recent.push_back((pts, packet.duration));
    }

    /// What the packets say.
    pub(crate) fn finish(self) -> Option<LastFrame> {
        let mut recent = Vec::from(self.recent);
        recent.sort_by_key(|&(pts, _)| pts);
        let &(pts, duration) = recent.last()?;
        let mut steps: Vec<i64> = recent
            .iter()
            .zip(recent.iter().skip(1))
            .map(|((before, _), (pts, _))| pts - before)
            .filter(|&step| step > 0)
            .collect();
        steps.sort_unstable();
        let usual = steps.get(steps.len() / 2).copied();
        let ends = recent
            .iter()
            .map(|(pts, duration)| pts + duration.unwrap_or(0));
        let said = ends.max().map(|end| end - pts).filter(|&ticks| ticks > 0);
        Some(LastFrame {
            pts,
            ticks: match self.says_durations {
                true => said.or(usual),
                false => usual.or(duration),
            },
            usual,
            repeats: self.repeats,
            timebase: self.timebase,
        })
    }
}

/// The last frame of a source by its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastFrame {
    pts: i64,
    /// How long it is shown, in ticks.
    ticks: Option<i64>,
    /// How long a frame is usually shown, in ticks.
    usual: Option<i64>,
    /// Whether several frames of the source have one time.
    pub(crate) repeats: bool,
    timebase: Timebase,
}

impl LastFrame {
    /// How many ticks the last frame is shown, if that can be told, and a note where that is not
    /// what the source says. `track_ends` is when the header says that the track ends, on the
    /// source's timeline.
    pub(crate) fn ticks(self, track_ends: Option<Duration>) -> (Option<i64>, Option<String>) {
        let said = self.ticks.unwrap_or(0);
        let longer = track_ends.and_then(|end| {
            let end = i64::try_from(end.as_micros()).ok()?;
            let ticks = Timebase::MICROS.rescale_nearest(end, self.timebase) - self.pts;
            // Headers round, and each muxer in its own way.
            (ticks > said.saturating_mul(2)).then_some(ticks)
        });
        let ticks = longer.or(self.ticks);
        let seconds = ticks.map_or(0.0, |ticks| self.timebase.seconds(ticks));
        if seconds <= LONGEST {
            return (ticks, None);
        }
        let note = format!(
            "the last frame is shown as long as the others, not for the {seconds:.0} s that the \
             source says: more than {LONGEST:.0} s is taken for damage"
        );
        (self.usual, Some(note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(format: &str, packets: &[(i64, Option<i64>)]) -> LastFrame {
        let mut last = Last::new(Timebase::new(1, 1000).unwrap(), format);
        for &(pts, duration) in packets {
            last.add(
                pts,
                &Packet {
                    pts: Some(pts),
                    dts: None,
                    duration,
                    size: 1,
                    key: true,
                    ..Packet::default()
                },
            );
        }
        last.finish().unwrap()
    }

    #[test]
    fn what_the_container_says_counts() {
        let slides = [(0, Some(4000)), (8000, Some(8000)), (4000, Some(4000))];
        assert_eq!(last("mov,mp4", &slides).ticks(None), (Some(8000), None));
        // Two fields of one frame end together.
        let fields = [(0, Some(40)), (40, Some(40)), (60, Some(20))];
        assert_eq!(last("mov,mp4", &fields).ticks(None), (Some(20), None));
        assert_eq!(
            last("gif", &[(0, Some(3000))]).ticks(None),
            (Some(3000), None)
        );
    }

    #[test]
    fn a_guess_gives_way_to_what_is_usual() {
        let fields = [(0, Some(20)), (40, Some(20)), (80, Some(20))];
        assert_eq!(last("mpegts", &fields).ticks(None), (Some(40), None));
        assert_eq!(
            last("mpegts", &[(0, Some(20))]).ticks(None),
            (Some(20), None)
        );
        assert_eq!(
            last("avi", &[(0, None), (40, None)]).ticks(None),
            (Some(40), None)
        );
        assert_eq!(last("avi", &[(0, None)]).ticks(None), (None, None));
    }

    #[test]
    fn a_track_may_last_longer_than_its_packets_say() {
        let slides = last(
            "matroska,webm",
            &[(0, Some(33)), (4000, Some(33)), (8000, Some(33))],
        );
        let (ticks, note) = slides.ticks(Some(Duration::from_secs(16)));
        assert_eq!((ticks, note), (Some(8000), None));
        // A header that rounds, or belongs to a longer film.
        let steady = last("matroska,webm", &[(0, Some(40)), (40, Some(40))]);
        let (ticks, _) = steady.ticks(Some(Duration::from_millis(81)));
        assert_eq!(ticks, Some(40));
    }

    #[test]
    fn years_are_taken_for_damage() {
        let years = last("mov,mp4", &[(0, Some(40)), (40, Some(315_000_000_000))]);
        let (ticks, note) = years.ticks(None);
        assert_eq!(ticks, Some(40));
        assert!(note.unwrap().contains("for the 315000000 s"));
    }
}
