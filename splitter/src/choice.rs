//! Which of a source's streams are transcoded, and what is said of the others. Pure.

use reelmill_common::manifest::SourceInfo;
use reelmill_common::media_info::{AudioStream, VideoStream};
use reelmill_common::request::JobRequest;
use reelmill_media::probe::{Found, Kind, Probed};
use reelmill_stage::StageError;

use crate::tally::{Tallies, Tally};

/// A picture with less than this part of another one's packets is no film beside it, but a cover, a
/// slide or the rest of a broadcast that was there before.
const FEWEST_PACKETS: u64 = 8;

/// A picture that lasts less than this part of another one is no film beside it.
const SHORTEST: f64 = 2.0;

/// A picture with less than this part of another one's pixels is a small version of it or a thumbnail.
const SMALLEST: u64 = 4;

/// The streams that are transcoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) video: Option<VideoStream>,
    pub(crate) audio: Vec<AudioStream>,
    /// A sentence for each stream that is left out, and for what was chosen of several.
    pub(crate) notes: Vec<String>,
}

/// What the choice is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) source: &'a SourceInfo,
    pub(crate) request: &'a JobRequest,
    pub(crate) probed: &'a Probed,
    pub(crate) tallies: &'a Tallies,
}

/// The picture that will probably be chosen, by what the probe found alone.
pub(crate) fn likely_picture(request: &JobRequest, probed: &Probed) -> Option<VideoStream> {
    if request.profile.video.is_empty() {
        return None;
    }
    let stream = match request.options.video_stream {
        Some(choice) => probed
            .streams
            .iter()
            .find(|s| Some(s.index) == choice.index()),
        None => preferred(films(probed)),
    };
    stream.and_then(|stream| stream.picture.clone())
}

/// Chooses the streams.
///
/// # Errors
/// A stream that the submitter chose is missing or cannot be used, or one to be transcoded is
/// encrypted.
pub(crate) fn choose(streams: Streams<'_>) -> Result<Chosen, StageError> {
    let profile = &streams.request.profile;
    let mut chosen = Chosen::default();
    if !profile.video.is_empty() {
        chosen.video = streams.picture()?.and_then(|found| found.picture.clone());
        streams.say_of_pictures(&mut chosen);
    }
    if profile.audio.is_some() {
        let tracks = streams.tracks()?;
        chosen.audio = tracks
            .iter()
            .filter_map(|found| found.sound.clone())
            .collect();
        streams.say_of_tracks(&mut chosen);
    }
    streams.say_of_others(&mut chosen);
    Ok(chosen)
}

/// Pictures that can be transcoded and are not marked as stills.
fn films(probed: &Probed) -> impl Iterator<Item = &Found> {
    let streams = probed.streams.iter();
    streams.filter(|stream| stream.kind == Kind::Video && stream.is_usable() && !stream.still)
}

/// The one that players would show of several films: a default one, none that is much smaller than
/// another, the first.
fn preferred<'a>(films: impl Iterator<Item = &'a Found>) -> Option<&'a Found> {
    let films: Vec<&Found> = films.collect();
    let has_default = films.iter().any(|film| film.default);
    let films = || films.iter().filter(|film| film.default == has_default);
    let largest = films().map(|film| pixels(film)).max().unwrap_or_default();
    let mut candidates = films().filter(|film| pixels(film).saturating_mul(SMALLEST) >= largest);
    candidates.next().copied()
}

fn pixels(film: &Found) -> u64 {
    let (width, height) = film.size;
    u64::from(width) * u64::from(height)
}

impl<'a> Streams<'a> {
    fn tally(&self, found: &Found) -> Tally {
        self.tallies.get(found.index)
    }

    fn seconds(&self, found: &Found) -> Option<f64> {
        self.tally(found).seconds(found.timebase)
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &'a Found> {
        let streams = self.probed.streams.iter();
        streams.filter(move |stream| stream.kind == kind)
    }

