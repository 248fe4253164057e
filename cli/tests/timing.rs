//! When frames and sound are shown and heard: the viewer's clock against that of the source.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};

use common::*;
use serde_json::Value;

/// A white frame and a beep in the first 40 ms of each second, whose clock begins at `start`: the
/// picture from `picture_from` on, the sound from the beginning.
fn flashes(name: &str, seconds: u32, start: &str, picture_from: &str, codec: &[&str]) -> PathBuf {
    let picture = format!(
        "color=black:size=160x120:rate=25:duration={seconds},\
         drawbox=color=white:t=fill:enable='lt(mod(t,1),0.039)'"
    );
    let sound = format!("aevalsrc='0.8*sin(2*PI*1000*t)*lt(mod(t,1),0.04)':s=48000:d={seconds}");
    let graph = format!(
        "[0:v]trim=start={picture_from},setpts=PTS+{start}/TB[v];[1:a]asetpts=PTS+{start}/TB[a]"
    );
    let head = words(&["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &sound]);
    let middle = words(&["-filter_complex", &graph, "-map", "[v]", "-map", "[a]"]);
    let tail = "-fps_mode passthrough -c:a mp2 -copyts -avoid_negative_ts disabled \
                -muxdelay 0 -muxpreload 0";
    let tail: Vec<&str> = tail.split_whitespace().collect();
    made(name, &[head, middle, words(codec), words(&tail)])
}

const H264: &[&str] = &[
    "-enc_time_base",
    "1/90000",
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-g",
    "25",
    "-bf",
    "2",
];

const MPEG2: &[&str] = &[
    "-enc_time_base",
    "1/25",
    "-c:v",
    "mpeg2video",
    "-g",
    "12",
    "-bf",
    "2",
    "-f",
    "vob",
];

/// By how much MP2's delay has the sound begin before 0; a source that begins at exactly 0 is the
/// one that ffmpeg 5.1 counts otherwise.
const FROM_0: &str = "0.0100223";

/// Transcodes into a new folder in `dir` and holds the result against the source; the report and the progressive file.
#[track_caller]
fn transcoded(source: &Path, dir: &Path, more: &[&str]) -> (Value, PathBuf) {
    let text = quick_profile("1", &[1080], "[\"mp4\", \"hls\"]");
    let profile = profile_file(dir, "quick.toml", &text);
    let out = dir.join(format!("out{}", names(dir).len()));
    let mut command = transcode(source, &out, profile);
    let report = run(command.args(more).arg("--json")).ended(0).json();
    let mut verify = reelmill();
    verify.arg("verify").arg(&out).arg("--source").arg(source);
    run(&mut verify).ended(0);
    let name = names(&out).into_iter().find(|name| name.ends_with("p.mp4"));
    (report, out.join(name.unwrap()))
}

/// Times in seconds at which a value that ffmpeg prints for each frame comes to be above `level`.
fn rises(file: &Path, filters: &[&str], level: f64) -> Vec<f64> {
    let mut command = program("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-copyts", "-i"]);
    command.arg(file).args(filters).args(["-f", "null", "-"]);
    let (mut at, mut was, mut rises) = (0.0, false, Vec::new());
    for line in run(&mut command).ended(0).stdout.lines() {
        if let Some((_, time)) = line.split_once("pts_time:") {
            at = time.trim().parse().unwrap();
        } else if let Some((_, value)) = line.split_once('=') {
            let is = value.parse::<f64>().unwrap() > level;
            if is && !was {
                rises.push(at);
            }
            was = is;
        }
    }
    rises
}

/// How many milliseconds flashes come after beeps in what [`flashes`] makes: none in transport streams,
/// half of MP2's delay in program streams. Plain ffmpeg is no judge, since it may move either where a clock
/// steps back.
const IN_TS_MS: f64 = 0.0;
const IN_PS_MS: f64 = -10.0;

/// How many milliseconds each flash comes after the beep next to it.
fn distances(file: &Path) -> Vec<f64> {
    let print = "metadata=print:file=-:key=lavfi";
    let bright = format!("signalstats,{print}.signalstats.YAVG");
    let loud = format!(
        "aformat=channel_layouts=mono:sample_fmts=s16,asetnsamples=48,astats=metadata=1:reset=1,\
         a{print}.astats.Overall.Max_level"
    );
    let flashes = rises(file, &["-map", "0:v", "-vf", &bright], 120.0);
    let beeps = rises(file, &["-map", "0:a", "-af", &loud], 4000.0);
    let nearest = |flash: &f64| {
        let distances = beeps.iter().map(|beep| (flash - beep) * 1000.0);
        distances
            .min_by(|a, b| a.abs().total_cmp(&b.abs()))
            .unwrap()
    };
    flashes.iter().map(nearest).collect()
}

/// PTS of every frame, in ticks of the track.
fn times(file: &Path) -> Vec<i64> {
    let mut command = program("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0", "-of", "csv=p=0"]);
    command.args(["-show_entries", "packet=pts"]).arg(file);
    let out = run(&mut command).ended(0).stdout;
    let mut times: Vec<i64> = out
        .lines()
        .map(|line| line.trim_end_matches(',').parse().unwrap())
        .collect();
    times.sort_unstable();
    times
}

