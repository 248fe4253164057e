//! How one rendition's picture is encoded: read from `[video]` and `[[rung]]`, merged, checked.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::DeValue;

use super::reader::{At, Doc, Section, list, nearest, shorten};
use super::{PixelFormat, ProfileError, Rate, VideoCodec, VideoSettings, options, pixel};

const X26X_PRESETS: [&str; 10] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];

/// An encoder option and its value.
type RawOption = (At<String>, At<String>);

/// Settings as one table states them; what it does not state is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct RawVideo {
    codec: Option<At<VideoCodec>>,
    preset: Option<At<String>>,
    pixel_format: Option<At<String>>,
    rate: RawRate,
    options: Vec<RawOption>,
}

#[derive(Clone, Debug, Default)]
struct RawRate {
    crf: Option<At<i64>>,
    max_kbps: Option<At<i64>>,
    kbps: Option<At<i64>>,
    lossless: Option<At<bool>>,
}

impl RawVideo {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ProfileError> {
        let owned = |text: At<&str>| At {
            value: text.value.to_owned(),
            span: text.span,
        };
        let rate = RawRate {
            crf: section.whole("crf")?,
            max_kbps: section.whole("max_kbps")?,
            kbps: section.whole("kbps")?,
            lossless: section.flag("lossless")?,
        };
        rate.refuse_contradictions(section.doc)?;
        Ok(Self {
            codec: codec(section)?,
            preset: preset(section)?,
            pixel_format: section.text("pixel_format")?.map(owned),
            rate,
            options: read_options(section)?,
        })
    }

    /// These settings, with what they leave open taken from `shared`; nothing is taken from
    /// settings of another codec, whose words and scales mean something else.
    pub(super) fn over(self, shared: &Self) -> Self {
        if let (Some(own), Some(other)) = (&self.codec, &shared.codec)
            && own.value != other.value
        {
            return self;
        }
        // An option of the same name replaces; as options are looked up in order, the last wins.
        let options = shared.options.iter().cloned().chain(self.options).collect();
        Self {
            codec: self.codec.or_else(|| shared.codec.clone()),
            preset: self.preset.or_else(|| shared.preset.clone()),
            pixel_format: self.pixel_format.or_else(|| shared.pixel_format.clone()),
            rate: self.rate.over(&shared.rate),
            options,
        }
    }
}

impl RawRate {
    /// Two ways to spend bits in one table.
    fn refuse_contradictions(&self, doc: Doc<'_>) -> Result<(), ProfileError> {
        if let Some(At { value: false, span }) = &self.lossless {
            return Err(doc.error(span.clone(), "`lossless` is only ever true: leave it out"));
        }
        let ways = [
            ("crf", self.crf.as_ref().map(|at| &at.span)),
            ("kbps", self.kbps.as_ref().map(|at| &at.span)),
            ("lossless", self.lossless.as_ref().map(|at| &at.span)),
        ];
        let mut stated: Vec<(&str, &Range<usize>)> = ways
            .iter()
            .filter_map(|(name, span)| span.map(|span| (*name, span)))
            .collect();
        stated.sort_by_key(|(_, span)| span.start);
        if let [(first, _), (second, span), ..] = stated.as_slice() {
            let message =
                format!("`{second}` and `{first}` are two ways to spend bits: keep one of them");
            return Err(doc.error((*span).clone(), message));
        }
        if let (Some(cap), Some((way @ ("kbps" | "lossless"), _))) =
            (&self.max_kbps, stated.first())
        {
            let message =
                format!("`max_kbps` is the ceiling of a `crf`, and `{way}` has none: leave it out");
            return Err(doc.error(cap.span.clone(), message));
        }
        Ok(())
    }

    /// A table that states a way to spend bits means that one; only a ceiling is shared with it.
    fn over(self, shared: &Self) -> Self {
        let shared = shared.clone();
        if self.kbps.is_some() || self.lossless.is_some() {
            return self;
        }
        let max_kbps = self.max_kbps.or(shared.max_kbps);
        if self.crf.is_some() {
            return Self { max_kbps, ..self };
        }
        Self { max_kbps, ..shared }
    }

