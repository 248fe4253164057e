//! Compares what is heard of a track with what is heard of its source: loud where the source is
//! loud, silent where it is silent, each tone in its channel, and as long.

use std::f64::consts::PI;

/// Samples per second of every decoded track.
pub const RATE: usize = 48_000;
/// Samples of a bin of the envelope: 10 ms.
const BIN: usize = RATE / 100;
/// A bin that is louder than this, in dBFS, must be heard.
const LOUD_DB: f64 = -45.0;
/// A bin that is quieter than this, in dBFS, is silent.
const SILENT_DB: f64 = -70.0;
/// What may be heard where the source is silent, in dBFS: encoders hiss.
const HISS_DB: f64 = -45.0;
/// How much quieter or louder a bin may be: encoders smear attacks, mixes are turned down.
const LEVEL_DB: f64 = 12.0;
/// How many bins to either side a loud bin may be.
const NEAR: usize = 2;
/// How many silent bins on either side make a bin silent: codecs spread attacks over a frame.
const FAR: usize = 5;
/// Bins that may be wrong one after the other before a viewer notices.
const RUN: usize = 3;
/// Samples of a spectrum.
const SPECTRUM: usize = 4096;
/// Frequencies per band of a spectrum.
const BAND: usize = 3;

/// A decoded track on the clock of its picture: sample 0 is heard with the first frame.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// When the first sample is heard, in samples of [`RATE`].
    pub start: i64,
    /// The samples of each channel; holes are silent.
    pub channels: Vec<Vec<f32>>,
}

impl Heard {
    /// Places interleaved samples on the clock. Each block is its time in samples, and its length;
    /// small steps are the rounding of a container's clock, larger ones are holes or overlaps.
    #[must_use]
    pub fn place(interleaved: &[f32], channels: usize, blocks: &[(i64, usize)]) -> Self {
        const ROUNDING: i64 = RATE as i64 * 6 / 1000;
        let Some((start, _)) = blocks.first() else {
            return Self::default();
        };
        let mut out = vec![Vec::new(); channels];
        let mut used = 0;
        for (time, length) in blocks {
            let here = out.first().map_or(0, Vec::len);
            let wanted = time - start;
            let drift = wanted - i64::try_from(here).unwrap_or(i64::MAX);
            let at = if drift.abs() <= ROUNDING {
                here
            } else {
                usize::try_from(wanted).unwrap_or(0)
            };
            for (channel, out) in out.iter_mut().enumerate() {
                let samples = interleaved
                    .iter()
                    .skip(used * channels + channel)
                    .step_by(channels.max(1));
                out.resize(at, 0.0);
                out.extend(samples.take(*length));
            }
            used += length;
        }
        Self {
            start: *start,
            channels: out,
        }
    }

    /// When the last sample ends, in samples of [`RATE`].
    #[must_use]
    pub fn end(&self) -> i64 {
        let length = self.channels.first().map_or(0, Vec::len);
        self.start + i64::try_from(length).unwrap_or(i64::MAX)
    }

    /// The level of each bin from sample `from` to sample `to`, in dBFS, of the given channels
    /// together: the loudest counts.
    fn envelope(&self, channels: &[usize], from: i64, to: i64) -> Vec<f64> {
        let mut levels = Vec::new();
        let mut at = from;
        let step = i64::try_from(BIN).unwrap_or(1);
        while at < to {
            let level = channels
                .iter()
                .map(|channel| self.level_db(*channel, at, BIN))
                .fold(-120.0, f64::max);
            levels.push(level);
            at += step;
        }
        levels
    }

    /// The level of a part of a channel in dBFS, at least -120.
    fn level_db(&self, channel: usize, from: i64, length: usize) -> f64 {
        let samples = self.part(channel, from, length);
        let sum: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a number of samples")]
        let power = sum / length as f64;
        (10.0 * power.max(1e-12).log10()).max(-120.0)
    }

    /// Samples of a channel, as far as there are any.
    fn part(&self, channel: usize, from: i64, length: usize) -> &[f32] {
        let samples = self.channels.get(channel).map_or(&[][..], Vec::as_slice);
        let clamp = |at: i64| usize::try_from(at).unwrap_or(0).min(samples.len());
        let from = from - self.start;
        let to = from + i64::try_from(length).unwrap_or(0);
        &samples[clamp(from)..clamp(to)]
    }

    /// When sounds begin after at least 100 ms of silence, in samples of [`RATE`].
    #[must_use]
    pub fn beeps(&self) -> Vec<i64> {
        const STEP: usize = RATE / 1000;
        let step = i64::try_from(STEP).unwrap_or(1);
        let all: Vec<usize> = (0..self.channels.len()).collect();
        let level = |at: i64| {
            all.iter()
                .map(|channel| self.level_db(*channel, at, STEP))
                .fold(-120.0, f64::max)
        };
        let (mut silent_since, mut beeps) = (self.start - 5 * step * 100, Vec::new());
        let mut at = self.start;
        while at < self.end() {
            let now = level(at);
            // What codecs spread before an attack is quieter than the attack by far.
            if now > -24.0 && at - silent_since >= 100 * step {
                beeps.push(at);
            }
            if now > -40.0 {
                silent_since = at;
            }
            at += step;
        }
        beeps
    }
}

