//! `reelmill verify` finds and names whatever is not as certified.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use common::*;
use serde_json::Value;

/// Width times height times the bytes of a pixel of the source, which is not compressed: its
/// pixels can be changed without changing its size.
const FRAME: usize = 160 * 120 * 3 / 2;

/// Finished folders that tests copy before they spoil them.
struct Finished {
    source: PathBuf,
    seams: PathBuf,
    every_frame: PathBuf,
}

fn finished() -> &'static Finished {
    static FINISHED: OnceLock<Finished> = OnceLock::new();
    FINISHED.get_or_init(|| {
        let raw = words(&[
            "-c:v",
            "rawvideo",
            "-pix_fmt",
            "yuv420p",
            "-c:a",
            "pcm_s16le",
        ]);
        let parts = [picture("160x120", "25", "6"), sound("6"), raw];
        let source = made("raw.avi", &parts);
        let dir = made_once("finished", |dir| {
            let text = quick_profile("1", &[120, 64], "[\"mp4\", \"hls\"]");
            let profile = profile_file(dir, "quick.toml", &text);
            for proof in ["seams", "every-frame"] {
                let mut command = transcode(&source, &dir.join(proof), &profile);
                run(command.args(["--window", "2", "--proof", proof])).ended(0);
            }
        });
        Finished {
            source,
            seams: dir.join("seams"),
            every_frame: dir.join("every-frame"),
        }
    })
}

/// A copy of a finished folder.
struct Spoilt {
    _dir: tempfile::TempDir,
    out: PathBuf,
}

impl Spoilt {
    fn new(finished: &Path) -> Self {
        let dir = folder();
        let out = dir.path().join("out");
        copy_folder(finished, &out);
        Self { _dir: dir, out }
    }

    fn seams() -> Self {
        Self::new(&finished().seams)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.at(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.at(name), bytes).unwrap();
    }

    fn edit_certificate(&self, change: impl FnOnce(&mut Value)) {
        let mut edited = certificate(&self.out);
        change(&mut edited);
        write_certificate(&self.out, &edited);
    }

    /// Makes the certificate's size and digest of a file those that it has now.
    fn certify_bytes(&self, name: &str) {
        let path = self.at(name);
        let (bytes, sha256) = (std::fs::metadata(&path).unwrap().len(), digest(&path));
        self.edit_certificate(|certificate| {
            let outputs = certificate["outputs"].as_array_mut().unwrap();
            let output = outputs.iter_mut().find(|o| o["path"] == name).unwrap();
            output["bytes"] = bytes.into();
            output["sha256"] = sha256.into();
        });
    }

    fn command(&self, source: Option<&Path>) -> std::process::Command {
        let mut command = reelmill();
        command.arg("verify").arg(&self.out);
        if let Some(source) = source {
            command.arg("--source").arg(source);
        }
        command
    }

    /// Insists that verification fails and that one of the problems has all of these words. Both
    /// forms of the answer say the same.
    #[track_caller]
    fn is_found(&self, source: Option<&Path>, words: &[&str]) {
        let plain = run(&mut self.command(source)).refused(1, &["is not as certified"]);
        let report = run(self.command(source).arg("--json")).ended(1).json();
        assert_eq!(report["status"], "failed");
        let problems: Vec<_> = report["problems"].as_array().unwrap().iter().collect();
        let lines: Vec<&str> = problems.iter().map(|p| p.as_str().unwrap()).collect();
        assert_eq!(lines, plain.stdout.lines().collect::<Vec<_>>());
        let named = lines
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)));
        assert!(named, "no problem names {words:?}: {lines:#?}");
    }
}

