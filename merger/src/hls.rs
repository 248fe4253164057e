//! HLS playlists (RFC 8216, version 7) over joined files. Pure: values in, text out.
//!
//! One file per rendition and per audio track holds an init segment and fragments, and playlists
//! point into it by byte range. Every fragment given here must begin with a sample that decoding
//! can begin with.

use std::collections::HashMap;
use std::fmt::Write as _;

use m3u8_rs::{
    AlternativeMedia, AlternativeMediaType, MasterPlaylist, QuotedOrUnquoted, Resolution,
    VariantStream,
};

/// Byte ranges need version 4, `EXT-X-MAP` in a playlist with pictures version 6, fragmented MP4
/// players look for 7.
const VERSION: u8 = 7;

/// A joined file and the playlist over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The joined file, as a path relative to its own media playlist.
    pub uri: String,
    /// The media playlist, as a path relative to the multivariant playlist.
    pub playlist: String,
    /// By RFC 6381.
    pub codec: String,
    /// Ticks per second.
    pub timescale: u32,
    /// Bytes of the init segment, with which the file begins.
    pub init_len: u64,
    /// In order of time.
    pub fragments: Vec<Fragment>,
}

/// A media segment: a range of bytes of a joined file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Of its first byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Ticks.
    pub duration: u64,
}

/// A rendition of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Its file.
    pub stream: Stream,
    /// Pixels as a viewer sees them.
    pub width: u32,
    /// Pixels as a viewer sees them.
    pub height: u32,
    /// The highest number of frames per second, as a fraction, where known.
    pub frame_rate: Option<(u32, u32)>,
    /// What kind of light its samples stand for.
    pub range: VideoRange,
}

/// A value of `VIDEO-RANGE`: which kind of transfer function a picture has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VideoRange {
    /// Any but the two below.
    #[default]
    Sdr,
    /// ARIB STD-B67.
    Hlg,
    /// SMPTE ST 2084.
    Pq,
}

impl VideoRange {
    /// The range of a transfer function, by ffmpeg's name for it.
    #[must_use]
    pub fn of_transfer(transfer: Option<&str>) -> Self {
        match transfer {
            Some("smpte2084") => Self::Pq,
            Some("arib-std-b67") => Self::Hlg,
            _ => Self::Sdr,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Sdr => "SDR",
            Self::Hlg => "HLG",
            Self::Pq => "PQ",
        }
    }
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Its file.
    pub stream: Stream,
    /// ISO 639-2 code or BCP 47 tag, where known.
    pub language: Option<String>,
    /// What people call it, where it has a title; any text.
    pub title: Option<String>,
    /// Channels.
    pub channels: u32,
    /// Whether players should choose it unasked; the first one of several counts, and without any
    /// the first track is chosen.
    pub default: bool,
}

/// The multivariant playlist: every rendition of the picture, once with each group of audio tracks.
///
/// Tracks of equal codec and number of channels form a group, since a player chooses among groups by
/// what it can play, and within one by language.
///
/// Without a picture the audio tracks are what is presented. One alone is a stream; several remain
/// groups behind one stream each, since streams are versions of the same between which players switch
/// by bandwidth, and languages are not.
#[must_use]
pub fn master(video: &[Video], audio: &[Audio]) -> String {
    let groups = groups(audio);
    let grouped = !audio.is_empty() && (!video.is_empty() || audio.len() > 1);
    let variants = if video.is_empty() {
        let variant = |group: &Group<'_>| audio_variant(group, grouped);
        groups.iter().map(variant).collect()
    } else if groups.is_empty() {
        video.iter().map(|v| video_variant(v, None)).collect()
    } else {
        // Every rendition with the first group comes first: players begin with one of the first.
        let pairs = groups.iter().flat_map(|group| {
            video
                .iter()
                .map(move |rendition| video_variant(rendition, Some(group)))
        });
        pairs.collect()
    };
    let playlist = MasterPlaylist {
        version: Some(VERSION.into()),
        independent_segments: true,
        alternatives: if grouped {
            groups.iter().flat_map(Group::alternatives).collect()
        } else {
            Vec::new()
        },
        variants,
        ..MasterPlaylist::default()
    };
    let mut bytes = Vec::new();
    // Writing to memory cannot fail, and only text was put in.
    playlist
        .write_to(&mut bytes)
        .map(|()| String::from_utf8(bytes).unwrap_or_default())
        .unwrap_or_default()
}