/// What is wrong with a track: one sentence each, with whether it is about channels.
#[must_use]
pub fn compare(source: &Heard, ours: &Heard, codec_frame: f64) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if ours.channels.is_empty() {
        if !source.channels.is_empty() {
            wrong.push(Wrong::Level("nothing is heard".to_owned()));
        }
        return wrong;
    }
    let off_ms = milliseconds(ours.end() - source.end());
    let tolerance_ms = codec_frame * 1000.0 + 1.0;
    if off_ms.abs() > tolerance_ms {
        wrong.push(Wrong::Length(format!(
            "it ends {off_ms:+.0} ms from the source's end"
        )));
    }
    let all = |heard: &Heard| (0..heard.channels.len()).collect::<Vec<_>>();
    let same = source.channels.len() == ours.channels.len();
    if same {
        for channel in 0..source.channels.len() {
            if let Some(text) = levels((source, &[channel]), (ours, &[channel]), LEVEL_DB) {
                wrong.push(Wrong::Level(format!("channel {channel} {text}")));
            }
        }
        wrong.extend(misplaced(source, ours).map(Wrong::Channels));
    } else {
        let (theirs, here) = (source.channels.len(), ours.channels.len());
        wrong.push(Wrong::Channels(format!("{here} channels for {theirs}")));
        let (theirs, here) = (all(source), all(ours));
        // Mixing turns down what could be too loud together.
        if let Some(text) = levels((source, &theirs), (ours, &here), 2.0 * LEVEL_DB) {
            wrong.push(Wrong::Level(text));
        }
    }
    wrong
}

/// Something wrong with a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is silent or loud at the wrong time.
    Level(String),
    /// It ends at the wrong time.
    Length(String),
    /// Its channels are others.
    Channels(String),
}

#[expect(clippy::cast_precision_loss, reason = "small numbers, for people")]
fn milliseconds(samples: i64) -> f64 {
    samples as f64 * 1000.0 / RATE as f64
}

/// Where one is silent and the other is not.
fn levels(
    (source, theirs): (&Heard, &[usize]),
    (ours, here): (&Heard, &[usize]),
    tolerance_db: f64,
) -> Option<String> {
    let from = source.start.min(ours.start);
    let to = source.end().max(ours.end());
    let truth = source.envelope(theirs, from, to);
    let got = ours.envelope(here, from, to);
    let around = |levels: &[f64], at: usize, reach: usize| {
        let range = at.saturating_sub(reach)..(at + reach + 1).min(levels.len());
        levels[range].iter().copied().fold(-120.0, f64::max)
    };
    let is_lost = |i: usize| truth[i] > LOUD_DB && around(&got, i, NEAR) < truth[i] - tolerance_db;
    let is_extra = |i: usize| got[i] > HISS_DB && around(&truth, i, FAR) < SILENT_DB;
    let worst = |test: &dyn Fn(usize) -> bool| {
        let (mut run, mut longest) = (0, (0, 0));
        for i in 0..truth.len() {
            run = if test(i) { run + 1 } else { 0 };
            longest = longest.max((run, i + 1 - run));
        }
        longest
    };
    let say = |(run, first): (usize, usize), what: &str| {
        let at = i64::try_from(first * BIN).unwrap_or(0) + from;
        let (at, length) = (milliseconds(at) / 1000.0, run * 10);
        (run >= RUN).then(|| format!("{what} from {at:.2} s for {length} ms"))
    };
    say(worst(&is_lost), "is silent where the source is loud,")
        .or_else(|| say(worst(&is_extra), "is loud where the source is silent,"))
}

/// A channel that sounds more like another channel of the source.
fn misplaced(source: &Heard, ours: &Heard) -> Option<String> {
    let count = source.channels.len();
    let step = i64::try_from(SPECTRUM * 4).unwrap_or(1);
    let mut at = source.start.max(ours.start);
    while count > 1 && at + step <= source.end().min(ours.end()) {
        let spectra = |heard: &Heard| -> Vec<Vec<f64>> {
            (0..count)
                .map(|channel| spectrum(heard.part(channel, at, SPECTRUM)))
                .collect()
        };
        let (theirs, here) = (spectra(source), spectra(ours));
        for channel in 0..count {
            if source.level_db(channel, at, SPECTRUM) < LOUD_DB {
                continue;
            }
            let own = likeness(&here[channel], &theirs[channel]);
            let other = (0..count).find(|other| {
                likeness(&theirs[*other], &theirs[channel]) < 0.5
                    && likeness(&here[channel], &theirs[*other]) > own
            });
            if let Some(other) = other {
                let at = milliseconds(at) / 1000.0;
                return Some(format!(
                    "at {at:.1} s channel {channel} sounds like the source's channel {other}"
                ));
            }
        }
        at += step;
    }
    None
}

