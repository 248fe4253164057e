//! Frames, pixels and what is said of them.

use std::path::Path;

use anyhow::{Context, Result};

use reelmill_common::colour::is_rgb;

use super::{Mark, Verdict, times};
use crate::ffmpeg::Ffmpeg;
use crate::oracle::{How, Picture, Plain, decode, largest_of_several, pixel_format};
use crate::tags::Tags;

/// How far the displayed aspect may move where an odd size had to be made even.
const ASPECT_TOLERANCE: f64 = 0.015;

/// Compares frames, times, pixels and tags of the picture.
pub(super) fn compare(
    ffmpeg: &Ffmpeg,
    source: &Path,
    plain: &Plain,
    (output, ours): (&Path, &Picture),
    verdict: &mut Verdict,
) -> Result<()> {
    let (native, how) = plain.like(ours).context("the source has no picture")?;
    let (theirs, format) = (pixel_format(ffmpeg, source)?, pixel_format(ffmpeg, output)?);
    let format = if same_samples(&theirs, &format) {
        &theirs
    } else {
        &format
    };
    let resized = (native.size != ours.size).then_some(ours.size);
    // Plain ffmpeg scales every frame to the size of the first, reelmill to that of the largest.
    let largest = match resized {
        Some(_) => largest_of_several(ffmpeg, source)?,
        None => None,
    };
    let expected = largest.unwrap_or(native.size);
    if let Some(size) = resized.filter(|size| !is_made_even(expected, *size)) {
        verdict
            .deviations
            .push(format!("size is {size:?}, plain {expected:?}"));
        verdict.pixels = Mark::Different;
        return Ok(());
    }
    let how = How {
        format: Some(format),
        size: resized,
        padded: largest.is_some(),
        rgb: is_rgb(&theirs) && !is_rgb(format),
        ..how
    };
    // Converting on one side only would compare the converter: the source is brought into the
    // output's format exactly where they cannot be the same, the output never.
    let converted = resized.is_some() || *format != theirs;
    let truth = match converted {
        true => decode(ffmpeg, source, how)?.context("the source cannot be decoded twice")?,
        false => native.clone(),
    };
    if converted {
        let (from, to) = (native.size, ours.size);
        verdict
            .notes
            .push(format!("{theirs} {from:?} became {format} {to:?}"));
    }
    verdict.frames_plain = truth.frames.len();
    verdict.frames_ours = ours.frames.len();
    if truth.frames.len() != ours.frames.len() {
        let pairs = truth.frames.iter().zip(&ours.frames);
        let same = pairs
            .take_while(|(truth, ours)| truth.hash == ours.hash)
            .count();
        let (ours, truth) = (ours.frames.len(), truth.frames.len());
        verdict
            .deviations
            .push(format!("{ours} frames for {truth}, the first {same} alike"));
    }
    pixels(&plain.repeatable(native), &truth, ours, verdict);
    times::compare(plain, &truth, ours, verdict);
    tags(ffmpeg, source, output, how, verdict)
}

/// Whether two pixel formats hold the same samples: the `j` of old formats only states the range,
/// which the colour tags say as well.
fn same_samples(a: &str, b: &str) -> bool {
    a.replace("yuvj", "yuv") == b.replace("yuvj", "yuv")
}

/// Whether one size is the other, made even because the codec cannot hold odd ones.
fn is_made_even(from: (u32, u32), to: (u32, u32)) -> bool {
    let made_even = |from: u32, to: u32| from == to || (from % 2 == 1 && from.abs_diff(to) == 1);
    made_even(from.0, to.0) && made_even(from.1, to.1)
}

