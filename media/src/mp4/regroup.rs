//! Groups the samples of a long track anew without holding its tables.

use std::fs::File;
use std::path::Path;

use super::error::{Fault, Mp4Error};
use super::join::{Continuity, Joined, Joiner};
use super::read::{Fragmented, Sample, Scan};
use super::write::fragment_len;

/// A fragmented file with one track, read fragment by fragment: ten hours of sound have two million
/// samples.
#[derive(Debug)]
pub struct Regrouper {
    scan: Scan<Sample>,
    file: Fragmented,
    /// Read and not yet written.
    pending: Vec<Sample>,
}

impl Regrouper {
    /// Reads as far as the first sample.
    ///
    /// # Errors
    /// Those of [`Fragmented::read`].
    pub fn open(path: &Path) -> Result<Self, Mp4Error> {
        let parse = || {
            let file = File::open(path)?;
            let mut scan = Scan::begin(&file)?;
            scan.advance(&file)?;
            let file = Fragmented::header(path, file, &scan)?;
            let mut regrouper = Self {
                scan,
                file,
                pending: Vec::new(),
            };
            regrouper.take();
            while regrouper.pending.is_empty() && regrouper.scan.advance(&regrouper.file.file)? {
                regrouper.take();
            }
            Ok(regrouper)
        };
        parse().map_err(|fault: Fault| fault.at(path))
    }

    /// Ticks per second.
    #[must_use]
    pub fn timescale(&self) -> u32 {
        self.file.timescale
    }

    /// The decode time of the first sample; 0 without any.
    #[must_use]
    pub fn first_dts(&self) -> i64 {
        self.pending.first().map_or(0, |sample| sample.dts)
    }

    /// Writes all samples to `out`, `shift` ticks later, as [`Fragmented::write`] and a [`Joiner`]
    /// that allows gaps would; `cell_of` is asked for the times that they then have.
    ///
    /// # Errors
    /// Those of [`Fragmented::read`] and of [`Joiner`].
    pub fn write(
        mut self,
        out: &Path,
        shift: i64,
        cell_of: impl Fn(i64) -> i64,
    ) -> Result<Joined, Mp4Error> {
        let mut joiner = Joiner::create(out, shift, Continuity::GapsAllowed)?;
        joiner.init(&self.file)?;
        let cell_of = |pts: i64| cell_of(pts.saturating_add(shift));
        let mut index = 0;
        loop {
            let path = &self.file.path;
            let more = self.scan.advance(&self.file.file);
            let more = more.map_err(|fault| fault.at(path))?;
            self.take();
            // What ends with the last sample read may go on.
            while let Some(len) = fragment_len(&self.pending, more, cell_of) {
                let fragment = self.pending.get(..len).unwrap_or_default();
                joiner.append_fragment(&self.file, index, fragment)?;
                self.pending.drain(..len);
                index += 1;
            }
            if !more {
                return joiner.finish();
            }
        }
    }

    /// Moves what the scan found to what is pending.
    fn take(&mut self) {
        if let Some(track) = self.scan.tracks.get_mut(&self.file.track_id) {
            self.pending.append(&mut track.samples);
            track.fragments.clear();
        }
    }
}
