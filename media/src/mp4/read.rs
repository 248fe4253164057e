//! Reads fragmented MP4 into sample tables.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use mp4_atom::{Mfhd, Stsz, StszSamples, Tfdt, Tfhd, Trex, Trun, TrunEntry, TrunSamples};

use super::boxes::{append, atom, child, children, load, required, span};
use super::error::{Fault, Mp4Error};
use super::movie;
use super::retime::{check_edits, retime};

/// Times beyond this are refused, so that sums of two of them cannot wrap.
const FURTHEST: i64 = 1 << 61;

/// Set in a sample's flags unless decoding can begin with it.
const NON_SYNC: u32 = 0x0001_0000;

/// One encoded frame, or one packet of audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of its first byte in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Ticks from its decode time to that of the next sample.
    pub duration: u32,
    /// Whether decoding can begin with it.
    pub sync: bool,
    /// Its sample flags as ISO/IEC 14496-12 lays them out.
    pub flags: u32,
    /// When it is decoded, in ticks. Negative in files with encoder delay.
    pub dts: i64,
    /// When it is presented, in ticks, before any edit list.
    pub pts: i64,
}

/// A fragmented MP4 with one track: its init segment and where its samples are.
///
/// The file stays open; its media bytes are read when they are written elsewhere.
#[derive(Debug)]
pub struct Fragmented {
    /// The bytes of `ftyp` and `moov`, as they are in the file.
    pub init: Vec<u8>,
    /// The track's id.
    pub track_id: u32,
    /// Ticks per second of every time here.
    pub timescale: u32,
    /// Every sample in decode order; none when the window held no frame.
    pub samples: Vec<Sample>,
    /// What an edit list in the init segment adds to every presentation time when played, in
    /// ticks; 0 without one. The samples' own times are before it.
    pub edit_shift: i64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// The places in `samples` at which the file's own fragments begin.
    pub(super) fragments: Vec<usize>,
}

impl Fragmented {
    /// Reads the tables of a fragmented MP4 that holds one track.
    ///
    /// Boxes that only help players (`styp`, `sidx`, `mfra`, `prft`, `emsg`, …) are passed over.
    ///
    /// # Errors
    /// [`Mp4Error::Io`], [`Mp4Error::Malformed`] when the file is damaged, cut off or no MP4, and
    /// [`Mp4Error::Unsupported`] when it is not fragmented or has more than one track.
    pub fn read(path: &Path) -> Result<Self, Mp4Error> {
        let parse = || {
            let file = File::open(path)?;
            let mut scan: Scan<Sample> = Scan::new(&file)?;
            let mut read = Self::header(path, file, &scan)?;
            if let Some(track) = scan.tracks.remove(&read.track_id) {
                (read.samples, read.fragments) = (track.samples, track.fragments);
            }
            Ok(read)
        };
        parse().map_err(|fault: Fault| fault.at(path))
    }

    /// What a file says of its one track ahead of its fragments, once `scan` has seen that.
    pub(super) fn header(path: &Path, file: File, scan: &Scan<Sample>) -> Result<Self, Fault> {
        let tracks = movie::tracks(scan.moov())?;
        let [track] = tracks.as_slice() else {
            let count = tracks.len();
            return Err(Fault::unsupported(format!(
                "one track expected, {count} found"
            )));
        };
        if track.defaults.is_none() {
            return Err(Fault::unsupported("it is not fragmented"));
        }
        if sample_count(&atom(required(track.tables, b"stsz")?)?) != 0 {
            return Err(Fault::unsupported("it has samples outside its fragments"));
        }
        Ok(Self {
            init: scan.init.clone(),
            track_id: track.id,
            timescale: track.timescale,
            samples: Vec::new(),
            edit_shift: track.edit_shift,
            path: path.to_owned(),
            file,
            fragments: Vec::new(),
        })
    }

    /// Gives the samples the times of the window that they show.
    ///
    /// `pts` are the presentation times of the window's frames on the delivered timeline, in ticks
    /// of this file, strictly increasing. The file must hold as many samples, equally far apart in
    /// presentation order; a constant shift is allowed, since encoders and muxers shift by their
    /// reorder delay. Afterwards each sample has its frame's time, decode times are the
    /// presentation times in order, composition offsets are signed, and the last sample lasts
    /// until `end`, or without it as long as it was encoded to (a tick at least).
    ///
    /// # Errors
    /// [`Mp4Error::Retime`] with the first difference, [`Mp4Error::Unsupported`] when the init
    /// segment has an edit list that would shift the times again. The samples are unchanged then.
    pub fn retime_video(&mut self, pts: &[i64], end: Option<i64>) -> Result<(), Mp4Error> {
        check_edits(self.edit_shift).map_err(|fault| fault.at(&self.path))?;
        retime(&mut self.samples, pts, end).map_err(|source| Mp4Error::Retime {
            path: self.path.clone(),
            source,
        })
    }

