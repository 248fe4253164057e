//! Cases of what users report: judged by what a viewer of the source sees and hears.

use super::{AAC, Case, PLAIN, X264, video};
use crate::facts::Facts;

/// A dark moving picture with a flash a second, and a beep in each flash.
fn flashes(seconds: u32) -> String {
    format!(
        "-f lavfi -i testsrc2=s=320x240:r=25:d={seconds},eq=brightness=-0.35,\
         drawbox=c=white:t=fill:enable=between(mod(t\\,1)\\,0.499\\,0.581) \
         -f lavfi -i aevalsrc=0.5*sin(2*PI*1000*t)*between(mod(t\\,1)\\,0.5\\,0.58):s=48000:d={seconds}"
    )
}

/// Fields of two times in each frame.
const INTERLACED: &str =
    "-f lavfi -i testsrc2=s=320x240:r=50:d=4,rotate=PI*t/8,interlace=lowpass=off";

/// Encodes the fields apart; behind [`PLAIN`], which sets flags as well.
const FIELDS: &str = "-flags:v +bitexact+ildct+ilme";

/// Sound in which each channel has a tone of its own.
fn tones(layout: &str, seconds: u32) -> String {
    let channels = match layout {
        "mono" => 1,
        "stereo" => 2,
        "quad" => 4,
        "5.1" | "5.1(side)" => 6,
        _ => 8,
    };
    let tone = |channel: u32| {
        // The fourth is the one for low frequencies.
        let hz = if channel == 3 && channels > 4 {
            60
        } else {
            300 + 170 * channel
        };
        format!("0.3*sin(2*PI*{hz}*t)")
    };
    let all: Vec<_> = (0..channels).map(tone).collect();
    format!(
        "-f lavfi -i aevalsrc={}:c={layout}:s=48000:d={seconds}",
        all.join("|")
    )
}

/// A circle, so that any other shape is seen.
fn circle(size: &str, shape: &str) -> String {
    format!(
        "-f lavfi -i testsrc2=s={size}:r=25:d=2,geq=lum=if(lt(hypot(({shape})*(X-W/2)\\,Y-H/2)\\,H/3)\\,200\\,lum(X\\,Y)/2)\
         :cb=cb(X\\,Y):cr=cr(X\\,Y)"
    )
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = pictures();
    cases.extend(sounds());
    cases.extend(clocks());
    cases.extend(streams());
    cases
}

