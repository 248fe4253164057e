//! From the frames of a source to those of one rendition: size, shape, colours, pixel format.

use reelmill_common::colour;
use reelmill_common::manifest::{FrameChanges, RenditionPlan};
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::Rate;

/// Drops what a source says of stereo views: x264 opens its encoder anew where that is not as at the
/// start, after which `-qp 0` is not lossless.
const WITHOUT_STEREO: &str = "sidedata=mode=delete:type=STEREO3D";

/// By how much a frame's shape may differ from the source's before it is padded: rounding to even
/// sizes makes no borders.
const SHAPE_TOLERANCE: f64 = 0.01;

/// The filters between the chosen frames and the encoder of one rendition.
///
/// What encoders write into their headers, such as aspect ratio and colour description, is fixed
/// here, so that it is the same for every frame and every chunk.
pub(crate) fn filters(
    source: &VideoStream,
    changes: FrameChanges,
    rendition: &RenditionPlan,
) -> String {
    let RenditionPlan {
        width,
        height,
        pixel_format,
        ..
    } = rendition;
    let sar = sar(source, rendition);
    let conversion = conversion(source, changes, rendition);
    let mut filters = if changes.shape {
        let (w, h) = fitted(source, rendition);
        format!(
            "scale=w='{w}':h='{h}':eval=frame:flags=bicubic{conversion},{sar},format={pixel_format},\
             pad=w={width}:h={height}:x=(ow-iw)/2:y=(oh-ih)/2:eval=frame,{sar}"
        )
    } else {
        format!("scale=w={width}:h={height}:flags=bicubic{conversion},{sar},format={pixel_format}")
    };
    filters.push(',');
    filters.push_str(WITHOUT_STEREO);
    filters.push_str(&tags(rendition));
    filters
}

/// Width and height of a frame of any shape within the rendition, even, as expressions of `scale`.
/// A frame of the source's own shape fills the rendition.
fn fitted(source: &VideoStream, rendition: &RenditionPlan) -> (String, String) {
    let (width, height) = source.displayed_size();
    let (x, y) = source.displayed_sar().unwrap_or((1, 1));
    let sar = format!("{x}/{y}");
    let own = format!("({width}*{x}/{height}/{y})");
    // Lossless renditions keep every pixel of a frame whose aspect ratio alone is another.
    let frame = if rendition.settings.rate == Rate::Lossless {
        format!("(a*{sar})")
    } else {
        "dar".to_owned()
    };
    let side = |size: u32, share: String| {
        format!(
            "if(lt(abs({frame}/{own}-1),{SHAPE_TOLERANCE}),{size},max(2,2*round({size}*min(1,{share})/2)))"
        )
    };
    (
        side(rendition.width, format!("{frame}/{own}")),
        side(rendition.height, format!("{own}/{frame}")),
    )
}

/// The sample aspect ratio of the rendition, which scaling must not change the shape by. `0` says
/// that it is unknown.
fn sar(source: &VideoStream, rendition: &RenditionPlan) -> String {
    let (width, height) = source.displayed_size();
    let resized = (rendition.width, rendition.height) != (width, height);
    let (x, y) = match source.displayed_sar() {
        None if resized => (1, 1),
        None => (0, 1),
        // Rounding to even sizes would make pixels that are square by a hair.
        Some((x, y)) if x == y => (1, 1),
        Some((x, y)) => {
            let x = u128::from(x) * u128::from(width) * u128::from(rendition.height);
            let y = u128::from(y) * u128::from(height) * u128::from(rendition.width);
            reduced(x, y)
        }
    };
    format!("setsar=r={x}/{y}:max={}", x.max(y))
}

fn reduced(x: u128, y: u128) -> (u128, u128) {
    let (mut divisor, mut rest) = (x, y);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let divisor = divisor.max(1);
    (x / divisor, y / divisor)
}

/// Options of `scale` for a conversion of colours, where there is one: without them it takes
/// BT.601 for every RGB, and leaves the range to the formats. Nothing is said where nothing is
/// converted, since `scale` then hands frames on as they are.
fn conversion(source: &VideoStream, changes: FrameChanges, rendition: &RenditionPlan) -> String {
    let (Some(matrix), Some(range)) = (&rendition.colour.matrix, &rendition.colour.range) else {
        return String::new();
    };
    let (from_rgb, to_rgb) = (
        colour::is_rgb(&source.pixel_format),
        colour::is_rgb(&rendition.pixel_format),
    );
    let own = || colour::described(source).matrix.unwrap_or_default();
    let same_samples = (rendition.width, rendition.height) == source.displayed_size()
        && rendition.pixel_format == source.pixel_format
        && colour::range(source) == range;
    match (from_rgb, to_rgb) {
        (true, true) => String::new(),
        (true, false) => format!(":out_color_matrix={}:out_range={range}", known(matrix)),
        (false, true) => format!(":in_color_matrix={}", known(&own())),
        (false, false) if changes.matrix => {
            format!(":out_color_matrix={}:out_range={range}", known(matrix))
        }
        (false, false) => {
            let full = colour::range(source) == "pc" || range == "pc";
            if full && !same_samples {
                format!(":out_range={range}")
            } else {
                String::new()
            }
        }
    }
}

/// The name that `scale` has for a matrix, in every version.
fn known(matrix: &str) -> &str {
    match matrix {
        "smpte170m" | "bt470bg" => "smpte170m",
        "fcc" => "fcc",
        "smpte240m" => "smpte240m",
        "bt2020nc" | "bt2020c" => "bt2020",
        _ => "bt709",
    }
}

/// Tags every frame with what the rendition is, and with that the encoder's headers.
fn tags(rendition: &RenditionPlan) -> String {
    let colour = &rendition.colour;
    let options = [
        ("range", &colour.range),
        ("color_primaries", &colour.primaries),
        ("color_trc", &colour.transfer),
        ("colorspace", &colour.matrix),
    ];
    let options: Vec<String> = options
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)))
        .collect();
    match options.as_slice() {
        [] => String::new(),
        options => format!(",setparams={}", options.join(":")),
    }
}
