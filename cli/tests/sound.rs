//! Sound that changes on the way, in files whose times are no help.
#![cfg(test)]

mod common;

use std::path::PathBuf;

use common::*;

/// A tone of three seconds at a sample rate.
fn tone(name: &str, rate: &str, codec: &[&str]) -> PathBuf {
    let tone = format!("sine=frequency=440:sample_rate={rate}:duration=3");
    let input = words(&["-f", "lavfi", "-i", &tone]);
    made(name, &[input, words(codec)])
}

#[test]
fn a_rate_that_changes_makes_no_holes_where_times_are_counted() {
    let dir = folder();
    let parts = |extension: &str, codec: &[&str]| {
        let part = |rate: &str| tone(&format!("{rate}.{extension}"), rate, codec);
        joined(
            dir.path(),
            &format!("joined.{extension}"),
            &[part("24000"), part("48000")],
        )
    };
    for source in [
        parts("aac", &["-c:a", "aac"]),
        parts("latm", &["-c:a", "aac"]),
        parts("ogg", &["-c:a", "libvorbis"]),
    ] {
        let out = dir.path().join(format!("{}.out", source.display()));
        let report = run(transcode(&source, &out, "audio").arg("--json"))
            .ended(0)
            .json();
        let notes = report["notes"].to_string();
        assert!(notes.contains("changes its format"), "{notes}");
        assert!(!notes.contains("silence fills"), "{notes}");
        assert!(!notes.contains("overlaps itself"), "{notes}");
        let seconds = report["outputs"][0]["duration"].as_f64().unwrap();
        assert!((5.9..6.2).contains(&seconds), "{seconds}: {notes}");
    }
}

#[test]
fn a_joined_film_that_ffmpeg_does_not_read_on_is_told() {
    let dir = folder();
    // Streams of other numbers, as those of another file are.
    let part = |name: &str, first: &str| {
        let codecs = [
            "-c:v",
            "libtheora",
            "-c:a",
            "libvorbis",
            "-serial_offset",
            first,
        ];
        let parts = [picture("160x120", "25", "2"), sound("2"), words(&codecs)];
        made(name, &parts)
    };
    let parts = [part("one.ogv", "10"), part("two.ogv", "20")];
    let source = joined(dir.path(), "joined.ogv", &parts);
    let out = dir.path().join("out");
    let report = run(transcode(&source, &out, "h264-1080p").arg("--json"))
        .ended(0)
        .json();
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("cannot read all of this Ogg file"),
        "{notes}"
    );
}