/// The strength of each band of a part of a channel.
fn spectrum(samples: &[f32]) -> Vec<f64> {
    let mut values: Vec<(f64, f64)> = (0..SPECTRUM)
        .map(|i| {
            let sample = samples.get(i).copied().map_or(0.0, f64::from);
            #[expect(clippy::cast_precision_loss, reason = "less than 4096")]
            let phase = 2.0 * PI * i as f64 / SPECTRUM as f64;
            (sample * (0.5 - 0.5 * phase.cos()), 0.0)
        })
        .collect();
    transform(&mut values);
    values[..SPECTRUM / 2]
        .chunks(BAND)
        .map(|band| band.iter().map(|(re, im)| re.hypot(*im)).sum())
        .collect()
}

/// The fast Fourier transform of a power of two of values, in place.
fn transform(values: &mut [(f64, f64)]) {
    let n = values.len();
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            values.swap(i, j);
        }
    }
    let mut length = 2;
    while length <= n {
        #[expect(clippy::cast_precision_loss, reason = "at most 4096")]
        let angle = -2.0 * PI / length as f64;
        for start in (0..n).step_by(length) {
            for k in 0..length / 2 {
                #[expect(clippy::cast_precision_loss, reason = "at most 4096")]
                let (sin, cos) = (angle * k as f64).sin_cos();
                let (a, b) = (values[start + k], values[start + k + length / 2]);
                let turned = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                values[start + k] = (a.0 + turned.0, a.1 + turned.1);
                values[start + k + length / 2] = (a.0 - turned.0, a.1 - turned.1);
            }
        }
        length *= 2;
    }
}

/// The cosine of the angle between two spectra: 1 for the same sound.
fn likeness(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a tone that is heard where `when` says so.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "test tones"
    )]
    fn tone(hz: f64, seconds: usize, when: fn(f64) -> bool) -> Vec<f32> {
        (0..seconds * RATE)
            .map(|i| i as f64 / RATE as f64)
            .map(|t| {
                if when(t) {
                    (0.3 * (2.0 * PI * hz * t).sin()) as f32
                } else {
                    0.0
                }
            })
            .collect()
    }

    fn heard(channels: Vec<Vec<f32>>) -> Heard {
        Heard { start: 0, channels }
    }

    #[test]
    fn blocks_are_placed_by_their_times() {
        let samples: Vec<f32> = vec![1.0; 2000];
        let whole = Heard::place(&samples, 1, &[(100, 1000), (1110, 1000)]);
        assert_eq!((whole.start, whole.end()), (100, 2100));
        let hole = Heard::place(&samples, 1, &[(0, 1000), (5000, 1000)]);
        assert_eq!(hole.end(), 6000);
        assert_eq!(hole.level_db(0, 2000, 1000), -120.0);
    }

    #[test]
    fn the_same_sound_passes() {
        let source = heard(vec![tone(300.0, 3, |t| t < 1.0), tone(600.0, 3, |_| true)]);
        assert_eq!(compare(&source, &source, 0.021), []);
    }

    #[test]
    fn silence_and_noise_at_the_wrong_time_are_found() {
        let source = heard(vec![tone(300.0, 3, |t| !(1.0..2.0).contains(&t))]);
        let filled = heard(vec![tone(300.0, 3, |_| true)]);
        let silent = heard(vec![tone(300.0, 3, |t| t < 1.0)]);
        let late = heard(vec![tone(300.0, 3, |t| !(1.1..2.1).contains(&t))]);
        let of = |ours: &Heard| format!("{:?}", compare(&source, ours, 0.021));
        assert!(of(&filled).contains("is loud where"), "{}", of(&filled));
        assert!(of(&silent).contains("is silent where"), "{}", of(&silent));
        assert!(of(&late).contains("from 2.0"), "{}", of(&late));
    }

    #[test]
    fn a_short_track_and_a_swapped_channel_are_found() {
        let (low, high) = (tone(300.0, 3, |_| true), tone(600.0, 3, |_| true));
        let source = heard(vec![low.clone(), high.clone()]);
        let swapped = compare(&source, &heard(vec![high.clone(), low.clone()]), 0.021);
        assert!(
            matches!(swapped.as_slice(), [Wrong::Channels(_)]),
            "{swapped:?}"
        );
        let cut = low.len() - RATE / 20;
        let short = heard(vec![low[..cut].to_vec(), high[..cut].to_vec()]);
        let found = compare(&source, &short, 0.021);
        assert!(matches!(found.first(), Some(Wrong::Length(_))), "{found:?}");
        let mixed = compare(&source, &heard(vec![low]), 0.021);
        assert!(
            matches!(mixed.as_slice(), [Wrong::Channels(_)]),
            "{mixed:?}"
        );
    }

    #[test]
    fn beeps_are_found_where_they_begin() {
        let track = heard(vec![tone(1000.0, 3, |t| t > 0.5 && t.fract() < 0.1)]);
        let at: Vec<f64> = track.beeps().iter().map(|at| milliseconds(*at)).collect();
        assert_eq!(at.len(), 2, "{at:?}");
        assert!(
            (at[0] - 1000.0).abs() < 3.0 && (at[1] - 2000.0).abs() < 3.0,
            "{at:?}"
        );
    }
}
