//! Cases about how coded pictures lean on each other.

use super::patch::Patch;
use super::{AAC, Case, PLAIN, X264, X265, picture, tone, video};

/// x264 options after which only the first keyframe is an IDR picture.
const OPEN_GOP: &str = "-x264-params open-gop=1:keyint=27:min-keyint=27:bframes=3:b-adapt=0\
                        :b-pyramid=normal:scenecut=0";

/// Two passes, without which libvpx makes no hidden frames.
const VP8_TWICE: &str = "-c:v libvpx -deadline good -cpu-used 5 -b:v 200k -g 100 -auto-alt-ref 1 \
                         -lag-in-frames 16 -arnr-maxframes 5";

pub(super) fn cases() -> Vec<Case> {
    let (v, a) = (picture(), tone());
    vec![
        Case::new("h264-closed-gop", "mp4", "the plain case: closed GOP of 1 s, B-frames, AAC")
            .ff(format!("{v} {a} {X264} {AAC} {PLAIN} OUT"))
            .check("an IDR picture each second", |f| Ok(f.count_units(&[5])? >= 10))
            .check("B-frames", |f| Ok(f.video_text("has_b_frames")? != "0")),
        Case::new("h264-open-gop", "mp4", "open GOP: one IDR picture, recovery points after it")
            .ff(format!("{v} {a} {X264} {OPEN_GOP} {AAC} {PLAIN} OUT"))
            .check("one IDR picture", |f| Ok(f.count_units(&[5])? == 1))
            .check("ten keyframes", |f| Ok(f.keyframes()? == 10))
            .check("pictures before their keyframe", |f| {
                let packets = f.packets()?;
                let key = packets.iter().rposition(|p| p.key).unwrap_or(0);
                Ok(packets[key..].iter().any(|p| p.pts < packets[key].pts))
            }),
        Case::new("h264-open-gop-ts", "ts", "open GOP in a transport stream")
            .ff(format!("{v} {a} {X264} {OPEN_GOP} {AAC} {PLAIN} OUT"))
            .check("one IDR picture", |f| Ok(f.count_units(&[5])? == 1))
            .check("several keyframes", |f| Ok(f.keyframes()? > 5)),
        Case::new("h264-one-keyframe", "mp4", "one keyframe in a minute")
            .ff(format!(
                "{} -c:v libx264 -preset ultrafast -tune fastdecode -g 9999 -sc_threshold 0 \
                 -pix_fmt yuv420p {PLAIN} OUT",
                video("128x96", "25", "60")
            ))
            .check("1500 frames, one of them key", |f| {
                Ok(f.packets()?.len() == 1500 && f.keyframes()? == 1)
            }),
        Case::new("h264-intra-refresh", "ts", "periodic intra refresh: never a whole intra picture")
            .ff(format!("{v} {a} {X264} -bf 0 -x264-params intra-refresh=1 {AAC} {PLAIN} OUT"))
            .check("one IDR picture", |f| Ok(f.count_units(&[5])? == 1))
            .check("one intra picture", |f| {
                Ok(f.frames()?.iter().filter(|frame| frame["pict_type"] == "I").count() == 1)
            }),
        Case::new("h264-intra-refresh-mp4", "mp4", "periodic intra refresh in an MP4")
            .ff(format!("{v} {X264} -bf 0 -x264-params intra-refresh=1 {PLAIN} OUT"))
            .check("one IDR picture", |f| Ok(f.count_units(&[5])? == 1)),
        Case::new("h264-long-reorder", "mp4", "16 B-frames in a row in a pyramid, 16 references")
            .ff(format!(
                "{v} {X264} -g 60 -x264-params bframes=16:b-adapt=0:b-pyramid=normal:ref=16 \
                 {PLAIN} OUT"
            ))
            .check("frames shown far behind their decoding", |f| {
                Ok(f.packets()?.iter().any(|p| match (p.pts, p.dts) {
                    (Some(pts), Some(dts)) => (pts - dts) * 25 > 12_800 * 10,
                    _ => false,
                }))
            }),
        Case::new("hevc-closed-gop", "mp4", "HEVC with IDR pictures only")
            .ff(format!("{v} {X265} -x265-params log-level=0:keyint=25:open-gop=0 {PLAIN} OUT"))
            .check("HEVC", |f| Ok(f.video_text("codec_name")? == "hevc"))
            .check("several IDR pictures", |f| Ok(f.count_units(&[19, 20])? >= 10)),
        Case::new("hevc-open-gop", "mp4", "HEVC open GOP: CRA pictures with leading pictures")
            .ff(format!(
                "{v} {a} {X265} -x265-params log-level=0:keyint=25:min-keyint=25:open-gop=1:bframes=4 \
                 -tag:v hvc1 {AAC} {PLAIN} OUT"
            ))
            .check("one IDR picture", |f| Ok(f.count_units(&[19, 20])? <= 1))
            .check("CRA pictures", |f| Ok(f.count_units(&[21])? >= 8))
            .check("leading pictures", |f| Ok(f.count_units(&[6, 7, 8, 9])? > 0)),
        Case::new("hevc-open-gop-ts", "ts", "HEVC open GOP in a transport stream")
            .ff(format!(
                "{v} {X265} -x265-params log-level=0:keyint=30:min-keyint=30:open-gop=1:bframes=4 \
                 {PLAIN} OUT"
            ))
            .check("CRA pictures", |f| Ok(f.count_units(&[21])? >= 7)),
        Case::new("ts-starts-mid-gop", "ts", "begins between keyframes, first frames undecodable")
            .ff(format!("{v} {a} {X264} -g 60 {AAC} {PLAIN} OUT"))
            .patch("OUT", Patch::CutFront(400))
            .check("does not begin with a keyframe", |f| {
                Ok(f.packets()?.first().is_some_and(|packet| !packet.key))
            }),
        Case::new("h264-damaged", "ts", "bytes turned over here and there: decoders complain")
            .ff(format!("{v} {a} {X264} {AAC} {PLAIN} OUT"))
            .patch("OUT", Patch::Damage { from: 90_000, every: 40_009 })
            .check("still a transport stream", |f| Ok(f.format() == "mpegts")),
        Case::new("h264-field-pairs", "ts", "PAFF: each frame is two coded field pictures")
            .patch("fields.h264", Patch::FieldPictures(250))
            .ff(format!("-r 50 -f h264 -i fields.h264 -c copy {PLAIN} OUT"))
            .check("two coded pictures a frame", |f| {
                Ok(f.count_units(&[1, 5])? == 500 && f.frames()?.len() == 250)
            })
            .check("interlaced", |f| Ok(f.frames()?.iter().all(|v| v["interlaced_frame"] == 1))),
        Case::new("h264-field-pairs-mp4", "mp4", "PAFF in an MP4")
            .patch("fields.h264", Patch::FieldPictures(250))
            .ff(format!("-r 50 -f h264 -i fields.h264 -c copy {PLAIN} OUT"))
            .check("two coded pictures a frame", |f| {
                Ok(f.count_units(&[1, 5])? == 500 && f.frames()?.len() == 250)
            }),
        Case::new("h264-mbaff", "mp4", "interlaced, frame or field by macroblock")
            .ff(format!(
                "{} -vf interlace=scan=tff {X264} {PLAIN} -flags:v +ildct+ilme+bitexact OUT",
                video("192x160", "50", "10")
            ))
            .check("interlaced", |f| Ok(f.frames()?.iter().all(|v| v["interlaced_frame"] == 1))),
        Case::new("mpeg2-interlaced", "vob", "MPEG-2 interlaced, bottom field first, MP2")
            .ff(format!(
                "{} {a} -vf interlace=scan=bff -top 0 -c:v mpeg2video -q:v 4 \
                 -g 15 -bf 2 -c:a mp2 {PLAIN} -flags:v +ildct+ilme+bitexact -f vob OUT",
                video("192x160", "50", "10")
            ))
            .check("interlaced, bottom field first", |f| {
                let frames = f.frames()?;
                Ok(frames.iter().all(|v| v["interlaced_frame"] == 1 && v["top_field_first"] == 0))
            }),
        Case::new("hevc-fields", "mp4", "HEVC with one field per coded picture")
            .ff(format!(
                "{} -vf field -r 50 {X265} -x265-params log-level=0:keyint=50:interlace=tff {PLAIN} OUT",
                video("192x288", "50", "8")
            ))
            .check("fields", |f| Ok(f.size()? == (192, 144) && f.frames()?.len() == 400)),
        Case::new("vp8-hidden-frames", "webm", "VP8 with references that are never shown")
            .ff(format!("{v} {VP8_TWICE} -pass 1 -passlogfile log {PLAIN} -f null -"))
            .ff(format!("{v} {VP8_TWICE} -pass 2 -passlogfile log {PLAIN} OUT"))
            .check("more packets than frames", |f| Ok(f.packets()?.len() > f.frames()?.len())),
        Case::new("vp9-long-gop", "webm", "VP9 with alternate references and GOP of 5 s, Opus")
            .ff(format!(
                "{v} {a} -c:v libvpx-vp9 -deadline good -cpu-used 8 -b:v 200k -g 125 -auto-alt-ref 1 \
                 -lag-in-frames 16 -c:a libopus {PLAIN} OUT"
            ))
            .check("few keyframes", |f| Ok(f.keyframes()? <= 3)),
        Case::new("av1-long-gop", "mp4", "AV1 with GOP of 4 s and hidden frames")
            .ff(format!("{v} {a} -c:v libsvtav1 -preset 12 -g 100 {AAC} {PLAIN} OUT"))
            .check("AV1", |f| Ok(f.video_text("codec_name")? == "av1"))
            .check("few keyframes", |f| Ok(f.keyframes()? <= 3)),
        Case::new("resolution-change", "ts", "H.264 whose size changes in mid-stream, twice")
            .ff(format!("{} {X264} {PLAIN} a.ts", video("192x144", "25", "4")))
            .ff(format!(
                "{} {X264} -output_ts_offset 4 {PLAIN} b.ts",
                video("160x120", "25", "4")
            ))
            .ff(format!(
                "{} {X264} -output_ts_offset 8 {PLAIN} c.ts",
                video("240x180", "25", "3")
            ))
            .join(&["a.ts", "b.ts", "c.ts"], "OUT")
            .check("three sizes", |f| {
                let mut sizes: Vec<_> = f.frames()?.iter().map(|v| v["width"].as_u64()).collect();
                sizes.dedup();
                Ok(sizes == [Some(192), Some(160), Some(240)])
            }),
        Case::new("resolution-change-vp9", "mkv", "VP9 whose size changes in mid-stream")
            .ff(format!("{} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -g 50 {PLAIN} a.ivf", video("192x144", "25", "5")))
            .ff(format!("{} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -g 50 {PLAIN} b.ivf", video("128x96", "25", "5")))
            .write("list", "file a.ivf\nfile b.ivf\n")
            .ff(format!("-f concat -safe 0 -i list -c copy {PLAIN} OUT"))
            .check("two sizes", |f| {
                let mut sizes: Vec<_> = f.frames()?.iter().map(|v| v["width"].as_u64()).collect();
                sizes.dedup();
                Ok(sizes == [Some(192), Some(128)])
            }),
        Case::new("one-frame", "mp4", "a single frame")
            .ff(format!("{v} -frames:v 1 {X264} {PLAIN} OUT"))
            .check("one frame", |f| Ok(f.frames()?.len() == 1)),
        Case::new("one-frame-with-sound", "mp4", "a single frame under 6 s of sound")
            .ff(format!("{v} {} -vf trim=end_frame=1 {X264} {AAC} {PLAIN} OUT", super::sound(300, "6")))
            .check("one frame", |f| Ok(f.frames()?.len() == 1))
            .check("sound", |f| Ok(f.span("audio")? > 5.0)),
        Case::new("two-frames", "mp4", "two frames, nine seconds apart")
            .ff(format!("{} -vf trim=end_frame=2 -r 1/9 {X264} -bf 0 {PLAIN} OUT", video("192x144", "1/9", "18")))
            .check("two frames", |f| Ok(f.frames()?.len() == 2))
            .check("nine seconds apart", |f| Ok(f.span("video")? > 8.9)),
    ]
}
