//! ffmpeg and ffprobe as the tests call them.

use std::path::Path;

/// What workers pass to ffmpeg, so that chunks come out as fragments.
pub(crate) const FRAGMENTS: &[&str] = &[
    "-avoid_negative_ts",
    "disabled",
    "-map_metadata",
    "-1",
    "-movflags",
    "+frag_keyframe+empty_moov+default_base_moof+frag_discont+negative_cts_offsets+cmaf",
];

#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ffmpeg(arguments: &[&str]) -> String {
    run(
        "ffmpeg",
        &[&["-nostdin", "-v", "error", "-y"], arguments].concat(),
    )
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// PTS and hash of every decoded frame or packet of audio, as ffmpeg sees them. With a timebase
/// video keeps its own times in it; ffmpeg's versions have different names for "the input's own".
pub(crate) fn decoded(path: &Path, timebase: Option<&str>) -> Vec<(i64, String)> {
    let own = timebase.map(|timebase| ["-fps_mode", "passthrough", "-enc_time_base", timebase]);
    let times = own.as_ref().map_or(&[][..], |own| own);
    let arguments = [
        &["-copyts", "-i", text(path)],
        times,
        &["-f", "framehash", "-hash", "murmur3", "-"],
    ];
    let listing = ffmpeg(&arguments.concat());
    let frames = listing.lines().filter(|line| !line.starts_with('#'));
    frames
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().unwrap(), fields[5].to_owned())
        })
        .collect()
}

/// PTS of every packet of a stream, sorted, as ffprobe sees them.
pub(crate) fn packet_times(path: &Path, stream: &str) -> Vec<i64> {
    let arguments = [
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        "packet=pts",
    ];
    let listing = run(
        "ffprobe",
        &[&arguments[..], &["-of", "csv=p=0", text(path)]].concat(),
    );
    let lines = listing
        .lines()
        .map(|line| line.trim_end_matches(',').parse().unwrap());
    let mut times: Vec<i64> = lines.collect();
    times.sort_unstable();
    times
}
