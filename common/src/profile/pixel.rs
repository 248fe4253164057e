//! From any pixel format that a decoder gives to one that an encoder takes.

use super::{PixelFormat, VideoCodec};

/// Where colour is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chroma {
    Gray,
    /// Quarter and halved both ways, and everything as coarse.
    C420,
    /// Halved in the width.
    C422,
    /// Halved in the height.
    C440,
    C444,
    Rgb,
}
use Chroma::{C420, C422, C440, C444, Gray, Rgb};

/// ffmpeg's names, without `le` and `be`, by where colour is sampled and by bits of a component.
///
/// Alpha is left out: no output of reelmill carries it. Palettes and Bayer patterns are what they
/// decode to. 4:1:1 goes with 4:2:2, which keeps all of it.
#[rustfmt::skip]
const FORMATS: &[(Chroma, u8, &[&str])] = &[
    (Gray, 8, &["gray", "ya8", "monow", "monob"]),
    (Gray, 10, &["gray9", "gray10"]),
    (Gray, 12, &["gray12", "gray14", "gray16", "gray32", "grayf16", "grayf32", "ya16", "yaf16", "yaf32"]),
    (C420, 8, &["yuv420p", "yuvj420p", "yuva420p", "nv12", "nv21", "yuv410p"]),
    (C420, 10, &["yuv420p9", "yuv420p10", "yuva420p9", "yuva420p10", "p010"]),
    (C420, 12, &["yuv420p12", "yuv420p14", "yuv420p16", "yuva420p16", "p012", "p016"]),
    (C422, 8, &["yuv422p", "yuvj422p", "yuva422p", "nv16", "yuyv422", "uyvy422", "yvyu422", "yuv411p", "yuvj411p", "uyyvyy411"]),
    (C422, 10, &["yuv422p9", "yuv422p10", "yuva422p9", "yuva422p10", "nv20", "p210", "y210"]),
    (C422, 12, &["yuv422p12", "yuv422p14", "yuv422p16", "yuva422p12", "yuva422p16", "p212", "p216", "y212", "y216"]),
    (C440, 8, &["yuv440p", "yuvj440p"]),
    (C440, 10, &["yuv440p10"]),
    (C440, 12, &["yuv440p12"]),
    (C444, 8, &["yuv444p", "yuvj444p", "yuva444p", "nv24", "nv42", "vuya", "vuyx", "ayuv", "uyva", "vyu444"]),
    (C444, 10, &["yuv444p9", "yuv444p10", "yuv444p10msb", "yuva444p9", "yuva444p10", "p410", "xv30", "v30x"]),
    (C444, 12, &["yuv444p12", "yuv444p12msb", "yuv444p14", "yuv444p16", "yuva444p12", "yuva444p16", "p412", "p416", "xv36", "xv48", "ayuv64", "xyz12"]),
    (Rgb, 8, &[
        "rgb24", "bgr24", "argb", "rgba", "abgr", "bgra", "0rgb", "rgb0", "0bgr", "bgr0", "gbrp", "gbrap", "pal8",
        "rgb8", "bgr8", "rgb4", "bgr4", "rgb4_byte", "bgr4_byte", "rgb565", "bgr565", "rgb555", "bgr555", "rgb444", "bgr444",
        "bayer_bggr8", "bayer_rggb8", "bayer_gbrg8", "bayer_grbg8",
    ]),
    (Rgb, 10, &["gbrp9", "gbrp10", "gbrp10msb", "gbrap10", "x2rgb10", "x2bgr10"]),
    (Rgb, 12, &[
        "gbrp12", "gbrp12msb", "gbrp14", "gbrp16", "gbrap12", "gbrap14", "gbrap16", "gbrap32", "rgb48", "bgr48", "rgba64", "bgra64", "rgb96", "rgba128",
        "gbrpf16", "gbrpf32", "gbrapf16", "gbrapf32", "rgbf16", "rgbaf16", "rgbf32", "rgbaf32",
        "bayer_bggr16", "bayer_rggb16", "bayer_gbrg16", "bayer_grbg16",
    ]),
];

