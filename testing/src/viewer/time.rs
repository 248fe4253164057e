//! Compares when frames are shown, and packets with their track.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::ffmpeg::Ffmpeg;
use crate::oracle::input;
use crate::run::Command;

/// How far a frame's time may be from the source's: a tick of a container that counts milliseconds.
const TOLERANCE_NS: i64 = 1_100_000;
/// How far sound may be from picture beyond the source's distance, in milliseconds.
const SYNC_MS: f64 = 20.0;
/// The same for the first event: one AAC frame.
const SYNC_START_MS: f64 = 22.0;
/// The rise of the mean luma that is a flash.
const FLASH: f64 = 60.0;

/// For each delivered frame the number of the source frame of its time; never decreasing.
#[must_use]
pub fn partners(source: &[Option<i64>], ours: &[Option<i64>]) -> Vec<usize> {
    let timed = source.iter().chain(ours).all(Option::is_some);
    if compare(source, ours).is_empty() || !timed {
        // Two frames of one time belong to two frames, and those without a time to their number.
        let last = source.len().saturating_sub(1);
        return (0..ours.len()).map(|number| number.min(last)).collect();
    }
    let mut at = 0;
    ours.iter()
        .flatten()
        .map(|time| {
            let off = |i: usize| source.get(i).copied().flatten().map(|t| (t - time).abs());
            while off(at + 1).is_some_and(|next| Some(next) <= off(at)) {
                at += 1;
            }
            at
        })
        .collect()
}

/// What is wrong with the frames' times: one sentence each.
#[must_use]
pub fn compare(source: &[Option<i64>], ours: &[Option<i64>]) -> Vec<String> {
    let mut wrong = Vec::new();
    if source.len() != ours.len() {
        wrong.push(format!("{} frames for {}", ours.len(), source.len()));
    }
    let off: Vec<(usize, i64)> = source
        .iter()
        .zip(ours)
        .enumerate()
        .filter_map(|(i, (theirs, ours))| Some((i, (*ours)? - (*theirs)?)))
        .filter(|(_, off)| off.abs() > TOLERANCE_NS)
        .collect();
    if let (Some((first, by)), true) = (off.first(), source.len() == ours.len()) {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let by_ms = *by as f64 / 1e6;
        wrong.push(format!(
            "{} frames at other times, the first is frame {first}, {by_ms:+.1} ms",
            off.len()
        ));
    }
    wrong
}

/// The packets of a track as the container times them.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// Seconds per tick.
    pub tick: f64,
    /// PTS and duration of each, in ticks, in order of PTS.
    pub packets: Vec<(i64, i64)>,
    /// The duration of the last one in ticks, where the container states it.
    pub last: Option<i64>,
    /// The track's duration in ticks, where it is stated.
    pub stated: Option<i64>,
}

impl Packets {
    /// Reads a stream's packets.
    ///
    /// # Errors
    /// When ffprobe cannot be run.
    pub fn of(ffmpeg: &Ffmpeg, file: &Path, stream: usize) -> Result<Self> {
        Self::read(ffmpeg.probe(), file, stream)
    }

    /// Reads the packets of a stream of an MP4 without its edit list. Where a track begins later than
    /// its file, ffmpeg takes as much off the duration of its last packet, which the file itself and
    /// players do not.
    ///
    /// # Errors
    /// When ffprobe cannot be run.
    pub fn of_media(ffmpeg: &Ffmpeg, file: &Path, stream: usize) -> Result<Self> {
        let command = ffmpeg.probe().words("-ignore_editlist 1");
        Self::read(command, file, stream)
    }

    fn read(command: Command, file: &Path, stream: usize) -> Result<Self> {
        let command = command
            .args(["-select_streams", &stream.to_string()])
            .words("-show_entries stream=time_base,duration_ts:packet=pts,duration");
        let answer: Value =
            serde_json::from_slice(&input(command, file).run()?.stdout).unwrap_or_default();
        let probed = &answer["streams"][0];
        let tick = probed["time_base"]
            .as_str()
            .and_then(|text| text.split_once('/'))
            .and_then(|(a, b)| Some(a.parse::<f64>().ok()? / b.parse::<f64>().ok()?));
        let mut listed: Vec<(i64, Option<i64>)> = answer["packets"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|p| Some((p["pts"].as_i64()?, p["duration"].as_i64())))
            .collect();
        listed.sort_unstable();
        // ffprobe gives the first packet of a fragmented file no duration.
        let last = listed.last().and_then(|(_, lasts)| *lasts);
        let next = listed
            .iter()
            .skip(1)
            .map(|(pts, _)| Some(*pts))
            .chain([None]);
        let packets = listed
            .iter()
            .zip(next)
            .map(|((pts, lasts), next)| (*pts, lasts.or(next.map(|next| next - pts)).unwrap_or(0)))
            .collect();
        Ok(Self {
            tick: tick.unwrap_or(0.0),
            packets,
            last: last.filter(|lasts| *lasts > 0),
            stated: probed["duration_ts"].as_i64(),
        })
    }

    /// How long the last packet lasts, in seconds; `None` where the container does not say.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people and tolerances")]
    pub fn last_s(&self) -> Option<f64> {
        Some(self.last? as f64 * self.tick)
    }

