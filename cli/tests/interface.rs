//! What a caller sees: exit codes, standard output, standard error, the smaller commands.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::Value;

const QUICK_240: &[u32] = &[240];

fn quick(dir: &Path) -> PathBuf {
    let text = quick_profile("1", QUICK_240, "[\"mp4\", \"hls\"]");
    profile_file(dir, "quick.toml", &text)
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = run(reelmill().arg("--help")).ended(0);
    for word in [
        "transcode",
        "verify",
        "profiles",
        "doctor",
        "Exit codes: 0 done, 1 failed, 2 usage",
        "REELMILL_LOG",
    ] {
        assert!(help.stdout.contains(word), "no `{word}` in {}", help.stdout);
    }
    let help = run(reelmill().args(["transcode", "--help"])).ended(0);
    for word in [
        "-o, --output <DIR>",
        "--profile",
        "--slots",
        "--proof",
        "seams",
        "every-frame",
        "--json",
        "--quiet",
        "--force",
        "--window",
        "--trust",
        "--via",
        "store",
        "--ffmpeg",
        "[default: h264-1080p]",
    ] {
        assert!(help.stdout.contains(word), "no `{word}` in {}", help.stdout);
    }
    let version = run(reelmill().arg("--version")).ended(0);
    assert_eq!(
        version.stdout.trim(),
        concat!("reelmill ", env!("CARGO_PKG_VERSION"))
    );
}

