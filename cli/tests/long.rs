//! A source of ten hours: our own process stays small, whatever its length.
#![cfg(test)]

mod common;

use std::path::Path;

use common::*;

/// The most that our own process may have, not counting ffmpeg's.
const MOST: u64 = 100 << 20;

const TEN_HOURS: u64 = 36_000;

/// A minute, repeated without encoding it again.
fn repeated(name: &str, rate: &str, times: u64) -> std::path::PathBuf {
    let parts = [
        picture("64x36", rate, "60"),
        // Silence is quickly encoded; there are as many packets of it as of any film's sound.
        words(&["-f", "lavfi", "-i", "anullsrc=r=48000:cl=mono", "-t", "60"]),
        words(QUICK),
    ];
    let minute = made("minute.mp4", &parts);
    let again = (times - 1).to_string();
    let input = ["-stream_loop", &again, "-i", minute.to_str().unwrap()];
    made(name, &[words(&input), words(&["-map", "0", "-c", "copy"])])
}

fn profile(dir: &Path) -> std::path::PathBuf {
    let quick = quick_profile("2", &[36], "[\"mp4\", \"hls\"]");
    // The AAC encoder takes five times as long to spend more on so little sound.
    profile_file(dir, "quick.toml", &quick.replace("kbps = 64", "kbps = 32"))
}

/// Transcodes ten hours at a frame rate and returns the report and the most memory that our process
/// ever had.
fn transcoded(name: &str, rate: &str) -> (serde_json::Value, u64) {
    let dir = folder();
    let source = repeated(name, rate, TEN_HOURS / 60);
    let out = dir.path().join("out");
    let mut command = transcode(&source, &out, profile(dir.path()));
    let mut running = Running::start(command.arg("--json"));
    let mut most = 0;
    while !running.has_ended() {
        most = most.max(status_bytes(running.pid(), "VmHWM"));
        pause();
    }
    let ran = running.wait(LONG).ended(0);
    println!("{} MiB at most, {:?}", most >> 20, ran.took);
    assert!(most > 1 << 20, "nothing was measured");
    (ran.json(), most)
}

/// Many packets: 900 000 pictures and as much sound as there can be, from the scan to the tables of
/// the outputs.
#[test]
fn ten_hours_of_25_frames_a_second_take_little_memory() {
    let (report, most) = transcoded("fast.mp4", "25");
    assert_eq!(report["outputs"][0]["frames"], 25 * TEN_HOURS);
    assert!(most < MOST, "{} MiB", most >> 20);
}

/// Few pictures in as many cells: what grows with the length alone.
#[test]
fn ten_hours_of_1_frame_a_second_take_little_memory() {
    let (report, most) = transcoded("slow.mp4", "1");
    assert_eq!(report["outputs"][0]["frames"], TEN_HOURS);
    assert!(most < MOST, "{} MiB", most >> 20);
}
