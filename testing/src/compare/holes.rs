//! Sound with holes and overlaps: what is delivered has silence in the holes, and every sample of the
//! source at its own time.

use std::path::Path;

use anyhow::{Context, Result};

use crate::ffmpeg::Ffmpeg;
use crate::oracle::input;
use crate::sound::{Run, Track, plain_flac};

/// By how much a sample may be out of its place: Matroska rounds times to milliseconds.
const TOLERANCE_MS: i64 = 1;

/// What came of holding a delivered track against the runs of sound in its source.
pub(super) struct Filled {
    /// Samples of silence where the source has no sound.
    pub(super) silent: i64,
    /// For each run by how many nanoseconds it is later than in the source.
    pub(super) moved: Vec<i64>,
}

/// Looks for every run of a source's sound at its place in the delivered track, and for silence between
/// them. `None` where they are not there. The times of both count from the same moment.
pub(super) fn filled(
    ffmpeg: &Ffmpeg,
    source: &Path,
    theirs: &Track,
    output: &Path,
    ours: &Track,
) -> Result<Option<Filled>> {
    if (ours.rate, ours.channels) != (theirs.rate, theirs.channels) {
        return Ok(None);
    }
    let work = tempfile::tempdir()?;
    let encoded = plain_flac(ffmpeg, source, theirs.number, work.path())?;
    let truth = samples(ffmpeg, &encoded, 0, work.path())?;
    let delivered = samples(ffmpeg, output, ours.number, work.path())?;
    let bytes = usize::try_from(theirs.channels.max(1) * 4)?;
    let start = ours.times.start_ns().unwrap_or(0);
    let runs = theirs.times.runs(theirs.rate, theirs.samples);
    Ok(place(
        &runs,
        &truth,
        &delivered,
        (bytes, theirs.rate),
        start,
    ))
}

/// All samples of a track, as 32-bit integers.
fn samples(ffmpeg: &Ffmpeg, file: &Path, number: usize, work: &Path) -> Result<Vec<u8>> {
    let raw = work.join("raw");
    input(ffmpeg.command(), file)
        .args(["-map", &format!("0:a:{number}")])
        .words("-c:a pcm_s32le -f s32le")
        .arg(&raw)
        .run()?;
    let samples = std::fs::read(&raw).context("no samples")?;
    std::fs::remove_file(&raw)?;
    Ok(samples)
}

fn place(
    runs: &[Run],
    truth: &[u8],
    delivered: &[u8],
    (bytes, rate): (usize, i64),
    start_ns: i64,
) -> Option<Filled> {
    let mut filled = Filled {
        silent: 0,
        moved: Vec::new(),
    };
    let reach = rate * TOLERANCE_MS / 1000;
    let little = usize::try_from(reach).ok()?;
    let mut nearest: Vec<i64> = (-reach..=reach).collect();
    nearest.sort_by_key(|by| by.abs());
    let mut end = 0_usize;
    for run in runs {
        let due = ((run.ns - start_ns) * rate + 500_000_000).div_euclid(1_000_000_000);
        // What overlaps the sound before it is left out.
        let cut = usize::try_from(i64::try_from(end).ok()? - due).unwrap_or(0);
        let cut = if cut <= little { 0 } else { cut };
        let length = usize::try_from(run.samples).ok()?.saturating_sub(cut);
        let first = usize::try_from(run.first).ok()? + cut;
        let wanted = truth.get(first * bytes..(first + length) * bytes)?;
        let by = nearest.iter().copied().find(|by| {
            let at = due + by + i64::try_from(cut).unwrap_or(0);
            let Ok(at) = usize::try_from(at) else {
                return false;
            };
            at >= end && delivered.get(at * bytes..(at + length) * bytes) == Some(wanted)
        })?;
        let at = usize::try_from(due + by).ok()? + cut;
        let between = delivered.get(end * bytes..at * bytes)?;
        if between.iter().any(|byte| *byte != 0) {
            return None;
        }
        filled.silent += i64::try_from(at - end).ok()?;
        filled.moved.push(by * 1_000_000_000 / rate.max(1));
        end = at + length;
    }
    // A silent run is found at the first place that is silent, though it belongs a little later.
    let rest = delivered.get(end * bytes..)?;
    (rest.len() <= little * bytes && rest.iter().all(|byte| *byte == 0)).then_some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: i64, samples: i64, ms: i64) -> Run {
        Run {
            first,
            samples,
            ns: ms * 1_000_000,
        }
    }

    /// One byte a sample, a thousand samples a second.
    fn placed(runs: &[Run], truth: &[u8], delivered: &[u8]) -> Option<(i64, Vec<i64>)> {
        place(runs, truth, delivered, (1, 1000), 0).map(|filled| (filled.silent, filled.moved))
    }

    #[test]
    fn silence_in_a_hole_is_right_and_anything_else_is_not() {
        let runs = [run(0, 3, 0), run(3, 3, 5)];
        let truth = [1, 2, 3, 4, 5, 6];
        assert_eq!(
            placed(&runs, &truth, &[1, 2, 3, 0, 0, 4, 5, 6]),
            Some((2, vec![0, 0]))
        );
        for wrong in [
            &[1, 2, 3, 4, 5, 6][..],
            &[1, 2, 3, 0, 9, 4, 5, 6],
            &[1, 2, 3, 0, 0, 4, 5],
            &[1, 2, 3, 0, 0, 4, 5, 6, 9],
            &[1, 2, 3, 0, 0, 4, 5, 6, 0, 0],
            &[1, 2, 3, 0, 0, 0, 0, 4, 5, 6],
        ] {
            assert_eq!(placed(&runs, &truth, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_overlap_is_left_out() {
        let runs = [run(0, 6, 0), run(6, 6, 3)];
        let truth = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
        assert_eq!(
            placed(&runs, &truth, &[1, 2, 3, 4, 5, 6, 14, 15, 16]),
            Some((0, vec![0, 0]))
        );
        assert_eq!(placed(&runs, &truth, &truth), None);
    }
}
