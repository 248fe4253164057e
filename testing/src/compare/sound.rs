//! Audio tracks: samples, tags and their times against the picture's.

use std::path::Path;

use anyhow::Result;

use super::{Mark, Verdict, holes};
use crate::ffmpeg::Ffmpeg;
use crate::oracle::{Picture, Plain, streams};
use crate::sound::Track;

/// How far any sample may move against the picture.
const SYNC_TOLERANCE_NS: i64 = 1_000_000;

/// Compares every audio track: samples, tags, and its times against the picture's.
pub(super) fn compare(
    ffmpeg: &Ffmpeg,
    (source, plain): (&Path, &Plain),
    output: &Path,
    ours: Option<&Picture>,
    verdict: &mut Verdict,
) -> Result<()> {
    let delivered = streams(ffmpeg, output, "a")?.len();
    if delivered != plain.sound.len() {
        let text = format!("{delivered} audio tracks, plain {}", plain.sound.len());
        verdict.differs(|v| &mut v.audio, text);
    } else if delivered > 0 {
        verdict.audio = Mark::Exact;
    }
    let like = ours.and_then(|ours| plain.like(ours));
    let late_by = like.map_or(0, |(picture, _)| plain.late_by_ns(picture));
    let mut origin = ours
        .and_then(Picture::start_ns)
        .map(|start| start - late_by);
    for (k, theirs) in plain.sound.iter().take(delivered).enumerate() {
        let mut track = Track::of_output(ffmpeg, output, k)?;
        let begins = track.times.start_ns().unwrap_or(0);
        let start = *origin.get_or_insert(begins);
        track.times.shift(-start);
        let mut same_samples = (track.samples, &track.hash) == (theirs.samples, &theirs.hash);
        let mut moved = track.times.moved_from(&theirs.times, track.rate);
        let mut is_moved = moved.iter().any(|by_ns| by_ns.abs() > SYNC_TOLERANCE_NS);
        let in_mp4 = match same_samples && !is_moved {
            true => None,
            false => Track::in_plain_mp4(ffmpeg, source, theirs.number, begins)?,
        };
        if let Some(heard) = &in_mp4
            && !same_samples
        {
            same_samples = (heard.samples, &heard.hash) == (track.samples, &track.hash);
            if same_samples {
                let lost = theirs.samples - track.samples;
                verdict.notes.push(format!(
                    "audio {k}: ffmpeg drops {lost} samples when it reads its own MP4 as well"
                ));
            }
        }
        let filled = match same_samples {
            true => None,
            false => holes::filled(ffmpeg, source, theirs, output, &track)?,
        };
        if let Some(filled) = filled {
            let silent = filled.silent;
            verdict.notes.push(format!(
                "audio {k}: {silent} samples of silence where the source has none"
            ));
            (moved, is_moved, same_samples) = (filled.moved, false, true);
        }
        compare_track((theirs, &track), same_samples, plain, verdict);
        if let Some(heard) = in_mp4
            && is_moved
            && moved
                .first()
                .is_some_and(|by_ns| by_ns.abs() <= SYNC_TOLERANCE_NS)
        {
            let mut times = heard.times;
            times.shift(-times.start_ns().unwrap_or(0) + track.times.start_ns().unwrap_or(0));
            let from_plain = track.times.moved_from(&times, track.rate);
            if from_plain
                .iter()
                .all(|by_ns| by_ns.abs() <= SYNC_TOLERANCE_NS)
            {
                // Some decoders give blocks times to and fro, which no encoder follows.
                verdict.notes.push(format!(
                    "audio {k}: the source's blocks go to and fro, in plain ffmpeg's own MP4 as little as here"
                ));
                moved = from_plain;
            }
        }
        judge_times(k, &moved, track.rate, verdict);
    }
    if plain.is_mended() {
        verdict
            .notes
            .push("plain ffmpeg mends the source's clock".to_owned());
    }
    Ok(())
}

/// Compares samples and tags of a track.
fn compare_track(
    (theirs, ours): (&Track, &Track),
    same_samples: bool,
    plain: &Plain,
    verdict: &mut Verdict,
) {
    let k = ours.number;
    let mut differs = |text| verdict.differs(|v| &mut v.audio, format!("audio {k}: {text}"));
    if !same_samples {
        differs(match ours.samples == theirs.samples {
            true => "other samples".to_owned(),
            false => format!("{} samples, plain {}", ours.samples, theirs.samples),
        });
    }
    if (ours.rate, ours.channels) != (theirs.rate, theirs.channels) {
        let (rate, channels) = (theirs.rate, theirs.channels);
        differs(format!(
            "{} Hz {} ch, plain {rate} Hz {channels} ch",
            ours.rate, ours.channels
        ));
    }
    // An MP4 holds languages of three letters only.
    let language = |track: &Track| {
        let tag = track.language.clone().unwrap_or_default();
        let fits = tag.len() == 3 && tag.chars().all(|c| c.is_ascii_lowercase()) && tag != "und";
        fits.then_some(tag)
    };
    if language(ours) != language(theirs) {
        differs(format!(
            "language {:?}, source {:?}",
            ours.language, theirs.language
        ));
    }
    // Where a source prefers no track, players and MP4 writers take the first.
    let any = plain.sound.iter().any(|track| track.default);
    let default = if any { theirs.default } else { k == 0 };
    if ours.default != default {
        differs(format!("default is {}, source {default}", ours.default));
    }
}

/// Judges by how many nanoseconds the blocks of a track have moved against the picture.
fn judge_times(k: usize, moved: &[i64], rate: i64, verdict: &mut Verdict) {
    let ends = [("start", moved.first()), ("end", moved.last())];
    let worst = ("middle", moved.iter().max_by_key(|by_ns| by_ns.abs()));
    for (which, by_ns) in ends.into_iter().chain([worst]) {
        let by_ns = by_ns.copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "printed with three digits")]
        let text = format!("audio {k}: {which} moved by {:.3} ms", by_ns as f64 / 1e6);
        if by_ns.abs() > SYNC_TOLERANCE_NS {
            return verdict.differs(|v| &mut v.audio, text);
        }
        if by_ns.abs() * rate.max(1) > 1_000_000_000 {
            // More than a sample.
            return verdict.notes.push(text);
        }
    }
}
