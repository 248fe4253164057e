//! A track with holes, overlaps or a format that changes, made into one without.
//!
//! ```text
//! source ─ decode ─ one format ─► pipe ─ copy, silence, leave out ─► pipe ─ encode ─► audio.mp4
//! ```
//!
//! ffmpeg begins its filters again when the format changes, so that none of them can count through,
//! and its own compensation keeps a whole hole in memory. So the decoder's samples pass through
//! here, where [`crate::timeline`] has said what to do with them.

use std::ffi::OsString;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::Path;

use reelmill_common::Timebase;
use reelmill_common::profile::AudioCodec;

use crate::audio::{AudioRequest, EncodedAudio, TRACK_FILE, broken_times, quiet};
use crate::error::MediaError;
use crate::layout;
use crate::mp4::flac_bits;
use crate::observe::{OBSERVE, Observed, Observer};
use crate::placement::{Edit, Placed};
use crate::process::{Ends, run, run_between};
use crate::tools::Tools;

/// The format in which samples pass from the decoder to the encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Format {
    rate: u32,
    layout: String,
    /// Raw samples as ffmpeg's muxers name them, and the sample format in its filters.
    raw: (&'static str, &'static str),
    /// Filters that make it, each with a comma before it.
    filters: String,
}

impl Format {
    /// Bytes of one sample of all channels.
    fn frame(&self) -> usize {
        let sample = if self.raw.0 == "s16le" { 2 } else { 4 };
        sample * layout::count(&self.layout).max(1) as usize
    }
}

/// Encodes a track again in `dir`, each sample where it belongs.
///
/// # Errors
/// Any [`MediaError`].
pub(crate) async fn mend(
    tools: &Tools,
    request: &AudioRequest<'_>,
    observed: &Observed,
    dir: &Path,
) -> Result<EncodedAudio, MediaError> {
    let stream = &request.plan.stream;
    let raw = raw(request, dir);
    let mut notes = Vec::new();
    let (format, placed) = if observed.format_changed {
        let largest = largest_format(tools, request, dir).await?;
        let format = one_format(request, largest, raw);
        notes.push(format!(
            "the sound in stream {} changes its format: all of it is delivered as {} at {} Hz",
            stream.index, format.layout, format.rate
        ));
        let placed = match request.plan.counted_times {
            true => beginning(observed, stream.sample_rate, format.rate),
            false => places(tools, request, &format, dir).await?,
        };
        (format, placed)
    } else {
        let planned = request.plan.layout.as_deref();
        let layout = planned
            .unwrap_or_else(|| layout::for_count(request.plan.settings.codec, stream.channels));
        let format = Format {
            rate: stream.sample_rate,
            layout: layout.to_owned(),
            raw,
            filters: format!("{},aformat=channel_layouts={layout}", request.mapping()),
        };
        (format, observed.placed.clone())
    };
    let late = request.late_by(&placed, format.rate);
    if late > 0 {
        let seconds = late as f64 / f64::from(format.rate.max(1));
        notes.push(format!(
            "the sound in stream {} begins {seconds:.3} s after the picture: silence comes before it",
            stream.index
        ));
    }
    notes.extend(changes(request, &placed, format.rate));
    notes.extend(broken_times(request, placed.broken));

    let (from_decoder, decoded) = pipe()?;
    let (to_encode, to_encoder) = pipe()?;
    let mut decode = request.open();
    let graph = format!(
        "[0:{}]anull{},aformat=sample_fmts={}[track]",
        stream.index, format.filters, format.raw.1
    );
    decode.extend(["-filter_complex".into(), graph.into()]);
    decode.extend(["-map".into(), "[track]".into()]);
    decode.extend(["-c:a".into(), format!("pcm_{}", format.raw.0).into()]);
    decode.extend(["-f", format.raw.0, "pipe:1"].map(OsString::from));
    decode.extend(request.others());
    let decode = request.invocation(tools, dir, decode);
    let mut encode = request.invocation(tools, dir, encoder_args(request, &format));
    encode.reads.clear();
    encode.connects = None;

    let frame = format.frame();
    let late = i64::try_from(late).unwrap_or(0);
    let silence = Edit {
        at: 0,
        change: late,
    };
    let edits: Vec<Edit> = std::iter::once(silence)
        .chain(placed.edits.iter().copied())
        .collect();
    let copy = tokio::task::spawn_blocking(move || copy(from_decoder, to_encoder, &edits, frame));
    let (mut nothing, mut as_little) = (|_: &str| {}, |_: &str| {});
    let decoding = run_between(
        decode,
        Ends {
            stdin: None,
            stdout: Some(decoded),
        },
        &mut nothing,
    );
    let encoding = run_between(
        encode,
        Ends {
            stdin: Some(to_encode),
            stdout: None,
        },
        &mut as_little,
    );
    let (ended, encoded, copied) = tokio::join!(decoding, encoding, copy);
    // Of an encoder that fails, the others only see that their pipe is closed.
    encoded?;
    let ended = ended?;
    let copied = copied
        .map_err(std::io::Error::other)
        .and_then(|copied| copied);
    copied.map_err(|source| MediaError::Start {
        program: tools.ffmpeg.clone(),
        source,
    })?;
    Ok(EncodedAudio {
        first_pts: placed.first.map(|first| first - late),
        timebase: Timebase::new(1, format.rate).unwrap_or(Timebase::MICROS),
        ended,
        notes,
    })
}