fn pictures() -> Vec<Case> {
    let fields = |f: &Facts| Ok(f.video_text("field_order")? != "progressive");
    let bars = |size: &str| format!("-f lavfi -i smptebars=s={size}:r=25:d=2 -pix_fmt yuv420p");
    vec![
        Case::new(
            "interlaced-h264",
            "mp4",
            "H.264 that says that it is interlaced",
        )
        .ff(format!("{INTERLACED} {X264} {PLAIN} {FIELDS} OUT"))
        .check("fields", fields),
        Case::new(
            "interlaced-mpeg2",
            "mpg",
            "MPEG-2 in a program stream, interlaced",
        )
        .ff(format!(
            "{INTERLACED} -c:v mpeg2video -q:v 3 {PLAIN} {FIELDS} OUT"
        ))
        .check("fields", |f| {
            Ok(f.frames()?.iter().all(|f| f["interlaced_frame"] == 1))
        }),
        Case::new(
            "interlaced-later",
            "ts",
            "progressive at first, then interlaced",
        )
        .ff(format!(
            "{} {X264} {PLAIN} -bf 0 -muxdelay 0 a.ts",
            video("320x240", "25", "2")
        ))
        .ff(format!(
            "{INTERLACED} {X264} {PLAIN} {FIELDS} -bf 0 -muxdelay 0 -output_ts_offset 2 b.ts"
        ))
        .join(&["a.ts", "b.ts"], "OUT")
        .check("both", |f| {
            let has = |kind: i32| {
                f.frames()
                    .map(|all| all.iter().any(|f| f["interlaced_frame"] == kind))
            };
            Ok(has(0)? && has(1)?)
        }),
        Case::new(
            "hd-untagged",
            "mp4",
            "bars in 720p without a colour description",
        )
        .ff(format!("{} {X264} {PLAIN} OUT", bars("1280x720")))
        .check("no matrix", |f| Ok(f.video_text("color_space")?.is_empty())),
        Case::new("sd-tagged-709", "mp4", "bars in 480p, tagged as BT.709")
            .ff(format!(
                "{},scale=out_color_matrix=bt709 {X264} -colorspace bt709 -color_primaries bt709 \
                 -color_trc bt709 {PLAIN} OUT",
                bars("854x480").replace(" -pix_fmt yuv420p", "")
            ))
            .check("BT.709", |f| Ok(f.video_text("color_space")? == "bt709")),
        Case::new("rgb", "mkv", "bars in RGB")
            .ff(format!(
                "-f lavfi -i smptebars=s=640x360:r=25:d=2 -c:v libx264rgb -qp 0 {PLAIN} OUT"
            ))
            .check("RGB", |f| Ok(f.video_text("pix_fmt")? == "gbrp")),
        Case::new("circle-sar", "mp4", "a circle on pixels of 16:11")
            .ff(format!(
                "{},setsar=16/11 {X264} {PLAIN} OUT",
                circle("352x288", "16/11")
            ))
            .check("16:11", |f| {
                Ok(f.video_text("sample_aspect_ratio")? == "16:11")
            }),
        Case::new(
            "circle-turned",
            "mp4",
            "a circle, turned by 90 degrees for display",
        )
        .ff(format!("{} {X264} {PLAIN} a.mp4", circle("320x240", "1")))
        .ff(
            format!("-i a.mp4 -c copy -metadata:s:v:0 rotate=90 {PLAIN} OUT")
                .replace(" -map_metadata -1", ""),
        )
        .check("turned", |f| {
            Ok(f.video()?["side_data_list"][0]["rotation"].is_i64())
        }),
    ]
}

fn sounds() -> Vec<Case> {
    let picture = "-f lavfi -i testsrc2=s=320x240:r=25:d=3";
    let surround = |name, layout: &str, codec: &str, about| {
        Case::new(name, "mkv", about).ff(format!(
            "{picture} {} {X264} {codec} {PLAIN} OUT",
            tones(layout, 3)
        ))
    };
    vec![
        surround(
            "tones-5.1-side",
            "5.1",
            "-c:a ac3 -b:a 448k",
            "a tone in each of six channels, AC-3",
        )
        .check("5.1(side)", |f| {
            Ok(f.audio_text(0, "channel_layout")? == "5.1(side)")
        }),
        surround(
            "tones-quad",
            "quad",
            "-c:a flac",
            "a tone in each of four channels",
        )
        .check("quad", |f| Ok(f.audio_text(0, "channel_layout")? == "quad")),
        surround(
            "tones-7.1",
            "7.1",
            "-c:a flac",
            "a tone in each of eight channels",
        )
        .check("7.1", |f| Ok(f.audio_text(0, "channels")? == "8")),
        Case::new("layout-changes", "ts", "AC-3 that turns from stereo to 5.1")
            .ff(format!(
                "{picture} {} {X264} -c:a ac3 {PLAIN} -bf 0 -muxdelay 0 a.ts",
                tones("stereo", 3)
            ))
            .ff(format!(
                "{picture} {} {X264} -c:a ac3 {PLAIN} -bf 0 -muxdelay 0 -output_ts_offset 3 b.ts",
                tones("5.1", 3)
            ))
            .join(&["a.ts", "b.ts"], "OUT")
            .check(
                "six seconds",
                |f| Ok((5.8..6.1).contains(&f.span("audio")?)),
            ),
        Case::new(
            "rate-changes",
            "ts",
            "AAC that turns from 44.1 kHz stereo to 48 kHz mono",
        )
        .ff(format!(
            "{picture} {} {X264} {AAC} -ar 44100 {PLAIN} -bf 0 -muxdelay 0 a.ts",
            tones("stereo", 3)
        ))
        .ff(format!(
            "{picture} {} {X264} {AAC} {PLAIN} -bf 0 -muxdelay 0 -output_ts_offset 3 b.ts",
            tones("mono", 3)
        ))
        .join(&["a.ts", "b.ts"], "OUT")
        .check(
            "six seconds",
            |f| Ok((5.8..6.1).contains(&f.span("audio")?)),
        ),
        Case::new(
            "hole-in-sound",
            "webm",
            "Opus without packets for two seconds",
        )
        .ff(format!(
            "-f lavfi -i testsrc2=s=320x240:r=25:d=6 {} -af aselect=not(between(t\\,2\\,4)) \
                 -c:v libvpx -deadline realtime -cpu-used 8 -b:v 500k -c:a libopus {PLAIN} OUT",
            tones("stereo", 6)
        ))
        .check("six seconds", |f| Ok(f.span("audio")? > 5.8)),
    ]
}

