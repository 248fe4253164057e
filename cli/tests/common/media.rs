//! Small media, made by ffmpeg once and kept between runs.

use std::path::{Path, PathBuf};

use reelmill_common::Sha256;

use super::{is_there, program, run};

/// A moving picture in which no two frames are the same, for a number of seconds.
pub(crate) fn picture(size: &str, rate: &str, seconds: &str) -> Vec<String> {
    let source = format!("testsrc2=size={size}:rate={rate}:duration={seconds}");
    words(&["-f", "lavfi", "-i", &source])
}

/// A tone.
pub(crate) fn sound(seconds: &str) -> Vec<String> {
    let source = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    words(&["-f", "lavfi", "-i", &source])
}

/// H.264 and AAC in the least time, with a colour description, so that nothing is to be noted.
pub(crate) const QUICK: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-pix_fmt",
    "yuv420p",
    "-colorspace",
    "bt709",
    "-color_primaries",
    "bt709",
    "-color_trc",
    "bt709",
    "-g",
    "50",
    "-c:a",
    "aac",
];

/// Owned copies of arguments.
pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A file that ffmpeg makes from these arguments, made once for each recipe.
pub(crate) fn made(name: &str, parts: &[Vec<String>]) -> PathBuf {
    let args = parts.concat();
    let recipe = Sha256::of(args.join("\n").as_bytes()).to_string();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("media-{}", &recipe[..12]));
    let target = folder.join(name);
    if is_there(&target) {
        return target;
    }
    std::fs::create_dir_all(&folder).unwrap();
    // Other tests wait: a second file in its place would be a source that changed under a job.
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if is_there(&target) {
        return target;
    }
    let own = tempfile::tempdir_in(&folder).unwrap();
    let unfinished = own.path().join(name);
    let mut ffmpeg = program("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-y"]).args(&args);
    run(ffmpeg.arg(&unfinished)).ended(0);
    std::fs::rename(&unfinished, &target).unwrap();
    target
}

/// Picture and sound, a keyframe every two seconds, and a name for it.
pub(crate) fn clip(size: &str, rate: &str, seconds: &str) -> PathBuf {
    let parts = [picture(size, rate, seconds), sound(seconds), words(QUICK)];
    made("clip.mp4", &parts)
}

/// A second of picture and sound, for tests about anything but media.
pub(crate) fn second() -> PathBuf {
    clip("320x240", "25", "1")
}

/// A profile file's text: ultrafast H.264 with these rungs, cells of `fragment` seconds.
pub(crate) fn quick_profile(fragment: &str, sides: &[u32], outputs: &str) -> String {
    let mut text = format!(
        "description = \"quick, for tests\"\nfragment_seconds = {fragment}\noutputs = {outputs}\n\
         [audio]\ncodec = \"aac\"\nkbps = 64\n\
         [video]\ncodec = \"h264\"\npreset = \"ultrafast\"\npixel_format = \"yuv420p\"\ncrf = 30\n"
    );
    for side in sides {
        text.push_str(&format!(
            "[[rung]]\nname = \"{side}p\"\nshort_side = {side}\n"
        ));
    }
    text
}

/// Writes a profile file and returns its path.
pub(crate) fn profile_file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// What ffprobe says of a file. Frames are counted by decoding them.
pub(crate) fn ffprobe(path: &Path) -> serde_json::Value {
    let mut command = program("ffprobe");
    command.args(["-v", "error", "-of", "json", "-count_frames"]);
    command.args(["-show_streams", "-show_format"]).arg(path);
    let ran = run(&mut command).ended(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The streams of one kind in ffprobe's answer.
pub(crate) fn streams(probed: &serde_json::Value, kind: &str) -> Vec<serde_json::Value> {
    let streams = probed["streams"].as_array().unwrap();
    let of_kind = streams.iter().filter(|stream| stream["codec_type"] == kind);
    of_kind.cloned().collect()
}

/// The folder of real and damaged media.
///
/// Tests that use it are ignored by default, since the harness cannot ignore them as they run.
#[track_caller]
pub(crate) fn corpus() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("CORPUS_DIR").map_or(default, PathBuf::from);
    let catalog = folder.join("catalog.json");
    assert!(
        is_there(&catalog),
        "no corpus: `{}` is missing",
        catalog.display()
    );
    std::fs::canonicalize(folder).unwrap()
}