    fn picture(&self) -> Result<Option<&'a Found>, StageError> {
        if let Some(choice) = self.request.options.video_stream {
            return match choice.index() {
                Some(index) => self.asked_for(Kind::Video, index).map(Some),
                None => Ok(None),
            };
        }
        let films = || self.of(Kind::Video).filter(|stream| !stream.still);
        films().try_for_each(|film| self.refuse_encrypted(film))?;
        Ok(preferred(
            films().filter(|film| film.is_usable() && self.is_alive(film)),
        ))
    }

    fn tracks(&self) -> Result<Vec<&'a Found>, StageError> {
        if let Some(list) = &self.request.options.audio_streams {
            let asked = list.indices().iter();
            return asked
                .map(|&index| self.asked_for(Kind::Audio, index))
                .collect();
        }
        self.of(Kind::Audio)
            .try_for_each(|track| self.refuse_encrypted(track))?;
        Ok(self
            .of(Kind::Audio)
            .filter(|track| track.is_usable())
            .collect())
    }

    /// Whether a film has about as many packets as any other, and lasts about as long.
    fn is_alive(&self, film: &Found) -> bool {
        let own = self.tally(film).packets;
        let others = || films(self.probed).filter(|other| other.index != film.index);
        let most = others().map(|other| self.tally(other).packets).max();
        let longest = others()
            .filter_map(|other| self.seconds(other))
            .fold(0.0, f64::max);
        own > 0
            && most.is_none_or(|most| own.saturating_mul(FEWEST_PACKETS) >= most)
            && self
                .seconds(film)
                .is_none_or(|own| own * SHORTEST >= longest)
    }

    fn refuse_encrypted(&self, found: &Found) -> Result<(), StageError> {
        if !found.encrypted && self.tally(found).encrypted == 0 {
            return Ok(());
        }
        let is_clear = |other: &Found| {
            let tally = self.tally(other);
            other.is_usable() && tally.packets > 0 && tally.encrypted == 0
        };
        let way_out = match self.of(found.kind).any(is_clear) {
            true => format!(
                "get a copy of it without encryption, or choose another stream with the option `{}`",
                match found.kind {
                    Kind::Video => "video-stream",
                    _ => "audio-streams",
                }
            ),
            false => "get a copy of it without encryption".to_owned(),
        };
        let name = &self.source.name;
        Err(StageError::permanent(
            "media-encrypted",
            format!("`{name}` is encrypted ({}): {way_out}", described(found)),
        ))
    }

    /// A stream that the submitter chose.
    fn asked_for(&self, kind: Kind, index: u32) -> Result<&'a Found, StageError> {
        let name = &self.source.name;
        let refuse = |what: String| Err(StageError::permanent("stream-unusable", what));
        let Some(found) = self.of(kind).find(|stream| stream.index == index) else {
            let there: Vec<String> = self.of(kind).map(described).collect();
            let there = match there.is_empty() {
                true => "none".to_owned(),
                false => there.join(", "),
            };
            let word = kind.as_str();
            return refuse(format!(
                "`{name}` has no {word} in stream {index}: choose among what there is ({there})"
            ));
        };
        self.refuse_encrypted(found)?;
        let described = described(found);
        if let Some(trouble) = found.trouble() {
            return refuse(format!(
                "{described} of `{name}` cannot be transcoded, {trouble}: choose another stream"
            ));
        }
        if self.tally(found).packets == 0 {
            return refuse(format!(
                "{described} of `{name}` has no packets: choose another stream"
            ));
        }
        Ok(found)
    }

    fn say_of_pictures(&self, chosen: &mut Chosen) {
        if self.request.options.video_stream.is_some() {
            return;
        }
        let index = chosen.video.as_ref().map(|video| video.index);
        let film = self
            .of(Kind::Video)
            .find(|stream| Some(stream.index) == index);
        for other in self
            .of(Kind::Video)
            .filter(|other| Some(other.index) != index)
        {
            let why = self.why_not(other, film);
            let note = format!("{} is left out: {why}", described(other));
            chosen.notes.push(note);
        }
    }

    /// Why a picture was not chosen.
    fn why_not(&self, other: &Found, film: Option<&Found>) -> String {
        if other.still {
            return "it is cover art or a still image".to_owned();
        }
        let packets = self.tally(other).packets;
        if packets == 0 {
            return "it has no packets".to_owned();
        }
        if let Some(trouble) = other.trouble() {
            return trouble.to_owned();
        }
        let Some(film) = film else {
            return "it is not the picture of a film".to_owned();
        };
        let index = film.index;
        if let Some(at) = self.goes_on(film, other) {
            return format!(
                "one picture is delivered, stream {index}, which ends at {at:.1} s where this one begins"
            );
        }
        if self.is_alive(other) {
            return format!(
                "one picture is delivered, and players show stream {index}; choose this one with the option `video-stream`"
            );
        }
        match (self.seconds(other), self.seconds(film)) {
            (Some(own), Some(long)) if packets > 1 => format!(
                "it has {packets} packets in {own:.1} s where stream {index} has {} in {long:.1} s",
                self.tally(film).packets
            ),
            (None, _) | (_, None) if packets > 1 => format!(
                "it has {packets} packets where stream {index} has {}",
                self.tally(film).packets
            ),
            _ => format!(
                "it is a single picture where stream {index} has {}",
                self.tally(film).packets
            ),
        }
    }

    /// Where `other` begins after `first` has ended, in seconds from the start of the source.
    fn goes_on(&self, first: &Found, other: &Found) -> Option<f64> {
        /// Streams of a broadcast overlap a little where it changes from one to the other.
        const OVERLAP: f64 = 0.5;
        let seconds = |found: &Found, ticks: Option<i64>| Some(found.timebase?.seconds(ticks?));
        let end = seconds(first, self.tally(first).end)?;
        let begin = seconds(other, self.tally(other).first)?;
        let starts = self.probed.streams.iter();
        let starts = starts.filter_map(|found| seconds(found, self.tally(found).first));
        (begin >= end - OVERLAP).then(|| end - starts.fold(f64::INFINITY, f64::min))
    }

    fn say_of_tracks(&self, chosen: &mut Chosen) {
        if self.request.options.audio_streams.is_some() {
            return;
        }
        for track in self.of(Kind::Audio) {
            let mut before = self
                .of(Kind::Audio)
                .take_while(|other| other.index != track.index);
            let ended = before.find_map(|other| Some((other.index, self.goes_on(other, track)?)));
            if let Some((index, at)) = ended.filter(|_| track.is_usable()) {
                chosen.notes.push(format!(
                    "{} begins at {at:.1} s where stream {index} ends, and is a track of its own in the output",
                    described(track)
                ));
            }
            if let Some(trouble) = track.trouble() {
                let why = match self.tally(track).packets {
                    0 => "it has no packets",
                    _ => trouble,
                };
                let note = format!("{} is left out: {why}", described(track));
                chosen.notes.push(note);
            }
        }
    }

    /// Streams that no profile delivers.
    fn say_of_others(&self, chosen: &mut Chosen) {
        for (kind, one, many) in [
            (Kind::Subtitles, "the subtitles are", "the subtitles are"),
            (Kind::Attachment, "the attachment is", "the attachments are"),
            (Kind::Data, "the data stream is", "the data streams are"),
        ] {
            let named: Vec<String> = self.of(kind).map(brief).collect();
            let what = match named.len() {
                0 => continue,
                1 => one,
                _ => many,
            };
            let named = named.join(", ");
            let note =
                format!("{what} left out, since only picture and sound are delivered: {named}");
            chosen.notes.push(note);
        }
    }
}

/// Such as `video in stream 1 (h264, 320x240)`.
fn described(found: &Found) -> String {
    format!("{} in {}", found.kind.as_str(), brief(found))
}

/// Such as `stream 2 (ac3, fra)`.
fn brief(found: &Found) -> String {
    let mut words: Vec<String> = found.codec.iter().cloned().collect();
    if let (width @ 1.., height @ 1..) = found.size
        && found.kind == Kind::Video
    {
        words.push(format!("{width}x{height}"));
    }
    words.extend(found.language.clone());
    let index = found.index;
    match words.is_empty() {
        true => format!("stream {index}"),
        false => format!("stream {index} ({})", words.join(", ")),
    }
}

#[cfg(test)]
mod tests;
