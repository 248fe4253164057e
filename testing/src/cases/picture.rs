//! Cases about the picture itself: geometry, formats, colour.

use super::patch::Patch;
use super::{AAC, Case, PLAIN, X264, X265, picture, tone, video};

/// One in a display matrix, 16.16.
const ONE: i32 = 1 << 16;
/// One in its last column, 2.30.
const UNIT: i32 = 1 << 30;

/// A cut to a size that no chroma subsampling divides.
const ODD: &str = "-vf format=yuv444p,crop=161:121:0:0";

pub(super) fn cases() -> Vec<Case> {
    let (v, a) = (picture(), tone());
    let turned = |name, about, matrix: [i32; 4]| {
        let [a, b, c, d] = matrix.map(|value| value * ONE);
        Case::new(name, "mp4", about)
            .ff(format!("{v} {X264} {PLAIN} OUT"))
            .patch("OUT", Patch::Matrix([a, b, 0, c, d, 0, 0, 0, UNIT]))
            .check("a display matrix", |f| {
                Ok(f.video()?["side_data_list"][0]["rotation"].is_i64())
            })
    };
    vec![
        turned("rotated-90", "turned clockwise by 90 degrees for display", [0, 1, -1, 0]),
        turned("rotated-180", "turned by 180 degrees for display", [-1, 0, 0, -1]),
        turned("rotated-270", "turned clockwise by 270 degrees for display", [0, -1, 1, 0]),
        turned("flipped-horizontally", "mirrored left to right for display", [-1, 0, 0, 1]),
        turned("flipped-vertically", "mirrored top to bottom for display", [1, 0, 0, -1]),
        Case::new("rotated-90-sar", "mov", "turned by 90 degrees with pixels that are not square")
            .ff(format!("{v} {a} -vf setsar=4/3 {X264} {AAC} {PLAIN} OUT"))
            .patch("OUT", Patch::Matrix([0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT]))
            .check("both", |f| {
                Ok(f.video_text("sample_aspect_ratio")? == "4:3"
                    && f.video()?["side_data_list"][0]["rotation"].is_i64())
            }),
        Case::new("sar-16-11", "mp4", "pixels are 16:11")
            .ff(format!("{v} -vf setsar=16/11 {X264} {PLAIN} OUT"))
            .check("16:11", |f| Ok(f.video_text("sample_aspect_ratio")? == "16:11")),
        Case::new("sar-in-container", "mkv", "display size told by the container alone")
            .ff(format!("{v} -c:v ffv1 -g 1 -aspect 2:1 {PLAIN} OUT"))
            .check("3:2", |f| Ok(f.video_text("sample_aspect_ratio")? == "3:2")),
        Case::new("odd-size-444", "mp4", "161x121, 4:4:4")
            .ff(format!("{} {ODD} {X264} -pix_fmt yuv444p {PLAIN} OUT", video("192x144", "25", "10")))
            .check("odd", |f| Ok(f.size()? == (161, 121))),
        Case::new("odd-size-420", "webm", "161x121, 4:2:0")
            .ff(format!(
                "{v} {ODD} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -g 50 -pix_fmt yuv420p \
                 {PLAIN} OUT"
            ))
            .check("odd", |f| Ok(f.size()? == (161, 121)))
            .check("4:2:0", |f| Ok(f.video_text("pix_fmt")? == "yuv420p")),
        Case::new("odd-height-422", "mkv", "160x121, 4:2:2")
            .ff(format!("{} -vf format=yuv444p,crop=160:121:0:0 {X264} -pix_fmt yuv422p {PLAIN} OUT", video("192x144", "25", "9")))
            .check("odd", |f| Ok(f.size()? == (160, 121))),
        Case::new("h264-10-bit", "mkv", "H.264 with 10 bits")
            .ff(format!("{v} {X264} -pix_fmt yuv420p10le {PLAIN} OUT"))
            .check("10 bits", |f| Ok(f.video_text("pix_fmt")? == "yuv420p10le")),
        Case::new("hevc-10-bit", "mp4", "HEVC with 10 bits")
            .ff(format!("{v} {X265} -pix_fmt yuv420p10le -x265-params log-level=0:keyint=50 {PLAIN} OUT"))
            .check("10 bits", |f| Ok(f.video_text("pix_fmt")? == "yuv420p10le")),
        Case::new("hevc-12-bit", "mkv", "HEVC with 12 bits, more than x264 can hold")
            .ff(format!("{v} {X265} -pix_fmt yuv420p12le -x265-params log-level=0:keyint=50 {PLAIN} OUT"))
            .check("12 bits", |f| Ok(f.video_text("pix_fmt")? == "yuv420p12le")),
        Case::new("h264-422", "mp4", "4:2:2")
            .ff(format!("{v} {X264} -pix_fmt yuv422p {PLAIN} OUT"))
            .check("4:2:2", |f| Ok(f.video_text("pix_fmt")? == "yuv422p")),
        Case::new("h264-444", "mp4", "4:4:4")
            .ff(format!("{v} {a} {X264} -pix_fmt yuv444p {AAC} {PLAIN} OUT"))
            .check("4:4:4", |f| Ok(f.video_text("pix_fmt")? == "yuv444p")),
        Case::new("h264-rgb", "mkv", "RGB in H.264")
            .ff(format!("{v} -c:v libx264rgb -preset veryfast -g 25 -pix_fmt rgb24 {PLAIN} OUT"))
            .check("RGB", |f| Ok(f.video_text("pix_fmt")? == "gbrp")),
        Case::new("grey", "mkv", "one plane without colour")
            .ff(format!("{v} -c:v ffv1 -g 1 -pix_fmt gray {PLAIN} OUT"))
            .check("grey", |f| Ok(f.video_text("pix_fmt")? == "gray")),
        Case::new("grey-h264", "mp4", "H.264 coded without colour")
            .ff(format!("{v} {X264} -pix_fmt gray {PLAIN} OUT"))
            .check("chroma_format_idc is 0", |f| {
                // After the level come the set's id and the chroma format, both zero: two set bits.
                let stream = f.annex_b()?;
                let sets = |w: &&[u8]| w[..3] == [0, 0, 1] && w[3] & 0x1f == 7;
                Ok(stream.windows(8).find(sets).is_some_and(|set| set[7] >> 6 == 0b11))
            }),
        Case::new("full-range", "mp4", "full range, yuvj420p")
            .ff(format!("{v} -vf scale=out_range=full {X264} -pix_fmt yuvj420p {PLAIN} OUT"))
            .check("full range", |f| Ok(f.video_text("color_range")? == "pc")),
        Case::new("full-range-vp9", "webm", "full range told beside the pixel format")
            .ff(format!(
                "{v} -vf scale=out_range=full,format=yuv420p -color_range pc -c:v libvpx-vp9 -deadline realtime \
                 -cpu-used 8 -b:v 200k -g 50 {PLAIN} OUT"
            ))
            .check("full range", |f| {
                Ok(f.video_text("color_range")? == "pc" && f.video_text("pix_fmt")? == "yuv420p")
            }),
        Case::new("bt709", "mp4", "BT.709 tagged")
            .ff(format!(
                "{v} {X264} -color_primaries bt709 -color_trc bt709 -colorspace bt709 \
                 -color_range tv {PLAIN} OUT"
            ))
            .check("tagged", |f| Ok(f.video_text("color_space")? == "bt709")),
        Case::new("hdr10", "mkv", "HDR10: PQ, BT.2020, mastering display and light levels")
            .ff(format!(
                "{v} {X265} -pix_fmt yuv420p10le -x265-params log-level=0:keyint=50:hdr10=1:repeat-headers=1\
                 :colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc\
                 :master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)\
                 :max-cll=1000,400 -color_primaries bt2020 -color_trc smpte2084 \
                 -colorspace bt2020nc {PLAIN} OUT"
            ))
            .check("PQ", |f| Ok(f.video_text("color_transfer")? == "smpte2084"))
            .check("mastering display", |f| {
                let side = f.frames()?.first().map(|frame| frame["side_data_list"].to_string());
                Ok(side.is_some_and(|s| s.contains("Mastering") && s.contains("light level")))
            }),
        Case::new("hlg", "mp4", "HLG, BT.2020, 10 bits")
            .ff(format!(
                "{v} {X265} -pix_fmt yuv420p10le -x265-params log-level=0:keyint=50\
                 :colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc \
                 -color_primaries bt2020 -color_trc arib-std-b67 -colorspace bt2020nc {PLAIN} OUT"
            ))
            .check("HLG", |f| Ok(f.video_text("color_transfer")? == "arib-std-b67")),
        Case::new("cover-art", "mp4", "a still cover beside the picture")
            .ff(format!("{} -frames:v 1 -c:v mjpeg -pix_fmt yuvj420p {PLAIN} cover.jpg", video("320x240", "1", "1")))
            .ff(format!(
                "-i cover.jpg {v} {a} -map 0 -map 1 -map 2 -c:v:0 copy -disposition:v:0 attached_pic \
                 -c:v:1 libx264 -preset veryfast -g 25 -pix_fmt yuv420p {AAC} {PLAIN} OUT"
            ))
            .check("a picture and a cover", |f| {
                let covers = f.streams("video").into_iter();
                Ok(covers.filter(|s| s["disposition"]["attached_pic"] == 1).count() == 1
                    && f.video_text("codec_name")? == "h264")
            }),
        Case::new("two-pictures", "mkv", "two video tracks of other sizes and rates")
            .ff(format!(
                "{v} {} {a} -map 0 -map 1 -map 2 {X264} {AAC} {PLAIN} OUT",
                video("160x96", "30", "10")
            ))
            .check("two", |f| Ok(f.streams("video").len() == 2)),
        Case::new("two-pictures-mp4", "mp4", "two video tracks in an MP4, sound first")
            .ff(format!(
                "{v} {} {a} -map 2 -map 1 -map 0 {X264} {AAC} {PLAIN} OUT",
                video("160x96", "30", "10")
            ))
            .check("two, sound first", |f| {
                Ok(f.streams("video").len() == 2 && f.size()? == (160, 96)
                    && f.streams("audio").first().is_some_and(|s| s["index"] == 0))
            }),
    ]
}