/// Audio tracks between which a player chooses by language.
#[derive(Debug)]
struct Group<'a> {
    id: String,
    /// Each with the name that players list it by.
    tracks: Vec<(&'a Audio, String)>,
}

/// The groups in order of their first tracks.
fn groups(audio: &[Audio]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for track in audio {
        let same = |group: &&mut Group<'_>| {
            group.tracks.first().is_some_and(|(first, _)| {
                first.channels == track.channels && first.stream.codec == track.stream.codec
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => {
                let name = display_name(track, group.tracks.len());
                let name = unique(name, &group.tracks);
                group.tracks.push((track, name));
            }
            None => groups.push(Group {
                id: String::new(),
                tracks: vec![(track, display_name(track, 0))],
            }),
        }
    }
    let count = groups.len();
    for (index, group) in groups.iter_mut().enumerate() {
        group.id = if count == 1 {
            "audio".to_owned()
        } else {
            format!("audio{index}")
        };
    }
    groups
}

impl Group<'_> {
    fn audio(&self) -> impl Iterator<Item = &Audio> {
        self.tracks.iter().map(|(track, _)| *track)
    }

    /// The place of the track that is played unasked.
    fn chosen(&self) -> usize {
        self.audio().position(|track| track.default).unwrap_or(0)
    }

    fn alternatives(&self) -> Vec<AlternativeMedia> {
        let chosen = self.chosen();
        let tracks = self.tracks.iter().enumerate();
        let alternative = |(index, (track, name)): (usize, &(&Audio, String))| AlternativeMedia {
            media_type: AlternativeMediaType::Audio,
            uri: Some(uri(&track.stream.playlist)),
            group_id: self.id.clone(),
            language: language(track),
            name: name.clone(),
            default: index == chosen,
            autoselect: true,
            channels: Some(track.channels.to_string()),
            ..AlternativeMedia::default()
        };
        tracks.map(alternative).collect()
    }
}

fn video_variant(video: &Video, group: Option<&Group<'_>>) -> VariantStream {
    let own = Rates::of(&video.stream);
    let resolution = Resolution {
        width: video.width.into(),
        height: video.height.into(),
    };
    let range = video.range.as_str();
    // The crate writes a number as short as it can be, where three decimals are asked for, and knows
    // no VIDEO-RANGE. Its other attributes come in no order, so both are one of them.
    let (name, value) = match video.frame_rate.and_then(frame_rate) {
        Some(rate) => ("FRAME-RATE", format!("{rate},VIDEO-RANGE={range}")),
        None => ("VIDEO-RANGE", range.to_owned()),
    };
    let attribute = (name.to_owned(), QuotedOrUnquoted::Unquoted(value));
    let sound = group.map_or_else(Rates::default, |group| Rates::highest(group.audio()));
    VariantStream {
        resolution: Some(resolution),
        other_attributes: Some(HashMap::from([attribute])),
        audio: group.map(|group| group.id.clone()),
        ..variant(
            &video.stream,
            own.plus(sound),
            codecs(&video.stream, group.into_iter().flat_map(Group::audio)),
        )
    }
}

/// A stream of sound alone; `grouped` says whether its tracks are listed.
fn audio_variant(group: &Group<'_>, grouped: bool) -> VariantStream {
    let empty = Stream::default();
    let chosen = group.audio().nth(group.chosen());
    let chosen = chosen.map_or(&empty, |track| &track.stream);
    VariantStream {
        audio: grouped.then(|| group.id.clone()),
        ..variant(
            chosen,
            Rates::highest(group.audio()),
            codecs(chosen, group.audio()),
        )
    }
}

fn variant(stream: &Stream, rates: Rates, codecs: String) -> VariantStream {
    VariantStream {
        uri: uri(&stream.playlist),
        bandwidth: rates.peak,
        average_bandwidth: Some(rates.average),
        codecs: Some(codecs),
        ..VariantStream::default()
    }
}

