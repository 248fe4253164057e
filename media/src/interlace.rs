//! Interlaced frames: which sources may hold some, and the filters that make progressive ones of them.
//!
//! A header says how a source begins. A broadcast may turn interlaced later, and AVI, raw DV and
//! MPEG-4 say nothing, so the filter runs wherever a decoder may mark frames as interlaced, and
//! lets the others pass untouched.

use reelmill_common::Timebase;
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::Deinterlace;

/// Codecs whose decoders never give interlaced frames. HEVC and VVC have fields as pictures of half
/// the height: their decoders mark those as interlaced, but each is a whole picture.
const PROGRESSIVE: [&str; 13] = [
    "apng", "av1", "gif", "hevc", "png", "theora", "vc2", "vp6", "vp7", "vp8", "vp9", "vvc", "webp",
];

/// Pixel formats, without the `le` of little-endian ones, that yadif takes in every supported ffmpeg.
/// It would have any other one converted.
const FORMATS: [&str; 37] = [
    "gbrap",
    "gbrp",
    "gbrp10",
    "gbrp12",
    "gbrp14",
    "gbrp16",
    "gbrp9",
    "gray",
    "gray16",
    "yuv410p",
    "yuv411p",
    "yuv420p",
    "yuv420p10",
    "yuv420p12",
    "yuv420p14",
    "yuv420p16",
    "yuv420p9",
    "yuv422p",
    "yuv422p10",
    "yuv422p12",
    "yuv422p14",
    "yuv422p16",
    "yuv422p9",
    "yuv440p",
    "yuv444p",
    "yuv444p10",
    "yuv444p12",
    "yuv444p14",
    "yuv444p16",
    "yuv444p9",
    "yuva420p",
    "yuva422p",
    "yuva444p",
    "yuvj420p",
    "yuvj422p",
    "yuvj440p",
    "yuvj444p",
];

/// The smallest width and height that is deinterlaced: yadif needs three lines of chroma.
const SMALLEST: u32 = 16;

/// The finest timebase in whose quarters ffmpeg counts exactly.
const FINEST: u32 = 1 << 28;

/// What is done with the interlaced frames of a source for which `wanted` is asked: that, where it
/// may hold any, else nothing.
#[must_use]
pub fn deinterlace(wanted: Deinterlace, stream: &VideoStream) -> Deinterlace {
    let format = stream.pixel_format.trim_end_matches("le");
    let taken_as_it_is = FORMATS.contains(&format) && !PROGRESSIVE.contains(&&*stream.codec);
    if hindrance(stream).is_none() && (stream.interlaced || taken_as_it_is) {
        wanted
    } else {
        Deinterlace::Off
    }
}

/// One sentence where a source's header says that it is interlaced, `wanted` asks for progressive
/// frames, and it is not deinterlaced all the same.
#[must_use]
pub fn note(wanted: Deinterlace, stream: &VideoStream) -> Option<String> {
    let why = hindrance(stream).filter(|_| stream.interlaced && wanted != Deinterlace::Off)?;
    let index = stream.index;
    Some(format!(
        "the picture in stream {index} is interlaced and stays so: {why}"
    ))
}

/// Why a source is not deinterlaced whatever its frames say.
fn hindrance(stream: &VideoStream) -> Option<&'static str> {
    if matches!(&*stream.codec, "hevc" | "vvc") {
        Some("each of its fields is coded as a picture of half the height")
    } else if stream.rotation != 0 {
        Some("it is turned for display, which mixes its fields")
    } else if stream.width.min(stream.height) < SMALLEST {
        Some("it is too small for the deinterlacer")
    } else if stream.timebase.den() > FINEST {
        Some("its timestamps are too fine for the deinterlacer")
    } else {
        None
    }
}

/// The filters between the decoder and all others: the picture in ticks of `timebase`, with
/// progressive frames.
///
/// yadif looks at one frame before and one after, and at nothing else; bwdif treats the first
/// interlaced frame that it ever sees in a way of its own, which would differ between windows. Both
/// halve the timebase. yadif fails where the size or the pixel format changes under it, so the scaler
/// ahead of it gives every frame those of `stream`, field by field where it is interlaced; frames
/// that have them already pass untouched. Without the format ffmpeg would put the conversion for the
/// encoder there.
pub(crate) fn filters(
    timebase: Timebase,
    deinterlace: Deinterlace,
    stream: &VideoStream,
) -> String {
    let clock = format!("settb={timebase}");
    let mode = match deinterlace {
        Deinterlace::Off => return clock,
        Deinterlace::Frames => "send_frame",
        Deinterlace::Fields => "send_field",
    };
    let (width, height) = stream.displayed_size();
    let size = format!("scale=w={width}:h={height}:flags=bicubic:interl=-1");
    let format = planar(&stream.pixel_format);
    let which = match stream.interlaced && never_marks(&stream.codec) {
        true => "all",
        false => "interlaced",
    };
    format!("{clock},{size},format={format},yadif=mode={mode}:deint={which},{clock}")
}

