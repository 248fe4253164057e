//! Walks boxes in a file and in memory. Sizes are never believed before they are checked against
//! what there is.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use mp4_atom::{Atom, Buf};

use super::error::Fault;

/// Tables larger than this are refused: hours of video at any frame rate stay far below.
const LARGEST_TABLE: u64 = 512 * 1024 * 1024;

/// A box's four-character code.
pub(super) type Kind = [u8; 4];

/// A code for an error message.
pub(super) fn name(kind: Kind) -> String {
    kind.iter()
        .map(|&byte| char::from(byte))
        .flat_map(char::escape_default)
        .collect()
}

/// Where a box lies in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) kind: Kind,
    /// Of the header's first byte.
    pub(super) start: u64,
    /// Of the first byte after the header.
    pub(super) body: u64,
    /// Of the first byte after the box.
    pub(super) end: u64,
}

/// The box that begins at `at`, or `None` at the end of the file, which is `len` bytes long.
pub(super) fn span(mut file: &File, at: u64, len: u64) -> Result<Option<Span>, Fault> {
    let left = len.saturating_sub(at);
    if left == 0 {
        return Ok(None);
    }
    if left < 8 {
        return Err(Fault::malformed(format!("{left} stray bytes at the end")));
    }
    file.seek(SeekFrom::Start(at))?;
    let [size, kind] = read_words(file)?;
    let (size, header) = match u32::from_be_bytes(size) {
        0 => (left, 8),
        1 if left < 16 => return Err(Fault::malformed("a box header is cut off")),
        1 => {
            let [high, low] = read_words(file)?;
            let high = u64::from(u32::from_be_bytes(high));
            (high << 32 | u64::from(u32::from_be_bytes(low)), 16)
        }
        size => (u64::from(size), 8),
    };
    if size < header || size > left {
        let kind = name(kind);
        return Err(Fault::malformed(format!(
            "box `{kind}` at byte {at} claims {size} bytes of {left} that are left"
        )));
    }
    Ok(Some(Span {
        kind,
        start: at,
        body: at + header,
        end: at + size,
    }))
}

fn read_words(mut file: &File) -> Result<[Kind; 2], Fault> {
    let mut words = [[0; 4]; 2];
    for word in &mut words {
        file.read_exact(word)?;
    }
    Ok(words)
}

/// The bytes of a box from `from` to its end.
pub(super) fn load(file: &File, span: Span, from: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    append(&mut bytes, file, span, from)?;
    Ok(bytes)
}

/// Appends the bytes of a box from `from` to its end.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    mut file: &File,
    span: Span,
    from: u64,
) -> Result<(), Fault> {
    let len = span.end.saturating_sub(from);
    let too_large = || {
        Fault::unsupported(format!(
            "box `{}` of {len} bytes is too large",
            name(span.kind)
        ))
    };
    if len > LARGEST_TABLE {
        return Err(too_large());
    }
    let begin = bytes.len();
    let more = usize::try_from(len).map_err(|_overflow| too_large())?;
    bytes.reserve_exact(more);
    bytes.resize(begin + more, 0);
    file.seek(SeekFrom::Start(from))?;
    file.read_exact(bytes.get_mut(begin..).unwrap_or_default())?;
    Ok(())
}

/// The boxes in a container's body, each as its kind and body.
///
/// Fewer than eight bytes at the end are padding, which QuickTime's writers leave.
pub(super) fn children(mut rest: &[u8]) -> impl Iterator<Item = Result<(Kind, &[u8]), Fault>> {
    std::iter::from_fn(move || {
        let (header, _) = rest.split_first_chunk::<8>()?;
        let [a, b, c, d, kind @ ..] = *header;
        let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (8, Some(rest.len())),
            1 => {
                let large = rest.get(8..16).and_then(|bytes| bytes.try_into().ok());
                let size = large.map(u64::from_be_bytes);
                (16, size.and_then(|size| usize::try_from(size).ok()))
            }
            size => (8, usize::try_from(size).ok()),
        };
        let split = size.and_then(|size| rest.split_at_checked(size));
        let Some((body, after)) =
            split.and_then(|(whole, after)| Some((whole.get(header..)?, after)))
        else {
            rest = &[];
            return Some(Err(Fault::malformed(format!(
                "box `{}` has a wrong size",
                name(kind)
            ))));
        };
        rest = after;
        Some(Ok((kind, body)))
    })
}

/// The body of the first child of a kind.
pub(super) fn child<'a>(parent: &'a [u8], wanted: &Kind) -> Result<Option<&'a [u8]>, Fault> {
    for found in children(parent) {
        let (kind, body) = found?;
        if kind == *wanted {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

/// The body of the first child of a kind that must be there.
pub(super) fn required<'a>(parent: &'a [u8], wanted: &Kind) -> Result<&'a [u8], Fault> {
    child(parent, wanted)?
        .ok_or_else(|| Fault::malformed(format!("box `{}` is missing", name(*wanted))))
}

/// Decodes the body of a box that holds no boxes.
pub(super) fn atom<T: Atom>(mut body: &[u8]) -> Result<T, Fault> {
    let decoded = T::decode_body(&mut body)
        .map_err(|error| Fault::malformed(format!("box `{}`: {error}", T::KIND)))?;
    if body.has_remaining() {
        return Err(Fault::malformed(format!(
            "box `{}` holds more than it should",
            T::KIND
        )));
    }
    Ok(decoded)
}
