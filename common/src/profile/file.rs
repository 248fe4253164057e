//! From the text of a profile file to a [`Profile`].

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{self, RawVideo};
use super::reader::{At, Doc, Section, list, nearest, shorten};
use super::{
    AudioCodec, AudioSettings, Channels, Deinterlace, Outputs, Profile, ProfileError, Rung,
};

pub use super::reader::Key;

/// Bytes of a profile file; the built-in ones have about one thousand.
const MAX_BYTES: usize = 64 * 1024;

/// Renditions of one profile.
const MAX_RUNGS: usize = 16;

/// Kilobits per second of a stereo track where a lossy codec is named without them.
const DEFAULT_AUDIO_KBPS: u32 = 128;

/// Milliseconds of a fragment unless the profile says otherwise.
const DEFAULT_FRAGMENT_MS: u32 = 2000;

const TOP: &str = "";
const AUDIO: &str = "[audio]";
const VIDEO: &str = "[video]";
const RUNG: &str = "[[rung]]";

const TEXT: &str = "text";
const WHOLE: &str = "a whole number";
const FLAG: &str = "true or false";
const DEINTERLACE: &str = "true, false or \"field-rate\"";

/// Every key of a profile file.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    Key { section: TOP, name: "name", kind: TEXT, example: "name = \"my-profile\"" },
    Key { section: TOP, name: "description", kind: TEXT, example: "description = \"For phones\"" },
    Key { section: TOP, name: "fragment_seconds", kind: "a number", example: "fragment_seconds = 2" },
    Key { section: TOP, name: "outputs", kind: "a list of text", example: "outputs = [\"mp4\", \"hls\"]" },
    Key { section: TOP, name: "deinterlace", kind: DEINTERLACE, example: "deinterlace = true" },
    Key { section: TOP, name: "audio", kind: "a table", example: "[audio]" },
    Key { section: TOP, name: "video", kind: "a table", example: "[video]" },
    Key { section: TOP, name: "rung", kind: "a list of tables", example: "[[rung]]" },
    Key { section: AUDIO, name: "codec", kind: TEXT, example: "codec = \"aac\"" },
    Key { section: AUDIO, name: "kbps", kind: WHOLE, example: "kbps = 128" },
    Key { section: AUDIO, name: "channels", kind: TEXT, example: "channels = \"source\"" },
    Key { section: VIDEO, name: "codec", kind: TEXT, example: "codec = \"h264\"" },
    Key { section: VIDEO, name: "preset", kind: "text or a whole number", example: "preset = \"fast\"" },
    Key { section: VIDEO, name: "pixel_format", kind: TEXT, example: "pixel_format = \"yuv420p\"" },
    Key { section: VIDEO, name: "crf", kind: WHOLE, example: "crf = 21" },
    Key { section: VIDEO, name: "max_kbps", kind: WHOLE, example: "max_kbps = 5000" },
    Key { section: VIDEO, name: "kbps", kind: WHOLE, example: "kbps = 3000" },
    Key { section: VIDEO, name: "lossless", kind: FLAG, example: "lossless = true" },
    Key { section: VIDEO, name: "options", kind: "a table", example: "[video.options]" },
    Key { section: RUNG, name: "name", kind: TEXT, example: "name = \"1080p\"" },
    Key { section: RUNG, name: "short_side", kind: "a whole number or \"source\"", example: "short_side = 1080" },
    Key { section: RUNG, name: "codec", kind: TEXT, example: "codec = \"h264\"" },
    Key { section: RUNG, name: "preset", kind: "text or a whole number", example: "preset = \"fast\"" },
    Key { section: RUNG, name: "pixel_format", kind: TEXT, example: "pixel_format = \"yuv420p\"" },
    Key { section: RUNG, name: "crf", kind: WHOLE, example: "crf = 21" },
    Key { section: RUNG, name: "max_kbps", kind: WHOLE, example: "max_kbps = 5000" },
    Key { section: RUNG, name: "kbps", kind: WHOLE, example: "kbps = 3000" },
    Key { section: RUNG, name: "lossless", kind: FLAG, example: "lossless = true" },
    Key { section: RUNG, name: "options", kind: "a table", example: "[rung.options]" },
];