#[test]
fn what_is_right_is_verified() {
    let finished = finished();
    for out in [&finished.seams, &finished.every_frame] {
        for source in [None, Some(finished.source.as_path())] {
            let mut command = reelmill();
            command.arg("verify").arg(out);
            if let Some(source) = source {
                command.arg("--source").arg(source);
            }
            let ran = run(&mut command).ended(0);
            let lines: Vec<&str> = ran.stdout.lines().collect();
            let files = snapshot(out).len() - 2;
            let of_source = source.map_or("", |_| " and 150 frames of the source");
            let last = format!("verified: {files} files{of_source} are as certified");
            assert_eq!(lines.last(), Some(&last.as_str()), "{ran:#?}");
            // Each output by itself, so that no two are added up.
            for path in ["output_120p.mp4", "hls/120p.mp4"] {
                let begins = format!("{path}: 150 frames");
                let line = lines.iter().find(|line| line.starts_with(&begins));
                assert!(line.is_some(), "{begins}: {ran:#?}");
            }
            let report = run(command.arg("--json")).ended(0).json();
            assert_eq!(report["status"], "verified");
            assert_eq!(report["problems"], serde_json::json!([]));
            let listed = snapshot(out).len() - 2;
            assert_eq!(report["files"], listed, "every file but the certificate");
            // Two renditions, each as MP4 and in HLS.
            assert_eq!(report["frames"], 4 * 150);
            assert_eq!(report["source_frames"], source.map_or(0, |_| 150));
            // In each MP4, and once for HLS.
            assert!(
                report["samples"].as_u64().unwrap() >= 3 * 288_000,
                "{report}"
            );
        }
    }
    let (seams, every) = (
        certificate(&finished.seams),
        certificate(&finished.every_frame),
    );
    assert_eq!(seams["chunks"].as_array().unwrap().len(), 3);
    assert!(seams["chunks"][0]["frames_digest"].is_null());
    assert!(every["chunks"][0]["frames_digest"].is_string());
}

/// What an encoder puts before the first sample is hidden by an edit list only as far as the track
/// begins with the picture: it is no part of the sound all the same.
#[test]
fn sound_of_every_codec_is_verified_wherever_it_begins() {
    let dir = folder();
    let aac = "codec = \"aac\"\nkbps = 64";
    let quick = quick_profile("1", &[64], "[\"mp4\", \"hls\"]");
    assert!(quick.contains(aac));
    for codec in [aac, "codec = \"opus\"\nkbps = 64", "codec = \"flac\""] {
        let profile = profile_file(dir.path(), "quick.toml", &quick.replace(aac, codec));
        for (number, late) in ["0", "0.01", "1.5"].iter().enumerate() {
            // A length that no encoder's blocks fit, at a rate that Opus does not have, in a
            // container that rounds every time to a millisecond.
            let sound = "sine=frequency=440:sample_rate=44100:duration=2.345";
            let parts = [
                picture("160x120", "25", "3"),
                words(&["-itsoffset", late, "-f", "lavfi", "-i", sound]),
                words(QUICK),
                words(&["-c:a", "pcm_s16le"]),
            ];
            let out = dir.path().join(format!("{}-{number}", &codec[9..13]));
            run(&mut transcode(&made("late.mkv", &parts), &out, &profile)).ended(0);
            let ran = run(reelmill().arg("verify").arg(&out).arg("--json"));
            assert_eq!(ran.code, Some(0), "{codec}, {late} s late: {ran:#?}");
        }
    }
}