/// The formats that the encoder of a codec takes, without those that hold the same picture packed
/// another way (`nv12`) and those with alpha. The same in ffmpeg 5.1 and 9.
#[rustfmt::skip]
pub(super) fn accepted(codec: VideoCodec) -> &'static [&'static str] {
    match codec {
        VideoCodec::H264 => &[
            "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray",
            "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray10le",
        ],
        VideoCodec::Hevc => &[
            "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gbrp", "gray",
            "yuv420p10le", "yuv422p10le", "yuv444p10le", "gbrp10le", "gray10le",
            "yuv420p12le", "yuv422p12le", "yuv444p12le", "gbrp12le", "gray12le",
        ],
        VideoCodec::Av1 => &["yuv420p", "yuv420p10le"],
        VideoCodec::Vp9 => &[
            "yuv420p", "yuv422p", "yuv440p", "yuv444p", "gbrp",
            "yuv420p10le", "yuv422p10le", "yuv440p10le", "yuv444p10le", "gbrp10le",
            "yuv420p12le", "yuv422p12le", "yuv440p12le", "yuv444p12le", "gbrp12le",
        ],
    }
}

/// What is known of a format from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    chroma: Chroma,
    /// 8, 10 or 12: the depths that encoders have, none below the format's own except above 12.
    depth: u8,
    /// ffmpeg's old way to say full range, kept where an encoder still takes it.
    full_range: bool,
}

impl Kind {
    /// A format that is not listed is taken for the commonest one; ffmpeg converts either way.
    fn of(name: &str) -> Self {
        let base = name
            .strip_suffix("le")
            .or_else(|| name.strip_suffix("be"))
            .unwrap_or(name);
        let row = FORMATS.iter().find(|(_, _, names)| names.contains(&base));
        let (chroma, depth) = row.map_or((C420, 8), |&(chroma, depth, _)| (chroma, depth));
        Self {
            chroma,
            depth,
            full_range: base.starts_with("yuvj"),
        }
    }

    fn name(self) -> String {
        let base = match (self.chroma, self.full_range && self.depth == 8) {
            (Gray, _) => "gray",
            (C420, false) => "yuv420p",
            (C420, true) => "yuvj420p",
            (C422, false) => "yuv422p",
            (C422, true) => "yuvj422p",
            (C440, false) => "yuv440p",
            (C440, true) => "yuvj440p",
            (C444, false) => "yuv444p",
            (C444, true) => "yuvj444p",
            (Rgb, _) => "gbrp",
        };
        if self.depth == 8 {
            base.to_owned()
        } else {
            format!("{base}{}le", self.depth)
        }
    }

    /// The nearest format that a codec's encoder takes: colour sampling first, as it costs most to
    /// lose, then depth, then the mark of full range.
    fn nearest(self, codec: VideoCodec) -> String {
        let chromas: &[Chroma] = match self.chroma {
            Gray => &[Gray, C420],
            C420 => &[C420],
            C422 => &[C422, C420],
            C440 => &[C440, C444, C420],
            C444 => &[C444, C420],
            Rgb => &[Rgb, C444, C420],
        };
        let depths: &[u8] = match self.depth {
            8 => &[8],
            10 => &[10, 8],
            _ => &[12, 10, 8],
        };
        for &chroma in chromas {
            for &depth in depths {
                for full_range in [self.full_range, false] {
                    let name = Self {
                        chroma,
                        depth,
                        full_range,
                    }
                    .name();
                    if accepted(codec).contains(&name.as_str()) {
                        return name;
                    }
                }
            }
        }
        Self {
            chroma: C420,
            depth: 8,
            full_range: false,
        }
        .name()
    }
}

/// Whether a format holds red, green and blue, or XYZ, which ffmpeg converts by way of RGB.
pub(crate) fn is_rgb(name: &str) -> bool {
    Kind::of(name).chroma == Rgb || name.starts_with("xyz12")
}

/// Whether a format holds luma alone.
pub(crate) fn is_grey(name: &str) -> bool {
    Kind::of(name).chroma == Gray
}

/// Whether a format's name states full range.
pub(crate) fn is_full_range(name: &str) -> bool {
    Kind::of(name).full_range
}

/// Whether ffmpeg has a format of this name.
pub(super) fn is_known(name: &str) -> bool {
    let base = name
        .strip_suffix("le")
        .or_else(|| name.strip_suffix("be"))
        .unwrap_or(name);
    FORMATS.iter().any(|(_, _, names)| names.contains(&base))
}

