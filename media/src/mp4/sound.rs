//! What the headers of a sound track say to its decoder.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use mp4_atom::{Dfla, FlacMetadataBlock};

use super::boxes::{Span, atom, child, load, required, span};
use super::error::{Fault, Mp4Error};

/// The number of 7.1 in the first edition of MPEG-4, which players know by that meaning; and the one
/// that a later edition gave it, which browsers refuse. The elements are the same.
const SEVEN_ONE: u8 = 7;
const NEW_SEVEN_ONE: u8 = 12;

/// Bits of each sample of a file whose first track is FLAC; `None` for another codec.
///
/// # Errors
/// [`Mp4Error`] when the file cannot be read or is damaged.
pub fn flac_bits(path: &Path) -> Result<Option<u8>, Mp4Error> {
    let parse = || -> Result<Option<u8>, Fault> {
        let (moov, _) = movie(&File::open(path)?)?;
        let Some(boxes) = entry(&moov, b"fLaC")? else {
            return Ok(None);
        };
        let config: Dfla = atom(required(boxes, b"dfLa")?)?;
        Ok(config.blocks.iter().find_map(|block| match block {
            FlacMetadataBlock::StreamInfo {
                bits_per_sample_minus_one,
                ..
            } => Some(bits_per_sample_minus_one + 1),
            _ => None,
        }))
    };
    parse().map_err(|fault| fault.at(path))
}

/// The channelConfiguration of a file whose first track is AAC; `None` for another codec.
///
/// 0 stands for channels that are listed one by one. ffmpeg writes 7.1 as 7 or, since version 8, as
/// 12: the latter is changed to 7 in the file.
///
/// # Errors
/// [`Mp4Error`] when the file cannot be read or written or is damaged.
pub fn plain_channel_configuration(path: &Path) -> Result<Option<u8>, Mp4Error> {
    let parse = || -> Result<Option<u8>, Fault> {
        let (moov, at) = movie(&File::open(path)?)?;
        let Some(boxes) = entry(&moov, b"mp4a")? else {
            return Ok(None);
        };
        let broken = || Fault::malformed("box `esds` has no audio config");
        let config = specific(required(boxes, b"esds")?).ok_or_else(broken)?;
        // Five bits of object type, four of the rate's index, four of the channels.
        let [_, second, ..] = *config else {
            return Err(broken());
        };
        let channels = second >> 3 & 15;
        if channels != NEW_SEVEN_ONE {
            return Ok(Some(channels));
        }
        let offset = config.as_ptr().addr() - moov.as_ptr().addr() + 1;
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(at + offset as u64))?;
        file.write_all(&[second & 0b1000_0111 | SEVEN_ONE << 3])?;
        Ok(Some(SEVEN_ONE))
    };
    parse().map_err(|fault| fault.at(path))
}

/// The body of `moov` and where it lies.
fn movie(file: &File) -> Result<(Vec<u8>, u64), Fault> {
    let len = file.metadata()?.len();
    let mut at = 0;
    while let Some(Span {
        kind,
        body,
        end,
        start,
    }) = span(file, at, len)?
    {
        if kind == *b"moov" {
            let moov = load(
                file,
                Span {
                    kind,
                    start,
                    body,
                    end,
                },
                body,
            )?;
            return Ok((moov, body));
        }
        at = end;
    }
    Err(Fault::malformed("box `moov` is missing"))
}

/// The boxes in the first track's sample entry, where that is of a kind.
fn entry<'a>(moov: &'a [u8], wanted: &[u8; 4]) -> Result<Option<&'a [u8]>, Fault> {
    let mut boxes = required(moov, b"trak")?;
    for kind in [b"mdia", b"minf", b"stbl", b"stsd"] {
        boxes = required(boxes, kind)?;
    }
    // Version, flags and the number of entries come first; in the entry what all sound has.
    let entries = boxes.get(8..).unwrap_or_default();
    Ok(child(entries, wanted)?.map(|entry| entry.get(28..).unwrap_or_default()))
}

/// The decoder's own config in an `esds`: descriptor 5 within 4 within 3.
fn specific(esds: &[u8]) -> Option<&[u8]> {
    // Version and flags; then the stream's id and flags; then type, rates and buffer.
    let stream = descriptor(esds.get(4..)?, 3)?;
    let decoder = descriptor(stream.get(3..)?, 4)?;
    descriptor(decoder.get(13..)?, 5)
}

/// The body of a descriptor that must come first.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (&found, mut rest) = bytes.split_first()?;
    let mut len = 0_usize;
    // Seven bits a byte, the last without the eighth.
    for _ in 0..4 {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        len = len << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    (found == tag).then(|| rest.get(..len))?
}
