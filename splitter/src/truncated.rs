//! Sources that end before their header says that they do. Pure.

use reelmill_media::probe::{Found, Probed};

use crate::tally::Tallies;

/// Demuxers whose headers tell how long the source lasts. Of the others ffmpeg estimates it from the
/// size of the file, as of an AVI, a WAV or a WMV that was cut off.
const TELLING: [&str; 6] = ["mov", "matroska", "flv", "mxf", "caf", "flac"];

/// Those of them whose headers tell it of each stream. Of the others ffprobe gives the container's
/// duration to every stream.
const TELLING_OF_EACH: [&str; 1] = ["mov"];

/// A header may be wrong by this much without anything missing, in seconds and as a part.
const TOLERANCE: (f64, f64) = (1.0, 0.002);

/// A sentence for each of the streams, by index, that ends early.
pub(crate) fn notes(probed: &Probed, tallies: &Tallies, streams: &[u32]) -> Vec<String> {
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
    fn fragments_of_a_longer_film_are_whole() {
        let mp4 = source("mov,mp4,m4a", Some(1010), Some(1010));
        assert!(notes(&mp4, &packets_of(1000..1010), &[0]).is_empty());
        assert_eq!(notes(&mp4, &packets_of(1000..1005), &[0]).len(), 1);
    }

    #[test]
    fn a_source_that_ends_early_is_told_from_a_whole_one() {
        let says = |probed: &Probed, seconds| notes(probed, &packets(seconds), &[0]);
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
