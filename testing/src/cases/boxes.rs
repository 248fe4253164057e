//! Just enough of MP4 to change display matrices, edit lists and fragment times.
//!
//! For edit lists media must lie before the index (as ffmpeg writes it without `+faststart`), so
//! that an index that grows moves no sample.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

/// The boxes in a range: type, and where header and content lie.
fn children(bytes: &[u8], range: Range<usize>) -> Vec<(&[u8], Range<usize>)> {
    let mut found = Vec::new();
    let mut at = range.start;
    while let Some(header) = bytes.get(at..at + 8).filter(|_| at + 8 <= range.end) {
        let size = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if size < 8 || at + size > range.end {
            break;
        }
        found.push((&header[4..8], at..at + size));
        at += size;
    }
    found
}

/// The `number`-th box of a type in a range.
fn nth(bytes: &[u8], range: Range<usize>, kind: &str, number: usize) -> Result<Range<usize>> {
    children(bytes, range)
        .into_iter()
        .filter(|(found, _)| *found == kind.as_bytes())
        .nth(number)
        .map(|(_, range)| range)
        .with_context(|| format!("no `{kind}` box number {number}"))
}

/// The track's box; video comes first in the files made here.
fn track(bytes: &[u8], number: usize) -> Result<(Range<usize>, Range<usize>)> {
    let moov = nth(bytes, 0..bytes.len(), "moov", 0)?;
    let trak = nth(bytes, moov.start + 8..moov.end, "trak", number)?;
    Ok((moov, trak))
}

/// Writes the display matrix of the first track.
pub(super) fn set_matrix(bytes: &mut [u8], matrix: &[i32; 9]) -> Result<()> {
    let (_, trak) = track(bytes, 0)?;
    let tkhd = nth(bytes, trak.start + 8..trak.end, "tkhd", 0)?;
    // Matrix, width and height are the last 44 bytes in either version of the box.
    let at = tkhd.end - 44;
    for (index, value) in matrix.iter().enumerate() {
        bytes[at + 4 * index..at + 4 * index + 4].copy_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

/// Replaces a track's edit list.
pub(super) fn set_edits(bytes: &[u8], number: usize, edits: &[(u32, i32)]) -> Result<Vec<u8>> {
    let (moov, trak) = track(bytes, number)?;
    let mdat = nth(bytes, 0..bytes.len(), "mdat", 0)?;
    ensure!(
        mdat.end <= moov.start,
        "media after the index would be moved"
    );

    let mut list = vec![0, 0, 0, 0];
    list.extend(u32::try_from(edits.len())?.to_be_bytes());
    for (duration, start) in edits {
        list.extend(duration.to_be_bytes());
        list.extend(start.to_be_bytes());
        list.extend([0, 1, 0, 0]);
    }
    let edts = boxed(b"edts", &boxed(b"elst", &list)?)?;

    let mut content = Vec::new();
    for (kind, range) in children(bytes, trak.start + 8..trak.end) {
        if kind != b"edts" {
            content.extend(&bytes[range]);
        }
        if kind == b"tkhd" {
            content.extend(&edts);
        }
    }
    let mut index = bytes[moov.start + 8..trak.start].to_vec();
    index.extend(boxed(b"trak", &content)?);
    index.extend(&bytes[trak.end..moov.end]);
    let mut whole = bytes[..moov.start].to_vec();
    whole.extend(boxed(b"moov", &index)?);
    whole.extend(&bytes[moov.end..]);
    Ok(whole)
}

/// Moves the decode times of all fragments by so many seconds.
pub(super) fn move_fragments(bytes: &mut [u8], seconds: u64) -> Result<()> {
    let moov = nth(bytes, 0..bytes.len(), "moov", 0)?;
    let mut scales = Vec::new();
    for number in 0.. {
        let Ok(trak) = nth(bytes, moov.start + 8..moov.end, "trak", number) else {
            break;
        };
        let mdia = nth(bytes, trak.start + 8..trak.end, "mdia", 0)?;
        let mdhd = nth(bytes, mdia.start + 8..mdia.end, "mdhd", 0)?;
        // Version 0: flags, creation and modification times come before the timescale.
        scales.push(u64::from(number_at(bytes, mdhd.start + 20)?));
    }
    let moofs: Vec<_> = children(bytes, 0..bytes.len())
        .into_iter()
        .filter_map(|(kind, range)| (kind == b"moof").then_some(range))
        .collect();
    for moof in moofs {
        for number in 0.. {
            let Ok(traf) = nth(bytes, moof.start + 8..moof.end, "traf", number) else {
                break;
            };
            let tfhd = nth(bytes, traf.start + 8..traf.end, "tfhd", 0)?;
            let tfdt = nth(bytes, traf.start + 8..traf.end, "tfdt", 0)?;
            ensure!(
                bytes.get(tfdt.start + 8) == Some(&1),
                "decode times have 32 bits"
            );
            let id = number_at(bytes, tfhd.start + 12)? as usize;
            let scale = scales
                .get(id.wrapping_sub(1))
                .context("a fragment of no track")?;
            let at = tfdt.start + 12..tfdt.start + 20;
            let time = <[u8; 8]>::try_from(&bytes[at.clone()])?;
            let moved = u64::from_be_bytes(time) + scale * seconds;
            bytes[at].copy_from_slice(&moved.to_be_bytes());
        }
    }
    Ok(())
}

fn number_at(bytes: &[u8], at: usize) -> Result<u32> {
    let number = bytes.get(at..at + 4).context("a box is cut short")?;
    Ok(u32::from_be_bytes(number.try_into()?))
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Result<Vec<u8>> {
    let mut whole = u32::try_from(content.len() + 8)?.to_be_bytes().to_vec();
    whole.extend(kind);
    whole.extend(content);
    Ok(whole)
}