    /// What is wrong with a delivered track's packets.
    #[must_use]
    pub fn judge(&self, samples_per_packet: Option<i64>) -> Vec<String> {
        let mut wrong = Vec::new();
        let sum: i64 = self.packets.iter().map(|(_, duration)| duration).sum();
        // The edit list hides the encoder's first packets, and what fills the last one.
        let hidden = self.packets.first().map_or(0, |(pts, _)| (-pts).max(0));
        let filling = samples_per_packet.unwrap_or(1);
        if let Some(stated) = self.stated
            && (stated + hidden - sum).abs() > filling
            && (stated - sum).abs() > filling
        {
            wrong.push(format!(
                "its packets last {sum} ticks and the track {stated}"
            ));
        }
        for pair in self.packets.windows(2) {
            if let [(a, lasts), (b, _)] = pair
                && a + lasts != *b
            {
                wrong.push(format!(
                    "the packet at {a} lasts {lasts} ticks and the next one begins at {b}"
                ));
                break;
            }
        }
        if let Some(right) = samples_per_packet {
            let whole = self.packets.len().saturating_sub(1);
            let odd = self.packets.iter().enumerate().find(|(i, (_, lasts))| {
                // The last one may end with the sound.
                *lasts > right || (*lasts < right && *i < whole)
            });
            if let Some((_, (pts, duration))) = odd {
                wrong.push(format!(
                    "the packet at {pts} lasts {duration} samples, {right} expected"
                ));
            }
        }
        wrong
    }
}

/// The numbers of the frames in which a flash begins.
#[must_use]
pub fn flashes(luma: &[f64]) -> Vec<usize> {
    let rises = luma.windows(2).enumerate();
    rises
        .filter(|(_, pair)| pair[1] - pair[0] > FLASH)
        .map(|(i, _)| i + 1)
        .collect()
}

/// Compares the distance from flash to beep with the source's, where both have as many of each.
/// All times are in milliseconds; each is flashes, then beeps.
#[must_use]
pub fn sync(source: (&[f64], &[f64]), ours: (&[f64], &[f64])) -> Option<Vec<String>> {
    let events = source.0.len();
    if events < 2 || source.1.len() != events {
        return None;
    }
    if ours.0.len() != events || ours.1.len() != events {
        let (flashes, beeps) = (ours.0.len(), ours.1.len());
        return Some(vec![format!(
            "{flashes} flashes and {beeps} beeps for {events} of each"
        )]);
    }
    let mut wrong = Vec::new();
    for i in 0..events {
        let off = (ours.1[i] - ours.0[i]) - (source.1[i] - source.0[i]);
        let tolerance = if i == 0 { SYNC_START_MS } else { SYNC_MS };
        if off.abs() > tolerance {
            wrong.push(format!(
                "sound is {off:+.0} ms off the picture at {:.2} s",
                ours.0[i] / 1000.0
            ));
        }
    }
    Some(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_belong_together_by_their_times() {
        let source: Vec<_> = (0..5).map(|i| Some(i * 40_000_000)).collect();
        assert_eq!(partners(&source, &source), [0, 1, 2, 3, 4]);
        let lost = [source[0], source[1], source[3], source[4]];
        assert_eq!(partners(&source, &lost), [0, 1, 3, 4]);
        assert_eq!(compare(&source, &lost), ["4 frames for 5"]);
        let same_time = [
            Some(0),
            Some(40_000_000),
            Some(40_000_000),
            Some(80_000_000),
        ];
        let moved = [
            Some(0),
            Some(40_000_000),
            Some(40_100_000),
            Some(80_000_000),
        ];
        assert_eq!(partners(&same_time, &moved), [0, 1, 2, 3]);
        assert_eq!(compare(&same_time, &moved), [""; 0]);
    }

    #[test]
    fn a_late_frame_is_found() {
        let source = [Some(0), Some(40_000_000), Some(80_000_000)];
        let ours = [Some(0), Some(40_000_000), Some(90_000_000)];
        assert_eq!(
            compare(&source, &ours),
            ["1 frames at other times, the first is frame 2, +10.0 ms"]
        );
    }

    #[test]
    fn packets_must_fill_their_track() {
        let track = |packets: &[(i64, i64)], stated| Packets {
            tick: 1.0 / 48_000.0,
            packets: packets.to_vec(),
            last: None,
            stated: Some(stated),
        };
        let right = track(&[(-1024, 1024), (0, 1024), (1024, 1024)], 2048);
        assert_eq!(right.judge(Some(1024)), [""; 0]);
        let hole = track(&[(0, 1024), (1024, 193_000)], 194_024);
        assert_eq!(hole.judge(Some(1024)).len(), 1);
        assert_eq!(track(&[(0, 1024), (2048, 1024)], 3072).judge(None).len(), 2);
    }

    #[test]
    fn sound_that_drifts_is_found() {
        assert_eq!(flashes(&[10.0, 10.0, 200.0, 12.0, 199.0]), [2, 4]);
        let source = ([1000.0, 5000.0], [1000.0, 5000.0]);
        let of =
            |flashes: [f64; 2], beeps: [f64; 2]| sync((&source.0, &source.1), (&flashes, &beeps));
        assert_eq!(of([1000.0, 5000.0], [1021.0, 5019.0]), Some(vec![]));
        assert_eq!(of([1000.0, 5000.0], [1000.0, 5030.0]).unwrap().len(), 1);
        assert_eq!(sync((&[1.0], &[1.0]), (&[1.0], &[1.0])), None);
    }
}
