//! The output folder: busy, finished, unfinished, somebody else's.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::*;

/// A source of its own, a profile, and a folder for the outputs.
struct Desk {
    dir: tempfile::TempDir,
    source: PathBuf,
    out: PathBuf,
}

impl Desk {
    fn new(seconds: &str) -> Self {
        let dir = folder();
        let source = dir.path().join("source.mp4");
        std::fs::copy(clip("320x240", "25", seconds), &source).unwrap();
        let out = dir.path().join("out");
        Self { dir, source, out }
    }

    fn profile(&self, sides: &[u32], outputs: &str) -> PathBuf {
        let name = format!("quick-{}.toml", sides.len());
        profile_file(self.dir.path(), &name, &quick_profile("1", sides, outputs))
    }

    fn command(&self) -> std::process::Command {
        let profile = self.profile(&[240], "[\"mp4\", \"hls\"]");
        let mut command = transcode(&self.source, &self.out, profile);
        command.args(["--window", "1", "--json"]);
        command
    }

    /// A run that is killed once it has finished a few chunks.
    fn half_done(&self) {
        self.killed_half_done(&mut self.command());
    }

    fn killed_half_done(&self, command: &mut std::process::Command) {
        let mut running = Running::start(command);
        until("the first chunks", LONG, || {
            chunks_done(&self.out) >= 2 || running.has_ended()
        });
        let ran = running.kill();
        assert_eq!(ran.code, None, "it was done before it was killed: {ran:#?}");
        nobody_left(&self.out, &self.source);
    }
}

fn other_source(dir: &Path) -> PathBuf {
    let path = dir.join("other.mp4");
    std::fs::copy(clip("320x240", "30", "2"), &path).unwrap();
    path
}

#[test]
fn a_second_reelmill_is_told_that_the_folder_is_busy() {
    let desk = Desk::new("60");
    let mut first = Running::start(&mut desk.command());
    until("a plan", LONG, || {
        is_planned(&desk.out) || first.has_ended()
    });
    let second = run(&mut desk.command());
    assert!(!first.has_ended(), "too quick to be disturbed");
    second.refused(
        1,
        &["is busy", "out", "wait for it or choose another folder"],
    );
    // Nor with force, and the first one does not notice.
    run(desk.command().arg("--force")).refused(1, &["is busy"]);
    let ran = first.wait(LONG).ended(0);
    assert_eq!(ran.json()["chunks_resumed"], 0);
    run(reelmill().arg("verify").arg(&desk.out)).ended(0);
}