/// Reads and checks a profile file. Performs no I/O.
///
/// `file_name` is for errors, and names the profile where the file does not: `mine.toml` is `mine`.
///
/// # Errors
/// [`ProfileError`] about the first thing that is wrong: not TOML, an unknown key, a value of the
/// wrong type or out of range, settings that contradict each other.
pub fn parse(text: &str, file_name: &str) -> Result<Profile, ProfileError> {
    let doc = Doc {
        file: file_name,
        text,
    };
    if text.len() > MAX_BYTES {
        let message = format!(
            "a profile has at most {MAX_BYTES} bytes, not {}: is this one?",
            text.len()
        );
        return Err(doc.error(0..0, message));
    }
    let root = DeTable::parse(text).map_err(|error| {
        let what = error.message().lines().next().unwrap_or_default();
        doc.error(
            error.span().unwrap_or_default(),
            format!("this is not TOML: {what}"),
        )
    })?;
    let top = Section {
        doc,
        name: TOP,
        table: root.get_ref(),
        span: 0..0,
        keys: KEYS,
    };
    top.refuse_unknown_keys()?;

    let name = match top.text("name")? {
        Some(name) => checked_name(doc, &name)?,
        None => name_of_file(file_name),
    };
    let profile = Profile {
        name,
        description: description(&top)?,
        fragment_ms: fragment_ms(&top)?,
        outputs: outputs(&top)?,
        deinterlace: deinterlace(&top)?,
        audio: audio(&top)?,
        video: video(&top)?,
    };
    if profile.video.is_empty() && profile.audio.is_none() {
        let span = top.table("audio")?.map_or(0..0, |audio| audio.span);
        let message = "this profile makes neither sound nor picture: add a `[[rung]]`, or name an audio codec";
        return Err(doc.error(span, message));
    }
    Ok(profile)
}

/// Names become parts of file names and keys.
fn checked_name(doc: Doc<'_>, name: &At<&str>) -> Result<String, ProfileError> {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (1..=32).contains(&name.value.len())
        && name.value.bytes().all(letters)
        && !name.value.starts_with('-');
    if good {
        return Ok(name.value.to_owned());
    }
    let message = format!(
        "`{}` cannot be part of a file name: use 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit",
        shorten(name.value)
    );
    Err(doc.error(name.span.clone(), message))
}

/// A name made of a file's: without folder and extension, and with `-` for what names cannot hold.
fn name_of_file(file_name: &str) -> String {
    let base = file_name.rsplit(['/', '\\']).next().unwrap_or(file_name);
    let stem = base
        .strip_suffix(".toml")
        .unwrap_or(base)
        .to_ascii_lowercase();
    let dashed: String = stem
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(32)
        .collect();
    let name = dashed.trim_matches('-');
    if name.is_empty() {
        "profile".to_owned()
    } else {
        name.to_owned()
    }
}

fn description(top: &Section<'_>) -> Result<String, ProfileError> {
    let Some(text) = top.text("description")? else {
        return Ok(String::new());
    };
    if text.value.chars().any(char::is_control) || text.value.chars().count() > 200 {
        let message = "`description` is one line of at most 200 characters: shorten it";
        return Err(top.doc.error(text.span, message));
    }
    Ok(text.value.to_owned())
}

fn fragment_ms(top: &Section<'_>) -> Result<u32, ProfileError> {
    let Some(seconds) = top.decimal("fragment_seconds")? else {
        return Ok(DEFAULT_FRAGMENT_MS);
    };
    if !(0.5..=30.0).contains(&seconds.value) {
        let written = top.doc.text.get(seconds.span.clone()).unwrap_or_default();
        let message = format!(
            "`fragment_seconds = {}` is out of range: a fragment lasts 0.5 to 30 seconds",
            shorten(written)
        );
        return Err(top.doc.error(seconds.span, message));
    }
    let ms = seconds.value * 1000.0;
    if (ms - ms.round()).abs() > 1e-6 {
        let message =
            "`fragment_seconds` is exact to the millisecond: write at most three decimals";
        return Err(top.doc.error(seconds.span, message));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "500 to 30000 by the check above"
    )]
    let ms = ms.round() as u32;
    Ok(ms)
}

fn deinterlace(top: &Section<'_>) -> Result<Deinterlace, ProfileError> {
    let Some(value) = top.any("deinterlace") else {
        return Ok(Deinterlace::Frames);
    };
    match value.get_ref() {
        DeValue::Boolean(true) => Ok(Deinterlace::Frames),
        DeValue::Boolean(false) => Ok(Deinterlace::Off),
        DeValue::String(word) if word == Deinterlace::FIELD_RATE => Ok(Deinterlace::Fields),
        DeValue::String(word) => {
            let message = format!(
                "there is no `deinterlace = \"{}\"`: possible are `true`, `false`, `\"{}\"`",
                shorten(word),
                Deinterlace::FIELD_RATE
            );
            Err(top.doc.error(value.span(), message))
        }
        _ => Err(top.mismatch("deinterlace", value)),
    }
}