fn notes(report: &Value) -> String {
    report["notes"].to_string()
}

/// Transcodes in short windows and in long ones. `made_ms` is the distance in the source. The flash where
/// two parts are joined may be off: there the sound of both overlaps, and the end of one is kept.
#[track_caller]
fn keeps_distance(source: &Path, made_ms: f64, joins: usize) {
    let dir = folder();
    for window in [["--window", "1"], ["--window", "60"]] {
        let (report, file) = transcoded(source, dir.path(), &window);
        let ours = distances(&file);
        let off = ours.iter().filter(|ours| (*ours - made_ms).abs() > 22.0);
        let name = source.display();
        assert!(
            ours.len() > 3 && off.count() <= joins,
            "{name} {window:?}: {ours:?} {report}"
        );
    }
}

/// When the picture begins, in seconds after the sound.
const LATE: &str = "0.4";

#[test]
fn a_transport_stream_from_0_keeps_its_distance() {
    keeps_distance(&flashes("late.ts", 5, FROM_0, LATE, H264), IN_TS_MS, 0);
}

#[test]
fn a_program_stream_from_0_keeps_its_distance() {
    keeps_distance(&flashes("late.vob", 5, FROM_0, LATE, MPEG2), IN_PS_MS, 0);
}

#[test]
fn a_clock_that_wraps_keeps_its_distance() {
    keeps_distance(&flashes("wrap.ts", 6, "95440.7", LATE, H264), IN_TS_MS, 0);
}

#[test]
fn a_step_back_keeps_its_distance() {
    let dir = folder();
    let first = flashes("first.ts", 4, "10", LATE, H264);
    let back = flashes("back.ts", 4, "13.5", "0", H264);
    keeps_distance(&joined(dir.path(), "back.ts", &[first, back]), IN_TS_MS, 1);
}

#[test]
fn a_step_ahead_keeps_its_distance() {
    let dir = folder();
    let first = flashes("first.ts", 4, "10", LATE, H264);
    let far = flashes("far.ts", 4, "100", "0", H264);
    keeps_distance(&joined(dir.path(), "ahead.ts", &[first, far]), IN_TS_MS, 1);
}

#[test]
fn a_step_back_in_a_program_stream_keeps_its_distance() {
    let dir = folder();
    let first = flashes("first.vob", 4, "5", "0", MPEG2);
    let back = flashes("back.vob", 4, "0.52", "0.2", MPEG2);
    keeps_distance(
        &joined(dir.path(), "joined.vob", &[first, back]),
        IN_PS_MS,
        1,
    );
}

