//! Sources that end before their header says that they do. Pure.

use reelmill_media::probe::{Found, Probed};

use crate::tally::Tallies;

/// Demuxers whose headers tell how long the source lasts. Of the others ffmpeg estimates it from the
/// size of the file: of an AVI, a WAV or a WMV that was cut off, its size tells.
const TELLING: [&str; 6] = ["mov", "matroska", "flv", "mxf", "caf", "flac"];

/// Those of them whose headers tell it of each stream. Of the others ffprobe gives the container's
/// duration to every stream.
const TELLING_OF_EACH: [&str; 1] = ["mov"];

/// A header may be wrong by this much without anything missing, in seconds and as a part.
const TOLERANCE: (f64, f64) = (1.0, 0.002);

/// What a file says of its own size, and what it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    /// In bytes; `None` where it says nothing.
    stated: Option<u64>,
    actual: u64,
}

impl Size {
    /// `beginning` is what the file begins with, `actual` how many bytes it has.
    pub(crate) fn new(beginning: &[u8], actual: u64) -> Self {
        Self {
            stated: stated_size(beginning),
            actual,
        }
    }

    /// A sentence where bytes are missing.
    fn note(self) -> Option<String> {
        let (stated, actual) = (self.stated?, self.actual);
        // A byte of padding may be counted or not.
        (stated.saturating_sub(actual) > LEAST_MISSING).then(|| {
            format!(
                "the file has {actual} bytes where its header says {stated}: it is probably an incomplete download or upload"
            )
        })
    }
}

/// Sentences on what is missing: one for each of the streams, by index, that ends early, else one on the
/// file's size.
pub(crate) fn notes(
    probed: &Probed,
    tallies: &Tallies,
    streams: &[u32],
    size: Size,
) -> Vec<String> {
    let cut = size.note();
    // A file that is whole by its size may still have a last frame that lasts for long.
    let is_whole = size.stated.is_some() && cut.is_none();
    let early = match is_whole {
        true => Vec::new(),
        false => early(probed, tallies, streams),
    };
    if early.is_empty() {
        cut.into_iter().collect()
    } else {
        early
    }
}

/// A sentence for each of the streams, by index, that ends early.
fn early(probed: &Probed, tallies: &Tallies, streams: &[u32]) -> Vec<String> {
    if !is_among(&TELLING, &probed.format) {
        return Vec::new();
    }
    let found = probed.streams.iter();
    let chosen = found.filter(|found| streams.contains(&found.index));
    let early: Vec<(&Found, f64, f64)> = chosen
        .filter_map(|found| {
            let (stated, there) = lengths(found, probed, tallies)?;
            let (seconds, part) = TOLERANCE;
            (stated - there > seconds.max(stated * part)).then_some((found, stated, there))
        })
        .collect();
    let says = |(found, stated, there): &(&Found, f64, f64)| {
        format!(
            "the {} in stream {} ends after {there:.1} s where the header says {stated:.1} s: the file is probably an incomplete download or upload",
            found.kind.as_str(),
            found.index
        )
    };
    early.iter().map(says).collect()
}

/// Fewer missing bytes than this are no sign of a cut.
const LEAST_MISSING: u64 = 1024;

/// The header object of an ASF file, and the object in it that tells of the file.
const ASF_HEADER: [u8; 16] = *b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const ASF_FILE: [u8; 16] = *b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65";

/// The size of the whole file by the headers of RIFF (AVI, WAV), IFF (AIFF), ASF (WMV, WMA) and Matroska;
/// `None` where a recorder did not know it yet.
fn stated_size(beginning: &[u8]) -> Option<u64> {
    if beginning.starts_with(&EBML) {
        return stated_size_of_matroska(beginning);
    }
    let word: [u8; 4] = beginning.get(4..8)?.try_into().ok()?;
    let chunk = match beginning.get(..4)? {
        b"RIFF" => u32::from_le_bytes(word),
        b"FORM" => u32::from_be_bytes(word),
        _ if beginning.starts_with(&ASF_HEADER) => return stated_size_of_asf(beginning),
        _ => return None,
    };
    // Recorders write 0, or as much as fits, and mend it at the end.
    (chunk > 0 && chunk < u32::MAX / 2 - 8192).then(|| u64::from(chunk) + 8)
}

/// The first element of a Matroska file, and the one that holds all the rest.
const EBML: [u8; 4] = *b"\x1a\x45\xdf\xa3";
const SEGMENT: [u8; 4] = *b"\x18\x53\x80\x67";

/// Where the segment ends. After its ID comes its size: as many bytes as there are zero bits at the
/// start, and one; all bits set mean that it is not known (RFC 8794, sections 4 and 6.2).
fn stated_size_of_matroska(beginning: &[u8]) -> Option<u64> {
    let mut places = beginning.windows(SEGMENT.len());
    let at = places.position(|bytes| bytes == SEGMENT)? + SEGMENT.len();
    let first = *beginning.get(at)?;
    let length = first.leading_zeros() as usize + 1;
    let bytes = beginning.get(at..at + length)?;
    let marked = bytes
        .iter()
        .fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    let unknown = 1_u64.checked_shl(7 * u32::try_from(length).ok()?)? - 1;
    let size = marked & unknown;
    (length <= 8 && size != unknown).then(|| (at + length) as u64 + size)
}