fn outputs(top: &Section<'_>) -> Result<Outputs, ProfileError> {
    let Some(value) = top.any("outputs") else {
        return Ok(Outputs {
            mp4: true,
            hls: true,
        });
    };
    let DeValue::Array(items) = value.get_ref() else {
        return Err(top.mismatch("outputs", value));
    };
    let mut outputs = Outputs {
        mp4: false,
        hls: false,
    };
    for item in items.iter() {
        let wanted = match item.get_ref().as_str() {
            Some("mp4") => &mut outputs.mp4,
            Some("hls") => &mut outputs.hls,
            Some(other) => {
                let other = shorten(other);
                let message = format!("there is no output `{other}`: possible are `mp4`, `hls`");
                return Err(top.doc.error(item.span(), message));
            }
            None => return Err(top.mismatch("outputs", item)),
        };
        if std::mem::replace(wanted, true) {
            return Err(top
                .doc
                .error(item.span(), "this output is listed twice: remove one"));
        }
    }
    if outputs.mp4 || outputs.hls {
        return Ok(outputs);
    }
    Err(top.doc.error(
        value.span(),
        "`outputs` is empty: name `mp4`, `hls` or both",
    ))
}

fn audio(top: &Section<'_>) -> Result<Option<AudioSettings>, ProfileError> {
    let doc = top.doc;
    let Some(table) = top.table("audio")? else {
        let kbps = Some(DEFAULT_AUDIO_KBPS);
        return Ok(Some(AudioSettings {
            codec: AudioCodec::Aac,
            kbps,
            channels: Channels::Source,
        }));
    };
    let section = Section {
        doc,
        name: AUDIO,
        table: table.value,
        span: table.span,
        keys: KEYS,
    };
    section.refuse_unknown_keys()?;
    let kbps = section.whole("kbps")?;
    let channels = channels(&section)?;
    let codec = match section.text("codec")? {
        None => Some(AudioCodec::Aac),
        Some(At { value: "none", .. }) => None,
        Some(word) => {
            let known = AudioCodec::ALL
                .into_iter()
                .find(|codec| codec.as_str() == word.value);
            Some(known.ok_or_else(|| {
                let names = AudioCodec::ALL.map(AudioCodec::as_str);
                let way_out = match nearest(word.value, names.into_iter()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("possible are {}, `none`", list(names)),
                };
                let codec = shorten(word.value);
                doc.error(
                    word.span,
                    format!("there is no audio codec `{codec}`: {way_out}"),
                )
            })?)
        }
    };
    // AAC holds 288 kb/s for each channel at 48 kHz, libopus takes 256.
    let range = match codec {
        Some(AudioCodec::Aac) => 16..=512,
        Some(AudioCodec::Opus) => 12..=510,
        Some(AudioCodec::Flac) | None => {
            return match kbps {
                None => Ok(codec.map(|codec| AudioSettings {
                    codec,
                    kbps: None,
                    channels,
                })),
                Some(kbps) => {
                    let codec = codec.map_or("none", AudioCodec::as_str);
                    let message = format!("`{codec}` takes no `kbps`: leave it out");
                    Err(doc.error(kbps.span, message))
                }
            };
        }
    };
    let kbps = match (kbps, codec) {
        (Some(kbps), Some(codec)) => {
            let whose = format!("`{}`", codec.as_str());
            kbps.within(
                doc,
                "kbps",
                range,
                &whose,
                " kilobits per second for a stereo track",
            )?
        }
        _ => DEFAULT_AUDIO_KBPS,
    };
    Ok(codec.map(|codec| AudioSettings {
        codec,
        kbps: Some(kbps),
        channels,
    }))
}

fn channels(section: &Section<'_>) -> Result<Channels, ProfileError> {
    let Some(word) = section.text("channels")? else {
        return Ok(Channels::Source);
    };
    let known = Channels::ALL
        .into_iter()
        .find(|choice| choice.as_str() == word.value);
    known.ok_or_else(|| {
        let names = Channels::ALL.map(Channels::as_str);
        let way_out = match nearest(word.value, names.into_iter()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("possible are {}", list(names)),
        };
        let message = format!("`channels` cannot be `{}`: {way_out}", shorten(word.value));
        section.doc.error(word.span, message)
    })
}