/// Compares hashes in order, leaving out frames that plain ffmpeg itself decodes in two ways.
fn pixels(repeatable: &[bool], truth: &Picture, ours: &Picture, verdict: &mut Verdict) {
    let pairs = truth
        .frames
        .iter()
        .zip(&ours.frames)
        .zip(repeatable)
        .enumerate();
    let wrong: Vec<usize> = pairs
        .filter(|(_, ((truth, ours), repeatable))| **repeatable && truth.hash != ours.hash)
        .map(|(i, _)| i)
        .collect();
    let odd = repeatable.iter().filter(|repeatable| !**repeatable).count();
    verdict.pixels = if odd == 0 {
        Mark::Exact
    } else {
        Mark::Unrepeatable
    };
    if odd > 0 {
        verdict
            .notes
            .push(format!("plain ffmpeg decodes {odd} frames in two ways"));
    }
    if let (Some(first), Some(last)) = (wrong.first(), wrong.last()) {
        let text = format!("{} frames differ, from {first} to {last}", wrong.len());
        verdict.differs(|v| &mut v.pixels, text);
    }
}

/// Whether a colour tag is what is assumed of a source that states no colours, by its stored height:
/// BT.601 below 720 lines, else BT.709; RGB is sRGB, whose primaries are those of BT.709.
fn is_assumed(source: &Tags, rgb: bool, key: &str, said: Option<&str>) -> bool {
    let stated = |key: &str| {
        let mut tags = source.colour.iter();
        tags.any(|(other, value)| *other == key && value.is_some())
    };
    let nothing = ["color_space", "color_transfer", "color_primaries"]
        .iter()
        .all(|key| !stated(key));
    match (key, said) {
        (_, None) => false,
        ("color_range", Some(range)) => matches!(range, "tv" | "pc"),
        (_, Some(said)) if nothing && !rgb && source.size.1 < 720 => said == "smpte170m",
        (_, Some(said)) => !nothing || said == "bt709",
    }
}

/// Compares aspect, rotation, colour and HDR metadata with those of a plain encode.
fn tags(
    ffmpeg: &Ffmpeg,
    source: &Path,
    output: &Path,
    how: How<'_>,
    verdict: &mut Verdict,
) -> Result<()> {
    let ours = Tags::of(ffmpeg, output)?;
    let own_tags = Tags::of(ffmpeg, source)?;
    let Some(plain) = Tags::of_plain_encode(ffmpeg, source, how)? else {
        verdict
            .notes
            .push("plain ffmpeg cannot encode this picture: tags not compared".to_owned());
        return Ok(());
    };
    let aspect_off = (ours.aspect() / plain.aspect() - 1.0).abs();
    let tolerance = if how.size.is_some() {
        ASPECT_TOLERANCE
    } else {
        1e-9
    };
    if aspect_off > tolerance {
        let text = format!(
            "displayed {:.4} wide, plain {:.4}",
            ours.aspect(),
            plain.aspect()
        );
        verdict.deviations.push(text);
    }
    if ours.rotation != plain.rotation {
        let text = format!(
            "rotation is {:?}, plain {:?}",
            ours.rotation, plain.rotation
        );
        verdict.deviations.push(text);
    }
    let said = plain.colour.iter().zip(&own_tags.colour);
    for (((key, plain), (_, own)), (_, ours)) in said.zip(&ours.colour) {
        // Where the source says nothing, what the policy assumes is said; what completes a partial
        // statement, and whether either is right, is for the viewer's judge. For RGB plain ffmpeg says
        // what is no longer so after its conversion.
        let unsaid = own.is_none() && is_assumed(&own_tags, how.rgb, key, ours.as_deref());
        let of_rgb = how.rgb && matches!(*key, "color_space" | "color_range");
        if ours != plain && (plain.is_some() || ours != own) && !unsaid && !of_rgb {
            let say = |said: &Option<String>| said.clone().unwrap_or_else(|| "nothing".to_owned());
            verdict
                .deviations
                .push(format!("{key} is {}, plain {}", say(ours), say(plain)));
        }
    }
    if !plain.hdr.is_empty() && ours.hdr != plain.hdr {
        verdict
            .deviations
            .push("HDR metadata differ from those of a plain encode".to_owned());
    } else if !own_tags.hdr.is_empty() {
        let fate = if ours.hdr == own_tags.hdr {
            "kept"
        } else {
            "lost, as by plain ffmpeg"
        };
        verdict.notes.push(format!("HDR metadata {fate}"));
    }
    Ok(())
}