/// Outputs without loss are held against the source's own frames: scaled, padded and turned as they
/// are, but not as much as a dot apart.
#[test]
fn an_output_without_loss_shows_what_the_source_shows() {
    let dir = folder();
    let turned = ["160x120", "120x160"].map(|size| {
        let name = format!("{size}.ts");
        made(&name, &[picture(size, "25", "2"), words(QUICK)])
    });
    let turned = joined(dir.path(), "turns.ts", &turned);
    let rgb = words(&["-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast"]);
    let rgb = made("rgb.mkv", &[picture("161x121", "25", "2"), rgb]);
    let grey = words(&["-c:v", "ffv1", "-pix_fmt", "gray"]);
    let grey = made("grey.mkv", &[picture("160x120", "25", "2"), grey]);
    for (name, source) in [("turned", turned), ("rgb", rgb), ("grey", grey)] {
        let out = dir.path().join(name);
        run(transcode(&source, &out, "lossless").args(["--window", "1"])).ended(0);
        let mut command = reelmill();
        command.arg("verify").arg(&out).arg("--source").arg(&source);
        run(&mut command).ended(0);

        // A dot on the last frame, and a certificate that vouches for it.
        let spoilt = Spoilt::new(&out);
        let output = "output_lossless.mp4";
        let video = certificate(&out)["outputs"][0]["video"].clone();
        let last = video["frames"].as_u64().unwrap() - 1;
        let timescale = video["timebase"][1].to_string();
        let dot = format!("drawbox=w=2:h=2:c=gray:t=fill:enable=eq(n\\,{last})");
        let mut ffmpeg = program("ffmpeg");
        ffmpeg
            .args(["-v", "error", "-y", "-i"])
            .arg(out.join(output));
        ffmpeg.args(["-vf", &dot, "-c:v", "libx264", "-qp", "0", "-bf", "0"]);
        ffmpeg.args(["-preset", "ultrafast", "-fps_mode", "passthrough"]);
        ffmpeg.args(["-video_track_timescale", &timescale]);
        ffmpeg.arg("-an").arg(spoilt.at(output));
        run(&mut ffmpeg).ended(0);
        spoilt.certify_bytes(output);
        let frame = format!("frame {last} is not the source's");
        spoilt.is_found(Some(&source), &[output, "without loss", &frame]);
    }
}

#[test]
fn a_flipped_byte_is_found_in_every_file() {
    for name in snapshot(&finished().seams)
        .keys()
        .filter(|name| name.contains('.'))
    {
        if name == "certificate.json" {
            continue;
        }
        let spoilt = Spoilt::seams();
        spoilt.edit(name, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        });
        spoilt.is_found(None, &[&format!("`{name}` has other bytes than certified")]);
    }
}

#[test]
fn a_truncated_file_is_found() {
    for name in ["output_120p.mp4", "hls/64p.mp4", "hls/120p.m3u8"] {
        let spoilt = Spoilt::seams();
        spoilt.edit(name, |bytes| bytes.truncate(bytes.len() - 10));
        spoilt.is_found(None, &[&format!("`{name}` has "), "bytes", "are certified"]);
    }
}

#[test]
fn swapped_files_are_found() {
    let spoilt = Spoilt::seams();
    let (one, other) = (spoilt.at("output_120p.mp4"), spoilt.at("output_64p.mp4"));
    let aside = spoilt.at("aside");
    std::fs::rename(&one, &aside).unwrap();
    std::fs::rename(&other, &one).unwrap();
    std::fs::rename(&aside, &other).unwrap();
    spoilt.is_found(None, &["`output_120p.mp4`"]);
    spoilt.is_found(None, &["`output_64p.mp4`"]);
}

#[test]
fn a_missing_file_is_found() {
    for name in [
        "output_120p.mp4",
        "hls/audio_0.mp4",
        "hls/master.m3u8",
        "hls/64p.m3u8",
    ] {
        let spoilt = Spoilt::seams();
        std::fs::remove_file(spoilt.at(name)).unwrap();
        spoilt.is_found(None, &[&format!("`{name}` cannot be read")]);
    }
}

#[test]
fn a_missing_frame_is_found_by_counting() {
    let spoilt = Spoilt::seams();
    let name = "output_120p.mp4";
    let mut ffmpeg = program("ffmpeg");
    ffmpeg
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(spoilt.at(name));
    ffmpeg
        .args(["-map", "0", "-c", "copy", "-frames:v", "149"])
        .arg(spoilt.at("cut.mp4"));
    run(&mut ffmpeg).ended(0);
    std::fs::rename(spoilt.at("cut.mp4"), spoilt.at(name)).unwrap();
    spoilt.is_found(None, &[&format!("`{name}` has "), "bytes"]);
    // With a certificate that owns up to these bytes, only the frames can tell.
    spoilt.certify_bytes(name);
    spoilt.is_found(
        None,
        &[&format!("`{name}` has 149 frames, 150 are certified")],
    );
    // And with one that owns up to the frames as well, the chunks can.
    spoilt
        .edit_certificate(|certificate| certificate["outputs"][0]["video"]["frames"] = 149.into());
    spoilt.is_found(None, &["chunks have 150 frames", "`output_120p.mp4`"]);
}

