//! Cases about timestamps: rates, gaps, wraps, starts, edit lists.

use super::patch::Patch;
use super::{AAC, Case, PLAIN, X264, picture, sound, tone, video};

/// No reordering, so that presentation and decoding times are alike.
const NO_B: &str = "-bf 0";

/// Frames unevenly apart: the `setpts` expression that moves each by up to a third of a frame.
const UNEVEN: &str = "setpts=(N+0.3*sin(N*N))/25/TB";

pub(super) fn cases() -> Vec<Case> {
    let (v, a) = (picture(), tone());
    let rate = |size: &str, rate: &str, seconds: &str| video(size, rate, seconds);
    vec![
        Case::new(
            "vfr",
            "mp4",
            "variable frame rate, no two gaps alike, B-frames",
        )
        .ff(format!(
            "{v} {a} -vf settb=1/90000,{UNEVEN} -fps_mode passthrough -enc_time_base 1:90000 \
                 {X264} -video_track_timescale 90000 {AAC} {PLAIN} OUT"
        ))
        .check("many different gaps", |f| Ok(f.gaps()?.len() > 50)),
        Case::new("vfr-mkv", "mkv", "variable frame rate in milliseconds")
            .ff(format!(
                "{v} {a} -vf settb=1/90000,{UNEVEN} -fps_mode passthrough -enc_time_base 1:90000 \
                 {X264} {AAC} {PLAIN} OUT"
            ))
            .check("many different gaps", |f| Ok(f.gaps()?.len() > 15)),
        Case::new(
            "vfr-bursts",
            "mp4",
            "stills of up to 2.4 s between bursts of 60 fps",
        )
        .ff(format!(
            "{} -vf select=lt(mod(n\\,180)\\,36)+eq(mod(n\\,180)\\,170) -fps_mode passthrough \
                 {X264} -bf 1 {PLAIN} OUT",
            rate("192x144", "60", "12")
        ))
        .check("gaps from one to over a hundred frames", |f| {
            let gaps = f.gaps()?;
            Ok(gaps
                .last()
                .zip(gaps.first())
                .is_some_and(|(most, least)| most > &(100 * least)))
        }),
        Case::new("fps-1", "mp4", "one frame a second, B-frames")
            .ff(format!(
                "{} {X264} -g 6 {PLAIN} OUT",
                rate("192x144", "1", "20")
            ))
            .check("1 fps", |f| Ok(f.video_text("avg_frame_rate")? == "1/1")),
        Case::new("fps-120", "mp4", "120 frames a second")
            .ff(format!(
                "{} {X264} -g 60 {PLAIN} OUT",
                rate("128x96", "120", "9")
            ))
            .check(
                "120 fps",
                |f| Ok(f.video_text("avg_frame_rate")? == "120/1"),
            ),
        Case::new("fps-59.94", "mp4", "60000/1001 frames a second")
            .ff(format!(
                "{} {a} {X264} -g 60 {AAC} {PLAIN} OUT",
                rate("128x96", "60000/1001", "10")
            ))
            .check("59.94 fps", |f| {
                Ok(f.video_text("avg_frame_rate")? == "60000/1001")
            }),
        Case::new(
            "fps-23.976",
            "mov",
            "24000/1001 frames a second, timecode track",
        )
        .ff(format!(
            "{} {X264} -g 48 -timecode 01:00:00:00 {PLAIN} OUT",
            rate("192x144", "24000/1001", "10")
        ))
        .check("23.976 fps", |f| {
            Ok(f.video_text("avg_frame_rate")? == "24000/1001")
        })
        .check("a timecode track", |f| Ok(f.streams("data").len() == 1)),
        Case::new(
            "millisecond-times",
            "mkv",
            "29.97 fps rounded to milliseconds",
        )
        .ff(format!(
            "{} {a} {X264} {AAC} {PLAIN} OUT",
            rate("192x144", "30000/1001", "10")
        ))
        .check("gaps of 33 and 34 ms", |f| Ok(f.gaps()? == [33, 34])),
        Case::new(
            "duplicate-times",
            "mkv",
            "every tenth frame has the time of the one before",
        )
        .ff(format!(
            "{v} -c:v mjpeg -q:v 4 -pix_fmt yuvj420p {PLAIN} a.mkv"
        ))
        .ff(format!(
            "-i a.mkv -c copy -bsf:v setts=ts=PTS-40*not(mod(N+1\\,10)) {PLAIN} OUT"
        ))
        .check("gaps of zero", |f| Ok(f.gaps()?.first() == Some(&0))),
        Case::new(
            "pts-gap",
            "ts",
            "3 s without frames or sound in a transport stream",
        )
        .ff(gap(&v, &a, "3"))
        .check("a gap of 3 s", |f| {
            Ok(f.gaps()?.last().is_some_and(|g| *g > 3 * 90_000))
        }),
        Case::new(
            "pts-gap-mp4",
            "mp4",
            "3 s without frames or sound in an MP4",
        )
        .ff(gap(&v, &a, "3"))
        .check("a gap of 3 s", |f| {
            Ok(f.gaps()?.last().is_some_and(|g| *g > 3 * 12_800))
        }),
        Case::new(
            "pts-gap-mkv",
            "mkv",
            "5 s without frames or sound in Matroska",
        )
        .ff(gap(&v, &a, "5"))
        .check("a gap of 5 s", |f| {
            Ok(f.gaps()?.last().is_some_and(|g| *g > 5000))
        }),
        Case::new("wrap-33-bit", "ts", "the 33-bit clock starts over 5 s in")
            .ff(format!(
                "{v} {a} {X264} {AAC} {PLAIN} -muxdelay 0 -output_ts_offset 95438.7 OUT"
            ))
            .check("clock values at both ends", |f| {
                let clock = program_clock(&f.bytes()?);
                Ok(
                    clock.iter().any(|t| *t > 0x1_fff0_0000)
                        && clock.iter().any(|t| *t < 0x10_0000),
                )
            }),
        Case::new("late-start", "ts", "the clock starts at ten hours")
            .ff(format!(
                "{v} {a} {X264} {AAC} {PLAIN} -output_ts_offset 36000 OUT"
            ))
            .check("starts late", |f| Ok(f.start("video")? > 36_000.0)),
        Case::new("late-start-mkv", "mkv", "timestamps start at 100 s")
            .ff(format!(
                "{v} {a} {X264} {AAC} {PLAIN} -output_ts_offset 100 OUT"
            ))
            .check("starts late", |f| Ok(f.start("video")? >= 100.0)),
        Case::new(
            "late-start-fmp4",
            "mp4",
            "decode times of fragments start at 1000 s, no edit list",
        )
        .ff(format!(
            "{v} {a} {X264} {AAC} {PLAIN} -use_editlist 0 \
                 -movflags +frag_keyframe+empty_moov+default_base_moof OUT"
        ))
        .patch("OUT", Patch::LateFragments(1000))
        .check("starts late", |f| Ok(f.start("video")? >= 1000.0)),
        Case::new(
            "negative-start",
            "ts",
            "the clock wraps 1.5 s in: ffmpeg counts from below zero",
        )
        .ff(format!("{v} {a} {X264} {AAC} {PLAIN} a.mp4"))
        .ff(format!(
            "-i a.mp4 -c copy {PLAIN} -avoid_negative_ts disabled -muxdelay 0 \
                 -output_ts_offset -1.5 OUT"
        ))
        .check("starts before zero", |f| Ok(f.start("video")? < -1.0)),
        Case::new(
            "negative-start-asf",
            "asf",
            "timestamps start at -1.5 s in ASF",
        )
        .ff(format!(
            "{v} {a} -c:v msmpeg4 -q:v 4 -g 50 -c:a wmav2 {PLAIN} a.asf"
        ))
        .ff(format!(
            "-i a.asf -c copy {PLAIN} -avoid_negative_ts disabled -output_ts_offset -1.5 OUT"
        ))
        .check("starts before zero", |f| Ok(f.start("video")? < -1.0)),
        Case::new(
            "no-edit-list",
            "mp4",
            "B-frames without edit list: the first PTS is not zero",
        )
        .ff(format!("{v} {a} {X264} {AAC} {PLAIN} -use_editlist 0 OUT"))
        .check("starts after zero", |f| Ok(f.start("video")? > 0.05)),
        Case::new(
            "edit-list-trim",
            "mp4",
            "an edit list that begins inside a GOP",
        )
        .ff(format!("{v} {a} {X264} -g 50 {AAC} {PLAIN} OUT"))
        .patch("OUT", Patch::Edits(0, &[(8_200, 16_640)]))
        .check("frames to be decoded and thrown away", |f| {
            Ok(f.packets()?.len() > f.frames()?.len())
        }),
        Case::new(
            "edit-list-cut",
            "mp4",
            "two edits with a hole in the media between them",
        )
        .ff(format!("{v} {X264} -g 50 {PLAIN} OUT"))
        .patch(
            "OUT",
            Patch::Edits(0, &[(3_000, 1_024), (4_000, 1_024 + 5 * 12_800)]),
        )
        .check("7 s of frames", |f| {
            Ok((174..=178).contains(&f.frames()?.len()))
        }),
        Case::new(
            "edit-list-repeat",
            "mp4",
            "the same 3 s shown twice by an edit list",
        )
        .ff(format!("{v} {X264} -g 25 {PLAIN} OUT"))
        .patch(
            "OUT",
            Patch::Edits(
                0,
                &[(3_000, 1_024), (3_000, 1_024), (3_000, 1_024 + 3 * 12_800)],
            ),
        )
        .check("9 s of frames", |f| {
            Ok((220..=230).contains(&f.frames()?.len()))
        }),
        Case::new(
            "edit-list-empty",
            "mp4",
            "an empty edit: the picture starts 1 s after the sound",
        )
        .ff(format!("{v} {a} {X264} {AAC} {PLAIN} a.mp4"))
        .ff(format!(
            "-itsoffset 1 -i a.mp4 -i a.mp4 -map 0:v -map 1:a -c copy {PLAIN} OUT"
        ))
        .check("starts 1 s in", |f| {
            Ok((f.start("video")? - 1.0).abs() < 0.01 && f.start("audio")? < 0.1)
        }),
        Case::new("late-audio", "mp4", "sound starts 2.5 s after the picture")
            .ff(format!(
                "{v} -itsoffset 2.5 {} {X264} {AAC} {PLAIN} OUT",
                sound(220, "6")
            ))
            .check("starts late", |f| Ok((f.start("audio")? - 2.5).abs() < 0.1)),
        Case::new(
            "late-audio-mkv",
            "mkv",
            "sound starts 3.013 s after the picture and ends after it",
        )
        .ff(format!("{v} -itsoffset 3.013 {a} {X264} {AAC} {PLAIN} OUT"))
        .check("starts late", |f| Ok((f.start("audio")? - 3.0).abs() < 0.1)),
        Case::new("short-audio", "mp4", "sound ends 6 s before the picture")
            .ff(format!("{v} {} {X264} {AAC} {PLAIN} OUT", sound(220, "4")))
            .check("ends early", |f| {
                Ok(f.span("audio")? < 4.1 && f.span("video")? > 9.0)
            }),
        Case::new("long-audio", "mp4", "sound ends 4 s after the picture")
            .ff(format!(
                "{} {a} {X264} {NO_B} {AAC} {PLAIN} OUT",
                rate("192x144", "25", "6")
            ))
            .check("ends late", |f| {
                Ok(f.span("audio")? > 9.8 && f.span("video")? < 6.1)
            }),
    ]
}

/// A recipe with a hole of so many seconds after the fifth second, in picture and sound.
fn gap(v: &str, a: &str, seconds: &str) -> String {
    format!(
        "{v} {a} -vf setpts=PTS+gte(T\\,5)*{seconds}/TB -af asetpts=PTS+gte(T\\,5)*{seconds}/TB \
         -fps_mode passthrough {X264} {AAC} {PLAIN} OUT"
    )
}

/// The presentation times written in a transport stream's PES headers, raw.
fn program_clock(bytes: &[u8]) -> Vec<u64> {
    let start = |w: &[u8]| w[..3] == [0, 0, 1] && w[3] & 0xf0 == 0xe0 && w[7] & 0x80 != 0;
    let at = |w: &[u8], i: usize| u64::from(w[i]);
    let time = |w: &[u8]| {
        (at(w, 9) >> 1 & 7) << 30
            | at(w, 10) << 22
            | (at(w, 11) >> 1) << 15
            | at(w, 12) << 7
            | at(w, 13) >> 1
    };
    bytes.windows(14).filter(|w| start(w)).map(time).collect()
}