    /// The most ticks by which a sample is decoded after it is presented, 0 without reordering.
    ///
    /// After retiming this is how far composition offsets go below zero.
    #[must_use]
    pub fn reorder_ticks(&self) -> u64 {
        let lags = self
            .samples
            .iter()
            .map(|sample| sample.dts.saturating_sub(sample.pts));
        lags.max()
            .and_then(|lag| u64::try_from(lag).ok())
            .unwrap_or(0)
    }

    /// Moves every sample by `ticks`, later or (negative) earlier.
    ///
    /// # Errors
    /// [`Mp4Error::OutOfRange`] when a time leaves the range of what can be counted. The samples
    /// are unchanged then.
    pub fn shift(&mut self, ticks: i64) -> Result<(), Mp4Error> {
        let fits = |time: i64| time.checked_add(ticks).is_some_and(in_range);
        if !self.samples.iter().all(|s| fits(s.dts) && fits(s.pts)) {
            let what = format!("its samples cannot be moved by {ticks} ticks");
            return Err(Fault::OutOfRange(what).at(&self.path));
        }
        for sample in &mut self.samples {
            sample.dts += ticks;
            sample.pts += ticks;
        }
        Ok(())
    }
}

fn in_range(time: i64) -> bool {
    (-FURTHEST..=FURTHEST).contains(&time)
}

/// How many samples a progressive track has.
pub(super) fn sample_count(sizes: &Stsz) -> u64 {
    match &sizes.samples {
        StszSamples::Identical { count, .. } => u64::from(*count),
        StszSamples::Different { sizes } => sizes.len() as u64,
    }
}

/// What a file's fragments hold of one track. `S` is what is kept of each sample: ten hours have a
/// million.
#[derive(Debug)]
pub(super) struct FragmentTrack<S> {
    pub(super) samples: Vec<S>,
    pub(super) fragments: Vec<usize>,
    /// Ticks that the last sample lasts.
    pub(super) last_duration: u32,
    /// Where a fragment without a decode time of its own begins.
    next_dts: i64,
    defaults: Option<Trex>,
}

impl<S> Default for FragmentTrack<S> {
    fn default() -> Self {
        Self {
            samples: Vec::new(),
            fragments: Vec::new(),
            last_duration: 0,
            next_dts: 0,
            defaults: None,
        }
    }
}

/// One pass over a file's top level.
#[derive(Debug)]
pub(super) struct Scan<S> {
    /// The bytes of `ftyp` and `moov`.
    pub(super) init: Vec<u8>,
    moov: std::ops::Range<usize>,
    pub(super) tracks: BTreeMap<u32, FragmentTrack<S>>,
    /// First byte and first byte after of each `mdat`'s payload, in order.
    payloads: Vec<(u64, u64)>,
    /// First byte and first byte after of each run of samples.
    runs: Vec<(u64, u64)>,
    len: u64,
    /// Where the next box begins.
    at: u64,
    samples: u64,
}

impl<S: From<Sample>> Scan<S> {
    /// Reads the tables, seeks over the media.
    pub(super) fn new(file: &File) -> Result<Self, Fault> {
        let mut scan = Self::begin(file)?;
        while scan.advance(file)? {}
        Ok(scan)
    }

    /// A pass that has seen nothing yet.
    pub(super) fn begin(file: &File) -> Result<Self, Fault> {
        Ok(Self {
            init: Vec::new(),
            moov: 0..0,
            tracks: BTreeMap::new(),
            payloads: Vec::new(),
            runs: Vec::new(),
            len: file.metadata()?.len(),
            at: 0,
            samples: 0,
        })
    }

    /// Takes in boxes up to and with the tables of the next fragment; `false` when there is none,
    /// and with that nothing wrong with the file.
    pub(super) fn advance(&mut self, file: &File) -> Result<bool, Fault> {
        while let Some(found) = span(file, self.at, self.len)? {
            self.at = found.end;
            match &found.kind {
                b"ftyp" if self.init.is_empty() => self.init = load(file, found, found.start)?,
                b"moov" if self.moov.is_empty() => {
                    let header = usize::try_from(found.body - found.start).unwrap_or_default();
                    let begin = self.init.len() + header;
                    append(&mut self.init, file, found, found.start)?;
                    self.moov = begin..self.init.len();
                    let described = movie::tracks(self.moov())?.into_iter().map(|track| {
                        let defaults = track.defaults;
                        (
                            track.id,
                            FragmentTrack {
                                defaults,
                                ..FragmentTrack::default()
                            },
                        )
                    });
                    self.tracks = described.collect();
                }
                b"ftyp" | b"moov" => {
                    return Err(Fault::malformed(
                        "`ftyp` or `moov` is there twice or out of order",
                    ));
                }
                b"moof" => {
                    self.fragment(&load(file, found, found.body)?, found.start)?;
                    return Ok(true);
                }
                b"mdat" => self.payloads.push((found.body, found.end)),
                _ => {}
            }
        }
        if self.moov.is_empty() {
            return Err(Fault::malformed("box `moov` is missing"));
        }
        self.check_runs()?;
        Ok(false)
    }

    /// The body of `moov`.
    pub(super) fn moov(&self) -> &[u8] {
        self.init.get(self.moov.clone()).unwrap_or_default()
    }