    fn checked(
        &self,
        doc: Doc<'_>,
        header: &Range<usize>,
        codec: VideoCodec,
    ) -> Result<Rate, ProfileError> {
        if let Some(lossless) = &self.lossless {
            if codec == VideoCodec::Av1 {
                let message = "`av1` has no lossless mode here: name another `codec`, or a `crf`";
                return Err(doc.error(lossless.span.clone(), message));
            }
            if let Some(cap) = &self.max_kbps {
                let message = "`max_kbps` needs a `crf` that it is the ceiling of: add one";
                return Err(doc.error(cap.span.clone(), message));
            }
            return Ok(Rate::Lossless);
        }
        // SVT-AV1 refuses more; ffmpeg's buffer of twice the rate must fit 31 bits with the others.
        let most = if codec == VideoCodec::Av1 {
            100_000
        } else {
            800_000
        };
        let whose = format!("`{}`", codec.as_str());
        let kbps =
            |at: &At<i64>, name| at.within(doc, name, 10..=most, &whose, " kilobits per second");
        if let Some(crf) = &self.crf {
            // SVT-AV1 reads 0 as "not set".
            let range = match codec {
                VideoCodec::H264 | VideoCodec::Hevc => 0..=51,
                VideoCodec::Av1 => 1..=63,
                VideoCodec::Vp9 => 0..=63,
            };
            let crf = crf.within(doc, "crf", range, &whose, "")?;
            return match &self.max_kbps {
                None => Ok(Rate::Crf(crf)),
                Some(cap) => Ok(Rate::CappedCrf {
                    crf,
                    max_kbps: kbps(cap, "max_kbps")?,
                }),
            };
        }
        if let Some(cap) = &self.max_kbps {
            let message = "`max_kbps` needs a `crf` that it is the ceiling of: add one";
            return Err(doc.error(cap.span.clone(), message));
        }
        if let Some(average) = &self.kbps {
            return Ok(Rate::Bitrate(kbps(average, "kbps")?));
        }
        let message = "nothing says how this rung spends bits: add `crf`, `kbps` or `lossless`";
        Err(doc.error(header.clone(), message))
    }
}

fn codec(section: &Section<'_>) -> Result<Option<At<VideoCodec>>, ProfileError> {
    let Some(word) = section.text("codec")? else {
        return Ok(None);
    };
    if let Some(value) = VideoCodec::ALL
        .into_iter()
        .find(|codec| codec.as_str() == word.value)
    {
        return Ok(Some(At {
            value,
            span: word.span,
        }));
    }
    let meant = match word.value.to_ascii_lowercase().as_str() {
        "x264" | "libx264" | "avc" | "h.264" => Some("h264"),
        "x265" | "libx265" | "h265" | "h.265" => Some("hevc"),
        "svt-av1" | "svtav1" | "libsvtav1" => Some("av1"),
        "libvpx-vp9" | "vpx" => Some("vp9"),
        _ => None,
    };
    let names = VideoCodec::ALL.map(VideoCodec::as_str);
    let way_out = match meant.or_else(|| nearest(word.value, names.into_iter())) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("possible are {}", list(names)),
    };
    let message = format!(
        "there is no video codec `{}`: {way_out}",
        shorten(word.value)
    );
    Err(section.doc.error(word.span, message))
}

/// A preset is a word for x264 and x265 and a number for the others.
fn preset(section: &Section<'_>) -> Result<Option<At<String>>, ProfileError> {
    let Some(value) = section.any("preset") else {
        return Ok(None);
    };
    let preset = match value.get_ref() {
        DeValue::String(word) => word.to_string(),
        DeValue::Integer(_) => match section.whole("preset")? {
            Some(number) => number.value.to_string(),
            None => return Ok(None),
        },
        _ => return Err(section.mismatch("preset", value)),
    };
    Ok(Some(At {
        value: preset,
        span: value.span(),
    }))
}