/// Every codec that a viewer of the stream may meet, each once.
fn codecs<'a>(stream: &Stream, audio: impl Iterator<Item = &'a Audio>) -> String {
    let mut codecs = vec![text(&stream.codec)];
    for track in audio {
        let codec = text(&track.stream.codec);
        if !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    codecs.join(",")
}

/// A fraction with three decimals, rounded to the nearest.
fn frame_rate((num, den): (u32, u32)) -> Option<String> {
    let den = u64::from(den);
    let thousandths = (2000 * u64::from(num) + den).checked_div(2 * den)?;
    Some(format!("{}.{:03}", thousandths / 1000, thousandths % 1000))
}

/// The media playlist of one joined file.
///
/// It is written by hand: `m3u8-rs` keeps a segment's duration as `f32`, which has no room for
/// microseconds in a segment of a few seconds, and its precision is a setting of the process.
#[must_use]
pub fn media(stream: &Stream) -> String {
    let durations = durations(stream);
    let mut out = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let file = uri(&stream.uri);
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        out.write_fmt(text).unwrap_or_default();
        out.push('\n');
    };
    line(format_args!("#EXT-X-TARGETDURATION:{}", target(&durations)));
    line(format_args!("#EXT-X-MEDIA-SEQUENCE:0"));
    line(format_args!("#EXT-X-PLAYLIST-TYPE:VOD"));
    line(format_args!(
        "#EXT-X-MAP:URI=\"{file}\",BYTERANGE=\"{}@0\"",
        stream.init_len
    ));
    for (fragment, micros) in stream.fragments.iter().zip(durations) {
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        line(format_args!("#EXTINF:{seconds}.{rest:06},"));
        line(format_args!(
            "#EXT-X-BYTERANGE:{}@{}",
            fragment.len, fragment.offset
        ));
        line(format_args!("{file}"));
    }
    line(format_args!("#EXT-X-ENDLIST"));
    out
}

/// The fragments' durations in microseconds. What rounding takes from one it gives to the next,
/// so that their sum stays true however many there are.
fn durations(stream: &Stream) -> Vec<u64> {
    let timescale = u128::from(stream.timescale.max(1));
    let micros = |ticks: u128| (2 * ticks * 1_000_000 + timescale) / (2 * timescale);
    let mut ticks: u128 = 0;
    let step = |fragment: &Fragment| {
        let before = micros(ticks);
        ticks += u128::from(fragment.duration);
        u64::try_from(micros(ticks) - before).unwrap_or(u64::MAX)
    };
    stream.fragments.iter().map(step).collect()
}

/// No segment may be longer when rounded to a whole second.
fn target(durations: &[u64]) -> u64 {
    let rounded = durations
        .iter()
        .map(|micros| micros.saturating_add(500_000) / 1_000_000);
    rounded.max().unwrap_or_default().max(1)
}

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates {
    peak: u64,
    average: u64,
}

impl Rates {
    fn of(stream: &Stream) -> Self {
        let durations = durations(stream);
        let sizes = stream.fragments.iter().map(|fragment| fragment.len);
        let segments: Vec<(u64, u64)> = sizes.zip(durations.iter().copied()).collect();
        let average = rate(segments.iter().copied().fold((0, 0), sum));
        let peak = peak(&segments, target(&durations)).unwrap_or(average);
        Self { peak, average }
    }

    /// The rates of the most expensive tracks of a group, of which one is played.
    fn highest<'a>(audio: impl Iterator<Item = &'a Audio>) -> Self {
        let rates = audio.map(|track| Self::of(&track.stream));
        rates.fold(Self::default(), |one, other| Self {
            peak: one.peak.max(other.peak),
            average: one.average.max(other.average),
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            peak: self.peak.saturating_add(other.peak),
            average: self.average.saturating_add(other.average),
        }
    }
}

/// RFC 8216, section 4.1: the largest bit rate of any contiguous set of segments that lasts
/// between half and one and a half target durations. So a last segment of one frame, which has a
/// keyframe and hardly a duration, does not count alone. `None` when no set lasts so long.
fn peak(segments: &[(u64, u64)], target: u64) -> Option<u64> {
    let (shortest, longest) = (
        target.saturating_mul(500_000),
        target.saturating_mul(1_500_000),
    );
    let mut peak = None;
    for begin in 0..segments.len() {
        let mut set = (0, 0);
        for segment in segments.iter().skip(begin) {
            set = sum(set, *segment);
            if set.1 > longest {
                break;
            }
            if set.1 >= shortest {
                peak = peak.max(Some(rate(set)));
            }
        }
    }
    peak
}

