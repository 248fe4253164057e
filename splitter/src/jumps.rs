//! Where a source's timestamps jump, by the rules of ffmpeg. Pure.

use std::collections::VecDeque;

use reelmill_common::Timebase;
use reelmill_media::scan::Packet;

/// Packets over which a codec may reorder frames, and more: twice the 16 of H.264 and HEVC. A PTS
/// that is behind by more is no reordering.
pub(crate) const REORDER: usize = 32;

/// A step of decoding time that ffmpeg takes for a discontinuity (its `-dts_delta_threshold`), in
/// seconds. A shorter step forward is a gap, which stays.
const DISCONTINUITY: f64 = 10.0;

/// A step back of decoding time that ffmpeg takes for a discontinuity, in seconds: `AV_TIME_BASE / 10`
/// in its `ts_discontinuity_detect`. Less is jitter, which ffmpeg leaves alone as well.
const STEP_BACK: f64 = 0.1;

/// Whether ffmpeg mends timestamps that jump in a format: the demuxers among those that reelmill opens
/// which have `AVFMT_TS_DISCONT`.
fn is_mended(format: &str) -> bool {
    matches!(format, "mpegts" | "mpeg" | "m4v" | "ogg")
}

/// Watches timestamps in the file's order.
#[derive(Debug)]
pub(crate) struct Jumps {
    timebase: Timebase,
    is_mended: bool,
    first_dts: Option<i64>,
    /// The last decoding time, and the one expected after it.
    last_dts: Option<(i64, i64)>,
    /// The largest PTS so far, after each of the last packets.
    peaks: VecDeque<i64>,
    /// The first jump.
    found: Option<String>,
    /// How many ffmpeg mends.
    count: u64,
}

impl Jumps {
    /// `format` is the demuxer's name.
    pub(crate) fn new(timebase: Timebase, format: &str) -> Self {
        Self {
            timebase,
            is_mended: is_mended(format),
            first_dts: None,
            last_dts: None,
            peaks: VecDeque::new(),
            found: None,
            count: 0,
        }
    }

    /// Looks at the next packet.
    pub(crate) fn add(&mut self, packet: &Packet) {
        // ffmpeg does not look at packets without one either.
        if let Some(dts) = packet.dts {
            self.decoded(dts, packet);
        }
        let Some(pts) = packet.pts else { return };
        let peak = self.peaks.back().map_or(pts, |&peak| peak.max(pts));
        self.peaks.push_back(peak);
        if self.peaks.len() > REORDER {
            let settled = self.peaks.pop_front().unwrap_or(peak);
            if pts < settled && self.found.is_none() {
                let step = self.timebase.seconds(settled.saturating_sub(pts));
                self.found = Some(format!("timestamps step back by {step:.3} s"));
            }
        }
    }

    fn decoded(&mut self, dts: i64, packet: &Packet) {
        let first = *self.first_dts.get_or_insert(dts);
        let next = dts.saturating_add(packet.duration.unwrap_or(0));
        let Some((last, expected)) = self.last_dts.replace((dts, next)) else {
            return;
        };
        let seconds = |from: i64, to: i64| self.timebase.seconds(to.saturating_sub(from));
        let step = seconds(expected, dts);
        let is_back = seconds(last, dts) < -STEP_BACK;
        if !self.is_mended || !(is_back || step.abs() > DISCONTINUITY) {
            return;
        }
        self.count += 1;
        if self.found.is_none() {
            let at = seconds(first, expected);
            let what = match step < 0.0 {
                true => format!("step back by {:.3} s", -step),
                false => format!("jump ahead by {step:.3} s"),
            };
            self.found = Some(format!("timestamps {what} after {at:.3} s"));
        }
    }

    /// The first jump in words, where there is one.
    pub(crate) fn finish(self) -> Option<String> {
        let found = self.found?;
        Some(match self.count {
            0 => found,
            1 => format!("{found}, which ffmpeg mends"),
            count => format!("{found}, and {count} times in all, which ffmpeg mends"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 40 ms each at the decoding times given, two frames of reordering behind.
    fn jumps(format: &str, dts: impl IntoIterator<Item = i64>) -> Option<String> {
        let mut jumps = Jumps::new(Timebase::new(1, 1000).unwrap(), format);
        for dts in dts {
            jumps.add(&Packet {
                pts: Some(dts + 80),
                dts: Some(dts),
                duration: Some(40),
                size: 1,
                key: false,
                ..Packet::default()
            });
        }
        jumps.finish()
    }

    fn steady(from: i64, count: i64) -> impl Iterator<Item = i64> {
        (0..count).map(move |n| from + 40 * n)
    }

    #[test]
    fn a_step_back_shorter_than_reordering_is_seen() {
        for back in [180, 300, 500, 1000] {
            let joined: Vec<i64> = steady(0, 100).chain(steady(4000 - back, 100)).collect();
            let said = jumps("mpegts", joined.iter().copied()).unwrap();
            let step = format!("step back by {:.3} s after 4.000 s", back as f64 / 1000.0);
            assert!(said.contains(&step), "{said}");
            assert!(said.ends_with("which ffmpeg mends"), "{said}");
            // No other demuxer lets ffmpeg mend.
            assert_eq!(jumps("mov,mp4", joined), None);
        }
    }

    #[test]
    fn gaps_and_jitter_are_no_jumps() {
        let gap = steady(0, 100).chain(steady(4000 + 9900, 100));
        assert_eq!(jumps("mpeg", gap), None);
        let jitter = steady(0, 200).map(|dts| dts + (dts / 40 % 3) * 60);
        assert_eq!(jumps("mpegts", jitter), None);
    }

    #[test]
    fn jumps_are_counted() {
        let far = steady(0, 100)
            .chain(steady(30_000, 100))
            .chain(steady(0, 100));
        let said = jumps("mpegts", far).unwrap();
        assert_eq!(
            said,
            "timestamps jump ahead by 26.000 s after 4.000 s, and 2 times in all, which ffmpeg mends"
        );
    }

    #[test]
    fn a_frame_without_decoding_time_is_no_step_back() {
        let mut jumps = Jumps::new(Timebase::new(1, 1000).unwrap(), "mpeg");
        for (pts, dts) in [(120, Some(0)), (40, None), (80, None), (240, Some(120))] {
            jumps.add(&Packet {
                pts: Some(pts + 1000),
                dts,
                duration: Some(40),
                size: 1,
                key: false,
                ..Packet::default()
            });
        }
        assert_eq!(jumps.finish(), None);
    }
}