/// The raw format that loses nothing: the encoder's own, as the first run of it chose.
fn raw(request: &AudioRequest<'_>, dir: &Path) -> (&'static str, &'static str) {
    if request.plan.settings.codec != AudioCodec::Flac {
        return ("f32le", "flt");
    }
    match flac_bits(&dir.join(TRACK_FILE)) {
        Ok(Some(16)) => ("s16le", "s16"),
        _ => ("s32le", "s32"),
    }
}

/// The most channels and the highest rate that occur in a track.
async fn largest_format(
    tools: &Tools,
    request: &AudioRequest<'_>,
    dir: &Path,
) -> Result<(u32, u32), MediaError> {
    let mut args = request.open();
    // The first block of each graph: its rate in place of its time, then a line for each channel.
    let graph = format!(
        "[0:{}]aselect=eq(n\\,0),astats=metadata=1:reset=1:measure_overall=none:measure_perchannel=DC_offset,asetpts=SR,ametadata=mode=print:file=-:direct=1[seen]",
        request.plan.stream.index
    );
    args.extend(["-filter_complex".into(), graph.into()]);
    args.extend(["-map", "[seen]", "-f", "null", "-"].map(OsString::from));
    args.extend(request.others());
    let (mut rate, mut channels) = (
        request.plan.stream.sample_rate,
        request.plan.stream.channels,
    );
    let invocation = request.invocation(tools, dir, args);
    run(invocation, &mut |line| {
        if let Some(found) = crate::encode::parse_pts(line) {
            rate = rate.max(found.try_into().unwrap_or(0));
        }
        // lavfi.astats.6.DC_offset=0.000012
        let channel = line
            .strip_prefix("lavfi.astats.")
            .and_then(|rest| rest.split('.').next());
        if let Some(channel) = channel.and_then(|number| number.parse().ok()) {
            channels = channels.max(channel);
        }
    })
    .await?;
    Ok((rate, channels))
}

/// The format that all parts of a track are converted to: the most channels, the highest rate.
fn one_format(
    request: &AudioRequest<'_>,
    (rate, channels): (u32, u32),
    raw: (&'static str, &'static str),
) -> Format {
    let (stream, codec) = (&request.plan.stream, request.plan.settings.codec);
    let planned = request.plan.layout.as_deref();
    let layout = match planned {
        // What was planned for the largest part, or asked for whatever the source has.
        Some(planned)
            if channels == stream.channels || layout::count(planned) < stream.channels =>
        {
            planned
        }
        _ => layout::for_count(codec, channels),
    };
    let rate = match codec {
        AudioCodec::Opus => 48_000,
        AudioCodec::Aac => rate.min(96_000),
        AudioCodec::Flac => rate,
    };
    Format {
        rate,
        layout: layout.to_owned(),
        raw,
        filters: format!(",aformat=channel_layouts={layout}:sample_rates={rate}"),
    }
}

/// A track of which only the beginning has a time: what follows is counted. `from` is the rate of the blocks
/// that were seen, `to` that of what is delivered.
fn beginning(observed: &Observed, from: u32, to: u32) -> Placed {
    let rates = Timebase::new(1, from).ok().zip(Timebase::new(1, to).ok());
    let first = observed.placed.first.zip(rates);
    Placed {
        first: first.map(|(first, (from, to))| from.rescale_nearest(first, to)),
        ..Placed::default()
    }
}

/// Where the blocks of a track belong once they have one format.
async fn places(
    tools: &Tools,
    request: &AudioRequest<'_>,
    format: &Format,
    dir: &Path,
) -> Result<Placed, MediaError> {
    let mut args = request.open();
    let graph = format!(
        "[0:{}]anull{},aformat=sample_fmts={},asettb=1/{},{OBSERVE}[seen]",
        request.plan.stream.index, format.filters, format.raw.1, format.rate
    );
    args.extend(["-filter_complex".into(), graph.into()]);
    args.extend(["-map", "[seen]", "-f", "null", "-"].map(OsString::from));
    args.extend(request.others());
    let mut observer = Observer::of_one_format(&request.plan.stream.codec, format.rate);
    let invocation = request.invocation(tools, dir, args);
    run(invocation, &mut |line| observer.line(line)).await?;
    Ok(observer.finish().placed)
}