    /// Takes in the body of a `moof` that begins at `start`.
    fn fragment(&mut self, moof: &[u8], start: u64) -> Result<(), Fault> {
        atom::<Mfhd>(required(moof, b"mfhd")?)?;
        // Without a base of its own a track's data follows that of the track before it.
        let mut data = start;
        for found in children(moof) {
            let (kind, traf) = found?;
            if kind != *b"traf" {
                continue;
            }
            let header: Tfhd = atom(required(traf, b"tfhd")?)?;
            let id = header.track_id;
            let unknown = || Fault::malformed(format!("a fragment is of the unknown track {id}"));
            let mut track = self.tracks.remove(&id).ok_or_else(unknown)?;
            let defaults = Defaults::new(&header, track.defaults.as_ref().ok_or_else(unknown)?);
            let base = match header.base_data_offset {
                Some(offset) => offset,
                None if header.default_base_is_moof => start,
                None => data,
            };
            data = base;
            if let Some(time) = child(traf, b"tfdt")? {
                // The field is unsigned, but ffmpeg writes encoder delay into it as a negative
                // number and reads it back as one.
                track.next_dts = atom::<Tfdt>(time)?.base_media_decode_time.cast_signed();
            }
            let first = track.samples.len();
            for found in children(traf) {
                if let (kind, body) = found?
                    && kind == *b"trun"
                {
                    data = self.run(body, (base, data), &defaults, &mut track)?;
                }
            }
            if track.samples.len() > first {
                track.fragments.push(first);
            }
            self.tracks.insert(id, track);
        }
        Ok(())
    }

    /// Takes in the body of a `trun` whose data lie relative to `base`, or follow at `data`.
    /// Returns where its data end.
    fn run(
        &mut self,
        trun: &[u8],
        (base, data): (u64, u64),
        defaults: &Defaults,
        track: &mut FragmentTrack<S>,
    ) -> Result<u64, Fault> {
        // The format forbids the two together, and the parser would misread the fields after.
        if let Some(&[_, _, high, low]) = trun.first_chunk()
            && high & 0x04 != 0
            && low & 0x04 != 0
        {
            return Err(Fault::unsupported("a run has both kinds of sample flags"));
        }
        let run: Trun = atom(trun)?;
        let mut offset = match run.data_offset {
            Some(offset) => base
                .checked_add_signed(offset.into())
                .ok_or_else(|| Fault::malformed("a run begins before the file"))?,
            None => data,
        };
        self.samples += run.samples.len() as u64;
        if matches!(run.samples, TrunSamples::Inherited { .. }) && self.samples > self.len {
            // No entry bounds the count, so the bytes must: one for each sample at least.
            return Err(Fault::malformed(
                "a run has more samples than the file has bytes",
            ));
        }
        let begin = offset;
        for entry in &run.samples {
            let sample = defaults.sample(&entry, offset, track.next_dts)?;
            offset = offset
                .checked_add(sample.size.into())
                .filter(|end| *end <= self.len)
                .ok_or_else(|| Fault::malformed("a sample lies beyond the end of the file"))?;
            track.next_dts = sample.dts + i64::from(sample.duration);
            track.last_duration = sample.duration;
            track.samples.push(sample.into());
        }
        if offset > begin {
            self.runs.push((begin, offset));
        }
        Ok(offset)
    }

    /// Samples must lie where media lies: anywhere else a table is wrong.
    fn check_runs(&self) -> Result<(), Fault> {
        for &(begin, end) in &self.runs {
            let after = self.payloads.partition_point(|&(start, _)| start <= begin);
            let payload = after
                .checked_sub(1)
                .and_then(|index| self.payloads.get(index));
            if payload.is_none_or(|&(_, payload_end)| end > payload_end) {
                return Err(Fault::malformed(format!(
                    "the samples at byte {begin} lie outside the media data"
                )));
            }
        }
        Ok(())
    }
}

/// What the samples of a run inherit where they do not say otherwise.
#[derive(Clone, Copy, Debug)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

impl Defaults {
    fn new(header: &Tfhd, trex: &Trex) -> Self {
        Self {
            duration: header
                .default_sample_duration
                .unwrap_or(trex.default_sample_duration),
            size: header
                .default_sample_size
                .unwrap_or(trex.default_sample_size),
            flags: header
                .default_sample_flags
                .unwrap_or(trex.default_sample_flags),
        }
    }

    fn sample(self, entry: &TrunEntry, offset: u64, dts: i64) -> Result<Sample, Fault> {
        let flags = entry.flags.unwrap_or(self.flags);
        let pts = dts.checked_add(entry.cts.unwrap_or(0));
        let Some(pts) = pts.filter(|pts| in_range(dts) && in_range(*pts)) else {
            return Err(Fault::malformed(format!(
                "a sample's time of {dts} ticks is absurd"
            )));
        };
        Ok(Sample {
            offset,
            size: entry.size.unwrap_or(self.size),
            duration: entry.duration.unwrap_or(self.duration),
            sync: flags & NON_SYNC == 0,
            flags,
            dts,
            pts,
        })
    }
}
