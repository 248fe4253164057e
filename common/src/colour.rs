//! Which colours a picture has where its source does not say, and which a rendition is given.
//!
//! The policy is stated for users in `docs/profiles.md`.

use crate::media_info::{Colour, VideoStream};
use crate::profile::pixel;

/// Whether a pixel format of ffmpeg's holds red, green and blue.
#[must_use]
pub fn is_rgb(format: &str) -> bool {
    pixel::is_rgb(format)
}

/// Whether a pixel format of ffmpeg's holds luma alone.
#[must_use]
pub fn is_grey(format: &str) -> bool {
    pixel::is_grey(format)
}

/// The height, as it is stored, from which an undescribed picture is HD: browsers draw the line here.
const HD_HEIGHT: u32 = 720;

/// The complete colour description of a source: what it states, and the usual value for the rest.
///
/// The matrix of an RGB source is the one that its conversion to YUV uses.
#[must_use]
pub fn described(stream: &VideoStream) -> Colour {
    let stated = &stream.colour;
    let rgb = is_rgb(&stream.pixel_format);
    let (primaries, transfer) = (stated.primaries.as_deref(), stated.transfer.as_deref());
    // `gbr` is no matrix: RGB states it, and YUV by mistake.
    let matrix = stated.matrix.as_deref();
    let matrix = matrix.filter(|matrix| !rgb && !matches!(*matrix, "gbr" | "reserved"));
    let matrix = matrix
        .or_else(|| matrix_of_primaries(primaries?))
        .or_else(|| matrix_of_transfer(transfer?))
        .unwrap_or(if stream.height >= HD_HEIGHT {
            "bt709"
        } else {
            "smpte170m"
        });
    // RGB without a description is sRGB, which has the primaries of BT.709.
    let usual = if rgb && stated.primaries.is_none() && stated.transfer.is_none() {
        ("bt709", "bt709")
    } else {
        of_matrix(matrix)
    };
    Colour {
        primaries: Some(primaries.unwrap_or(usual.0).to_owned()),
        transfer: Some(transfer.unwrap_or(usual.1).to_owned()),
        matrix: Some(matrix.to_owned()),
        range: Some(range(stream).to_owned()),
    }
}

/// The colour description of a rendition with the pixel format `format`; `own_format` says whether
/// its profile asks for the source's own pixel format, and so for its range.
#[must_use]
pub fn delivered(stream: &VideoStream, format: &str, own_format: bool) -> Colour {
    let source = described(stream);
    if is_rgb(format) {
        return Colour {
            matrix: Some("gbr".to_owned()),
            range: Some("pc".to_owned()),
            ..source
        };
    }
    let keeps_range = own_format && !is_rgb(&stream.pixel_format);
    let full = pixel::is_full_range(format) || keeps_range && range(stream) == "pc";
    Colour {
        range: Some(if full { "pc" } else { "tv" }.to_owned()),
        ..source
    }
}

/// One sentence on what is assumed about a source's colours; `None` where it states its matrix,
/// primaries and transfer, and for RGB, where nothing has to be assumed.
#[must_use]
pub fn assumption(stream: &VideoStream) -> Option<String> {
    let stated = &stream.colour;
    let unstated: Vec<&str> = [
        ("matrix", &stated.matrix),
        ("primaries", &stated.primaries),
        ("transfer function", &stated.transfer),
    ]
    .iter()
    .filter(|(_, value)| value.is_none())
    .map(|(name, _)| *name)
    .collect();
    if unstated.is_empty() || is_rgb(&stream.pixel_format) {
        return None;
    }
    let what = match unstated.as_slice() {
        [_, _, _] => "which colours it has".to_owned(),
        [one, other] => format!("the {one} and {other} of its colours"),
        _ => format!("the {} of its colours", unstated.join(", ")),
    };
    let matrix = described(stream).matrix.unwrap_or_default();
    Some(format!(
        "the picture in stream {} does not say {what}: {} is assumed",
        stream.index,
        standard(&matrix)
    ))
}