fn video(top: &Section<'_>) -> Result<Vec<Rung>, ProfileError> {
    let doc = top.doc;
    let shared = match top.table("video")? {
        None => None,
        Some(table) => {
            let (value, span) = (table.value, table.span);
            let section = Section {
                doc,
                name: VIDEO,
                table: value,
                span,
                keys: KEYS,
            };
            section.refuse_unknown_keys()?;
            Some((RawVideo::read(&section)?, section.span))
        }
    };
    let rungs = rung_tables(top)?;
    if let (true, Some((_, span))) = (rungs.is_empty(), &shared) {
        let message = "`[video]` says how, but no `[[rung]]` says what: add one";
        return Err(doc.error(span.clone(), message));
    }
    let shared = shared.map(|(raw, _)| raw).unwrap_or_default();
    let mut ladder = Vec::new();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for At { value: table, span } in rungs {
        let section = Section {
            doc,
            name: RUNG,
            table,
            span: span.clone(),
            keys: KEYS,
        };
        section.refuse_unknown_keys()?;
        let Some(name) = section.text("name")? else {
            let message = "this `[[rung]]` has no name: add one, as in `name = \"1080p\"`";
            return Err(doc.error(span, message));
        };
        if let Some(line) = names.insert(name.value, line_of(doc, name.span.start)) {
            let message = format!(
                "line {line} has a rung `{}` already: every rung needs a name of its own",
                shorten(name.value)
            );
            return Err(doc.error(name.span, message));
        }
        if ["master", "audio"].contains(&name.value) {
            let message = format!(
                "reelmill has a file `{}` of its own: choose another name",
                name.value
            );
            return Err(doc.error(name.span, message));
        }
        let settings = RawVideo::read(&section)?.over(&shared);
        ladder.push(Rung {
            name: checked_name(doc, &name)?,
            short_side: short_side(&section)?,
            settings: check::settings(doc, &section.span, settings)?,
        });
    }
    Ok(ladder)
}

/// The tables of `[[rung]]`, in the file's order.
fn rung_tables<'a>(top: &Section<'a>) -> Result<Vec<At<&'a DeTable<'a>>>, ProfileError> {
    let Some(value) = top.any("rung") else {
        return Ok(Vec::new());
    };
    let items: &[Spanned<DeValue<'_>>] = match value.get_ref() {
        DeValue::Array(items) => items,
        DeValue::Table(_) => {
            let message = "a profile has several rungs: write `[[rung]]`, with two brackets";
            return Err(top.doc.error(value.span(), message));
        }
        _ => return Err(top.mismatch("rung", value)),
    };
    if let Some(extra) = items.get(MAX_RUNGS) {
        let message = format!("a profile has at most {MAX_RUNGS} rungs: make a second profile");
        return Err(top.doc.error(extra.span(), message));
    }
    let mut tables = Vec::new();
    for item in items {
        match item.get_ref() {
            DeValue::Table(table) => tables.push(At {
                value: table,
                span: item.span(),
            }),
            _ => return Err(top.mismatch("rung", item)),
        }
    }
    Ok(tables)
}

fn short_side(section: &Section<'_>) -> Result<Option<u32>, ProfileError> {
    let doc = section.doc;
    let Some(value) = section.any("short_side") else {
        let message =
            "this `[[rung]]` has no size: add `short_side = 1080` or `short_side = \"source\"`";
        return Err(doc.error(section.span.clone(), message));
    };
    match value.get_ref() {
        DeValue::String(word) if word == "source" => return Ok(None),
        DeValue::Integer(_) => {}
        _ => return Err(section.mismatch("short_side", value)),
    }
    let Some(number) = section.whole("short_side")? else {
        return Ok(None);
    };
    let pixels = number.within(doc, "short_side", 16..=8640, "a rung", " pixels")?;
    if pixels % 2 == 1 {
        let message = format!(
            "`short_side` is even: write {} or {}",
            pixels - 1,
            pixels + 1
        );
        return Err(doc.error(number.span, message));
    }
    Ok(Some(pixels))
}

fn line_of(doc: Doc<'_>, offset: usize) -> usize {
    doc.text
        .get(..offset)
        .unwrap_or_default()
        .matches('\n')
        .count()
        + 1
}
