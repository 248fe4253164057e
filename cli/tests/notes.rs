//! Whatever is left out is said: on the terminal, in `--json`, in the job of a service and by every
//! command that shows a result.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::json;

const NOTE: &str = "audio in stream 1 is left out: its codec is unknown to this ffmpeg";

/// A film whose sound has a codec unknown to ffmpeg.
fn film(dir: &Path) -> PathBuf {
    let parts = [
        picture("320x240", "25", "1"),
        sound("1"),
        words(QUICK),
        words(&["-c:a", "pcm_s16le"]),
    ];
    let mut bytes = std::fs::read(made("film.mov", &parts)).unwrap();
    let tag = bytes.windows(4).position(|at| at == b"sowt").unwrap();
    bytes[tag..tag + 4].copy_from_slice(b"zzzz");
    let path = dir.join("film.mov");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn profile(dir: &Path) -> PathBuf {
    profile_file(dir, "quick.toml", &quick_profile("1", &[240], "[\"mp4\"]"))
}

/// How many lines are the note.
fn noted(text: &str) -> usize {
    let line = format!("note: {NOTE}");
    text.lines().filter(|have| *have == line).count()
}

/// A service with its data in `dir`, whose default profile is quick; and its address.
fn service(dir: &Path) -> (Running, String) {
    let profiles = dir.join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    profile(&profiles);
    let mut command = serve(&dir.join("data"));
    command.arg("--profiles-dir").arg(&profiles);
    started(command.args(["--default-profile", "quick"]))
}

#[test]
fn a_folder_tells_what_it_lacks() {
    let dir = folder();
    let (film, profile, out) = (
        film(dir.path()),
        profile(dir.path()),
        dir.path().join("out"),
    );
    let command = || transcode(&film, &out, &profile);
    let first = run(&mut command()).ended(0);
    assert_eq!(noted(&first.stderr), 1, "{first:#?}");
    // Done already, quietly, and in JSON: it is never silent.
    let again = run(&mut command()).ended(0);
    assert!(again.stderr.contains("already done"), "{again:#?}");
    assert_eq!(noted(&again.stderr), 1, "{again:#?}");
    let quiet = run(command().arg("--quiet")).ended(0);
    assert_eq!(quiet.stderr, format!("note: {NOTE}\n"));
    let report = run(command().arg("--json")).ended(0).json();
    assert_eq!(report["notes"], json!([NOTE]));

    let verify = || {
        let mut command = reelmill();
        command.arg("verify").arg(&out);
        command
    };
    let verified = run(&mut verify()).ended(0);
    assert_eq!(noted(&verified.stdout), 1, "{verified:#?}");
    let report = run(verify().arg("--json")).ended(0).json();
    assert_eq!(report["notes"], json!([NOTE]));
}

#[test]
fn a_job_of_a_service_tells_what_it_lacks() {
    let dir = folder();
    let (_service, url) = service(dir.path());
    let ask = |args: &[&str]| {
        let mut command = reelmill();
        command.env("REELMILL_SERVER", &url).args(args);
        run(&mut command)
    };
    let film = film(dir.path()).display().to_string();
    let submitted = ask(&["jobs", "submit", &film, "--watch", "--json"]).ended(0);
    assert_eq!(noted(&submitted.stderr), 1, "{submitted:#?}");
    let job = submitted.json();
    assert_eq!(job["notes"], json!([NOTE]));
    let id = job["id"].as_str().unwrap();

    let watched = ask(&["jobs", "watch", id, "--quiet"]).ended(0);
    assert_eq!(watched.stderr, format!("note: {NOTE}\n"));
    let status = ask(&["jobs", "status", id]).ended(0);
    assert_eq!(noted(&status.stdout), 1, "{status:#?}");
    let status = ask(&["jobs", "status", id, "--json"]).ended(0).json();
    assert_eq!(status["notes"], json!([NOTE]));
    let out = dir.path().join("got").display().to_string();
    let got = ask(&["outputs", "get", id, "-o", &out]).ended(0);
    assert_eq!(noted(&got.stderr), 1, "{got:#?}");
    let got = ask(&["outputs", "get", id, "-o", &out, "--json"])
        .ended(0)
        .json();
    assert_eq!(got["notes"], json!([NOTE]));
}

#[test]
fn taking_outputs_replaces_nothing_of_others() {
    let dir = folder();
    let (_service, url) = service(dir.path());
    let ask = |args: &[&str]| {
        let mut command = reelmill();
        command.current_dir(dir.path());
        command.env("REELMILL_SERVER", &url).args(args);
        run(&mut command)
    };
    let film = second().display().to_string();
    let job = ask(&["jobs", "submit", &film, "--watch", "--json"])
        .ended(0)
        .json();
    let id = job["id"].as_str().unwrap();
    let get = |more: &[&str]| ask(&[&["outputs", "get", id, "-o", "out"], more].concat());
    get(&[]).ended(0);
    let out = dir.path().join("out");
    let whole = snapshot(&out);
    // What is the job's already is no obstacle.
    get(&[]).ended(0);

    for mine in ["output_240p.mp4", "certificate.json"] {
        let path = out.join(mine);
        let original = std::fs::read(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let refused = get(&[]).ended(1);
        assert_eq!(
            refused.sentence(),
            format!(
                "`out/{mine}` is another file than the job's: choose another folder, or replace it with --force"
            )
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        get(&["--force"]).ended(0);
        assert_eq!(std::fs::read(&path).unwrap(), original);
    }
    assert_eq!(snapshot(&out), whole);
    let sentence = ask(&["outputs", "get", id, "-o", "film.mp4"])
        .ended(2)
        .sentence();
    assert!(sentence.ends_with("`-o` needs a folder"), "{sentence}");
}
