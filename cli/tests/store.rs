//! `--via store`: the source read from the store, as workers on other machines do, gives what it
//! gives by its path.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::*;

/// What a run with these arguments leaves, with small windows.
#[track_caller]
fn outputs(source: &Path, out: &Path, via: &str) -> BTreeMap<String, String> {
    let dir = out.parent().unwrap();
    let text = quick_profile("1", &[240], "[\"mp4\", \"hls\"]");
    let profile = profile_file(dir, "quick.toml", &text);
    let mut command = transcode(source, out, profile);
    let ran = run(command.args(["--via", via, "--window", "1", "--json"])).ended(0);
    assert!(ran.json()["chunks"].as_u64().unwrap() > 2, "{ran:#?}");
    assert!(
        !is_there(&out.join(".reelmill")),
        "the copy of the source is left"
    );
    snapshot(out)
}

/// Sources whose demuxers seek in different ways: an index at the end, clusters with cues, packets
/// without an index.
fn sources() -> Vec<PathBuf> {
    let made_as = |name: &str, codec: &[&str]| {
        let parts = [picture("320x240", "25", "5"), sound("5"), words(codec)];
        made(name, &parts)
    };
    vec![
        made_as("clip.mp4", QUICK),
        made_as("clip.mkv", QUICK),
        made_as(
            "clip.ts",
            &["-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-c:a", "mp2"],
        ),
    ]
}

#[test]
fn the_store_gives_the_bytes_that_the_path_gives() {
    let dir = folder();
    for (index, source) in sources().iter().enumerate() {
        let by_path = outputs(source, &dir.path().join(format!("path-{index}")), "path");
        let by_store = outputs(source, &dir.path().join(format!("store-{index}")), "store");
        assert!(by_path.contains_key("certificate.json"), "{by_path:?}");
        assert_eq!(by_path, by_store, "{source:?}");
    }
}

#[test]
fn names_mean_nothing_in_an_address_either() {
    let dir = folder();
    let clip = clip("320x240", "25", "3");
    let long = format!("{}.mp4", "ü".repeat(100));
    for (index, name) in ["a 'b' \"c\" %d#?:.mp4", "new\nline.mp4", &long]
        .iter()
        .enumerate()
    {
        let source = dir.path().join(name);
        std::fs::copy(&clip, &source).unwrap();
        let out = dir.path().join(format!("out-{index}"));
        outputs(&source, &out, "store");
    }
}

#[test]
fn a_killed_run_goes_on_from_the_store() {
    let dir = folder();
    let source = dir.path().join("source.mp4");
    std::fs::copy(clip("320x240", "25", "20"), &source).unwrap();
    let undisturbed = outputs(&source, &dir.path().join("whole"), "path");
    let out = dir.path().join("out");
    let profile = dir.path().join("quick.toml");
    let mut command = transcode(&source, &out, &profile);
    let mut running = Running::start(command.args(["--via", "store", "--window", "1"]));
    until("the first chunks", LONG, || {
        chunks_done(&out) >= 2 || running.has_ended()
    });
    let ran = running.kill();
    assert_eq!(ran.code, None, "it was done before it was killed: {ran:#?}");
    assert_eq!(outputs(&source, &out, "store"), undisturbed);
}

#[test]
fn a_source_that_cannot_be_read_to_its_end_is_not_taken_for_a_shorter_one() {
    let dir = folder();
    let raw = words(&["-c:v", "rawvideo", "-pix_fmt", "yuv420p"]);
    // Several segments.
    let source = made("raw.avi", &[picture("320x240", "25", "30"), raw]);
    let out = dir.path().join("out");
    let text = quick_profile("1", &[240], "[\"mp4\"]");
    let profile = profile_file(dir.path(), "quick.toml", &text);
    let mut command = transcode(&source, &out, profile);
    command.args(["--via", "store", "--json"]);
    let mut running = Running::start(&mut command);
    let stored = out.join(".reelmill/store/raw");
    let of_the_job = |name: &str| {
        let jobs = std::fs::read_dir(&stored).into_iter().flatten().flatten();
        jobs.map(|job| job.path().join(name))
            .find(|file| is_there(file))
    };
    // Without a plan the next run would begin anew.
    let planned = out.join(".reelmill/store/chunks");
    until("the plan", LONG, || {
        let mut jobs = std::fs::read_dir(&planned).into_iter().flatten().flatten();
        jobs.any(|job| is_there(&job.path().join("manifest.json"))) || running.has_ended()
    });
    let ran = running.kill();
    assert_eq!(ran.code, None, "it was done before it was killed: {ran:#?}");

    // ffmpeg itself would end well here, with fewer frames.
    let last = of_the_job("segment_00001").unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    let ran = run(&mut command).ended(1);
    assert_eq!(ran.json()["code"], "source-corrupt", "{ran:#?}");
    assert!(ran.stderr.contains("segment_00001"), "{ran:#?}");
    let published = ["certificate.json", "output_240p.mp4"].map(|name| is_there(&out.join(name)));
    assert_eq!(published, [false, false], "something was published");
}

#[test]
fn what_refers_to_other_places_reaches_none_of_them() {
    let dir = folder();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let there = format!("http://{}/other.ts", listener.local_addr().unwrap());
    let playlists = [
        (
            "list.mp4",
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{there}\n#EXT-X-ENDLIST\n"),
        ),
        (
            "list.m3u8",
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{there}\n#EXT-X-ENDLIST\n"),
        ),
        (
            "list.ffconcat",
            format!("ffconcat version 1.0\nfile '{there}'\n"),
        ),
        (
            "list.mpd",
            format!(
                "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period>\
             <AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\">\
             <BaseURL>{there}</BaseURL></Representation></AdaptationSet></Period></MPD>"
            ),
        ),
    ];
    for (name, text) in playlists {
        let source = dir.path().join(name);
        std::fs::write(&source, text).unwrap();
        let out = dir.path().join("out");
        let mut command = transcode(&source, &out, "h264-1080p");
        run(command.args(["--via", "store"])).ended(1);
        assert!(!is_there(&out), "{name}");
        let reached = listener.accept();
        assert!(reached.is_err(), "{name} reached {reached:?}");
    }
}

#[test]
fn a_refusal_names_the_source_and_not_its_address() {
    let dir = folder();
    let source = dir.path().join("no film.mp4");
    std::fs::write(&source, "this is text\n".repeat(100)).unwrap();
    let out = dir.path().join("out");
    let mut command = transcode(&source, &out, "h264-1080p");
    let ran = run(command.args(["--via", "store"])).ended(1);
    assert!(ran.stderr.contains("`no film.mp4`"), "{ran:#?}");
    assert!(!ran.stderr.contains("127.0.0.1"), "{ran:#?}");
    assert!(!is_there(&out));
}