fn sum(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0.saturating_add(other.0), one.1.saturating_add(other.1))
}

/// Bits per second of bytes that last microseconds, rounded up.
fn rate((bytes, micros): (u64, u64)) -> u64 {
    let rate = (u128::from(bytes) * 8 * 1_000_000).div_ceil(u128::from(micros.max(1)));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Text that may stand between quotes: without quotes, line ends and control characters.
fn text(any: &str) -> String {
    let clean = any.chars().map(|char| match char {
        '"' => '\'',
        char if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') => ' ',
        char => char,
    });
    clean.collect::<String>().trim().to_owned()
}

/// A relative path as a URI reference: what could end it, or begin something else, is escaped.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// What a player lists: the title, else the language, else a number.
fn display_name(track: &Audio, index: usize) -> String {
    let stated = [&track.title, &track.language]
        .into_iter()
        .flatten()
        .map(|any| text(any));
    let mut stated = stated.filter(|name| !name.is_empty());
    stated
        .next()
        .unwrap_or_else(|| format!("Track {}", index + 1))
}

/// Names in a group must differ.
fn unique(name: String, tracks: &[(&Audio, String)]) -> String {
    let taken = |name: &String| tracks.iter().any(|(_, other)| other == name);
    if !taken(&name) {
        return name;
    }
    let mut numbered = (2..).map(|number| format!("{name} ({number})"));
    numbered.find(|name| !taken(name)).unwrap_or(name)
}

/// The BCP 47 tag, which has two letters where ISO 639 has two; `None` when what is stated cannot
/// be a tag.
fn language(track: &Audio) -> Option<String> {
    let stated = track.language.as_deref()?;
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !stated.split('-').all(part) || stated.eq_ignore_ascii_case("und") {
        return None;
    }
    let lower = stated.to_ascii_lowercase();
    let short = LANGUAGES.split(' ').filter(|_| lower.len() == 3);
    let short = short
        .filter_map(|entry| entry.strip_prefix(lower.as_str()))
        .next();
    Some(short.unwrap_or(stated).to_owned())
}

/// ISO 639-2 codes, terminological and bibliographic, each followed by its ISO 639-1 code.
const LANGUAGES: &str = "\
    aaraa abkab afraf akaak albsq amham araar argan armhy asmas avaav aveae aymay azeaz \
    bakba bambm baqeu belbe benbn bisbi bodbo bosbs brebr bulbg burmy catca cescs \
    chach chece chizh chucu chvcv corkw cosco crecr cymcy czecs danda deude divdv dutnl \
    dzodz ellel engen epoeo estet euseu eweee faofo fasfa fijfj finfi frafr frefr fryfy \
    fulff geoka gerde glagd glega glggl glvgv greel grngn gujgu hatht hauha hebhe herhz \
    hinhi hmoho hrvhr hunhu hyehy iboig iceis idoio iiiii ikuiu ileie inaia indid ipkik \
    islis itait javjv jpnja kalkl kankn kasks katka kaukr kazkk khmkm kikki kinrw kirky \
    komkv konkg korko kuakj kurku laolo latla lavlv limli linln litlt ltzlb lublu luglg \
    macmk mahmh malml maomi marmr mayms mkdmk mlgmg mltmt monmn mrimi msams myamy nauna \
    navnv nblnr ndend ndong nepne nldnl nnonn nobnb norno nyany ocioc ojioj orior ormom \
    ossos panpa perfa plipi polpl porpt pusps quequ rohrm ronro rumro runrn rusru sagsg \
    sansa sinsi slksk slosk slvsl smese smosm snasn sndsd somso sotst spaes sqisq srdsc \
    srpsr sswss sunsu swasw swesv tahty tamta tattt telte tgktg tgltl thath tibbo tirti \
    tonto tsntn tsots tuktk turtr twitw uigug ukruk urdur uzbuz venve vievi volvo welcy \
    wlnwa wolwo xhoxh yidyi yoryo zhaza zhozh zulzu";

#[cfg(test)]
mod tests;