#[test]
fn a_step_back_shorter_than_reordering_is_mended() {
    let dir = folder();
    for (start, back) in [("13.7", "0.3"), ("13.0", "1.0")] {
        let parts = ["10", start].map(|start| flashes("part.ts", 4, start, "0", H264));
        let source = joined(dir.path(), "source.ts", &parts);
        let (report, file) = transcoded(&source, dir.path(), &["--window", "1"]);
        let times = times(&file);
        assert_eq!(times.len(), 200);
        let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // 40 ms each, but for the frame at the join: ffmpeg expects it by decoding times.
        let odd = steps.iter().filter(|&&step| (step - 3600).abs() > 1);
        assert!(odd.count() <= 1, "{back} s: {steps:?}");
        assert!(notes(&report).contains("step back by"), "{report}");
    }
}

#[test]
fn a_last_frame_is_shown_as_long_as_the_source_says() {
    let dir = folder();
    let slides = |name: &str, ticks: &str, more: &[&str]| {
        let pts = format!("setpts='{ticks}'");
        let input = words(&[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=160x120:rate=1:duration=4",
        ]);
        let filter = words(&["-vf", &pts, "-fps_mode", "passthrough"]);
        made(name, &[input, filter, words(more)])
    };
    let x264 = "-c:v libx264 -pix_fmt yuv420p -bf 0 -enc_time_base 1/1000";
    let x264: Vec<&str> = x264.split(' ').collect();
    // 0, 4, 8 and 16 s, of which the last is left out again: what is before it lasts for 8 s.
    let times = "if(eq(N,3),16,4*N)/TB";
    let cut = |name: &str| {
        let whole = slides(&format!("whole_{name}"), times, &x264);
        let copy = "-c copy -t 15 -avoid_negative_ts disabled".split(' ');
        let copy: Vec<&str> = copy.collect();
        made(
            name,
            &[words(&["-i", whole.to_str().unwrap()]), words(&copy)],
        )
    };
    let sources = [
        (cut("slides.mp4"), 16.0),
        (slides("still.gif", "N/TB", &["-final_delay", "300"]), 6.0),
    ];
    for (source, seconds) in sources {
        let (report, file) = transcoded(&source, dir.path(), &["--window", "1"]);
        let probed = ffprobe(&file);
        let stream = streams(&probed, "video").remove(0);
        let lasts: f64 = stream["duration"].as_str().unwrap().parse().unwrap();
        let name = source.display();
        assert!((lasts - seconds).abs() < 0.02, "{name}: {lasts} {report}");
        let playlist = file.with_file_name("hls").join("120p.m3u8");
        let playlist = std::fs::read_to_string(playlist).unwrap();
        let lines = playlist
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:"));
        let sum: f64 = lines
            .map(|line| line.trim_end_matches(',').parse::<f64>().unwrap())
            .sum();
        assert!((sum - seconds).abs() < 0.02, "{name}: {sum}");
    }
}

#[test]
fn frames_of_one_time_are_one_delivered_tick_apart() {
    let dir = folder();
    // Times of both kinds, since a decoder takes the one that increases.
    let bsf = "setts=ts=PTS-40*eq(N\\,10)";
    let x264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 0 -g 25";
    let x264: Vec<&str> = x264.split(' ').collect();
    let usual = made("usual.mkv", &[picture("160x120", "25", "3"), words(&x264)]);
    let input = words(&["-i", usual.to_str().unwrap(), "-c", "copy", "-bsf:v", bsf]);
    let source = made("twice.mkv", &[input]);
    for window in [["--window", "1"], ["--window", "60"]] {
        let (report, file) = transcoded(&source, dir.path(), &window);
        let times = times(&file);
        assert_eq!(times.len(), 75, "{report}");
        let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let frame = steps[0];
        assert!(frame > 100, "{steps:?}");
        let usual = steps.iter().filter(|&&step| step == frame).count();
        let expected = (1, 2 * frame - 1, 72);
        assert_eq!((steps[9], steps[10], usual), expected, "{steps:?}");
    }
}
