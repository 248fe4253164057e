//! Joins the fragments of several files behind one init segment.

use std::path::{Path, PathBuf};

use reelmill_common::Sha256;

use super::error::{Fault, Mp4Error};
use super::pace::Pace;
use super::read::{Fragmented, Sample};
use super::write::{Numbers, Output};

/// What is asked of the decode times where one fragment ends and the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// A fragment begins exactly where the one before it ended: video that was retimed.
    Exact,
    /// A fragment may begin later, never earlier: audio, which can pause.
    GapsAllowed,
}

/// A joined file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The init segment, which the file begins with.
    pub init: Vec<u8>,
    /// Bytes of the init segment.
    pub init_len: u64,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Of the whole file.
    pub sha256: Sha256,
    /// Ticks per second of every time here.
    pub timescale: u32,
    /// Samples: frames of video, packets of audio.
    pub frames: u64,
    /// The earliest presentation time, in ticks.
    pub first_pts: i64,
    /// The latest presentation time, in ticks.
    pub last_pts: i64,
    /// Where the last sample's presentation ends, in ticks.
    pub end: i64,
    /// Frames and the ticks that they last together where they usually follow each other most
    /// closely: the highest frame rate. `None` when no sample lasts.
    pub fastest: Option<(u64, u64)>,
    /// Every fragment in order.
    pub fragments: Vec<JoinedFragment>,
}

/// A fragment of a joined file: one media segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinedFragment {
    /// Of its first byte in the joined file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// The decode time of its first sample, in ticks.
    pub dts: i64,
    /// Ticks that its samples last together.
    pub duration: u64,
    /// Samples in it.
    pub frames: u32,
    /// Whether decoding can begin with it.
    pub independent: bool,
    /// Its earliest presentation time, in ticks.
    pub first_pts: i64,
}

/// Joins files one after another. After an error the output is of no use.
#[derive(Debug)]
pub struct Joiner {
    output: Output,
    shift: i64,
    lead: i64,
    continuity: Continuity,
    first: Option<First>,
    last: Option<Last>,
    frames: u64,
    pace: Pace,
    fragments: Vec<JoinedFragment>,
    last_pts: i64,
}

/// What every later file is held against.
#[derive(Debug)]
struct First {
    path: PathBuf,
    init: Vec<u8>,
    timescale: u32,
}

/// The last fragment appended.
#[derive(Debug)]
struct Last {
    path: PathBuf,
    /// When its last sample has been decoded, in ticks of the joined file.
    end: i64,
    /// Ticks that its last sample lasts.
    duration: u32,
}

impl Joiner {
    /// Begins a file at `out`, over whatever is there, whose times will be those of the appended
    /// files plus `shift_ticks`.
    ///
    /// # Errors
    /// [`Mp4Error::Io`].
    pub fn create(out: &Path, shift_ticks: i64, continuity: Continuity) -> Result<Self, Mp4Error> {
        Ok(Self {
            output: Output::create(out)?,
            shift: shift_ticks,
            lead: 0,
            continuity,
            first: None,
            last: None,
            frames: 0,
            pace: Pace::default(),
            fragments: Vec::new(),
            last_pts: i64::MIN,
        })
    }

    /// Has every sample decoded `ticks` earlier than it otherwise would be; set before the first
    /// file is appended.
    ///
    /// With [`Fragmented::reorder_ticks`] of all files or more, no composition offset is negative.
    /// The format and browsers take negative ones, but ffmpeg and the players built on it show
    /// such a track later by the largest of them, next to audio that they do not show later. The
    /// shift must leave room for it, since no decode time may be negative.
    #[must_use]
    pub fn with_decode_lead(mut self, ticks: u32) -> Self {
        self.lead = ticks.into();
        self
    }

    /// Appends all fragments of a file, which may have none. Sequence numbers go on counting.
    ///
    /// # Errors
    /// Those of [`Fragmented::read`]; [`Mp4Error::InitDiffers`], [`Mp4Error::Discontinuity`], and
    /// [`Mp4Error::OutOfRange`] when a shifted decode time is negative.
    pub fn append(&mut self, path: &Path) -> Result<(), Mp4Error> {
        let file = Fragmented::read(path)?;
        self.init(&file)?;
        let ends = file
            .fragments
            .iter()
            .skip(1)
            .copied()
            .chain([file.samples.len()]);
        for (index, (begin, end)) in file.fragments.iter().copied().zip(ends).enumerate() {
            let samples = file.samples.get(begin..end).unwrap_or_default();
            self.append_fragment(&file, index, samples)?;
        }
        Ok(())
    }

