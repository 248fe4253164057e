//! What a person at a terminal sees while a job runs, and what is printed where there is none.
#![cfg(test)]

mod common;

use std::io::Read as _;
use std::process::Stdio;

use common::*;
use nix::pty::{Winsize, openpty};

/// Wide enough for all that the bar has to say.
const SIZE: Winsize = Winsize {
    ws_row: 30,
    ws_col: 140,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// Runs a command with a terminal as its standard error; gives what was drawn there.
fn on_a_terminal(command: &mut std::process::Command) -> (Ran, String) {
    let pty = openpty(&SIZE, None).unwrap();
    let began = std::time::Instant::now();
    let child = command
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(pty.slave)
        .spawn()
        .unwrap();
    // The command holds a copy of the terminal's end: reading would wait for ourselves.
    command.stderr(Stdio::null());
    let mut terminal = std::fs::File::from(pty.master);
    let reader = std::thread::spawn(move || {
        let (mut drawn, mut part) = (Vec::new(), [0; 4096]);
        // Linux says by an error that the last process has left the terminal.
        while let Ok(read @ 1..) = terminal.read(&mut part) {
            drawn.extend_from_slice(&part[..read]);
        }
        String::from_utf8_lossy(&drawn).into_owned()
    });
    let ended = child.wait_with_output().unwrap();
    let drawn = reader.join().unwrap();
    let ran = Ran {
        code: ended.status.code(),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: drawn.clone(),
        took: began.elapsed(),
    };
    (ran, drawn)
}

/// One state of the bar.
#[derive(Debug)]
struct Drawn {
    done: u32,
    of: u32,
    fps: f64,
    speed: f64,
    left: f64,
}

/// `transcoding ████░░ 42%  17/40 chunks  512.3 fps  20.49x  3 s left`, or `1:05 left`.
fn parse(line: &str) -> Option<Drawn> {
    let (before, rest) = line.split_once(" chunks  ")?;
    let (done, of) = before.rsplit(' ').next()?.split_once('/')?;
    let (fps, rest) = rest.split_once(" fps  ")?;
    let (speed, rest) = rest.split_once("x  ")?;
    let (left, _) = rest.split_once(" left")?;
    let seconds = |clock: &str| {
        let mut parts = clock.trim_end_matches(" s").split(':');
        parts.try_fold(0.0, |sum: f64, part| {
            Some(sum * 60.0 + part.parse::<f64>().ok()?)
        })
    };
    Some(Drawn {
        done: done.parse().ok()?,
        of: of.parse().ok()?,
        fps: fps.parse().ok()?,
        speed: speed.parse().ok()?,
        left: seconds(left)?,
    })
}

#[test]
fn a_terminal_shows_one_bar_and_nothing_of_it_goes_to_stdout() {
    let dir = folder();
    let out = dir.path().join("out");
    let text = quick_profile("1", &[240], "[\"mp4\"]");
    let profile = profile_file(dir.path(), "quick.toml", &text);
    let source = clip("320x240", "25", "120");
    let mut command = transcode(&source, &out, profile);
    let (ran, drawn) = on_a_terminal(command.args(["--window", "2"]));
    let ran = ran.ended(0);
    assert_eq!(ran.stdout, format!("{}/output_240p.mp4\n", out.display()));

    let states: Vec<Drawn> = drawn.split(['\r', '\n']).filter_map(parse).collect();
    let (first, last) = (states.first().unwrap(), states.last().unwrap());
    assert!(states.len() >= 3, "{states:#?}");
    for state in &states {
        // Sixty windows of two seconds; the audio track is no chunk.
        assert_eq!(state.of, 60, "{state:?}");
        assert!(state.done <= 60 && state.fps > 0.0, "{state:?}");
        // At 25 frames for each second of video. Both are rounded.
        assert!((state.speed - state.fps / 25.0).abs() < 0.01, "{state:?}");
    }
    assert!(states.is_sorted_by_key(|state| state.done), "{states:#?}");
    // The remaining time comes to an end with the work.
    assert!(
        first.left > last.left && last.left <= 0.35 * first.left + 1.0,
        "{states:#?}"
    );
    // It is drawn over itself, and gone in the end.
    assert!(drawn.contains('\x1b'), "{drawn:?}");
    let end = drawn
        .trim_end()
        .rsplit(['\r', '\n'])
        .next()
        .unwrap_or_default();
    assert!(
        end.contains("done in ") && end.contains("times real time"),
        "{end:?}"
    );
}

#[test]
fn a_terminal_shows_nothing_when_asked_to_be_quiet() {
    let dir = folder();
    let mut command = transcode(&second(), &dir.path().join("out"), "h264-1080p");
    let (ran, drawn) = on_a_terminal(command.arg("--quiet"));
    ran.ended(0);
    assert_eq!(drawn, "");
}

/// There are no frames to count then, and no chunks.
#[test]
fn sound_alone_is_measured_by_its_tracks() {
    let dir = folder();
    let tracks = ["-map", "0", "-map", "1", "-map", "0", "-c:a", "aac"];
    let source = made("two.mp4", &[sound("20"), sound("20"), words(&tracks)]);
    let ran = run(&mut transcode(&source, &dir.path().join("out"), "audio")).ended(0);
    let last = ran.stderr.lines().rfind(|line| line.contains('%')).unwrap();
    assert!(last.ends_with("100%  3/3 audio tracks"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("chunks"), "{}", ran.stderr);
}