/// What people call the colours that go with a matrix.
fn standard(matrix: &str) -> &str {
    match matrix {
        "bt709" => "BT.709",
        "smpte170m" | "bt470bg" => "BT.601",
        "bt2020nc" | "bt2020c" => "BT.2020",
        other => other,
    }
}

/// `pc` or `tv`.
///
/// Grey pictures without a statement are full range, as ffmpeg takes them.
#[must_use]
pub fn range(stream: &VideoStream) -> &'static str {
    let format = &stream.pixel_format;
    if is_rgb(format) || pixel::is_full_range(format) {
        return "pc";
    }
    match stream.colour.range.as_deref() {
        Some("pc") => "pc",
        None if pixel::is_grey(format) => "pc",
        _ => "tv",
    }
}

fn matrix_of_primaries(primaries: &str) -> Option<&'static str> {
    Some(match primaries {
        "bt709" => "bt709",
        "smpte170m" => "smpte170m",
        "bt470bg" => "bt470bg",
        "bt470m" => "fcc",
        "smpte240m" => "smpte240m",
        "bt2020" => "bt2020nc",
        _ => return None,
    })
}

fn matrix_of_transfer(transfer: &str) -> Option<&'static str> {
    Some(match transfer {
        "bt709" => "bt709",
        "smpte170m" => "smpte170m",
        "bt470bg" => "bt470bg",
        "smpte240m" => "smpte240m",
        "smpte2084" | "arib-std-b67" | "bt2020-10" | "bt2020-12" => "bt2020nc",
        _ => return None,
    })
}