    /// Begins with a file's init segment, or holds it against the one there is.
    pub(super) fn init(&mut self, file: &Fragmented) -> Result<(), Mp4Error> {
        match &self.first {
            None => {
                self.output.put(&file.init)?;
                self.first = Some(First {
                    path: file.path.clone(),
                    init: file.init.clone(),
                    timescale: file.timescale,
                });
            }
            Some(first) if first.init != file.init => {
                return Err(Mp4Error::InitDiffers {
                    path: file.path.clone(),
                    first: first.path.clone(),
                });
            }
            Some(_) => {}
        }
        Ok(())
    }

    pub(super) fn append_fragment(
        &mut self,
        file: &Fragmented,
        index: usize,
        samples: &[Sample],
    ) -> Result<(), Mp4Error> {
        let Some((first, last)) = samples.first().zip(samples.last()) else {
            return Ok(());
        };
        let out_of_range = || {
            let shift = self.shift;
            Fault::OutOfRange(format!(
                "fragment {index} moved by {shift} ticks is out of range"
            ))
            .at(&file.path)
        };
        let shifted = |ticks: i64| ticks.checked_add(self.shift).ok_or_else(out_of_range);
        let dts = shifted(first.dts)?
            .checked_sub(self.lead)
            .ok_or_else(out_of_range)?;
        if let Some(before) = &self.last {
            let sound = match self.continuity {
                Continuity::Exact => dts == before.end,
                Continuity::GapsAllowed => dts >= before.end,
            };
            if !sound {
                return Err(Mp4Error::Discontinuity {
                    path: file.path.clone(),
                    fragment: index,
                    previous: before.path.clone(),
                    expected: before.end,
                    found: dts,
                });
            }
        }
        let first_pts = samples
            .iter()
            .map(|sample| sample.pts)
            .min()
            .unwrap_or(first.pts);
        let last_pts = samples
            .iter()
            .map(|sample| sample.pts)
            .max()
            .unwrap_or(last.pts);
        let (first_pts, last_pts) = (shifted(first_pts)?, shifted(last_pts)?);
        let duration = samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum();
        let end = dts
            .checked_add_unsigned(duration)
            .ok_or_else(out_of_range)?;
        let sequence =
            u32::try_from(self.fragments.len() + 1).map_err(|_overflow| out_of_range())?;
        let frames = u32::try_from(samples.len()).map_err(|_overflow| out_of_range())?;

        let offset = self.output.position();
        let numbers = Numbers {
            sequence,
            shift: self.shift,
            lead: self.lead,
        };
        file.write_fragment(&mut self.output, samples, numbers)?;
        let len = self.output.position() - offset;
        let independent = first.sync;
        self.fragments.push(JoinedFragment {
            offset,
            len,
            dts,
            duration,
            frames,
            independent,
            first_pts,
        });
        self.frames += u64::from(frames);
        samples
            .iter()
            .for_each(|sample| self.pace.add(sample.duration));
        self.last_pts = self.last_pts.max(last_pts);
        self.last = Some(Last {
            path: file.path.clone(),
            end,
            duration: last.duration,
        });
        Ok(())
    }

    /// Completes the file. Nothing is flushed to the disk.
    ///
    /// # Errors
    /// [`Mp4Error::NoSamples`] when no appended file held a sample, else [`Mp4Error::Io`].
    pub fn finish(self) -> Result<Joined, Mp4Error> {
        let path = self.output.path().to_owned();
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return Err(Mp4Error::NoSamples { path });
        };
        let (sha256, bytes) = self.output.finish()?;
        let first_pts = self
            .fragments
            .iter()
            .map(|fragment| fragment.first_pts)
            .min();
        Ok(Joined {
            init_len: first.init.len() as u64,
            init: first.init,
            bytes,
            sha256,
            timescale: first.timescale,
            frames: self.frames,
            first_pts: first_pts.unwrap_or(self.last_pts),
            last_pts: self.last_pts,
            end: self.last_pts.saturating_add(last.duration.into()),
            fastest: self.pace.fastest(),
            fragments: self.fragments,
        })
    }
}