fn read_options(section: &Section<'_>) -> Result<Vec<RawOption>, ProfileError> {
    let mut options = Vec::new();
    let Some(table) = section.table("options")? else {
        return Ok(options);
    };
    for (name, value) in table.value {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => {
                let message = format!(
                    "the value of `{}` is text or a number: write it as in `tune = \"film\"`",
                    shorten(name.get_ref())
                );
                return Err(section.doc.error(value.span(), message));
            }
        };
        let name = At {
            value: name.get_ref().to_string(),
            span: name.span(),
        };
        options.push((
            name,
            At {
                value: text,
                span: value.span(),
            },
        ));
    }
    options.sort_by_key(|(name, _)| name.span.start);
    Ok(options)
}

/// Settings that an encoder can be started with. `header` is where a missing one is pointed at.
pub(super) fn settings(
    doc: Doc<'_>,
    header: &Range<usize>,
    raw: RawVideo,
) -> Result<VideoSettings, ProfileError> {
    let Some(codec) = raw.codec.as_ref().map(|codec| codec.value) else {
        let message =
            "nothing says which codec this rung has: add `codec = \"h264\"` to it or to `[video]`";
        return Err(doc.error(header.clone(), message));
    };
    let mut checked = BTreeMap::new();
    for (name, value) in raw.options {
        options::check(doc, codec, &name, &value)?;
        checked.insert(name.value, value.value);
    }
    Ok(VideoSettings {
        codec,
        preset: raw
            .preset
            .map(|preset| checked_preset(doc, codec, preset))
            .transpose()?,
        rate: raw.rate.checked(doc, header, codec)?,
        pixel_format: pixel_format(doc, codec, raw.pixel_format)?,
        options: checked,
    })
}

fn checked_preset(
    doc: Doc<'_>,
    codec: VideoCodec,
    preset: At<String>,
) -> Result<String, ProfileError> {
    let shown = shorten(&preset.value);
    let message = match codec {
        VideoCodec::H264 | VideoCodec::Hevc => {
            if X26X_PRESETS.contains(&preset.value.as_str()) {
                return Ok(preset.value);
            }
            let way_out = match nearest(&preset.value, X26X_PRESETS.into_iter()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("possible are {}", list(X26X_PRESETS)),
            };
            format!("`{}` has no preset `{shown}`: {way_out}", codec.as_str())
        }
        VideoCodec::Av1 | VideoCodec::Vp9 => {
            let fastest = if codec == VideoCodec::Av1 { 13 } else { 5 };
            if let Some(number) = preset.value.parse().ok().filter(|n: &u32| *n <= fastest) {
                return Ok(number.to_string());
            }
            format!(
                "`{}` has no preset `{shown}`: write a number from 0 (slowest) to {fastest} (fastest)",
                codec.as_str()
            )
        }
    };
    Err(doc.error(preset.span, message))
}

fn pixel_format(
    doc: Doc<'_>,
    codec: VideoCodec,
    format: Option<At<String>>,
) -> Result<PixelFormat, ProfileError> {
    let Some(format) = format else {
        return Ok(PixelFormat::Named("yuv420p".to_owned()));
    };
    match format.value.as_str() {
        "source" => return Ok(PixelFormat::Source),
        // SVT-AV1, x265 and libvpx take 10 bits, and so does x264.
        "source-depth" => return Ok(PixelFormat::SourceDepth),
        _ => {}
    }
    let accepted = pixel::accepted(codec);
    if accepted.contains(&format.value.as_str()) {
        return Ok(PixelFormat::Named(format.value));
    }
    let shown = shorten(&format.value);
    let message = if pixel::is_known(&format.value) {
        format!(
            "`{}` cannot hold `{shown}`: take `source`, `source-depth` or one of {}",
            codec.as_str(),
            list(accepted.iter().copied())
        )
    } else {
        let words = ["source", "source-depth"]
            .into_iter()
            .chain(accepted.iter().copied());
        let way_out = match nearest(&format.value, words) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write `source`, `source-depth` or ffmpeg's name of one".to_owned(),
        };
        format!("there is no pixel format `{shown}`: {way_out}")
    };
    Err(doc.error(format.span, message))
}
