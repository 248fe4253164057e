//! Cases about containers, and codecs that are at home in one of them.

use super::{AAC, Case, PLAIN, X264, X265, picture, tone, video};

pub(super) fn cases() -> Vec<Case> {
    let (v, a) = (picture(), tone());
    let raw = |name, extension, about, args: String, checks: fn(Case) -> Case| {
        checks(Case::new(name, extension, about).ff(format!("{v} {args} {PLAIN} OUT")))
    };
    vec![
        Case::new("fragmented", "mp4", "fragmented MP4")
            .ff(format!(
                "{v} {a} {X264} {AAC} {PLAIN} -movflags +frag_keyframe+empty_moov+default_base_moof OUT"
            ))
            .check("fragments", |f| {
                Ok(f.bytes()?.windows(4).filter(|w| w == b"moof").count() >= 9)
            }),
        Case::new("faststart", "mov", "QuickTime with the index first, HEVC and PCM")
            .ff(format!(
                "{v} {a} {X265} -x265-params log-level=0:keyint=50 -tag:v hvc1 -c:a pcm_s16le {PLAIN} \
                 -movflags +faststart OUT"
            ))
            .check("index first", |f| {
                let bytes = f.bytes()?;
                let at = |kind: &[u8]| bytes.windows(4).position(|w| w == kind);
                Ok(at(b"moov") < at(b"mdat"))
            }),
        Case::new("prores", "mov", "ProRes 4:2:2 with 10 bits, PCM")
            .ff(format!("{v} {a} -c:v prores_ks -profile:v 0 -c:a pcm_s16le {PLAIN} OUT"))
            .check("ProRes", |f| {
                Ok(f.video_text("codec_name")? == "prores"
                    && f.video_text("pix_fmt")? == "yuv422p10le")
            }),
        Case::new("prores-alpha", "mov", "ProRes 4444 with transparency")
            .ff(format!(
                "{} -c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le {PLAIN} OUT",
                video("192x144", "25", "8")
            ))
            .check("alpha", |f| Ok(f.video_text("pix_fmt")?.starts_with("yuva444p1"))),
        Case::new("mjpeg", "avi", "MJPEG 4:2:2 in AVI, MP3")
            .ff(format!("{v} {a} -c:v mjpeg -q:v 4 -pix_fmt yuvj422p -c:a libmp3lame {PLAIN} OUT"))
            .check("MJPEG", |f| {
                Ok(f.video_text("codec_name")? == "mjpeg" && f.video_text("pix_fmt")? == "yuvj422p")
            }),
        Case::new("mpeg4-b-frames", "avi", "MPEG-4 with B-frames in AVI: packets without PTS")
            .ff(format!("{v} {a} -c:v mpeg4 -q:v 4 -g 50 -bf 2 -c:a libmp3lame {PLAIN} OUT"))
            .check("packets without PTS", |f| Ok(f.packets()?.iter().any(|p| p.pts.is_none()))),
        Case::new("mpeg4-xvid", "avi", "MPEG-4 packed bitstream by Xvid")
            .ff(format!("{v} -c:v libxvid -q:v 4 -g 50 -bf 2 {PLAIN} a.avi"))
            .ff(format!("-i a.avi -c copy {PLAIN} OUT"))
            .check("MPEG-4", |f| Ok(f.video_text("codec_name")? == "mpeg4")),
        Case::new("mpeg4-qpel", "mp4", "MPEG-4 with quarter pixels and a GOP of 8 s")
            .ff(format!("{v} {a} -c:v mpeg4 -q:v 4 -g 200 -bf 1 {AAC} {PLAIN} -flags:v +qpel+bitexact OUT"))
            .check("few keyframes", |f| Ok(f.keyframes()? <= 3)),
        Case::new("mpeg2", "mpg", "MPEG-2 program stream, 16:9")
            .ff(format!(
                "{v} {a} -aspect 16:9 -c:v mpeg2video -q:v 4 -g 15 -bf 2 -c:a mp2 {PLAIN} -f vob OUT"
            ))
            .check("program stream", |f| Ok(f.format() == "mpeg"))
            .check("16:9", |f| Ok(f.video_text("display_aspect_ratio")? == "16:9")),
        Case::new("mpeg2-ts", "ts", "MPEG-2 in a transport stream, open GOP")
            .ff(format!("{v} {a} -c:v mpeg2video -q:v 4 -g 12 -bf 2 -c:a mp2 {PLAIN} OUT"))
            .check("MPEG-2", |f| Ok(f.video_text("codec_name")? == "mpeg2video")),
        Case::new("mpeg1", "mpg", "MPEG-1 system stream")
            .ff(format!("{v} {a} -c:v mpeg1video -q:v 4 -g 15 -bf 2 -c:a mp2 {PLAIN} -f mpeg OUT"))
            .check("MPEG-1", |f| Ok(f.video_text("codec_name")? == "mpeg1video")),
        Case::new("h264", "flv", "FLV: H.264 and AAC, milliseconds")
            .ff(format!("{} {a} {X264} {AAC} {PLAIN} OUT", video("192x144", "30000/1001", "10")))
            .check("FLV", |f| Ok(f.format() == "flv"))
            .check("gaps of 33 and 34 ms", |f| Ok(f.gaps()? == [33, 34])),
        Case::new("sorenson", "flv", "FLV: Sorenson H.263 and MP3")
            .ff(format!("{v} {a} -c:v flv1 -q:v 4 -g 50 -c:a libmp3lame -ar 44100 {PLAIN} OUT"))
            .check("Sorenson", |f| Ok(f.video_text("codec_name")? == "flv1")),
        Case::new("dnxhr", "mxf", "DNxHR LB in MXF, PCM")
            .ff(format!(
                "{} {a} -c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -c:a pcm_s16le {PLAIN} OUT",
                video("256x144", "25", "10")
            ))
            .check("DNxHR in MXF", |f| {
                Ok(f.format() == "mxf" && f.video_text("codec_name")? == "dnxhd")
            }),
        Case::new("mpeg2-long-gop", "mxf", "MPEG-2 with B-frames in MXF, two mono PCM tracks")
            .ff(format!(
                "{v} {a} {} -map 0 -map 1 -map 2 -c:v mpeg2video -q:v 4 -g 12 -bf 2 \
                 -c:a pcm_s16le -ac 1 {PLAIN} OUT",
                super::sound(500, "10")
            ))
            .check("two tracks", |f| Ok(f.streams("audio").len() == 2)),
        Case::new("vp8", "webm", "VP8 and Vorbis")
            .ff(format!(
                "{v} {a} -c:v libvpx -deadline realtime -cpu-used 8 -b:v 300k -g 75 -c:a libvorbis \
                 {PLAIN} OUT"
            ))
            .check("VP8", |f| Ok(f.video_text("codec_name")? == "vp8")),
        Case::new("vp9-10-bit", "webm", "VP9 profile 2, 10 bits")
            .ff(format!(
                "{v} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -g 50 \
                 -pix_fmt yuv420p10le {PLAIN} OUT"
            ))
            .check("10 bits", |f| Ok(f.video_text("pix_fmt")? == "yuv420p10le")),
        Case::new("av1", "webm", "AV1 and Opus in WebM")
            .ff(format!("{v} {a} -c:v libsvtav1 -preset 12 -g 50 -c:a libopus {PLAIN} OUT"))
            .check("AV1", |f| Ok(f.video_text("codec_name")? == "av1")),
        Case::new("av1-10-bit", "mkv", "AV1 with 10 bits in Matroska")
            .ff(format!(
                "{v} -c:v libsvtav1 -preset 12 -g 50 -pix_fmt yuv420p10le {PLAIN} OUT"
            ))
            .check("10 bits", |f| Ok(f.video_text("pix_fmt")? == "yuv420p10le")),
        raw("raw-h264", "h264", "H.264 without container", X264.into(), |case| {
            case.check("raw", |f| Ok(f.format() == "h264"))
        }),
        raw(
            "raw-hevc",
            "hevc",
            "HEVC without container",
            format!("{X265} -x265-params log-level=0:keyint=25:bframes=3"),
            |case| case.check("raw", |f| Ok(f.format() == "hevc")),
        ),
        raw(
            "raw-mpeg2",
            "m2v",
            "MPEG-2 without container",
            "-c:v mpeg2video -q:v 4 -g 15 -bf 2".into(),
            |case| case.check("raw", |f| Ok(f.format() == "mpegvideo")),
        ),
        raw(
            "raw-mpeg4",
            "m4v",
            "MPEG-4 without container",
            "-f m4v -c:v mpeg4 -q:v 4 -g 25 -bf 2".into(),
            |case| case.check("raw", |f| Ok(f.format() == "m4v")),
        ),
        raw("raw-av1", "obu", "AV1 without container", "-c:v libsvtav1 -preset 12 -g 50".into(), |case| {
            case.check("raw", |f| Ok(f.format() == "obu"))
        }),
        Case::new("vp9", "ivf", "VP9 in IVF")
            .ff(format!(
                "{v} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 200k -g 50 {PLAIN} OUT"
            ))
            .check("IVF", |f| Ok(f.format() == "ivf")),
        Case::new("uncompressed", "y4m", "uncompressed YUV4MPEG")
            .ff(format!("{} -pix_fmt yuv420p {PLAIN} OUT", video("160x120", "25", "9")))
            .check("raw", |f| Ok(f.video_text("codec_name")? == "rawvideo")),
        Case::new("animated", "gif", "an animated GIF with a palette")
            .ff(format!("{} {PLAIN} OUT", video("160x120", "10", "9")))
            .check("GIF", |f| Ok(f.format() == "gif")),
    ]
}