fn encoder_args(request: &AudioRequest<'_>, format: &Format) -> Vec<OsString> {
    let mut args = quiet();
    let channels = layout::count(&format.layout);
    args.extend(["-f".into(), format.raw.0.into()]);
    args.extend(["-ar".into(), format.rate.to_string().into()]);
    args.extend(["-ac".into(), channels.to_string().into()]);
    args.extend(["-i", "pipe:0"].map(OsString::from));
    // ffmpeg guesses what the channels of raw samples are, and would mix what it guessed.
    let graph = format!("[0:a]channelmap=channel_layout={}[track]", format.layout);
    args.extend(["-filter_complex".into(), graph.into()]);
    args.extend(["-map", "[track]"].map(OsString::from));
    args.extend(request.encoder(format.rate));
    args
}

/// Says what was filled and left out, and where it begins.
fn changes(request: &AudioRequest<'_>, placed: &Placed, rate: u32) -> Vec<String> {
    let index = request.plan.stream.index;
    let seconds = |samples: u64| samples as f64 / f64::from(rate.max(1));
    let first = |is: fn(&Edit) -> bool| {
        let mut delivered = 0_i64;
        for edit in &placed.edits {
            if is(edit) {
                let at = i64::try_from(edit.at)
                    .unwrap_or(i64::MAX)
                    .saturating_add(delivered);
                return seconds(u64::try_from(at).unwrap_or(0));
            }
            delivered = delivered.saturating_add(edit.change);
        }
        0.0
    };
    let many = |is: fn(&Edit) -> bool| match placed.edits.iter().filter(|edit| is(edit)).count() {
        1 => "one place".to_owned(),
        count => format!("{count} places"),
    };
    let is_hole = |edit: &Edit| edit.change > 0;
    let is_overlap = |edit: &Edit| edit.change < 0;
    let mut notes = Vec::new();
    if placed.inserted() > 0 {
        notes.push(format!(
            "the sound in stream {index} is missing in {}, {:.3} s in all, which silence fills: the first {:.3} s after its beginning",
            many(is_hole), seconds(placed.inserted()), first(is_hole)
        ));
    }
    if placed.removed() > 0 {
        notes.push(format!(
            "the sound in stream {index} overlaps itself in {}, where {:.3} s in all are left out: the first {:.3} s after its beginning",
            many(is_overlap), seconds(placed.removed()), first(is_overlap)
        ));
    }
    notes
}

fn pipe() -> Result<(PipeReader, PipeWriter), MediaError> {
    std::io::pipe().map_err(|source| MediaError::Start {
        program: "pipe".into(),
        source,
    })
}

/// Passes samples on, with silence inserted and others left out. Blocking. A reader that is gone ends
/// it without an error: its own end says why.
fn copy(
    mut from: impl Read,
    mut to: impl Write,
    edits: &[Edit],
    frame: usize,
) -> std::io::Result<()> {
    let result = pass(&mut from, &mut to, edits, frame as u64);
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn pass(
    from: &mut impl Read,
    to: &mut impl Write,
    edits: &[Edit],
    frame: u64,
) -> std::io::Result<()> {
    let mut taken = 0;
    for edit in edits {
        let before = edit.at.saturating_sub(taken).saturating_mul(frame);
        std::io::copy(&mut from.by_ref().take(before), to)?;
        taken = taken.max(edit.at);
        let bytes = edit.change.unsigned_abs().saturating_mul(frame);
        if edit.change > 0 {
            std::io::copy(&mut std::io::repeat(0).take(bytes), to)?;
        } else {
            std::io::copy(&mut from.by_ref().take(bytes), &mut std::io::sink())?;
            taken += edit.change.unsigned_abs();
        }
    }
    std::io::copy(from, to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_passed_on_with_their_changes() {
        let edits = [
            Edit { at: 2, change: 3 },
            Edit { at: 3, change: -2 },
            Edit { at: 6, change: 1 },
        ];
        let source: Vec<u8> = (1..=16).collect();
        let mut made = Vec::new();
        copy(source.as_slice(), &mut made, &edits, 2).unwrap();
        assert_eq!(
            made,
            [
                1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 5, 6, 11, 12, 0, 0, 13, 14, 15, 16
            ]
        );
    }
}
