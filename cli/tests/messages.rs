//! The exact sentences for what people get wrong most often.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;

/// Runs a command that must be refused with this exit code and exactly this sentence.
#[track_caller]
fn says(command: &mut Command, code: i32, sentence: &str) {
    let ran = run(command).ended(code);
    assert_eq!(ran.sentence(), sentence);
}

/// `reelmill transcode INPUT -o OUT` in a folder.
fn in_folder(dir: &Path, input: &str, out: &str) -> Command {
    let mut command = reelmill();
    command.current_dir(dir);
    command.args(["transcode", "-o", out]);
    command.args(["--profile", "quick.toml", "--", input]);
    command
}

/// A folder with a film and a quick profile in it.
fn with_film() -> tempfile::TempDir {
    let dir = folder();
    std::fs::copy(second(), dir.path().join("movie.mp4")).unwrap();
    let text = quick_profile("1", &[240], "[\"mp4\"]");
    profile_file(dir.path(), "quick.toml", &text);
    dir
}

#[test]
fn outputs_go_to_a_folder() {
    let dir = with_film();
    let refused = |out: &str, sentence: &str| {
        says(&mut in_folder(dir.path(), "movie.mp4", out), 2, sentence);
    };
    let is_a_file = "`movie.mp4` is a file; `-o` needs a folder";
    refused("movie.mp4", is_a_file);
    refused("movie.mp4/out", is_a_file);
    refused(
        "new.MKV",
        "`new.MKV` is a file's name (write `new.MKV/` for a folder of that name); `-o` needs a folder",
    );
    refused(
        "s3://bucket/film",
        "`s3://bucket/film` is a URL; `-o` needs a folder",
    );
    assert_eq!(names(dir.path()), ["movie.mp4", "quick.toml"]);

    for out in ["new.MKV/", "new.MKV", "v1.2"] {
        run(&mut in_folder(dir.path(), "movie.mp4", out)).ended(0);
        assert!(is_there(&dir.path().join(out).join("output_240p.mp4")));
    }
}

#[test]
fn a_source_is_a_file_that_is_there() {
    let dir = with_film();
    let upload = |input: &str| {
        let mut command = reelmill();
        command
            .current_dir(dir.path())
            .args(["jobs", "submit", "--", input]);
        // Nothing listens there, and nothing is asked.
        command.env("REELMILL_SERVER", "http://127.0.0.1:1");
        command
    };
    for (input, sentence) in [
        (
            "https://example.org/a.mp4?b=c",
            "`https://example.org/a.mp4?b=c` is a URL, and a source is a file: download it first",
        ),
        (
            "file:///srv/a.mp4",
            "`file:///srv/a.mp4` is a URL: name the file by its path",
        ),
        (
            "-",
            "`-` is standard input, and a source is read from many places at once: save it to a file first",
        ),
        ("no.mp4", "`no.mp4` does not exist: check the path"),
        (
            ".",
            "`.` is a folder: a regular file is needed, since a source is read from many places at once",
        ),
    ] {
        says(&mut in_folder(dir.path(), input, "out"), 2, sentence);
        says(&mut upload(input), 2, sentence);
    }
    assert_eq!(names(dir.path()), ["movie.mp4", "quick.toml"]);
    // A file may be called so all the same.
    std::fs::copy(second(), dir.path().join("-")).unwrap();
    run(&mut in_folder(dir.path(), "./-", "out")).ended(0);
}

/// A still of the test picture in this format.
fn still(name: &str) -> PathBuf {
    let frame = words(&["-frames:v", "1"]);
    made(name, &[picture("64x64", "1", "1"), frame])
}

#[test]
fn an_image_is_no_video() {
    let dir = folder();
    for (name, kind) in [
        ("still.jpg", "JPEG"),
        ("still.png", "PNG"),
        ("still.webp", "WebP"),
        ("still.bmp", "BMP"),
        ("still.tiff", "TIFF"),
    ] {
        let image = still(name);
        let sentence = format!("`{name}` is an image ({kind}): name a file with video or sound");
        let out = dir.path().join(name).join("out");
        says(&mut transcode(&image, &out, "h264-1080p"), 1, &sentence);
        // As it comes to a service, under another name.
        let lying = dir.path().join(format!("{kind}.mp4"));
        std::fs::copy(&image, &lying).unwrap();
        let sentence = sentence.replace(name, &format!("{kind}.mp4"));
        let mut stored = transcode(&lying, &dir.path().join("stored"), "h264-1080p");
        says(stored.args(["--via", "store"]), 1, &sentence);
    }
}

