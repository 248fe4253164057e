//! What a profile makes of one source: sizes, pixel formats, audio rates.

use super::{AudioSettings, PixelFormat, Profile, Rung, pixel};
use crate::colour;
use crate::manifest::RenditionPlan;
use crate::media_info::VideoStream;

/// The renditions of a source, largest first.
///
/// Rungs are measured on the shorter side of the picture as it is displayed, so a portrait
/// 1080x1920 is 1080p. Nothing is enlarged: a rung above the source is left out, and where none
/// remains the source's own size is made with the settings of the smallest rung, named by its
/// shorter side, such as `270p`. Sizes are even, the aspect ratio is kept to the nearest even
/// pixel; only a rendition of the source's own size in a format that allows it stays odd.
///
/// Empty for a profile without picture.
#[must_use]
pub fn ladder(profile: &Profile, stream: &VideoStream) -> Vec<RenditionPlan> {
    let (width, height) = stream.displayed_size();
    let source = Source {
        width: width.max(1),
        height: height.max(1),
        stream,
    };
    let mut renditions: Vec<RenditionPlan> = Vec::new();
    for rung in &profile.video {
        match rung.short_side {
            None => renditions.push(source.own_size(rung, rung.name.clone())),
            Some(side) if side <= source.short_side() => renditions.push(source.scaled(rung, side)),
            Some(_) => {}
        }
    }
    if renditions.is_empty()
        && let Some(smallest) = profile.video.iter().min_by_key(|rung| rung.short_side)
    {
        let mut rendition = source.own_size(smallest, String::new());
        rendition.name = format!("{}p", rendition.width.min(rendition.height));
        renditions.push(rendition);
    }
    renditions.sort_by_key(|rendition| {
        std::cmp::Reverse(u64::from(rendition.width) * u64::from(rendition.height))
    });
    renditions
}

/// Kilobits per second of a track with so many channels; `None` for codecs without loss.
///
/// A stereo track has what the profile says, any other its share by channels: mono half, 5.1 three
/// times as much.
#[must_use]
pub fn audio_kbps(settings: &AudioSettings, channels: u32) -> Option<u32> {
    let stereo = settings.kbps?;
    Some((stereo.saturating_mul(channels.max(1)) / 2).max(1))
}

/// The picture as a viewer sees it.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    width: u32,
    height: u32,
    stream: &'a VideoStream,
}

impl Source<'_> {
    fn short_side(self) -> u32 {
        self.width.min(self.height)
    }

    /// The rung at `side` pixels on the shorter side; even both ways.
    fn scaled(self, rung: &Rung, side: u32) -> RenditionPlan {
        let of = self.short_side();
        let (width, height) = (
            nearest_even(self.width, side, of),
            nearest_even(self.height, side, of),
        );
        self.rendition(
            rung,
            rung.name.clone(),
            (width, height),
            self.encoded_format(rung),
        )
    }

    /// The rung at the source's size, or the even size next to it where the format demands that.
    fn own_size(self, rung: &Rung, name: String) -> RenditionPlan {
        let mut format = self.encoded_format(rung);
        let odd = |format: &str| {
            let (width, height) = pixel::demands_even(format);
            (width && self.width % 2 == 1, height && self.height % 2 == 1)
        };
        // Who wants the source's own format wants its pixels: none is cut off or scaled away as
        // long as the codec can sample colour at each of them instead.
        if rung.settings.pixel_format == PixelFormat::Source
            && odd(&format) != (false, false)
            && let Some(full) = pixel::full_chroma(&format, rung.settings.codec)
        {
            format = full;
        }
        let (odd_width, odd_height) = odd(&format);
        let even = |size: u32, odd| if odd { nearest_even(size, 1, 1) } else { size };
        let size = (even(self.width, odd_width), even(self.height, odd_height));
        self.rendition(rung, name, size, format)
    }

    fn encoded_format(self, rung: &Rung) -> String {
        pixel::resolve(
            &rung.settings.pixel_format,
            rung.settings.codec,
            &self.stream.pixel_format,
        )
    }

    fn rendition(
        self,
        rung: &Rung,
        name: String,
        (width, height): (u32, u32),
        pixel_format: String,
    ) -> RenditionPlan {
        let own_format = rung.settings.pixel_format == PixelFormat::Source;
        RenditionPlan {
            name,
            width,
            height,
            colour: colour::delivered(self.stream, &pixel_format, own_format),
            pixel_format,
            settings: rung.settings.clone(),
        }
    }
}

