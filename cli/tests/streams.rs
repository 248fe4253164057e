//! Which streams of a source arrive in the outputs, and what is said of the others.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::Value;

/// H.264 and AAC in a transport stream, under these PIDs, from `offset` seconds on.
fn broadcast(name: &str, seconds: &str, offset: &str, first_pid: u32, tracks: u32) -> PathBuf {
    let mut parts = vec![picture("160x120", "25", seconds)];
    (0..tracks).for_each(|_| parts.push(sound(seconds)));
    parts.push(words(&["-map", "0"]));
    for track in 1..=tracks {
        parts.push(words(&["-map", &track.to_string()]));
    }
    parts.push(words(QUICK));
    for stream in 0..=tracks {
        let id = format!("{stream}:{}", first_pid + stream);
        parts.push(words(&["-streamid", &id]));
    }
    parts.push(words(&["-output_ts_offset", offset]));
    made(name, &parts)
}

/// A transport stream's packets of one PID, changed by `change`, which is given each one's place in the file.
fn patched(
    dir: &Path,
    name: &str,
    source: &Path,
    pid: u32,
    change: impl Fn(u64, &mut [u8]),
) -> PathBuf {
    let mut bytes = std::fs::read(source).unwrap();
    for (place, packet) in (0..).zip(bytes.chunks_exact_mut(188)) {
        if (u32::from(packet[1] & 0x1f) << 8) | u32::from(packet[2]) == pid {
            change(place, packet);
        }
    }
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// As a packet looks that is encrypted with an even key.
fn scramble(packet: &mut [u8]) {
    packet[3] |= 0x80;
    packet.iter_mut().skip(4).for_each(|byte| *byte ^= 0x5a);
}

struct Made {
    report: Value,
    /// Of the first output.
    probed: Value,
    _dir: tempfile::TempDir,
}

impl Made {
    /// Transcodes a source that must work.
    #[track_caller]
    fn of(source: &Path, options: &[&str]) -> Self {
        let dir = folder();
        let text = quick_profile("2", &[120], "[\"mp4\"]");
        let profile = profile_file(dir.path(), "quick.toml", &text);
        let mut command = transcode(source, &dir.path().join("out"), profile);
        let report = run(command.arg("--json").args(options)).ended(0).json();
        let output = report["outputs"][0]["path"].as_str().unwrap();
        let probed = ffprobe(Path::new(output));
        Self {
            report,
            probed,
            _dir: dir,
        }
    }

    fn notes(&self) -> Vec<&str> {
        let notes = self.report["notes"].as_array().unwrap();
        notes.iter().map(|note| note.as_str().unwrap()).collect()
    }

    #[track_caller]
    fn says(&self, words: &str) {
        let notes = self.notes();
        assert!(notes.iter().any(|note| note.contains(words)), "{notes:?}");
    }

    fn frames(&self) -> Vec<String> {
        let video = streams(&self.probed, "video");
        let frames = video.iter().map(|stream| stream["nb_read_frames"].as_str());
        frames.map(|frames| frames.unwrap().to_owned()).collect()
    }

    /// The length of each audio track, in tenths of a second.
    fn sound(&self) -> Vec<i64> {
        let audio = streams(&self.probed, "audio");
        let seconds = audio.iter().map(|stream| stream["duration"].as_str());
        seconds
            .map(|text| (text.unwrap().parse::<f64>().unwrap() * 10.0).round() as i64)
            .collect()
    }
}

#[track_caller]
fn refused(source: &Path, options: &[&str], words: &[&str]) {
    let dir = folder();
    let mut command = transcode(source, &dir.path().join("out"), "h264-1080p");
    run(command.args(options)).refused(1, words);
    assert!(!is_there(&dir.path().join("out")));
}

#[test]
fn a_picture_without_packets_does_not_hide_the_film() {
    let dir = folder();
    let two = [
        picture("320x240", "25", "2"),
        picture("160x120", "25", "2"),
        sound("2"),
    ];
    let map = words(&["-map", "0", "-map", "1", "-map", "2"]);
    let parts = [two.concat(), map, words(QUICK)];
    let source = made("two_pictures.ts", &parts);
    let source = patched(dir.path(), "stale.ts", &source, 256, |_, packet| {
        packet[1] |= 0x1f;
        packet[2] = 0xff;
    });
    let made = Made::of(&source, &[]);
    assert_eq!(
        (made.frames(), made.sound()),
        (vec!["50".to_owned()], vec![20])
    );
    made.says("video in stream 0 (h264) is left out: it has no packets");
}

#[test]
fn a_cover_before_the_film_does_not_hide_it() {
    let cover = words(&[
        "-f",
        "lavfi",
        "-i",
        "color=red:size=600x600:rate=25:duration=0.04",
    ]);
    for (name, codecs) in [
        ("cover.mkv", ["png", "libx264"]),
        ("cover.mp4", ["mjpeg", "libx264"]),
        ("cover.wmv", ["mjpeg", "wmv2"]),
    ] {
        let sources = [cover.clone(), picture("160x120", "25", "2"), sound("2")];
        let [still, film] = codecs;
        let options = words(&[
            "-map",
            "0",
            "-map",
            "1",
            "-map",
            "2",
            "-c:v:0",
            still,
            "-c:v:1",
            film,
            "-pix_fmt:v:1",
            "yuv420p",
        ]);
        let source = made(name, &[sources.concat(), options]);
        let made = Made::of(&source, &[]);
        assert_eq!(made.frames(), ["50"], "{name}");
        made.says("600x600) is left out: it is a single picture where stream 1 has 50");
        // The options choose the cover.
        let cover = Made::of(&source, &["--video-stream", "0", "--audio-streams", "none"]);
        assert_eq!(
            (cover.frames().len(), cover.sound().len()),
            (1, 0),
            "{name}"
        );
        assert_ne!(cover.frames(), ["50"], "{name}");
    }
}

#[test]
fn streams_are_chosen_by_their_index() {
    let source = broadcast("tracks.ts", "2", "0", 256, 2);
    let all = Made::of(&source, &[]);
    assert_eq!((all.sound().len(), all.notes()), (2, vec![]));
    let one = Made::of(&source, &["--audio-streams", "2"]);
    assert_eq!((one.frames().len(), one.sound().len()), (1, 1));
    let sound = Made::of(&source, &["--video-stream", "none"]);
    assert_eq!((sound.frames().len(), sound.sound().len()), (0, 2));
    refused(
        &source,
        &["--video-stream", "1"],
        &[
            "has no video in stream 1",
            "(video in stream 0 (h264, 160x120))",
        ],
    );
    refused(
        &source,
        &["--audio-streams", "1,7"],
        &["has no audio in stream 7", "audio in stream 1 (aac)"],
    );
}

#[test]
fn sound_that_begins_late_arrives() {
    // Listed from the start, with packets from 9 s on: ffmpeg looks for 5 to 7.
    let late = words(&["-itsoffset", "9"]);
    let parts = [
        picture("160x120", "25", "12"),
        late,
        sound("3"),
        words(QUICK),
    ];
    let made = Made::of(&made("late.ts", &parts), &[]);
    assert_eq!(
        (made.frames(), made.sound().len()),
        (vec!["300".to_owned()], 1)
    );
    let [note] = made.notes()[..] else {
        panic!("{:?}", made.notes())
    };
    assert!(
        note.ends_with("after the picture: silence comes before it"),
        "{note}"
    );
}

#[test]
fn a_language_that_is_added_in_mid_file_arrives() {
    let dir = folder();
    let parts = [
        broadcast("one.ts", "3", "0", 256, 1),
        broadcast("two.ts", "3", "3", 256, 2),
        broadcast("one.ts", "3", "6", 256, 1),
    ];
    let made = Made::of(
        &joined(dir.path(), "language.ts", &parts),
        &["--window", "2"],
    );
    assert_eq!(made.frames(), ["225"]);
    assert_eq!(made.sound().len(), 2, "{:?}", made.notes());
}

#[test]
fn a_programme_that_changes_its_pids_is_told_with_the_time() {
    let dir = folder();
    let parts = [
        broadcast("first.ts", "3", "0", 256, 1),
        broadcast("second.ts", "3", "3", 512, 1),
    ];
    let made = Made::of(&joined(dir.path(), "pids.ts", &parts), &[]);
    assert_eq!(
        (made.frames(), made.sound().len()),
        (vec!["75".to_owned()], 2)
    );
    made.says("video in stream 2 (h264, 160x120) is left out: one picture is delivered, stream 0, which ends at 3.0 s where this one begins");
    made.says("audio in stream 3 (aac) begins at 3.0 s where stream 1 ends");
}

#[test]
fn a_source_that_ends_early_is_told() {
    let dir = folder();
    for name in ["short.mp4", "short.mkv", "short.flv"] {
        let parts = [
            picture("160x120", "25", "8"),
            sound("8"),
            words(QUICK),
            words(&["-movflags", "+faststart"]),
        ];
        let parts = match name {
            "short.mp4" => parts.to_vec(),
            _ => parts[..3].to_vec(),
        };
        let whole = made(name, &parts);
        let mut bytes = std::fs::read(&whole).unwrap();
        assert_eq!(Made::of(&whole, &[]).notes(), Vec::<&str>::new(), "{name}");
        bytes.truncate(bytes.len() * 6 / 10);
        let cut = dir.path().join(name);
        std::fs::write(&cut, bytes).unwrap();
        let made = Made::of(&cut, &[]);
        made.says("the video in stream 0 ends after");
        made.says("the header says 8.0 s: the file is probably an incomplete download or upload");
        // Its last frame does not stand still until the header's end.
        let video = streams(&made.probed, "video").remove(0);
        let seconds: f64 = video["duration"].as_str().unwrap().parse().unwrap();
        assert!(seconds < 6.0, "{name}: {seconds}");
    }
    // Of these ffmpeg makes the length up from what is there.
    for (name, codecs) in [
        ("short.avi", "-c:v mpeg4 -c:a mp2"),
        ("short.wmv", "-c:v wmv2 -c:a wmav2"),
        ("short.wav", "-vn"),
        ("short.aiff", "-vn"),
    ] {
        let codecs: Vec<&str> = codecs.split(' ').collect();
        let whole = made(
            name,
            &[picture("160x120", "25", "4"), sound("4"), words(&codecs)],
        );
        let mut bytes = std::fs::read(&whole).unwrap();
        let told = |source: &Path| {
            let made = Made::of(source, &[]);
            let mut notes = made.notes().into_iter();
            notes.any(|note| note.contains("probably an incomplete download or upload"))
        };
        assert!(!told(&whole), "{name}");
        bytes.truncate(bytes.len() * 6 / 10);
        let cut = dir.path().join(name);
        std::fs::write(&cut, bytes).unwrap();
        assert!(told(&cut), "{name}");
    }
    // Without its index there is nothing to begin with.
    let parts = [picture("160x120", "25", "2"), sound("2"), words(QUICK)];
    let mut bytes = std::fs::read(made("index_last.mp4", &parts)).unwrap();
    bytes.truncate(bytes.len() / 2);
    let cut = dir.path().join("index_last.mp4");
    std::fs::write(&cut, bytes).unwrap();
    refused(
        &cut,
        &[],
        &["index_last.mp4", "probably an incomplete download"],
    );
}

#[test]
fn what_is_encrypted_is_refused_in_that_word() {
    let dir = folder();
    let key = words(&[
        "-encryption_scheme",
        "cenc-aes-ctr",
        "-encryption_key",
        "76a6c65c5ea762046bd749a2e632ccbb",
        "-encryption_kid",
        "a7e61c373e219033c21091fa607bf3b8",
    ]);
    let cenc = made(
        "cenc.mp4",
        &[picture("160x120", "25", "1"), sound("1"), words(QUICK), key],
    );
    refused(&cenc, &[], &["cenc.mp4", "is encrypted"]);
    // Scrambled sound beside a clear picture.
    let clear = broadcast("clear.ts", "2", "0", 256, 1);
    let scrambled = patched(dir.path(), "scrambled.ts", &clear, 257, |_, packet| {
        scramble(packet);
    });
    refused(
        &scrambled,
        &[],
        &["scrambled.ts", "is encrypted (audio in stream 1"],
    );
    let picture = Made::of(&scrambled, &["--audio-streams", "none"]);
    assert_eq!(picture.frames(), ["50"]);
}

#[test]
fn what_turns_encrypted_is_told_or_refused() {
    let dir = folder();
    let clear = broadcast("clear8.ts", "8", "0", 256, 1);
    let packets = std::fs::metadata(&clear).unwrap().len() / 188;
    let from = |name: &str, first: u64| {
        patched(dir.path(), name, &clear, 256, |place, packet| {
            if place >= first {
                scramble(packet);
            }
        })
    };
    let half = Made::of(&from("half.ts", packets / 2), &[]);
    half.says("the video in stream 0 is encrypted from");
    half.says("what follows is left out");
    let soon = from("soon.ts", packets / 20);
    refused(&soon, &[], &["soon.ts", "is encrypted (video in stream 0"]);
}

#[test]
fn frames_that_cannot_be_decoded_are_counted() {
    let dir = folder();
    let whole = made("whole.ts", &[picture("160x120", "25", "4"), words(QUICK)]);
    assert_eq!(Made::of(&whole, &[]).notes(), Vec::<&str>::new());
    // It begins between keyframes.
    let bytes = std::fs::read(&whole).unwrap();
    let middle = bytes.len() / 188 / 3 * 188;
    let late = dir.path().join("late.ts");
    std::fs::write(&late, [&bytes[..188 * 3], &bytes[middle..]].concat()).unwrap();
    let made = Made::of(&late, &[]);
    made.says("frames of the picture cannot be decoded and are left out");
}

#[test]
fn what_no_output_carries_is_named() {
    let dir = folder();
    let text = dir.path().join("text.srt");
    std::fs::write(&text, "1\n00:00:00,000 --> 00:00:01,000\nhello\n").unwrap();
    let target = dir.path().join("text.mkv");
    let mut ffmpeg = program("ffmpeg");
    ffmpeg
        .args(["-nostdin", "-v", "error", "-y", "-i"])
        .arg(second());
    ffmpeg.arg("-i").arg(&text).arg("-attach").arg(&text);
    ffmpeg.args(["-map", "0", "-map", "1", "-c", "copy", "-c:s", "srt"]);
    ffmpeg.args([
        "-metadata:s:s:0",
        "language=fra",
        "-metadata:s:t:0",
        "mimetype=text/plain",
    ]);
    run(ffmpeg.arg(&target)).ended(0);
    let made = Made::of(&target, &[]);
    made.says("the subtitles are left out, since only picture and sound are delivered: stream 2 (subrip, fra)");
    made.says("the attachment is left out, since only picture and sound are delivered: stream 3");
    assert_eq!(made.notes().len(), 2, "{:?}", made.notes());
}

#[test]
fn files_of_other_kinds_are_refused_by_what_they_are() {
    let dir = folder();
    let still = [words(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x64:duration=1",
        "-frames:v",
        "1",
    ])];
    let png = made("still.png", &still);
    refused(&png, &[], &["still.png", "is an image (PNG)"]);
    let playlist = dir.path().join("list.mp4");
    std::fs::write(
        &playlist,
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n",
    )
    .unwrap();
    refused(
        &playlist,
        &[],
        &["list.mp4", "is a playlist (HLS), not a media file"],
    );
    let subtitles = dir.path().join("text.srt");
    std::fs::write(&subtitles, "1\n00:00:00,000 --> 00:00:01,000\nhello\n").unwrap();
    refused(
        &subtitles,
        &[],
        &["text.srt", "is a file of subtitles (SRT)"],
    );
}

#[test]
#[ignore = "needs CORPUS_DIR"]
fn a_slide_that_stands_still_for_minutes_is_no_bomb() {
    let made = Made::of(&corpus().join("reported/static_slide_3min.mp4"), &[]);
    assert_eq!(made.frames(), ["5400"]);
}