#[test]
fn a_shifted_frame_is_found_by_its_time() {
    let spoilt = Spoilt::seams();
    let name = "output_120p.mp4";
    let mut ffmpeg = program("ffmpeg");
    ffmpeg
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(spoilt.at(name));
    ffmpeg.args([
        "-map",
        "0",
        "-c",
        "copy",
        "-bsf:v",
        "setts=ts=TS+if(gte(N\\,149)\\,200\\,0)",
    ]);
    run(ffmpeg.arg(spoilt.at("late.mp4"))).ended(0);
    std::fs::rename(spoilt.at("late.mp4"), spoilt.at(name)).unwrap();
    spoilt.certify_bytes(name);
    spoilt.is_found(
        None,
        &[&format!("`{name}` does not last as long as certified")],
    );
}

#[test]
fn an_edited_certificate_is_found() {
    let source = Some(finished().source.as_path());
    let edited = |change: fn(&mut Value), source, words: &[&str]| {
        let spoilt = Spoilt::new(&finished().every_frame);
        spoilt.edit_certificate(change);
        spoilt.is_found(source, words);
    };
    edited(
        |c| c["outputs"][0]["video"]["frames"] = 151.into(),
        None,
        &["output_120p.mp4", "151"],
    );
    edited(
        |c| c["outputs"][0]["bytes"] = 1.into(),
        None,
        &["output_120p.mp4", "bytes"],
    );
    let zeros = || "0".repeat(64);
    edited(
        |c| c["outputs"][1]["sha256"] = "0".repeat(64).into(),
        None,
        &["output_64p.mp4"],
    );
    edited(
        |c| c["outputs"][0]["audio"] = Value::Array(Vec::new()),
        None,
        &["audio tracks"],
    );
    edited(
        |c| c["outputs"][0]["audio"][0]["samples"] = 287_999.into(),
        None,
        &[
            "output_120p.mp4",
            "has 288000 samples, 287999 are certified",
        ],
    );
    edited(
        |c| {
            let outputs = c["outputs"].as_array_mut().unwrap();
            let sound = outputs.iter_mut().find(|o| o["path"] == "hls/audio_0.mp4");
            sound.unwrap()["audio"][0]["samples"] = 288_001.into();
        },
        None,
        &[
            "hls/audio_0.mp4",
            "has 288000 samples, 288001 are certified",
        ],
    );
    edited(
        |c| c["outputs"][0]["video"]["width"] = 162.into(),
        None,
        &["output_120p.mp4", "is 160x120, 162x120 is certified"],
    );
    edited(
        |c| c["outputs"][1]["video"]["height"] = 66.into(),
        None,
        &["output_64p.mp4", "x66 is certified"],
    );
    edited(
        |c| c["chunks"][1]["frames"] = 49.into(),
        None,
        &["chunks have 149 frames"],
    );
    edited(
        |c| c["chunks"][1]["pts_digest"] = "0".repeat(64).into(),
        source,
        &["chunk 1 "],
    );
    edited(
        |c| c["chunks"][2]["frames_digest"] = "0".repeat(64).into(),
        source,
        &["chunk 2 "],
    );
    edited(
        |c| c["source"]["sha256"] = "0".repeat(64).into(),
        source,
        &["raw.avi", "not the source"],
    );
    // One that cannot be read is no certificate.
    let spoilt = Spoilt::seams();
    spoilt.edit("certificate.json", |bytes| bytes.truncate(bytes.len() / 2));
    run(&mut spoilt.command(None)).refused(1, &["certificate.json", "is not a certificate"]);
    spoilt.edit("certificate.json", |bytes| bytes.clear());
    run(&mut spoilt.command(None)).refused(1, &["certificate.json"]);
    let spoilt = Spoilt::seams();
    spoilt.edit_certificate(|certificate| certificate["version"] = 999.into());
    run(&mut spoilt.command(None)).refused(1, &["version 999 is newer"]);
    assert_eq!(zeros().len(), 64);
}

