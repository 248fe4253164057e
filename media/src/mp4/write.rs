//! Writes samples as fragments.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use mp4_atom::{Encode, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry};
use reelmill_common::Sha256;
use reelmill_common::digest::Hasher;

use super::error::{Fault, Mp4Error};
use super::read::{Fragmented, Sample};

const BUFFER: usize = 256 * 1024;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Of the whole file.
    pub sha256: Sha256,
    /// Of the init segment alone.
    pub init_sha256: Sha256,
    /// Fragments after it.
    pub fragments: u32,
}

impl Fragmented {
    /// Writes the init segment and the samples, as fragments of whole cells.
    ///
    /// A fragment begins at each sample with which decoding can begin and whose cell, as
    /// `cell_of` its presentation time says, is not that of the fragment's first sample. So the
    /// keyframes that an encoder adds at scene cuts make no fragments of their own. One begins too
    /// where decode times leave a gap, which the tables inside a fragment cannot say. The same
    /// samples give the same bytes. An existing file is overwritten; after an error what is there
    /// is of no use. Nothing is flushed to the disk.
    ///
    /// # Errors
    /// [`Mp4Error::Io`], and [`Mp4Error::OutOfRange`] when a decode time is negative or a number
    /// does not fit its field.
    pub fn write(&self, out: &Path, cell_of: impl Fn(i64) -> i64) -> Result<Written, Mp4Error> {
        let mut output = Output::create(out)?;
        output.put(&self.init)?;
        let mut fragments = 0;
        let mut rest = self.samples.as_slice();
        while let Some(len) = fragment_len(rest, false, &cell_of) {
            let (fragment, after) = rest.split_at(len);
            fragments += 1;
            let numbers = Numbers {
                sequence: fragments,
                shift: 0,
                lead: 0,
            };
            self.write_fragment(&mut output, fragment, numbers)?;
            rest = after;
        }
        let (sha256, bytes) = output.finish()?;
        Ok(Written {
            bytes,
            sha256,
            init_sha256: Sha256::of(&self.init),
            fragments,
        })
    }

    /// Writes samples, which must follow each other without a gap, as one fragment.
    pub(super) fn write_fragment(
        &self,
        output: &mut Output,
        samples: &[Sample],
        numbers: Numbers,
    ) -> Result<(), Mp4Error> {
        let tables =
            tables(samples, self.track_id, numbers).map_err(|fault| fault.at(&self.path))?;
        output.put(&tables)?;
        // Samples mostly lie one after another, so they are copied together.
        let mut run = 0..0;
        for sample in samples {
            let end = sample.offset.saturating_add(sample.size.into());
            if sample.offset != run.end {
                output.copy(&self.file, &self.path, run)?;
                run = sample.offset..sample.offset;
            }
            run.end = end;
        }
        output.copy(&self.file, &self.path, run)
    }
}

/// How many of the samples are the first fragment, by the rule of [`Fragmented::write`]; `None` when
/// there is none, or when there are `more` to come that may belong to it.
pub(super) fn fragment_len(
    samples: &[Sample],
    more: bool,
    cell_of: impl Fn(i64) -> i64,
) -> Option<usize> {
    let first = samples.first()?;
    let cell = cell_of(first.pts);
    let mut next = first.dts;
    let len = samples.iter().position(|sample| {
        let gap = sample.dts != next;
        next = sample.dts.saturating_add(sample.duration.into());
        gap || (sample.sync && cell_of(sample.pts) != cell)
    });
    len.or((!more).then_some(samples.len()))
}

/// What a fragment's tables say beside its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// The fragment's place in its file, from 1.
    pub(super) sequence: u32,
    /// Added to every time.
    pub(super) shift: i64,
    /// Then taken from every decode time.
    pub(super) lead: i64,
}

/// The `moof` of a fragment and the header of its `mdat`.
fn tables(samples: &[Sample], track_id: u32, numbers: Numbers) -> Result<Vec<u8>, Fault> {
    let moved = |dts: i64| dts.checked_add(numbers.shift)?.checked_sub(numbers.lead);
    let start = samples.first().map_or(Some(0), |sample| moved(sample.dts));
    let base_media_decode_time = start.and_then(|start| u64::try_from(start).ok());
    let base_media_decode_time = base_media_decode_time.ok_or_else(|| {
        let first = samples.first().map_or(0, |sample| sample.dts);
        let Numbers { shift, lead, .. } = numbers;
        Fault::OutOfRange(format!("decode time {first}{shift:+}-{lead} does not fit"))
    })?;
    let entry = |sample: &Sample| {
        let cts = i128::from(sample.pts) - i128::from(sample.dts) + i128::from(numbers.lead);
        let cts = i32::try_from(cts).map_err(|_overflow| {
            let pts = sample.pts;
            Fault::OutOfRange(format!(
                "frame at tick {pts} is too far from its decode time"
            ))
        })?;
        Ok(TrunEntry {
            duration: Some(sample.duration),
            size: Some(sample.size),
            flags: Some(sample.flags),
            cts: Some(cts.into()),
        })
    };
    let entries: Vec<TrunEntry> = samples.iter().map(entry).collect::<Result<_, Fault>>()?;
    let tfhd = Tfhd {
        track_id,
        default_base_is_moof: true,
        ..Tfhd::default()
    };
    let mut moof = Moof {
        mfhd: Mfhd {
            sequence_number: numbers.sequence,
        },
        traf: vec![Traf {
            tfhd,
            tfdt: Some(Tfdt {
                base_media_decode_time,
            }),
            trun: vec![Trun {
                data_offset: Some(0),
                samples: entries.into(),
            }],
            ..Traf::default()
        }],
    };
    let payload: u64 = samples.iter().map(|sample| u64::from(sample.size)).sum();
    let header = media_header(payload)?;
    let encode = |moof: &Moof| {
        let mut bytes = Vec::new();
        let encoded = moof.encode(&mut bytes);
        encoded.map_err(|error| Fault::OutOfRange(error.to_string()))?;
        Ok::<_, Fault>(bytes)
    };
    // The offset of the media data has a fixed width, so a first try tells the length.
    let data_offset = i32::try_from(encode(&moof)?.len() + header.len())
        .map_err(|_overflow| Fault::OutOfRange("a fragment has too many samples".to_owned()))?;
    for run in moof.traf.iter_mut().flat_map(|traf| &mut traf.trun) {
        run.data_offset = Some(data_offset);
    }
    let mut bytes = encode(&moof)?;
    bytes.extend(header);
    Ok(bytes)
}