/// Primaries and transfer function that usually go with a matrix.
fn of_matrix(matrix: &str) -> (&'static str, &'static str) {
    match matrix {
        "smpte170m" => ("smpte170m", "smpte170m"),
        "bt470bg" => ("bt470bg", "smpte170m"),
        "fcc" => ("bt470m", "smpte170m"),
        "smpte240m" => ("smpte240m", "smpte240m"),
        "bt2020nc" | "bt2020c" | "ictcp" => ("bt2020", "bt2020-10"),
        _ => ("bt709", "bt709"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timebase;

    fn stream(size: (u32, u32), format: &str, [m, p, t, r]: [Option<&str>; 4]) -> VideoStream {
        let own = |text: Option<&str>| text.map(str::to_owned);
        VideoStream {
            index: 3,
            codec: "h264".to_owned(),
            width: size.0,
            height: size.1,
            sar: None,
            rotation: 0,
            pixel_format: format.to_owned(),
            timebase: Timebase::MICROS,
            frame_rate: None,
            interlaced: false,
            colour: Colour {
                primaries: own(p),
                transfer: own(t),
                matrix: own(m),
                range: own(r),
            },
        }
    }

    fn text(colour: &Colour) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!(
            "{} {} {} {}",
            part(&colour.matrix),
            part(&colour.primaries),
            part(&colour.transfer),
            part(&colour.range)
        )
    }

    fn of(size: (u32, u32), format: &str, stated: [Option<&str>; 4]) -> String {
        text(&described(&stream(size, format, stated)))
    }

    #[test]
    fn a_size_decides_where_nothing_is_stated() {
        let none = [None; 4];
        for (size, matrix) in [
            ((640, 480), "smpte170m smpte170m smpte170m tv"),
            ((720, 576), "smpte170m smpte170m smpte170m tv"),
            ((576, 1024), "bt709 bt709 bt709 tv"),
            ((1280, 720), "bt709 bt709 bt709 tv"),
            ((720, 1280), "bt709 bt709 bt709 tv"),
            ((1280, 536), "smpte170m smpte170m smpte170m tv"),
            ((960, 720), "bt709 bt709 bt709 tv"),
        ] {
            assert_eq!(of(size, "yuv420p", none), matrix, "{size:?}");
        }
        assert_eq!(of((640, 360), "rgb24", none), "smpte170m bt709 bt709 pc");
        assert_eq!(of((1920, 1080), "gbrp", none), "bt709 bt709 bt709 pc");
        assert_eq!(
            of((640, 360), "yuvj420p", none),
            "smpte170m smpte170m smpte170m pc"
        );
        assert_eq!(
            of((640, 360), "gray", none),
            "smpte170m smpte170m smpte170m pc"
        );
    }

    #[test]
    fn what_is_stated_counts_and_completes_the_rest() {
        let sd = |stated| of((640, 360), "yuv420p", stated);
        assert_eq!(
            sd([Some("bt709"), None, None, None]),
            "bt709 bt709 bt709 tv"
        );
        assert_eq!(
            sd([None, Some("bt709"), None, Some("pc")]),
            "bt709 bt709 bt709 pc"
        );
        assert_eq!(
            sd([None, None, Some("smpte2084"), None]),
            "bt2020nc bt2020 smpte2084 tv"
        );
        assert_eq!(
            sd([Some("bt470bg"), None, None, None]),
            "bt470bg bt470bg smpte170m tv"
        );
        let hd = |stated| of((1920, 1080), "yuv420p", stated);
        assert_eq!(
            hd([Some("smpte170m"), None, None, None]),
            "smpte170m smpte170m smpte170m tv"
        );
        assert_eq!(hd([Some("gbr"), None, None, None]), "bt709 bt709 bt709 tv");
        assert_eq!(
            of(
                (1920, 1080),
                "rgb48le",
                [Some("gbr"), Some("bt2020"), Some("smpte2084"), None]
            ),
            "bt2020nc bt2020 smpte2084 pc"
        );
    }

    #[test]
    fn a_rendition_is_limited_range_unless_it_keeps_the_source_format() {
        let full = stream((1280, 720), "yuvj420p", [None; 4]);
        let shown = |format, own| delivered(&full, format, own).range.unwrap_or_default();
        assert_eq!(shown("yuv420p", false), "tv");
        assert_eq!(shown("yuvj420p", true), "pc");
        assert_eq!(shown("yuvj420p", false), "pc");
        let deep = stream((1280, 720), "yuv420p10le", [None, None, None, Some("pc")]);
        assert_eq!(
            text(&delivered(&deep, "yuv420p10le", true)),
            "bt709 bt709 bt709 pc"
        );
        assert_eq!(
            text(&delivered(&deep, "yuv420p10le", false)),
            "bt709 bt709 bt709 tv"
        );
        let rgb = stream((1280, 720), "rgb24", [Some("gbr"), None, None, Some("pc")]);
        assert_eq!(
            text(&delivered(&rgb, "yuv444p", true)),
            "bt709 bt709 bt709 tv"
        );
        assert_eq!(text(&delivered(&rgb, "gbrp", true)), "gbr bt709 bt709 pc");
    }

    #[test]
    fn an_assumption_is_one_sentence() {
        let say = |stated| assumption(&stream((640, 360), "yuv420p", stated));
        assert_eq!(
            say([None; 4]).unwrap(),
            "the picture in stream 3 does not say which colours it has: BT.601 is assumed"
        );
        assert_eq!(
            say([Some("bt709"), None, None, None]).unwrap(),
            "the picture in stream 3 does not say the primaries and transfer function of its colours: BT.709 is assumed"
        );
        assert_eq!(
            say([Some("bt709"), Some("bt709"), None, None]).unwrap(),
            "the picture in stream 3 does not say the transfer function of its colours: BT.709 is assumed"
        );
        assert_eq!(
            say([Some("bt709"), Some("bt709"), Some("bt709"), None]),
            None
        );
        assert_eq!(assumption(&stream((640, 360), "rgb24", [None; 4])), None);
    }
}
