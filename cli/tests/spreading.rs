//! The last window is shared out to several ffmpegs, and has the bytes that one would make.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::*;

/// From 7 on one ffmpeg uses several cores by itself, and nothing is shared out.
fn one_ffmpeg_is_enough() -> bool {
    let ran = run(program("ffmpeg").arg("-version")).ended(0);
    let mut lines = ran.stdout.lines();
    let library = lines.find_map(|line| line.strip_prefix("libavcodec"));
    let major = library.unwrap().trim().split('.').next().unwrap();
    major.trim().parse::<u32>().unwrap() >= 61
}

/// The outputs of a run in `dir`, how many chunks it had and how many ffmpegs encoded them.
fn outputs(source: &Path, dir: &Path, profile: &Path, words: &[&str]) -> Spreading {
    let out = dir.join(words.join(""));
    let mut command = transcode(source, &out, profile);
    command.args(words).arg("--json");
    let ran = run(command.env("REELMILL_LOG", "debug")).ended(0);
    let begun = ran.stderr.lines();
    let encodes = begun.filter(|line| line.contains("action=\"encode a chunk\""));
    run(reelmill()
        .arg("verify")
        .arg(&out)
        .arg("--source")
        .arg(source))
    .ended(0);
    let mut files = snapshot(&out);
    // It names the digest of the plan, in which the slots show.
    files.remove("certificate.json").unwrap();
    Spreading {
        chunks: usize::try_from(ran.json()["chunks"].as_u64().unwrap()).unwrap(),
        encodes: encodes.count(),
        files,
    }
}

struct Spreading {
    chunks: usize,
    encodes: usize,
    files: BTreeMap<String, String>,
}

#[test]
fn a_window_that_is_shared_out_has_the_bytes_of_one_ffmpeg() {
    let dir = folder();
    let extra = usize::from(!one_ffmpeg_is_enough());
    // A cap, so that an encoder has one thread and a source of one chunk is shared out as well.
    let text = quick_profile("1", &[480, 240, 120], "[\"mp4\", \"hls\"]")
        .replace("crf = 30", "crf = 30\nmax_kbps = 400");
    let profile = profile_file(dir.path(), "quick.toml", &text);
    for (seconds, window) in [("5", "2"), ("3", "10")] {
        let source = clip("854x480", "25", seconds);
        let words = |slots| ["--window", window, "--slots", slots];
        let alone = outputs(&source, dir.path(), &profile, &words("1"));
        let spread = outputs(&source, dir.path(), &profile, &words("2"));
        assert_eq!(alone.encodes, alone.chunks);
        assert_eq!(spread.encodes, spread.chunks + extra);
        assert_eq!(spread.files, alone.files, "{seconds} s");
        let proven = [&words("2")[..], &["--proof", "every-frame"]].concat();
        let proven = outputs(&source, dir.path(), &profile, &proven);
        assert_eq!(proven.encodes, spread.encodes);
        assert_eq!(proven.files, alone.files, "{seconds} s");
    }
}