/// The file properties object: its GUID, its size, the file's GUID, the size of the file; flags 48 bytes
/// later, of which the first says that it is a broadcast. By the ASF specification, section 3.2.
fn stated_size_of_asf(beginning: &[u8]) -> Option<u64> {
    let mut places = beginning.windows(ASF_FILE.len());
    let at = places.position(|bytes| bytes == ASF_FILE)?;
    let size: [u8; 8] = beginning.get(at + 40..at + 48)?.try_into().ok()?;
    let flags = beginning.get(at + 88)?;
    let size = u64::from_le_bytes(size);
    (flags & 1 == 0 && size > 0).then_some(size)
}

/// Whether one of a demuxer's names is in the list.
fn is_among(list: &[&str], format: &str) -> bool {
    format.split(',').any(|name| list.contains(&name))
}

/// How long a stream should last and how long it does, in seconds.
fn lengths(found: &Found, probed: &Probed, tallies: &Tallies) -> Option<(f64, f64)> {
    let tally = tallies.get(found.index);
    let mut there = tally.seconds(found.timebase)?;
    // Of fragments cut from a longer film the header counts from the film's beginning.
    if let (Some(end), Some(timebase)) = (tally.end, found.timebase) {
        there = there.max(timebase.seconds(end));
    }
    if let Some(stated) = found.duration
        && is_among(&TELLING_OF_EACH, &probed.format)
    {
        return Some((stated.as_secs_f64(), there));
    }
    // The container's own duration is that of its longest stream, whichever that is.
    let all = probed.streams.iter();
    let ends = all.filter_map(|other| {
        let end = tallies.get(other.index).end?;
        Some(other.timebase?.seconds(end))
    });
    let longest = ends.fold(there, f64::max);
    Some((probed.container_duration?.as_secs_f64(), longest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reelmill_common::Timebase;
    use reelmill_media::probe::Kind;
    use reelmill_media::scan::Packet;

    use super::*;

    fn source(format: &str, stated: Option<u64>, container: Option<u64>) -> Probed {
        Probed {
            format: format.to_owned(),
            streams: vec![Found {
                kind: Kind::Video,
                timebase: Timebase::new(1, 1000).ok(),
                duration: stated.map(Duration::from_secs),
                ..Found::default()
            }],
            container_duration: container.map(Duration::from_secs),
            ..Probed::default()
        }
    }

    fn packets(seconds: i64) -> Tallies {
        packets_of(0..seconds)
    }

    fn packets_of(seconds: std::ops::Range<i64>) -> Tallies {
        let mut tallies = Tallies::default();
        for second in seconds {
            tallies.add(&Packet {
                pts: Some(second * 1000),
                duration: Some(1000),
                ..Packet::default()
            });
        }
        tallies
    }

    #[test]
    fn a_header_that_states_the_size_tells_a_cut_file() {
        let cut = |beginning: &[u8], size| Size::new(beginning, size).note().is_some();
        let mut riff = *b"RIFF\0\0\x10\0AVI ";
        assert!(!cut(&riff, (1 << 20) + 8) && !cut(&riff, 1 << 21));
        assert!(cut(&riff, 600_000));
        riff[4..8].fill(0);
        assert!(!cut(&riff, 600_000));
        riff[4..8].fill(0xff);
        assert!(!cut(&riff, 600_000));
        assert!(cut(b"FORM\0\x10\0\0AIFF", 600_000));
        let mut asf = [&ASF_HEADER[..], &[0; 14], &ASF_FILE, &[0; 80]].concat();
        asf[30 + 40..30 + 48].copy_from_slice(&1_000_000_u64.to_le_bytes());
        assert!(cut(&asf, 600_000) && !cut(&asf, 1_000_000));
        asf[30 + 88] = 1;
        assert!(!cut(&asf, 600_000));
        let mut mkv = [&EBML[..], b"\x80", &SEGMENT, b"\x01\0\0\0\0\x10\0\0"].concat();
        assert!(cut(&mkv, 600_000) && !cut(&mkv, (1 << 20) + 17));
        mkv[10..].fill(0xff);
        assert!(!cut(&mkv, 600_000) && !cut(&EBML, 4) && !cut(b"", 0));
    }

    #[test]
    fn fragments_of_a_longer_film_are_whole() {
        let mp4 = source("mov,mp4,m4a", Some(1010), Some(1010));
        assert!(early(&mp4, &packets_of(1000..1010), &[0]).is_empty());
        assert_eq!(early(&mp4, &packets_of(1000..1005), &[0]).len(), 1);
    }

    #[test]
    fn a_source_that_ends_early_is_told_from_a_whole_one() {
        let says = |probed: &Probed, seconds| early(probed, &packets(seconds), &[0]);
        let mp4 = source("mov,mp4,m4a", Some(8), Some(8));
        assert_eq!(says(&mp4, 8), Vec::<String>::new());
        assert_eq!(
            says(&mp4, 5),
            [
                "the video in stream 0 ends after 5.0 s where the header says 8.0 s: the file is probably an incomplete download or upload"
            ]
        );
        let mkv = source("matroska,webm", None, Some(8));
        assert_eq!(says(&mkv, 8), Vec::<String>::new());
        assert_eq!(says(&mkv, 5).len(), 1);
        // A live recording does not say, and a transport stream has no header.
        assert!(says(&source("matroska,webm", None, None), 5).is_empty());
        assert!(says(&source("mpegts", Some(8), Some(8)), 5).is_empty());
    }
}