/// Whether a decoder marks no frame as interlaced, so that the container's word is all there is.
fn never_marks(codec: &str) -> bool {
    matches!(codec, "mjpeg" | "png" | "huffyuv" | "ffvhuff")
}

/// The pixel format in which yadif works on a source: the source's own, where yadif takes it, else the
/// one that holds the same samples, but for alpha.
fn planar(pixel_format: &str) -> &str {
    let bare = pixel_format.trim_end_matches("le");
    if FORMATS.contains(&bare) {
        return pixel_format;
    }
    match bare {
        "nv12" | "nv21" => "yuv420p",
        "yuyv422" | "uyvy422" | "yvyu422" | "nv16" => "yuv422p",
        "uyyvyy411" => "yuv411p",
        "nv24" | "nv42" => "yuv444p",
        "p010" => "yuv420p10le",
        "nv20" | "p210" | "y210" | "yuva422p10" => "yuv422p10le",
        "yuva422p12" => "yuv422p12le",
        "yuva444p10" => "yuv444p10le",
        "yuva444p12" => "yuv444p12le",
        "rgb24" | "bgr24" | "rgba" | "bgra" | "argb" | "abgr" | "0rgb" | "rgb0" | "0bgr"
        | "bgr0" => "gbrp",
        _ if bare.starts_with("gray") => "gray16le",
        _ => "yuv444p16le",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::media_info::Colour;

    fn stream(codec: &str, pixel_format: &str, interlaced: bool) -> VideoStream {
        VideoStream {
            index: 0,
            codec: codec.to_owned(),
            width: 720,
            height: 576,
            sar: None,
            rotation: 0,
            pixel_format: pixel_format.to_owned(),
            timebase: Timebase::new(1, 25).unwrap(),
            frame_rate: None,
            interlaced,
            colour: Colour::default(),
        }
    }

    #[test]
    fn frames_are_looked_at_wherever_some_may_be_interlaced() {
        let decided = |codec, format, interlaced| {
            let stream = stream(codec, format, interlaced);
            (
                deinterlace(Deinterlace::Frames, &stream),
                note(Deinterlace::Frames, &stream),
            )
        };
        let yes = (Deinterlace::Frames, None);
        let no = (Deinterlace::Off, None);
        assert_eq!(decided("h264", "yuv420p", false), yes);
        assert_eq!(decided("prores", "yuv422p10le", true), yes);
        assert_eq!(decided("vp9", "yuv420p", false), no);
        // It would be converted, and nothing says that it is interlaced.
        assert_eq!(decided("rawvideo", "uyvy422", false), no);
        assert_eq!(decided("rawvideo", "uyvy422", true), yes);
        let (deinterlaced, note) = decided("hevc", "yuv420p", true);
        assert_eq!(deinterlaced, Deinterlace::Off);
        assert!(
            note.unwrap()
                .contains("stream 0 is interlaced and stays so")
        );
        assert_eq!(decided("hevc", "yuv420p", false), no);
    }

    #[test]
    fn the_deinterlacer_gets_the_samples_of_the_source() {
        for (source, planar) in [
            ("yuv422p10le", "yuv422p10le"),
            ("yuvj420p", "yuvj420p"),
            ("uyvy422", "yuv422p"),
            ("yuva444p12le", "yuv444p12le"),
            ("bgr24", "gbrp"),
            ("gray10le", "gray16le"),
        ] {
            assert_eq!(super::planar(source), planar);
        }
    }

    #[test]
    fn a_profile_that_asks_for_nothing_gets_nothing_and_no_note() {
        let mut stream = stream("mpeg2video", "yuv420p", true);
        assert_eq!(deinterlace(Deinterlace::Off, &stream), Deinterlace::Off);
        stream.rotation = 180;
        assert_eq!(note(Deinterlace::Off, &stream), None);
        assert!(note(Deinterlace::Fields, &stream).is_some());
    }
}