#[test]
fn a_download_without_its_index_is_named() {
    let dir = folder();
    let whole = std::fs::read(second()).unwrap();
    let mdat = whole.windows(4).position(|at| at == b"mdat").unwrap();
    let moov = whole.windows(4).position(|at| at == b"moov").unwrap();
    assert!(mdat < moov, "the index is not at the end");
    let cut = dir.path().join("cut.mp4");
    let out = dir.path().join("out");
    for length in [mdat + 8, (mdat + moov) / 2, moov - 4] {
        std::fs::write(&cut, whole.get(..length).unwrap()).unwrap();
        says(
            &mut transcode(&cut, &out, "h264-1080p"),
            1,
            "`cut.mp4` is probably an incomplete download: its index (`moov`) is missing: get the whole file",
        );
    }
}

#[test]
fn proofs_are_named_as_they_are_typed() {
    let dir = with_film();
    let (out, profile) = (dir.path().join("out"), dir.path().join("quick.toml"));
    let command = || transcode(&dir.path().join("movie.mp4"), &out, &profile);
    run(&mut command()).ended(0);
    let sentence = format!(
        "`{}` holds outputs of this source made with profile `quick` and `--proof seams`, or with another choice of streams: choose another folder, or overwrite it with --force",
        out.display()
    );
    says(command().args(["--proof", "every-frame"]), 1, &sentence);
}

#[test]
fn a_certificate_that_is_none_is_placed_and_not_quoted() {
    let dir = folder();
    std::fs::write(
        dir.path().join("certificate.json"),
        "{\n  \"version\": 2\n}\n",
    )
    .unwrap();
    let mut verify = reelmill();
    let sentence = "`./certificate.json` is not a certificate that can be read: line 3, column 1 is not as reelmill writes it";
    says(
        verify.current_dir(dir.path()).args(["verify", "."]),
        1,
        sentence,
    );
}

#[test]
fn a_window_is_a_time_as_everywhere() {
    let dir = with_film();
    for (at, good) in ["10s", "10", "0.5", "500ms", "1m"].iter().enumerate() {
        let mut command = reelmill();
        command.current_dir(dir.path()).args([
            "transcode",
            "movie.mp4",
            "--profile",
            "quick.toml",
            "--window",
            good,
            "-o",
        ]);
        run(command.arg(format!("out-{at}"))).ended(0);
        let mut config = reelmill();
        run(config.args(["config", "print", "--window", good])).ended(0);
    }
    let refused = |window: &str, sentence: &str| {
        let mut command = reelmill();
        command.current_dir(dir.path());
        command.args(["transcode", "movie.mp4", "-o", "out", "--window", window]);
        let ran = run(&mut command).ended(2);
        assert!(ran.stderr.contains(sentence), "{ran:#?}");
    };
    refused(
        "soon",
        "`soon` is not a time: write one such as `10s` or `1m`",
    );
    refused("10ms", "`10ms` is not between 100ms and 24h");
}

#[test]
fn doctor_names_a_cure_once() {
    let dir = folder();
    let script = executable(dir.path(), "true-ffmpeg", "#!/bin/sh\n");
    for (ffmpeg, found) in [
        (Path::new("/nonexistent/ffmpeg"), "was not found"),
        (&script, "does not print a version as ffmpeg does"),
    ] {
        let ran = run(reelmill().arg("doctor").arg("--ffmpeg").arg(ffmpeg)).ended(3);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let at = lines.iter().position(|line| line.contains("✖ ffmpeg "));
        let at = at.unwrap_or_else(|| panic!("{ran:#?}"));
        assert!(lines[at].ends_with(found), "{ran:#?}");
        assert_eq!(
            lines[at + 1].trim_start(),
            "→ install ffmpeg 5.1 or later with ffprobe (apt-get install ffmpeg), or name it with --ffmpeg"
        );
    }
}