#[test]
fn another_source_is_found() {
    let other = clip("160x120", "25", "6");
    Spoilt::seams().is_found(Some(&other), &["clip.mp4", "is not the source"]);
    let missing = Path::new("/nonexistent/source.avi");
    run(&mut Spoilt::seams().command(Some(missing))).refused(2, &["/nonexistent/source.avi"]);
}

/// The source with a few pixels of one frame inverted, in a folder whose certificate takes the
/// file for the one it was made of.
fn with_changed_pixels(finished_folder: &Path, frame: usize) -> (Spoilt, PathBuf) {
    let spoilt = Spoilt::new(finished_folder);
    let source = spoilt.out.with_file_name("raw.avi");
    let mut bytes = std::fs::read(&finished().source).unwrap();
    let size = u32::try_from(FRAME).unwrap().to_le_bytes();
    let header: Vec<u8> = [b"00dc".as_slice(), &size].concat();
    let mut frames = bytes
        .windows(8)
        .enumerate()
        .filter(|(_, part)| *part == header);
    let (at, _) = frames.nth(frame).unwrap();
    bytes[at + 8 + FRAME / 2..][..16]
        .iter_mut()
        .for_each(|pixel| *pixel ^= 0xff);
    std::fs::write(&source, bytes).unwrap();
    let sha256 = digest(&source);
    spoilt.edit_certificate(|certificate| certificate["source"]["sha256"] = sha256.into());
    (spoilt, source)
}

#[test]
fn changed_pixels_anywhere_are_found_with_every_frame() {
    for (frame, chunk) in [(0, 0), (75, 1), (149, 2)] {
        let (spoilt, source) = with_changed_pixels(&finished().every_frame, frame);
        let words = [&format!("chunk {chunk} "), "decodes to other pictures"];
        spoilt.is_found(Some(&source), &words.map(|word| word as &str));
    }
}

#[test]
fn changed_pixels_at_a_seam_are_found_with_seams() {
    let (spoilt, source) = with_changed_pixels(&finished().seams, 50);
    spoilt.is_found(
        Some(&source),
        &["chunk 1: the source decodes to another picture"],
    );
    // Between the seams nothing was recorded that could tell: that is what the other proof is for.
    let (spoilt, source) = with_changed_pixels(&finished().seams, 75);
    run(&mut spoilt.command(Some(&source))).ended(0);
}

#[test]
fn a_folder_without_a_certificate_is_refused() {
    let dir = folder();
    let command = |path: &Path| {
        let mut command = reelmill();
        command.arg("verify").arg(path);
        command
    };
    run(&mut command(dir.path())).refused(1, &["has no `certificate.json`", "transcode"]);
    let ran = run(command(dir.path()).arg("--json")).refused(1, &["certificate.json"]);
    assert_eq!(ran.json()["status"], "failed");
    assert_eq!(ran.json()["message"], ran.sentence());
    // A script gets its line also where it could not be looked.
    let finished = &finished().seams;
    for args in [
        ["--source", "/nonexistent/source.avi"],
        ["--ffmpeg", "/nonexistent/ffmpeg"],
    ] {
        let ran = run(command(finished).arg("--json").args(args));
        assert_eq!(ran.json()["message"], ran.sentence());
        assert_eq!(ran.json()["job"], certificate(finished)["job"]);
    }
    let missing = dir.path().join("missing");
    run(&mut command(&missing)).refused(1, &["missing"]);
    assert!(!is_there(&missing));
}