/// The header of an `mdat`: the long form where 32 bits cannot count it.
fn media_header(payload: u64) -> Result<Vec<u8>, Fault> {
    if let Ok(size) = u32::try_from(payload.saturating_add(8)) {
        return Ok([size.to_be_bytes(), *b"mdat"].concat());
    }
    let size = payload.checked_add(16);
    let size = size.ok_or_else(|| Fault::OutOfRange("a fragment is too large".to_owned()))?;
    Ok([1_u32.to_be_bytes().as_slice(), b"mdat", &size.to_be_bytes()].concat())
}

/// A file in the making, hashed as it grows.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Hasher,
    bytes: u64,
}

impl Output {
    pub(super) fn create(path: &Path) -> Result<Self, Mp4Error> {
        let file = File::create(path).map_err(|error| Fault::Io(error).at(path))?;
        let file = BufWriter::with_capacity(BUFFER, file);
        Ok(Self {
            path: path.to_owned(),
            file,
            hasher: Hasher::default(),
            bytes: 0,
        })
    }

    /// Bytes written so far.
    pub(super) fn position(&self) -> u64 {
        self.bytes
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Mp4Error> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file
            .write_all(bytes)
            .map_err(|error| Fault::Io(error).at(&self.path))
    }

    /// Copies a range of another file.
    fn copy(
        &mut self,
        mut from: &File,
        path: &Path,
        range: std::ops::Range<u64>,
    ) -> Result<(), Mp4Error> {
        if range.is_empty() {
            return Ok(());
        }
        let reading = |error: std::io::Error| Fault::Io(error).at(path);
        from.seek(SeekFrom::Start(range.start)).map_err(reading)?;
        let mut left = range.end - range.start;
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let len = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let Some(piece) = buffer.get_mut(..len) else {
                break;
            };
            from.read_exact(piece).map_err(reading)?;
            self.put(piece)?;
            left -= len as u64;
        }
        Ok(())
    }

    /// Hands everything to the operating system; returns the digest and the length.
    pub(super) fn finish(mut self) -> Result<(Sha256, u64), Mp4Error> {
        self.file
            .flush()
            .map_err(|error| Fault::Io(error).at(&self.path))?;
        Ok(self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_media_gets_the_long_header() {
        assert_eq!(
            media_header(0).unwrap(),
            [0, 0, 0, 8, b'm', b'd', b'a', b't']
        );
        assert_eq!(media_header(u64::from(u32::MAX) - 8).unwrap().len(), 8);
        let long = media_header(u64::from(u32::MAX) - 7).unwrap();
        assert_eq!(
            long,
            [0, 0, 0, 1, b'm', b'd', b'a', b't', 0, 0, 0, 1, 0, 0, 0, 8]
        );
        assert!(media_header(u64::MAX - 7).is_err());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let sample = Sample {
            offset: 0,
            size: 1,
            duration: 1,
            sync: true,
            flags: 0,
            dts: 5,
            pts: 5,
        };
        let at = |shift| Numbers {
            sequence: 1,
            shift,
            lead: 0,
        };
        assert!(tables(&[sample], 1, at(-5)).is_ok());
        assert!(matches!(
            tables(&[sample], 1, at(-6)),
            Err(Fault::OutOfRange(_))
        ));
        assert!(matches!(
            tables(&[sample], 1, at(i64::MAX)),
            Err(Fault::OutOfRange(_))
        ));
        let far = Sample {
            pts: 1 << 40,
            ..sample
        };
        assert!(matches!(
            tables(&[far], 1, at(0)),
            Err(Fault::OutOfRange(_))
        ));
        let lead = |lead| Numbers {
            sequence: 1,
            shift: 0,
            lead,
        };
        assert!(tables(&[sample], 1, lead(5)).is_ok());
        assert!(matches!(
            tables(&[sample], 1, lead(6)),
            Err(Fault::OutOfRange(_))
        ));
    }
}