/// A build without the backends of a cluster does not offer what needs one.
#[test]
fn help_shows_what_this_build_can_do() {
    let cluster = cfg!(feature = "cluster");
    let shown = |args: &[&str], words: &[&str]| {
        let help = run(reelmill().args(args)).ended(0).stdout;
        for word in words {
            assert_eq!(help.contains(word), cluster, "`{word}` in {help}");
        }
    };
    shown(&["--help"], &["\n  api ", "\n  worker ", "\n  topics "]);
    let flags = ["--queue", "--store", "--ledger", "--roles", "--kafka-group"];
    shown(&["serve", "--help"], &flags);
    shown(&["config", "print"], &["kafka_group", "s3_region", "queue"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let dir = folder();
    let (input, out) = (second(), dir.path().join("out"));
    for args in [
        &["--bogus"][..],
        &["--slots", "0"],
        &["--slots", "many"],
        &["--window", "0"],
        &["--proof", "most"],
    ] {
        let ran = run(transcode(&input, &out, "h264-1080p").args(args)).ended(2);
        assert!(ran.stderr.contains("error:"), "{ran:#?}");
        assert_eq!(ran.stdout, "");
    }
    run(&mut reelmill()).ended(2);
    run(reelmill().arg("transcode").arg(&input)).ended(2);
    run(reelmill().args(["profiles", "rename"])).ended(2);
    assert!(!is_there(&out));
}

#[test]
fn an_unknown_profile_ends_with_2_and_names_the_known_ones() {
    let dir = folder();
    let out = dir.path().join("out");
    let words = ["`h265-4k`", "h264-1080p", "hevc-abr", "lossless", "audio"];
    run(&mut transcode(&second(), &out, "h265-4k")).refused(2, &words);
    run(reelmill().args(["profiles", "show", "h265-4k"])).refused(2, &words);
    assert!(!is_there(&out));
}

#[test]
fn a_wrong_profile_file_ends_with_2_and_points_at_the_line() {
    let dir = folder();
    let out = dir.path().join("out");
    let right = quick_profile("1", QUICK_240, "[\"mp4\"]");
    let wrong = right.replace("crf = 30", "crf = 300");
    let line = 1 + wrong.lines().position(|line| line == "crf = 300").unwrap();
    let file = profile_file(dir.path(), "wrong.toml", &wrong);
    let place = format!("wrong.toml:{line}:");
    let pointer = format!("{line} | crf = 300\n");
    for command in [
        &mut transcode(&second(), &out, &file),
        reelmill().args(["profiles", "check"]).arg(&file),
    ] {
        let ran = run(command).ended(2);
        assert!(
            ran.stderr.contains(&place) && ran.stderr.contains(&pointer),
            "{ran:#?}"
        );
        assert!(ran.stderr.contains("^^^"), "{ran:#?}");
    }
    // Neither text nor TOML.
    std::fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    run(&mut transcode(&second(), &out, &file)).refused(2, &["wrong.toml"]);
    run(&mut transcode(&second(), &out, dir.path())).refused(2, &["cannot read"]);
    assert!(!is_there(&out));
}

#[test]
fn a_missing_ffmpeg_ends_with_3_and_leaves_nothing() {
    let dir = folder();
    let out = dir.path().join("a/b/out");
    let words = [
        "`/nonexistent/ffmpeg`",
        "was not found",
        "install ffmpeg",
        "--ffmpeg",
    ];
    let named = |command: &mut std::process::Command| {
        run(command.args(["--ffmpeg", "/nonexistent/ffmpeg"])).refused(3, &words)
    };
    named(&mut transcode(&second(), &out, "h264-1080p"));
    named(
        reelmill()
            .args(["verify", "."])
            .current_dir(finished_folder(dir.path())),
    );
    let mut by_variable = transcode(&second(), &out, "h264-1080p");
    run(by_variable.env("REELMILL_FFMPEG", "/nonexistent/ffmpeg")).refused(3, &words);
    let mut without_probe = transcode(&second(), &out, "h264-1080p");
    without_probe.env("REELMILL_FFPROBE", "/nonexistent/ffprobe");
    run(&mut without_probe).refused(3, &["`/nonexistent/ffprobe`", "was not found"]);
    let mut empty_path = transcode(&second(), &out, "h264-1080p");
    run(empty_path.env("PATH", dir.path())).refused(3, &["`ffmpeg` was not found"]);
    // `true` is there and is no ffmpeg.
    let mut other = transcode(&second(), &out, "h264-1080p");
    run(other.arg("--ffmpeg").arg(on_path("true").unwrap()))
        .refused(3, &["does not print a version as ffmpeg does", "--ffmpeg"]);
    // The argument wins over the variable.
    let mut both = transcode(&second(), &dir.path().join("ok"), quick(dir.path()));
    both.env("REELMILL_FFMPEG", "/nonexistent/ffmpeg");
    run(both.arg("--ffmpeg").arg(on_path("ffmpeg").unwrap())).ended(0);
    assert!(
        !is_there(&dir.path().join("a")),
        "folders made for nothing remain"
    );
}

fn finished_folder(dir: &Path) -> PathBuf {
    let out = dir.join("finished");
    run(&mut transcode(&second(), &out, quick(dir))).ended(0);
    out
}

#[test]
fn a_missing_encoder_ends_with_3() {
    let dir = folder();
    let real = on_path("ffmpeg").unwrap();
    // A real ffmpeg that does not own up to its x264.
    let text = format!(
        "#!/bin/sh\nlast=\nfor last; do :; done\n\
         if [ \"$last\" = -encoders ]; then '{0}' \"$@\" | grep -v libx264; else exec '{0}' \"$@\"; fi\n",
        real.display()
    );
    let ffmpeg = executable(dir.path(), "ffmpeg-without-x264", &text);
    let out = dir.path().join("out");
    let with = |command: &mut std::process::Command| run(command.arg("--ffmpeg").arg(&ffmpeg));
    with(&mut transcode(&second(), &out, "h264-1080p"))
        .refused(3, &["`h264-1080p`", "`libx264`", "another profile"]);
    assert!(!is_there(&out));
    let doctor = with(reelmill().arg("doctor")).ended(3);
    let missing = "missing: libx264 (for h264-1080p, h264-abr, lossless)";
    assert!(doctor.stdout.contains(missing), "{doctor:#?}");
    // What does not need it works.
    with(&mut transcode(&second(), &out, "audio")).ended(0);
}

#[test]
fn the_last_line_of_json_has_the_promised_fields() {
    let dir = folder();
    let out = dir.path().join("out");
    let input = clip("320x240", "25", "6");
    let mut command = transcode(&input, &out, quick(dir.path()));
    let ran = run(command.args(["--json", "--window", "2"])).ended(0);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
    let report = ran.json();
    assert!(report["job"].as_str().is_some_and(|job| !job.is_empty()));
    assert_eq!(report["status"], "completed");
    assert_eq!(report["chunks"], 3);
    assert_eq!(report["chunks_resumed"], 0);
    let (wall, speed) = (
        report["wall_s"].as_f64().unwrap(),
        report["speed"].as_f64().unwrap(),
    );
    assert!(wall > 0.0 && wall <= ran.took.as_secs_f64(), "{wall}");
    assert!(
        (speed - 6.0 / wall).abs() < 0.05 * speed,
        "{speed} in {wall} s"
    );
    let outputs = report["outputs"].as_array().unwrap();
    assert_eq!(outputs.len(), 2, "{outputs:#?}");
    for output in outputs {
        let path = Path::new(output["path"].as_str().unwrap());
        assert!(path.starts_with(&out), "{output}");
        assert_eq!(output["bytes"], std::fs::metadata(path).unwrap().len());
        assert_eq!(output["sha256"], digest(path));
        assert!(
            output["rendition"].is_string() && output["duration"].is_f64(),
            "{output}"
        );
        assert!(
            output["width"].is_u64() && output["height"].is_u64(),
            "{output}"
        );
        assert!(output["frames"].is_u64(), "{output}");
    }
    let video = &outputs[0];
    assert_eq!(video["rendition"], "240p");
    assert_eq!(video["path"], out.join("output_240p.mp4").to_str().unwrap());
    assert_eq!(
        (&video["width"], &video["height"]),
        (&320.into(), &240.into())
    );
    assert_eq!(video["frames"], 150);
    assert_eq!(video["duration"], 6.0);
    assert_eq!(names(&out), ["certificate.json", "hls", "output_240p.mp4"]);
}

#[test]
fn a_failure_in_json_says_what_and_why() {
    let dir = folder();
    let missing = dir.path().join("missing.mp4");
    let mut command = transcode(&missing, &dir.path().join("out"), "h264-1080p");
    let ran = run(command.arg("--json")).refused(2, &["missing.mp4"]);
    let report = ran.json();
    assert_eq!(report["status"], "failed");
    assert_eq!(report["code"], "source-missing");
    assert_eq!(report["message"], ran.sentence());
    assert!(report["job"].is_null(), "nobody can know it: {report}");
    // From when the source is known on, the job is.
    let bad = dir.path().join("bad.mp4");
    std::fs::write(&bad, "this is no video").unwrap();
    let mut command = transcode(&bad, &dir.path().join("out"), "h264-1080p");
    let report = run(command.arg("--json")).ended(1).json();
    assert_eq!(report["code"], "not-media");
    assert!(
        report["job"]
            .as_str()
            .is_some_and(|job| job.starts_with("t-")),
        "{report}"
    );
}

#[test]
fn results_go_to_stdout_and_words_to_stderr() {
    let dir = folder();
    let out = dir.path().join("out");
    let ran = run(&mut transcode(&second(), &out, quick(dir.path()))).ended(0);
    let expected = format!("{0}/output_240p.mp4\n{0}/hls/master.m3u8\n", out.display());
    assert_eq!(ran.stdout, expected);
    // Without a terminal: whole lines, no escape sequences, and all the way.
    assert!(!ran.stderr.contains(['\x1b', '\r']), "{:?}", ran.stderr);
    let mut lines: Vec<&str> = ran.stderr.lines().collect();
    let last = lines.pop().unwrap_or_default();
    assert!(last.starts_with("done in "), "{}", ran.stderr);
    assert!(
        lines
            .last()
            .is_some_and(|line| line.contains("100%  1/1 chunks")),
        "{}",
        ran.stderr
    );
    for line in lines {
        let percent = line
            .split_once(": ")
            .and_then(|(_, rest)| rest.split_once('%'));
        assert!(
            percent.is_some_and(|(number, _)| number.parse::<u8>().is_ok()),
            "{line}"
        );
    }
}

#[test]
fn quiet_is_silent_until_something_is_wrong() {
    let dir = folder();
    let out = dir.path().join("out");
    let again = || transcode(&second(), &out, quick(dir.path()));
    for _ in 0..2 {
        let ran = run(again().arg("--quiet")).ended(0);
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.contains("output_240p.mp4"));
    }
    let mut command = transcode(&dir.path().join("no.mp4"), &out, "h264-1080p");
    run(command.arg("-q")).refused(2, &["no.mp4"]);
}

/// A reader that goes away is no reason for a panic, least of all in the middle of a job.
#[test]
fn a_closed_pipe_ends_nothing() {
    // The reader is gone before the writer begins.
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let dir = folder();
    for args in [
        &["profiles", "list"][..],
        &["profiles", "show", "h264-abr"],
        &["--help"],
    ] {
        let ran = reelmill().args(args).stdout(closed()).output().unwrap();
        let words = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(
            (ran.status.code(), words.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
    let out = dir.path().join("out");
    let mut command = transcode(&second(), &out, quick(dir.path()));
    let ended = command.stdout(closed()).stderr(closed()).status().unwrap();
    assert_eq!(ended.code(), Some(0));
    assert!(is_there(&out.join("certificate.json")));
}

#[test]
fn profiles_can_be_listed_shown_and_checked() {
    let dir = folder();
    let listed = run(reelmill().args(["profiles", "list", "--json"]))
        .ended(0)
        .json();
    let listed = listed.as_array().unwrap();
    let built_in: Vec<_> = listed.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let promised = [
        "h264-1080p",
        "h264-abr",
        "hevc-abr",
        "av1-abr",
        "vp9-1080p",
        "lossless",
        "audio",
    ];
    assert_eq!(built_in, promised);
    let lines = run(reelmill().args(["profiles", "list"])).ended(0).stdout;
    assert_eq!(lines.lines().count(), promised.len());
    let default = lines
        .lines()
        .find(|line| line.contains("(default)"))
        .unwrap();
    assert!(default.starts_with("h264-1080p "), "{default}");
    for name in promised {
        let text = run(reelmill().args(["profiles", "show", name]))
            .ended(0)
            .stdout;
        let shown = run(reelmill().args(["profiles", "show", name, "--json"]))
            .ended(0)
            .json();
        assert_eq!(shown["name"], name);
        assert_eq!(shown["file"].as_str().unwrap().trim_end(), text.trim_end());
        // What is shown is a file that can be used, with the same meaning.
        let file = profile_file(dir.path(), &format!("{name}.toml"), &text);
        let check = || {
            let mut command = reelmill();
            command.args(["profiles", "check"]).arg(&file);
            command
        };
        let checked = run(check().arg("--json")).ended(0).json();
        assert_eq!(checked, shown["profile"]);
        let ran = run(&mut check()).ended(0);
        assert!(ran.stdout.contains("is right"), "{ran:#?}");
    }
    run(reelmill().args(["profiles", "check", "/nonexistent.toml"]))
        .refused(2, &["/nonexistent.toml"]);
}

#[test]
fn the_default_profile_is_the_documented_one() {
    let dir = folder();
    let out = dir.path().join("out");
    let mut command = reelmill();
    run(command.arg("transcode").arg(second()).arg("-o").arg(&out)).ended(0);
    let certificate = certificate(&out);
    assert_eq!(certificate["profile"], "h264-1080p");
    assert_eq!(certificate["proof"], "seams");
    // Nothing is enlarged: the only rendition has the source's size and is named by it.
    let bytes = std::fs::read(out.join("output_240p.mp4")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    // x264 writes its settings into the stream. `fast` is 6 and 2, no other preset is.
    for setting in [
        " rc=crf ",
        " crf=21.0 ",
        " vbv_maxrate=5000 ",
        " subme=6 ",
        " ref=2 ",
    ] {
        assert!(text.contains(setting), "x264 was not run with `{setting}`");
    }
    let probed = ffprobe(&out.join("output_240p.mp4"));
    assert_eq!(streams(&probed, "video")[0]["codec_name"], "h264");
    assert_eq!(streams(&probed, "audio")[0]["codec_name"], "aac");
    let shown = run(reelmill().args(["profiles", "show", "h264-1080p", "--json"])).json();
    assert_eq!(shown["profile"]["audio"]["kbps"], 128);
}

#[test]
fn doctor_ticks_what_is_there_and_names_the_cure_for_what_is_not() {
    let dir = folder();
    let ran = run(reelmill()
        .args(["doctor", "--json"])
        .current_dir(dir.path()));
    let report = ran.json();
    let checks = report["checks"].as_array().unwrap().clone();
    let check = |name: &str| -> Value {
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap()
            .clone()
    };
    for name in ["ffmpeg", "ffprobe", "encoders", "cores", "write access"] {
        assert_eq!(check(name)["ok"], true, "{checks:#?}");
    }
    // These depend on the machine; their verdict and the exit code must fit each other.
    for name in ["memory", "disk"] {
        let check = check(name);
        assert_eq!(check["ok"] == true, check["cure"].is_null(), "{check}");
    }
    let well = checks.iter().all(|check| check["ok"] == true);
    assert_eq!(report["ok"], well);
    assert_eq!(ran.code, Some(i32::from(!well)));
    let plain = run(reelmill().arg("doctor").current_dir(dir.path()));
    assert_eq!(
        plain.stdout.matches('✔').count(),
        checks.iter().filter(|c| c["ok"] == true).count()
    );

    let missing = ["--ffmpeg", "/nonexistent/ffmpeg", "doctor"];
    let ran = run(reelmill().args(missing)).refused(3, &["not well", "ffmpeg"]);
    let cross = ran
        .stdout
        .lines()
        .find(|line| line.starts_with('✖'))
        .unwrap();
    assert!(cross.contains("/nonexistent/ffmpeg"), "{cross}");
    assert!(ran.stdout.contains("→ install ffmpeg"), "{}", ran.stdout);
    let ran = run(reelmill().args(missing).arg("--json")).ended(3);
    let report = ran.json();
    let ffmpeg = &report["checks"][0];
    assert_eq!(
        (&ffmpeg["name"], &ffmpeg["ok"]),
        (&"ffmpeg".into(), &false.into())
    );
    assert!(
        ffmpeg["cure"]
            .as_str()
            .is_some_and(|cure| cure.contains("install")),
        "{ffmpeg}"
    );
    assert_eq!(
        (&report["checks"][1]["name"], &report["checks"][1]["ok"]),
        (&"ffprobe".into(), &true.into())
    );

    // Without ffprobe, ffmpeg and its encoders are what they are.
    let mut command = reelmill();
    command.env("REELMILL_FFPROBE", "/nonexistent/ffprobe");
    let ran = run(command.args(["doctor", "--json"])).refused(3, &["not well", "ffprobe"]);
    let report = ran.json();
    let verdicts: Vec<_> = (0..3)
        .map(|at| {
            let check = &report["checks"][at];
            (
                check["name"].as_str().unwrap(),
                check["ok"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        verdicts,
        [("ffmpeg", true), ("ffprobe", false), ("encoders", true)]
    );
    let words = report["checks"][1].to_string();
    assert!(
        words.contains("/nonexistent/ffprobe") && words.contains("REELMILL_FFPROBE"),
        "{words}"
    );
}