fn clocks() -> Vec<Case> {
    vec![
        Case::new("flashes-and-beeps", "mp4", "a flash and a beep each second")
            .ff(format!("{} {X264} {AAC} {PLAIN} OUT", flashes(8)))
            .check("sound", |f| Ok(f.streams("audio").len() == 1)),
        Case::new(
            "flashes-late-picture",
            "ts",
            "flashes and beeps, the picture half a second late, from 0",
        )
        .ff(format!(
            "{} {X264} {AAC} -vf trim=start=0.52 {PLAIN} -muxdelay 0 -muxpreload 0 OUT",
            flashes(6)
        ))
        .check("the picture is late", |f| {
            Ok(f.start("video")? - f.start("audio")? > 0.4)
        }),
        Case::new(
            "last-frame-long",
            "mp4",
            "the last of three slides lasts four seconds",
        )
        .ff("-f lavfi -i testsrc2=s=320x240:r=1/4:d=12 -c:v libx264 -pix_fmt yuv420p -bf 0 OUT")
        .check("three slides", |f| Ok(f.times()?.len() == 3)),
        Case::new(
            "static-slide",
            "mp4",
            "one slide for a minute, silent, a few kilobytes",
        )
        .ff(format!(
            "-f lavfi -i color=c=white:s=1280x720:r=5:d=30 {X264} -g 300 {PLAIN} OUT"
        ))
        .check("small", |f| Ok(f.bytes()?.len() < 100_000)),
    ]
}

fn streams() -> Vec<Case> {
    vec![
        Case::new("chapters-subtitles", "mkv", "chapters, a title and subtitles beside picture and sound")
            .write("s.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n")
            .write(
                "c.txt",
                ";FFMETADATA1\ntitle=A film\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=One\n\
                 [CHAPTER]\nTIMEBASE=1/1000\nSTART=2000\nEND=4000\ntitle=Two\n",
            )
            .ff(format!(
                "-f lavfi -i testsrc2=s=320x240:r=25:d=4 {} -i s.srt -f ffmetadata -i c.txt -map 0 -map 1 \
                 -map 2 -map_metadata 3 -map_chapters 3 {X264} {AAC} -c:s srt -threads 1 OUT",
                tones("stereo", 4)
            ))
            .check("subtitles", |f| Ok(f.streams("subtitle").len() == 1)),
        Case::new("late-language", "ts", "a second language that begins after three seconds")
            .ff(format!(
                "{} {} {} {AAC} {X264} -map 0 -map 1 -map 2 {PLAIN} OUT",
                video("640x480", "25", "6"),
                tones("mono", 6),
                tones("mono", 3).replacen("-f lavfi", "-itsoffset 3 -f lavfi", 1)
            ))
            .check("two languages", |f| Ok(f.streams("audio").len() == 2)),
        Case::new("stale-cover-first", "mkv", "a picture track of one frame before the film")
            .ff(format!(
                "-f lavfi -i color=c=red:s=64x64:r=1:d=1 -f lavfi -i testsrc2=s=320x240:r=25:d=4 {} \
                 -map 0 -map 1 -map 2 {X264} {AAC} {PLAIN} OUT",
                tones("stereo", 4)
            ))
            .check("two pictures", |f| Ok(f.streams("video").len() == 2)),
    ]
}