/// ffmpeg's name of the format that is encoded for a source of format `source`.
pub(super) fn resolve(wanted: &PixelFormat, codec: VideoCodec, source: &str) -> String {
    match wanted {
        PixelFormat::Source => Kind::of(source).nearest(codec),
        PixelFormat::SourceDepth if Kind::of(source).depth > 8 => "yuv420p10le".to_owned(),
        PixelFormat::SourceDepth => "yuv420p".to_owned(),
        PixelFormat::Named(name) => name.clone(),
    }
}

/// Whether a format demands an even width and an even height.
pub(super) fn demands_even(format: &str) -> (bool, bool) {
    match Kind::of(format).chroma {
        Gray | C444 | Rgb => (false, false),
        C420 => (true, true),
        C422 => (true, false),
        C440 => (false, true),
    }
}

/// The format of the same depth that samples colour at every pixel, where the codec has one.
pub(super) fn full_chroma(format: &str, codec: VideoCodec) -> Option<String> {
    let name = Kind {
        chroma: C444,
        ..Kind::of(format)
    }
    .name();
    accepted(codec).contains(&name.as_str()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(codec: VideoCodec, name: &str) -> String {
        resolve(&PixelFormat::Source, codec, name)
    }

    /// `tests/data/ffmpeg-pixel-formats.txt` holds what ffmpeg 5.1 chooses for each encoder when
    /// nobody tells it; reelmill chooses the same but for what is named here.
    #[test]
    fn source_resolves_as_ffmpeg_itself_chooses() {
        let table = include_str!("../../tests/data/ffmpeg-pixel-formats.txt");
        let mut checked = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let name = words[0];
            let codecs = [
                VideoCodec::H264,
                VideoCodec::Hevc,
                VideoCodec::Av1,
                VideoCodec::Vp9,
            ];
            for (codec, theirs) in codecs.into_iter().zip(&words[1..]) {
                let ours = source(codec, name);
                assert!(
                    accepted(codec).contains(&ours.as_str()),
                    "{name} {codec:?} {ours}"
                );
                checked += 1;
                let same_picture_planar = theirs.starts_with("nv");
                // ffmpeg keeps alpha or reaches for RGB at the price of bits, or of the whole
                // format; reelmill drops alpha and keeps grey in the luma plane.
                let alpha = *theirs == "yuva420p";
                let grey_in_vp9 = codec == VideoCodec::Vp9 && Kind::of(name).chroma == Gray;
                // Sixteen levels of colour are still colour.
                let four_bits = name.ends_with("4_byte");
                // More depth than there is: ffmpeg's own quirks.
                let bayer_depth = name.starts_with("bayer") && name.contains("16");
                let deeper = name.starts_with("gray9") || name == "gray10be";
                if !(same_picture_planar
                    || alpha
                    || grey_in_vp9
                    || four_bits
                    || bayer_depth
                    || deeper)
                {
                    assert_eq!(ours, *theirs, "{name} for {codec:?}");
                }
            }
        }
        assert!(checked > 700, "{checked}");
    }

    #[test]
    fn what_ffmpeg_does_otherwise_is_chosen_with_sense() {
        assert_eq!(source(VideoCodec::H264, "nv12"), "yuv420p");
        assert_eq!(source(VideoCodec::Vp9, "yuva444p"), "yuv444p");
        assert_eq!(source(VideoCodec::Vp9, "gray10le"), "yuv420p10le");
        assert_eq!(source(VideoCodec::H264, "rgb4_byte"), "yuv444p");
        assert_eq!(source(VideoCodec::Hevc, "gray9le"), "gray10le");
        assert_eq!(source(VideoCodec::Hevc, "bayer_rggb16le"), "gbrp12le");
        assert_eq!(source(VideoCodec::H264, "invented"), "yuv420p");
    }

    #[test]
    fn source_depth_is_always_420() {
        let resolve = |name| resolve(&PixelFormat::SourceDepth, VideoCodec::Hevc, name);
        for name in [
            "yuv420p", "yuvj420p", "rgb24", "gray", "yuv444p", "pal8", "nv12",
        ] {
            assert_eq!(resolve(name), "yuv420p", "{name}");
        }
        for name in [
            "yuv420p10le",
            "p010le",
            "yuv422p12be",
            "gbrp16le",
            "yuv420p9le",
            "gray10le",
        ] {
            assert_eq!(resolve(name), "yuv420p10le", "{name}");
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<_> = FORMATS.iter().flat_map(|(_, _, names)| *names).collect();
        let len = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), len);
    }
}