#[test]
fn a_finished_folder_is_done_already() {
    let desk = Desk::new("2");
    let first = run(&mut desk.command()).ended(0).json();
    assert_eq!(
        names(&desk.out),
        ["certificate.json", "hls", "output_240p.mp4"]
    );
    let before = snapshot(&desk.out);
    let modified = || {
        std::fs::metadata(desk.out.join("output_240p.mp4"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let then = modified();
    let again = run(&mut desk.command()).ended(0);
    assert!(again.stderr.contains("already done"), "{again:#?}");
    let report = again.json();
    assert_eq!(report["outputs"], first["outputs"]);
    assert_eq!(report["job"], first["job"]);
    assert_eq!(snapshot(&desk.out), before);
    assert_eq!(modified(), then);
}

#[test]
fn a_finished_folder_of_something_else_is_kept_without_force() {
    let desk = Desk::new("2");
    run(&mut desk.command()).ended(0);
    let before = snapshot(&desk.out);
    let other = other_source(desk.dir.path());
    let two = desk.profile(&[240, 120], "[\"mp4\"]");
    let way_out = ["choose another folder", "--force"];
    run(&mut transcode(
        &other,
        &desk.out,
        desk.profile(&[240], "[\"mp4\", \"hls\"]"),
    ))
    .refused(
        1,
        &[&["another source", "`source.mp4`"][..], &way_out].concat(),
    );
    run(&mut transcode(&desk.source, &desk.out, &two))
        .refused(1, &[&["profile"][..], &way_out].concat());
    run(desk.command().args(["--proof", "every-frame"]))
        .refused(1, &[&["`--proof seams`"][..], &way_out].concat());
    assert_eq!(snapshot(&desk.out), before, "a refusal changed the folder");

    // With force: the new outputs, and of the old ones nothing.
    std::fs::write(desk.out.join("notes.txt"), "mine").unwrap();
    run(transcode(&other, &desk.out, &two).arg("--force")).ended(0);
    let expected = [
        "certificate.json",
        "notes.txt",
        "output_120p.mp4",
        "output_240p.mp4",
    ];
    assert_eq!(names(&desk.out), expected);
    assert_eq!(certificate(&desk.out)["source"]["name"], "other.mp4");
    run(reelmill().arg("verify").arg(&desk.out)).ended(0);
    run(desk.command().arg("--force")).ended(0);
    let expected = ["certificate.json", "hls", "notes.txt", "output_240p.mp4"];
    assert_eq!(names(&desk.out), expected);
}

#[test]
fn a_finished_folder_that_was_meddled_with_is_not_done() {
    let desk = Desk::new("2");
    run(&mut desk.command()).ended(0);
    let before = snapshot(&desk.out);
    std::fs::remove_file(desk.out.join("hls/240p.mp4")).unwrap();
    run(&mut desk.command()).refused(1, &["`hls/240p.mp4` has gone", "--force"]);
    run(desk.command().arg("--force")).ended(0);
    assert_eq!(snapshot(&desk.out), before);
    // Outputs of nobody knows what.
    std::fs::remove_file(desk.out.join("certificate.json")).unwrap();
    run(&mut desk.command()).refused(1, &["without a certificate", "--force"]);
    std::fs::write(desk.out.join("certificate.json"), "{").unwrap();
    run(&mut desk.command()).refused(1, &["certificate.json"]);
    run(desk.command().arg("--force")).ended(0);
    assert_eq!(snapshot(&desk.out), before);
}

#[test]
fn a_source_that_changed_between_the_runs_is_refused() {
    let desk = Desk::new("40");
    desk.half_done();
    let done = chunks_done(&desk.out);
    let original = std::fs::read(&desk.source).unwrap();
    let mut changed = original.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&desk.source, &changed).unwrap();
    let words = [
        "source.mp4",
        "is not the file",
        "put the old one back",
        "--force",
    ];
    let ran = run(&mut desk.command()).refused(1, &words);
    assert_eq!(ran.json()["code"], "source-changed");
    // So is another profile, and another proof; none of it costs a chunk.
    let other = desk.profile(&[240, 120], "[\"mp4\"]");
    run(&mut transcode(&desk.source, &desk.out, other)).refused(1, &["--force"]);
    std::fs::write(&desk.source, &original).unwrap();
    run(desk.command().args(["--proof", "every-frame"])).refused(1, &["proof", "--force"]);
    assert_eq!(chunks_done(&desk.out), done);
    let ran = run(&mut desk.command()).ended(0);
    assert!(
        ran.json()["chunks_resumed"].as_u64().unwrap() >= 2,
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("going on: "), "{ran:#?}");
    assert_eq!(
        names(&desk.out),
        ["certificate.json", "hls", "output_240p.mp4"]
    );
}

#[test]
fn a_source_that_changes_during_the_run_is_refused() {
    let desk = Desk::new("40");
    let mut running = Running::start(&mut desk.command());
    until("the first chunk", LONG, || {
        chunks_done(&desk.out) >= 1 || running.has_ended()
    });
    let mut bytes = std::fs::read(&desk.source).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In one go: a file that is being written is empty at first, and refused as such.
    let changed = desk.dir.path().join("changed.mp4");
    std::fs::write(&changed, &bytes).unwrap();
    std::fs::rename(&changed, &desk.source).unwrap();
    let ran = running
        .wait(LONG)
        .refused(1, &["source.mp4", "has changed"]);
    assert!(!is_there(&desk.out.join("certificate.json")), "{ran:#?}");
    assert!(!is_there(&desk.out.join("output_240p.mp4")), "{ran:#?}");
}

#[test]
fn force_drops_unfinished_work() {
    let desk = Desk::new("40");
    desk.half_done();
    let other = other_source(desk.dir.path());
    let profile = desk.profile(&[240], "[\"mp4\", \"hls\"]");
    let ran = run(transcode(&other, &desk.out, profile).args(["--force", "--json"])).ended(0);
    assert_eq!(ran.json()["chunks_resumed"], 0);
    assert_eq!(certificate(&desk.out)["source"]["name"], "other.mp4");
    assert_eq!(
        names(&desk.out),
        ["certificate.json", "hls", "output_240p.mp4"]
    );
}

/// What is overwritten is not finished, but the work on what shall be there is.
#[test]
fn forced_work_goes_on_after_a_kill() {
    let desk = Desk::new("40");
    let other = other_source(desk.dir.path());
    let two = desk.profile(&[240, 120], "[\"mp4\"]");
    run(&mut transcode(&other, &desk.out, two)).ended(0);
    for forced in [true, false] {
        desk.killed_half_done(desk.command().arg("--force"));
        let before = certificate(&desk.out);
        assert_eq!(
            before["source"]["name"], "other.mp4",
            "it is there until the end"
        );
        let done = chunks_done(&desk.out) as u64;
        // With the option or without: that it may overwrite has been said.
        let mut command = desk.command();
        let ran = run(if forced {
            command.arg("--force")
        } else {
            &mut command
        })
        .ended(0);
        let report = ran.json();
        let resumed = report["chunks_resumed"].as_u64().unwrap();
        assert!(resumed >= done.max(2), "{done} were done: {ran:#?}");
        // Speed is that of what this run did: a second for each chunk.
        let encoded = report["speed"].as_f64().unwrap() * report["wall_s"].as_f64().unwrap();
        assert!(
            (encoded - (40 - resumed) as f64).abs() < 0.1,
            "{encoded} s: {ran:#?}"
        );
        let expected = ["certificate.json", "hls", "output_240p.mp4"];
        assert_eq!(
            names(&desk.out),
            expected,
            "of the old outputs something is left"
        );
        run(reelmill().arg("verify").arg(&desk.out)).ended(0);
        let two = desk.profile(&[240, 120], "[\"mp4\"]");
        run(transcode(&other, &desk.out, two).arg("--force")).ended(0);
    }
}

/// The old outputs' certificate goes first. What it names is remembered until all of it is gone.
#[test]
fn a_delivery_that_was_broken_off_is_cleaned_up_by_the_next_run() {
    let desk = Desk::new("2");
    let other = other_source(desk.dir.path());
    let two = desk.profile(&[240, 120], "[\"mp4\"]");
    let third = desk.profile(&[240, 120, 64], "[\"mp4\"]");
    run(&mut transcode(&other, &desk.out, &two)).ended(0);
    // No file can take the place of a folder that somebody made there.
    let blocked = |name: &str| {
        let path = desk.out.join(name);
        std::fs::remove_file(&path).ok();
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("in the way"), "").unwrap();
        path
    };
    let path = blocked("output_240p.mp4");
    run(desk.command().arg("--force")).ended(1);
    assert!(!is_there(&desk.out.join("certificate.json")));
    assert!(is_there(&desk.out.join("output_120p.mp4")));
    std::fs::remove_dir_all(path).unwrap();
    // A third job is broken off as well, with some of its outputs delivered.
    let path = blocked("output_64p.mp4");
    run(transcode(&desk.source, &desk.out, &third).arg("--force")).ended(1);
    std::fs::remove_dir_all(path).unwrap();
    std::fs::write(desk.out.join("output_64p.mp4"), "as delivered").unwrap();
    let ran = run(desk.command().arg("--force")).ended(0);
    let expected = ["certificate.json", "hls", "output_240p.mp4"];
    assert_eq!(names(&desk.out), expected, "{ran:#?}");
    run(reelmill().arg("verify").arg(&desk.out)).ended(0);
}

/// A job that was killed before it had a plan leaves a message: nobody may find it.
#[test]
fn a_job_that_was_killed_in_the_scan_is_not_done_beside_the_next() {
    let desk = Desk::new("20");
    let text = format!(
        "#!/bin/sh\nfor word; do case \"$word\" in -version) exec '{}' \"$@\";; esac; done\n\
         exec sleep 600\n",
        on_path("ffprobe").unwrap().display()
    );
    let slow = executable(desk.dir.path(), "ffprobe-that-hangs", &text);
    let other = other_source(desk.dir.path());
    let mut command = transcode(&other, &desk.out, desk.profile(&[240], "[\"mp4\"]"));
    let running = Running::start(command.env("REELMILL_FFPROBE", slow));
    until("a scan", LONG, || {
        let inside = working_in(&desk.out, running.pid());
        inside.iter().any(|&pid| program_of(pid) == "sleep")
    });
    running.kill();
    nobody_left(&desk.out, &other);
    assert!(!is_planned(&desk.out));
    let raw = desk.out.join(".reelmill/store/raw");
    let first = names(&raw);
    desk.half_done();
    let second = names(&raw);
    assert!(
        first.len() == 1 && second.len() == 1 && first != second,
        "{first:?} {second:?}"
    );
    let ran = run(&mut desk.command()).ended(0);
    assert!(
        ran.json()["chunks_resumed"].as_u64().unwrap() >= 2,
        "{ran:#?}"
    );
    assert_eq!(certificate(&desk.out)["source"]["name"], "source.mp4");
}

/// The machine's trouble is no reason to throw away what was done on it.
#[test]
fn an_ffmpeg_that_runs_out_of_memory_costs_no_finished_chunk() {
    let desk = Desk::new("40");
    let text = format!(
        "#!/bin/sh\nif [ -e \"${{0%/*}}/broken\" ]; then\n\
         for word; do case \"$word\" in -version|-encoders) exec '{0}' \"$@\";; esac; done\n\
         echo 'Error while opening encoder: Cannot allocate memory' >&2; exit 1\nfi\n\
         exec '{0}' \"$@\"\n",
        on_path("ffmpeg").unwrap().display()
    );
    let ffmpeg = executable(desk.dir.path(), "ffmpeg-of-a-poor-machine", &text);
    let command = || {
        let mut command = desk.command();
        command.arg("--ffmpeg").arg(&ffmpeg);
        command
    };
    let mut running = Running::start(&mut command());
    until("the first chunks", LONG, || {
        chunks_done(&desk.out) >= 2 || running.has_ended()
    });
    let broken = desk.dir.path().join("broken");
    std::fs::write(&broken, "").unwrap();
    let ran = running.wait(LONG).ended(1);
    assert_eq!(ran.json()["code"], "ffmpeg-out-of-memory", "{ran:#?}");
    assert!(ran.json()["job"].is_string(), "{ran:#?}");
    assert!(ran.stderr.contains("are kept"), "{ran:#?}");
    let done = chunks_done(&desk.out) as u64;
    assert!(done >= 2);
    std::fs::remove_file(broken).unwrap();
    let ran = run(&mut command()).ended(0);
    assert!(
        ran.json()["chunks_resumed"].as_u64().unwrap() >= done,
        "{ran:#?}"
    );
}

/// Wherever a job may write or clean up no source is read from, whatever the options.
#[test]
fn a_source_is_never_overwritten_by_its_own_outputs() {
    let desk = Desk::new("2");
    run(&mut desk.command()).ended(0);
    std::fs::create_dir(desk.out.join("more")).unwrap();
    std::fs::copy(&desk.source, desk.out.join("more/old.mp4")).unwrap();
    let mut edited = certificate(&desk.out);
    let mut foreign = edited["outputs"][0].clone();
    foreign["path"] = "more/old.mp4".into();
    edited["outputs"].as_array_mut().unwrap().push(foreign);
    write_certificate(&desk.out, &edited);
    std::fs::create_dir(desk.out.join(".reelmill")).unwrap();
    std::fs::copy(&desk.source, desk.out.join(".reelmill/mine.mp4")).unwrap();
    std::fs::copy(&desk.source, desk.out.join("output_of_another.mp4")).unwrap();
    let before = snapshot(&desk.out);
    let profile = desk.profile(&[240], "[\"mp4\"]");
    let refused = |input: &Path, out: &Path| {
        let command = || {
            let mut command = transcode(input, out, &profile);
            command.arg("--json").current_dir(&desk.out);
            command
        };
        for ran in [run(&mut command()), run(command().arg("--force"))] {
            let ran = ran.refused(1, &["would be lost", "choose another folder"]);
            assert_eq!(ran.json()["code"], "input-among-outputs");
            assert_eq!(snapshot(&desk.out), before);
        }
    };
    for name in [
        "output_240p.mp4",
        "output_of_another.mp4",
        "hls/240p.mp4",
        "more/old.mp4",
        ".reelmill/mine.mp4",
    ] {
        refused(&desk.out.join(name), &desk.out);
        refused(Path::new(name), Path::new("."));
        refused(Path::new(name), &desk.out.join("more/.."));
    }
    let link = desk.dir.path().join("link.mp4");
    std::os::unix::fs::symlink(desk.out.join("output_240p.mp4"), &link).unwrap();
    refused(&link, &desk.out);
    // Elsewhere, and beside the outputs under a name of its own, it is read and kept.
    let elsewhere = desk.dir.path().join("elsewhere");
    run(&mut transcode(
        &desk.out.join("output_240p.mp4"),
        &elsewhere,
        &profile,
    ))
    .ended(0);
    let own = elsewhere.join("holiday.mp4");
    std::fs::copy(&desk.source, &own).unwrap();
    run(transcode(&own, &elsewhere, &profile).arg("--force")).ended(0);
    assert_eq!(digest(&own), digest(&desk.source));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let desk = Desk::new("1");
    let profile = desk.profile(&[240], "[\"mp4\"]");
    run(&mut transcode(&desk.source, &desk.source, &profile)).refused(2, &["source.mp4"]);
    let below = desk.source.join("out");
    run(&mut transcode(&desk.source, &below, &profile)).refused(2, &["source.mp4"]);
    let dev = Path::new("/proc/reelmill-out");
    let ran = run(&mut transcode(&desk.source, dev, &profile)).refused(1, &["/proc/reelmill-out"]);
    assert!(ran.took < Duration::from_secs(20));
}

#[test]
fn a_bad_input_leaves_nothing_behind() {
    let desk = Desk::new("1");
    let bad = desk.dir.path().join("bad.mp4");
    std::fs::write(&bad, "this is no video, whatever it is called").unwrap();
    let profile = desk.profile(&[240], "[\"mp4\"]");
    let deep = desk.dir.path().join("some/where/out");
    run(&mut transcode(&bad, &deep, &profile)).refused(1, &["`bad.mp4`", "not a media file"]);
    assert!(
        !is_there(&desk.dir.path().join("some")),
        "folders made for nothing remain"
    );
    // A folder that was there stays, with what was in it.
    std::fs::create_dir(&desk.out).unwrap();
    std::fs::write(desk.out.join("notes.txt"), "mine").unwrap();
    run(&mut transcode(&bad, &desk.out, &profile)).refused(1, &["`bad.mp4`"]);
    assert_eq!(names(&desk.out), ["notes.txt"]);
}