/// The even number nearest to `size * num / den`, the smaller of two that are equally near, so
/// that nothing grows; at least 2.
fn nearest_even(size: u32, num: u32, den: u32) -> u32 {
    let (exact, unit) = (u64::from(size) * u64::from(num), 2 * u64::from(den));
    // The largest n with 2n - 1 < exact / den, that is, n rounded to the nearest, halves down.
    let pairs = (2 * exact + unit).saturating_sub(1) / (2 * unit);
    u32::try_from(2 * pairs.max(1)).unwrap_or(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media_info::Colour;
    use crate::profile::{AudioCodec, Channels, VideoCodec, parse};
    use crate::time::Timebase;

    fn stream(width: u32, height: u32, rotation: u32, pixel_format: &str) -> VideoStream {
        VideoStream {
            index: 0,
            codec: "h264".to_owned(),
            width,
            height,
            sar: None,
            rotation,
            pixel_format: pixel_format.to_owned(),
            timebase: Timebase::MICROS,
            frame_rate: None,
            interlaced: false,
            colour: Colour::default(),
        }
    }

    fn profile(codec: VideoCodec, format: &str, sides: &[&str]) -> Profile {
        let mut text = format!(
            "[video]\ncodec = \"{}\"\ncrf = 30\npixel_format = \"{format}\"\n",
            codec.as_str()
        );
        for side in sides {
            let name = side.trim_matches('"');
            text.push_str(&format!(
                "[[rung]]\nname = \"{name}p\"\nshort_side = {side}\n"
            ));
        }
        parse(&text, "test.toml").unwrap()
    }

    fn sizes(profile: &Profile, stream: &VideoStream) -> Vec<String> {
        let show =
            |r: &RenditionPlan| format!("{} {}x{} {}", r.name, r.width, r.height, r.pixel_format);
        ladder(profile, stream).iter().map(show).collect()
    }

    #[test]
    fn rounding_is_to_the_nearest_even_and_halves_go_down() {
        assert_eq!(nearest_even(1920, 720, 1080), 1280);
        assert_eq!(nearest_even(1920, 480, 1080), 854); // 853.33
        assert_eq!(nearest_even(161, 1, 1), 160);
        assert_eq!(nearest_even(163, 1, 1), 162);
        assert_eq!(nearest_even(1, 1, 1), 2);
        assert_eq!(nearest_even(10, 1, 2), 4); // 5 lies between 4 and 6
        assert_eq!(nearest_even(11, 1, 2), 6); // 5.5
    }

    #[test]
    fn an_odd_source_keeps_its_size_where_its_own_format_is_wanted() {
        let lossless = profile(VideoCodec::H264, "source", &["\"source\""]);
        for (format, made) in [
            ("yuv420p", "sourcep 161x121 yuv444p"),
            ("yuvj420p", "sourcep 161x121 yuvj444p"),
            ("yuv422p10le", "sourcep 161x121 yuv444p10le"),
            ("gray", "sourcep 161x121 gray"),
            ("gray10le", "sourcep 161x121 gray10le"),
            ("yuv444p", "sourcep 161x121 yuv444p"),
            ("rgb24", "sourcep 161x121 yuv444p"),
        ] {
            assert_eq!(
                sizes(&lossless, &stream(161, 121, 0, format)),
                [made],
                "{format}"
            );
        }
        // 4:2:2 halves the width alone.
        let tall = stream(160, 121, 0, "yuv422p");
        assert_eq!(sizes(&lossless, &tall), ["sourcep 160x121 yuv422p"]);
        // AV1 has 4:2:0 only.
        let av1 = profile(VideoCodec::Av1, "source", &["\"source\""]);
        assert_eq!(
            sizes(&av1, &stream(161, 121, 0, "yuv420p")),
            ["sourcep 160x120 yuv420p"]
        );
    }

    #[test]
    fn a_fixed_format_decides_whether_the_own_size_may_be_odd() {
        let odd = stream(161, 121, 0, "yuv420p");
        let made = |format| sizes(&profile(VideoCodec::H264, format, &["\"source\""]), &odd);
        assert_eq!(made("yuv420p"), ["sourcep 160x120 yuv420p"]);
        assert_eq!(made("yuv422p"), ["sourcep 160x121 yuv422p"]);
        assert_eq!(made("yuv444p"), ["sourcep 161x121 yuv444p"]);
        assert_eq!(made("source-depth"), ["sourcep 160x120 yuv420p"]);
    }

    #[test]
    fn a_ladder_is_ordered_by_size_whatever_the_file_says() {
        let mixed = profile(VideoCodec::H264, "yuv420p", &["360", "\"source\"", "720"]);
        assert_eq!(
            sizes(&mixed, &stream(1920, 1080, 0, "yuv420p")),
            [
                "sourcep 1920x1080 yuv420p",
                "720p 1280x720 yuv420p",
                "360p 640x360 yuv420p"
            ]
        );
    }

    #[test]
    fn a_rung_at_the_sources_own_short_side_stays() {
        let exact = profile(VideoCodec::H264, "yuv420p", &["1080", "720"]);
        let made = |width, height| sizes(&exact, &stream(width, height, 0, "yuv420p"));
        assert_eq!(made(1920, 1080).len(), 2);
        assert_eq!(made(1920, 1079), ["720p 1282x720 yuv420p"]);
        assert_eq!(made(1281, 720), ["720p 1280x720 yuv420p"]);
        assert_eq!(made(1281, 718), ["718p 1280x718 yuv420p"]);
    }

    #[test]
    fn a_stream_without_size_does_not_divide_by_zero() {
        let profile = profile(VideoCodec::H264, "yuv420p", &["360"]);
        assert_eq!(
            sizes(&profile, &stream(0, 0, 0, "yuv420p")),
            ["2p 2x2 yuv420p"]
        );
    }

    #[test]
    fn audio_rate_follows_the_channels() {
        let aac = AudioSettings {
            codec: AudioCodec::Aac,
            kbps: Some(128),
            channels: Channels::Source,
        };
        let rates = [1, 2, 3, 6, 8].map(|channels| audio_kbps(&aac, channels).unwrap());
        assert_eq!(rates, [64, 128, 192, 384, 512]);
        assert_eq!(
            audio_kbps(
                &AudioSettings {
                    codec: AudioCodec::Flac,
                    kbps: None,
                    channels: Channels::Source,
                },
                6
            ),
            None
        );
    }

    proptest! {
        /// Never enlarged, always even, and the aspect ratio within the rounding of one side.
        #[test]
        fn renditions_fit_their_source(
            width in 2_u32..9000, height in 2_u32..9000,
            rotation in prop::sample::select(vec![0_u32, 90, 180, 270]),
        ) {
            let abr = profile(VideoCodec::H264, "yuv420p", &["2160", "1080", "720", "480", "360"]);
            let stream = stream(width, height, rotation, "yuv420p");
            let (shown_width, shown_height) = stream.displayed_size();
            let made = ladder(&abr, &stream);
            prop_assert!(!made.is_empty());
            let mut names: Vec<_> = made.iter().map(|r| r.name.clone()).collect();
            names.dedup();
            prop_assert_eq!(names.len(), made.len());
            for rendition in &made {
                let (w, h) = (rendition.width, rendition.height);
                prop_assert!(w <= shown_width && h <= shown_height, "{w}x{h}");
                prop_assert!(w % 2 == 0 && h % 2 == 0 && w >= 2 && h >= 2, "{w}x{h}");
                if made.len() == 1 && shown_width.min(shown_height) < 360 {
                    prop_assert!(shown_width - w <= 1 && shown_height - h <= 1);
                    continue;
                }
                // |w / h - W / H| is at most one pixel of the longer side.
                let (long, short) = (u64::from(w.max(h)), u64::from(w.min(h)));
                let (source_long, source_short) = (
                    u64::from(shown_width.max(shown_height)),
                    u64::from(shown_width.min(shown_height)),
                );
                let off = (long * source_short).abs_diff(source_long * short);
                prop_assert!(off <= source_short, "{w}x{h} of {shown_width}x{shown_height}");
                prop_assert_eq!(w > h, shown_width > shown_height && long > short);
            }
        }

        /// With the source's own format a rendition of the source's size is exactly that.
        #[test]
        fn the_own_size_is_exact(
            width in 1_u32..9000, height in 1_u32..9000,
            format in prop::sample::select(vec!["yuv420p", "yuv422p", "gray", "rgb24", "p010le"]),
        ) {
            for codec in [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Vp9] {
                let own = profile(codec, "source", &["\"source\""]);
                let made = ladder(&own, &stream(width, height, 0, format));
                prop_assert_eq!((made[0].width, made[0].height), (width, height));
                let (even_width, even_height) = pixel::demands_even(&made[0].pixel_format);
                prop_assert!(!even_width || width % 2 == 0);
                prop_assert!(!even_height || height % 2 == 0);
            }
        }
    }
}
