//! Reads what a finished MP4 says about its tracks, whether fragmented or progressive.

use std::fs::File;
use std::path::Path;

use mp4_atom::{Ctts, Stsz, StszSamples, Stts};

use super::boxes::{atom, child, name, required};
use super::error::{Fault, Mp4Error};
use super::movie::{self, MovieTrack, TrackKind};
use super::read::{FragmentTrack, Sample, Scan, sample_count};

/// A track of a finished MP4, as a player would present it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The track's id.
    pub id: u32,
    /// What it carries.
    pub kind: TrackKind,
    /// The RFC 6381 string, or for codecs that reelmill does not make the sample entry's
    /// four-character code.
    pub codec: String,
    /// Coded width in pixels; 0 unless video.
    pub width: u32,
    /// Coded height in pixels; 0 unless video.
    pub height: u32,
    /// Ticks per second of every time here.
    pub timescale: u32,
    /// Samples: frames of video, packets of audio.
    pub samples: u64,
    /// The first presentation time in ticks; `None` without samples.
    pub first_pts: Option<i64>,
    /// The last presentation time in ticks; `None` without samples.
    pub last_pts: Option<i64>,
    /// Ticks from the first presentation time to the end of the last sample; 0 without samples.
    pub duration: i64,
    /// Every presentation time in ticks, sorted, after the edit list; empty unless video, whose times
    /// are the only ones held against anything. What an edit list hides at the start, such as an
    /// audio encoder's delay, has negative times.
    pub pts: Vec<i64>,
    /// ISO 639-2 language, where one other than `und` is stated.
    pub language: Option<String>,
    /// Channels; 0 unless audio.
    pub channels: u32,
    /// Samples per second; 0 unless audio.
    pub sample_rate: u32,
}

/// Reads the tracks of a finished MP4; the media itself is not read.
///
/// # Errors
/// [`Mp4Error::Io`], and [`Mp4Error::Malformed`] when the file is damaged, cut off or no MP4 or
/// its tables contradict each other.
pub fn inspect(path: &Path) -> Result<Vec<Track>, Mp4Error> {
    let parse = || -> Result<Vec<Track>, Fault> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut scan: Scan<Shown> = Scan::new(&file)?;
        let mut fragments = std::mem::take(&mut scan.tracks);
        let described = movie::tracks(scan.moov())?;
        described
            .into_iter()
            .map(|track| {
                let fragments = fragments.remove(&track.id).unwrap_or_default();
                finish(&track, fragments, len)
            })
            .collect()
    };
    parse().map_err(|fault| fault.at(path))
}

/// Presentation times of a track before the edit list. Ten hours have a million: nothing else is kept
/// of each sample, and of all but pictures only how many, the first and the last.
#[derive(Debug, Default)]
struct Times {
    each: Option<Vec<i64>>,
    count: u64,
    first: Option<i64>,
    last: Option<i64>,
    /// Ticks that the last sample in decode order lasts.
    last_duration: u32,
}

impl Times {
    fn new(kind: TrackKind) -> Self {
        Self {
            each: (kind == TrackKind::Video).then(Vec::new),
            ..Self::default()
        }
    }

    fn push(&mut self, pts: i64) {
        self.count += 1;
        self.first = Some(self.first.map_or(pts, |first| first.min(pts)));
        self.last = Some(self.last.map_or(pts, |last| last.max(pts)));
        if let Some(each) = &mut self.each {
            each.push(pts);
        }
    }

    /// Room for so many more.
    fn reserve(&mut self, count: usize) {
        if let Some(each) = &mut self.each {
            each.reserve_exact(count);
        }
    }

    /// Moves every time by what an edit list adds.
    fn shift(&mut self, ticks: i64) -> Result<(), Fault> {
        let each = self.each.iter_mut().flatten();
        for pts in each.chain(&mut self.first).chain(&mut self.last) {
            *pts = pts
                .checked_add(ticks)
                .ok_or_else(|| Fault::malformed("an edit list is out of range"))?;
        }
        Ok(())
    }
}

/// When a fragment's sample is presented.
#[derive(Debug)]
struct Shown(i64);

