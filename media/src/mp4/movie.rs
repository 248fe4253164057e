//! What a `moov` says about its tracks.

use mp4_atom::{Elst, Hdlr, Mdhd, Mvhd, Tkhd, Trex};

use super::boxes::{atom, child, children, required};
use super::codec::SampleEntry;
use super::error::Fault;

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else: text, timecodes, metadata.
    Other,
}

/// A track's description and its boxes that hold sample tables.
#[derive(Debug)]
pub(super) struct MovieTrack<'a> {
    pub(super) id: u32,
    pub(super) kind: TrackKind,
    /// Ticks per second, positive.
    pub(super) timescale: u32,
    /// ISO 639-2, where it is one other than `und`.
    pub(super) language: Option<String>,
    pub(super) entry: SampleEntry,
    /// What the edit list adds to every presentation time, in ticks of the track.
    pub(super) edit_shift: i64,
    /// The body of `stbl`.
    pub(super) tables: &'a [u8],
    /// What fragments inherit; `None` in a file without fragments.
    pub(super) defaults: Option<Trex>,
}

/// Parses the body of a `moov`.
pub(super) fn tracks(moov: &[u8]) -> Result<Vec<MovieTrack<'_>>, Fault> {
    let header: Mvhd = atom(required(moov, b"mvhd")?)?;
    let mut defaults = Vec::new();
    if let Some(mvex) = child(moov, b"mvex")? {
        for found in children(mvex) {
            if let (kind, body) = found?
                && kind == *b"trex"
            {
                defaults.push(atom::<Trex>(body)?);
            }
        }
    }
    let mut tracks: Vec<MovieTrack<'_>> = Vec::new();
    for found in children(moov) {
        let (kind, body) = found?;
        if kind != *b"trak" {
            continue;
        }
        let track = track(body, header.timescale, &defaults)?;
        if tracks.iter().any(|other| other.id == track.id) {
            return Err(Fault::malformed(format!(
                "two tracks have the id {}",
                track.id
            )));
        }
        tracks.push(track);
    }
    Ok(tracks)
}

fn track<'a>(
    trak: &'a [u8],
    movie_timescale: u32,
    defaults: &[Trex],
) -> Result<MovieTrack<'a>, Fault> {
    let id = atom::<Tkhd>(required(trak, b"tkhd")?)?.track_id;
    let mdia = required(trak, b"mdia")?;
    let header: Mdhd = atom(required(mdia, b"mdhd")?)?;
    if header.timescale == 0 {
        return Err(Fault::malformed(format!("track {id} has no timescale")));
    }
    let handler: [u8; 4] = atom::<Hdlr>(required(mdia, b"hdlr")?)?.handler.into();
    let kind = match &handler {
        b"vide" => TrackKind::Video,
        b"soun" => TrackKind::Audio,
        _ => TrackKind::Other,
    };
    let tables = required(required(mdia, b"minf")?, b"stbl")?;
    let mut entry = SampleEntry::parse(required(tables, b"stsd")?, kind)?;
    if kind == TrackKind::Audio && entry.sample_rate == 0 {
        // The sample entry has 16 bits for the rate; writers that need more leave 0 there and
        // count the track in samples.
        entry.sample_rate = header.timescale;
    }
    let edit_shift = match child(trak, b"edts")? {
        Some(edts) => match child(edts, b"elst")? {
            Some(list) => edit_shift(&atom(list)?, movie_timescale, header.timescale)?,
            None => 0,
        },
        None => 0,
    };
    let language = Some(header.language)
        .filter(|tag| tag != "und" && tag.bytes().all(|byte| byte.is_ascii_lowercase()));
    let defaults = defaults.iter().find(|trex| trex.track_id == id).cloned();
    Ok(MovieTrack {
        id,
        kind,
        timescale: header.timescale,
        language,
        entry,
        edit_shift,
        tables,
        defaults,
    })
}

/// Empty edits delay the media, the first edit with media says where in it presentation begins.
///
/// Later edits would cut or repeat media; reelmill's files have none, so they are ignored.
fn edit_shift(list: &Elst, movie_timescale: u32, timescale: u32) -> Result<i64, Fault> {
    let mut delay: i128 = 0;
    let mut begin: i128 = 0;
    for edit in &list.entries {
        match edit.media_time {
            Some(time) => {
                begin = i128::from(time);
                break;
            }
            None => delay += i128::from(edit.segment_duration),
        }
    }
    let movie = i128::from(movie_timescale);
    let ticks = if delay == 0 {
        0
    } else if movie == 0 {
        return Err(Fault::malformed(
            "an edit list counts in a movie timescale of 0",
        ));
    } else {
        (2 * delay * i128::from(timescale) + movie).div_euclid(2 * movie)
    };
    i64::try_from(ticks - begin)
        .map_err(|_overflow| Fault::malformed("an edit list is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::ElstEntry;

    #[test]
    fn edits_delay_and_skip() {
        let edit = |duration, media_time| ElstEntry {
            segment_duration: duration,
            media_time,
            ..ElstEntry::default()
        };
        let shift = |entries| edit_shift(&Elst { entries }, 1000, 90_000).unwrap();
        assert_eq!(shift(vec![]), 0);
        assert_eq!(shift(vec![edit(7, Some(3003))]), -3003);
        assert_eq!(shift(vec![edit(500, None), edit(7, Some(0))]), 45_000);
        assert_eq!(
            shift(vec![edit(500, None), edit(1, None), edit(7, Some(90))]),
            45_000
        );
        assert_eq!(shift(vec![edit(7, Some(10)), edit(7, Some(99))]), -10);
        assert!(
            edit_shift(
                &Elst {
                    entries: vec![edit(1, None), edit(1, Some(0))]
                },
                0,
                90_000
            )
            .is_err()
        );
        assert!(
            edit_shift(
                &Elst {
                    entries: vec![edit(u64::MAX, None)]
                },
                1,
                u32::MAX
            )
            .is_err()
        );
    }
}