impl From<Sample> for Shown {
    fn from(sample: Sample) -> Self {
        Self(sample.pts)
    }
}

fn finish(
    track: &MovieTrack<'_>,
    fragments: FragmentTrack<Shown>,
    len: u64,
) -> Result<Track, Fault> {
    let mut times = Times::new(track.kind);
    progressive(track.tables, len, &mut times)?;
    if !fragments.samples.is_empty() {
        times.last_duration = fragments.last_duration;
        times.reserve(fragments.samples.len());
        for shown in fragments.samples {
            times.push(shown.0);
        }
    }
    times.shift(track.edit_shift)?;
    let mut pts = times.each.unwrap_or_default();
    pts.sort_unstable();
    let duration = match times.first.zip(times.last) {
        Some((first, last)) => {
            let end = last.checked_add(times.last_duration.into());
            end.and_then(|end| end.checked_sub(first))
                .ok_or_else(|| Fault::malformed("presentation times are absurd"))?
        }
        None => 0,
    };
    let entry = &track.entry;
    Ok(Track {
        id: track.id,
        kind: track.kind,
        codec: entry.codec.clone().unwrap_or_else(|| name(entry.kind)),
        width: entry.width,
        height: entry.height,
        timescale: track.timescale,
        samples: times.count,
        first_pts: times.first,
        last_pts: times.last,
        duration,
        pts,
        language: track.language.clone(),
        channels: entry.channels,
        sample_rate: entry.sample_rate,
    })
}

/// How many samples the tables in `stbl` describe.
fn counted(tables: &[u8], len: u64) -> Result<u64, Fault> {
    let sizes: Stsz = atom(required(tables, b"stsz")?)?;
    let count = sample_count(&sizes);
    if matches!(sizes.samples, StszSamples::Identical { .. }) && count > len {
        // No entry bounds the count, so the bytes must: one for each sample at least.
        return Err(Fault::malformed(
            "a track has more samples than the file has bytes",
        ));
    }
    Ok(count)
}

/// Adds the samples that the tables in `stbl` describe, in decode order.
fn progressive(tables: &[u8], len: u64, times: &mut Times) -> Result<(), Fault> {
    let count = counted(tables, len)?;
    let durations: Stts = atom(required(tables, b"stts")?)?;
    let durations = durations.entries.iter();
    let durations = durations.map(|entry| (entry.sample_count, entry.sample_delta));
    let offsets = match child(tables, b"ctts")? {
        Some(body) => atom::<Ctts>(body)?.entries,
        None => Vec::new(),
    };
    let explicit = !offsets.is_empty();
    let offsets = offsets
        .iter()
        .map(|entry| (entry.sample_count, entry.sample_offset));
    let mut durations = Runs::new(durations);
    let mut offsets = Runs::new(offsets);
    let disagree = || Fault::malformed("a track's sample tables disagree about its length");
    let absurd = || Fault::malformed("a track's times are absurd");

    let mut dts: i64 = 0;
    // A count that no table bears out reserves no more than the tables could fill.
    times.reserve(
        usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(tables.len()),
    );
    for _ in 0..count {
        let duration = durations.next().ok_or_else(disagree)?;
        let offset = if explicit {
            offsets.next().ok_or_else(disagree)?
        } else {
            0
        };
        times.push(dts.checked_add(offset).ok_or_else(absurd)?);
        times.last_duration = duration;
        dts = dts.checked_add(duration.into()).ok_or_else(absurd)?;
    }
    if durations.next().is_some() || offsets.next().is_some() {
        return Err(disagree());
    }
    Ok(())
}

/// Expands a run-length table entry by entry, never all at once: its counts are not to be trusted.
struct Runs<I, T> {
    entries: I,
    left: u32,
    value: Option<T>,
}

impl<I: Iterator<Item = (u32, T)>, T: Copy> Runs<I, T> {
    fn new(entries: I) -> Self {
        Self {
            entries,
            left: 0,
            value: None,
        }
    }

    fn next(&mut self) -> Option<T> {
        while self.left == 0 {
            let (count, value) = self.entries.next()?;
            (self.left, self.value) = (count, Some(value));
        }
        self.left -= 1;
        self.value
    }
}
