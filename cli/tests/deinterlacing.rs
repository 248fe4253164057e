//! Interlaced sources are delivered progressive, at their own times, wherever they are interlaced;
//! damaged ones give the same bytes each time.
#![cfg(test)]

mod common;

use std::path::{Path, PathBuf};

use common::*;

/// Filters that make 25 interlaced frames of 50 progressive ones.
const TOP_FIRST: &str = "tinterlace=interleave_top,setfield=tff";
const BOTTOM_FIRST: &str = "tinterlace=interleave_bottom,setfield=bff";

/// x264 with a keyframe every second, and with it in interlaced frames.
const X264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 25";
const MBAFF: &str =
    "-c:v libx264 -preset ultrafast -bf 2 -g 25 -flags +ildct+ilme -x264-params tff=1";

const MPEG2: &str = "-c:v mpeg2video -q:v 3 -bf 2 -g 12 -flags +ildct+ilme";

fn split(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// An interlaced source of five seconds: its name says the container.
fn interlaced(name: &str, size: &str, filters: &str, encoder: &str) -> PathBuf {
    let filters = words(&["-vf", filters]);
    let parts = [picture(size, "50", "5"), filters, split(encoder)];
    made(name, &parts)
}

/// Files one after another, without decoding them.
fn joined(dir: &Path, name: &str, parts: &[PathBuf]) -> PathBuf {
    let list = dir.join("list.txt");
    let lines = parts
        .iter()
        .map(|part| format!("file '{}'\n", part.display()));
    std::fs::write(&list, lines.collect::<String>()).unwrap();
    let target = dir.join(name);
    let mut ffmpeg = program("ffmpeg");
    ffmpeg.args([
        "-nostdin", "-v", "error", "-f", "concat", "-safe", "0", "-i",
    ]);
    run(ffmpeg.arg(&list).args(["-c", "copy"]).arg(&target)).ended(0);
    target
}

/// A lossless profile that deinterlaces as `setting` says.
fn profile(dir: &Path, setting: &str, pixel_format: &str) -> PathBuf {
    let text = format!(
        "outputs = [\"mp4\"]\ndeinterlace = {setting}\n[audio]\ncodec = \"none\"\n\
         [video]\ncodec = \"h264\"\npreset = \"ultrafast\"\nlossless = true\n\
         pixel_format = \"{pixel_format}\"\n[[rung]]\nname = \"all\"\nshort_side = \"source\"\n"
    );
    profile_file(dir, "deinterlace.toml", &text)
}

/// A frame: microseconds after the first one, and the hash of its picture.
type Frame = (i64, String);

/// Decodes a picture through filters that end in microseconds.
fn frames(file: &Path, filters: &str) -> Vec<Frame> {
    let mut ffmpeg = program("ffmpeg");
    ffmpeg
        .args(["-nostdin", "-v", "error", "-copyts", "-i"])
        .arg(file);
    ffmpeg.args(["-map", "0:V:0", "-vf", filters, "-fps_mode", "passthrough"]);
    ffmpeg.args([
        "-enc_time_base",
        "1:1000000",
        "-f",
        "framehash",
        "-hash",
        "murmur3",
        "-",
    ]);
    let ran = run(&mut ffmpeg).ended(0);
    let lines = ran.stdout.lines().filter(|line| !line.starts_with('#'));
    let frames: Vec<Frame> = lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (fields[2].parse().unwrap(), fields[5].to_owned())
        })
        .collect();
    let first = frames[0].0;
    frames
        .into_iter()
        .map(|(at, hash)| (at - first, hash))
        .collect()
}

/// How many frames ffmpeg takes for interlaced.
fn combed(file: &Path, filters: &str) -> u32 {
    let mut ffmpeg = program("ffmpeg");
    ffmpeg.args(["-nostdin", "-hide_banner", "-i"]).arg(file);
    ffmpeg.args(["-vf", &format!("{filters},idet"), "-f", "null", "-"]);
    let ran = run(&mut ffmpeg).ended(0);
    let line = ran.stderr.lines().find(|line| line.contains("Multi frame"));
    let counts: Vec<u32> = line
        .unwrap()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    counts[0] + counts[1]
}

/// Transcodes in windows of two seconds with a hash of every frame, and verifies the result.
fn delivered(source: &Path, dir: &Path, profile: &Path) -> (PathBuf, serde_json::Value) {
    let out = dir.join("out");
    let mut command = transcode(source, &out, profile);
    run(command.args(["--window", "2", "--proof", "every-frame"])).ended(0);
    run(reelmill()
        .arg("verify")
        .arg(&out)
        .arg("--source")
        .arg(source))
    .ended(0);
    (out.join("output_all.mp4"), certificate(&out))
}

/// Times may differ by what is rounded to microseconds.
#[track_caller]
fn same_times(delivered: &[Frame], expected: &[Frame]) {
    assert_eq!(delivered.len(), expected.len());
    for (ours, theirs) in delivered.iter().zip(expected) {
        assert!((ours.0 - theirs.0).abs() <= 2, "{ours:?} {theirs:?}");
    }
}

#[track_caller]
fn becomes_progressive(source: &Path, pixel_format: &str, chunks: usize) {
    let dir = folder();
    let profile = profile(dir.path(), "true", pixel_format);
    let (output, certificate) = delivered(source, dir.path(), &profile);
    let expected = frames(source, "null");
    same_times(&frames(&output, "null"), &expected);
    let count = u32::try_from(expected.len()).unwrap();
    let before = combed(source, "null");
    assert!(before > count * 9 / 10, "{before} of {count} were combed");
    // `idet` takes some progressive frames of so small a pattern for interlaced, so the pictures
    // themselves are compared: every frame deinterlaced, whatever headers and frames say.
    let progressive = frames(source, "yadif=mode=send_frame:deint=all");
    let hashes = |frames: Vec<Frame>| frames.into_iter().map(|(_, hash)| hash);
    assert!(hashes(frames(&output, "null")).eq(hashes(progressive)));
    assert_eq!(certificate["chunks"].as_array().unwrap().len(), chunks);
    assert_eq!(certificate["deinterlaced"], true);
}

#[test]
fn interlaced_mpeg2_h264_prores_dv_and_mpeg4_become_progressive() {
    let bottom_first = format!("{MPEG2} -top 0");
    let vob = interlaced("bff.vob", "160x128", BOTTOM_FIRST, &bottom_first);
    becomes_progressive(&vob, "yuv420p", 3);
    let ts = interlaced("tff.ts", "160x128", TOP_FIRST, MPEG2);
    becomes_progressive(&ts, "yuv420p", 3);
    let mbaff = interlaced("mbaff.mp4", "160x128", TOP_FIRST, MBAFF);
    becomes_progressive(&mbaff, "yuv420p", 3);
    let deep = format!("format=yuv422p10,{TOP_FIRST}");
    let prores = "-c:v prores_ks -profile:v 0 -flags +ildct+ilme";
    let prores = interlaced("prores.mov", "160x128", &deep, prores);
    becomes_progressive(&prores, "yuv422p10le", 3);
    // Neither header says that its frames are interlaced.
    let dv = format!("{BOTTOM_FIRST},trim=end_frame=60,format=yuv420p");
    let dv = interlaced("dv.avi", "720x576", &dv, "-c:v dvvideo");
    becomes_progressive(&dv, "yuv420p", 2);
    let asp = "-c:v mpeg4 -q:v 3 -g 25 -flags +ildct+ilme";
    let asp = interlaced("asp.avi", "160x128", TOP_FIRST, asp);
    becomes_progressive(&asp, "yuv420p", 3);
}

/// For each frame how many pixels differ from those above and below them, which are alike: the teeth
/// of a comb. `idet` and `yadif` have no say in it.
fn teeth(file: &Path) -> Vec<usize> {
    const WIDTH: usize = 160;
    let raw = folder();
    let raw = raw.path().join("gray");
    let mut ffmpeg = program("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(file);
    ffmpeg.args(["-map", "0:V:0", "-pix_fmt", "gray", "-f", "rawvideo"]);
    run(ffmpeg.args(["-fps_mode", "passthrough"]).arg(&raw)).ended(0);
    let bytes = std::fs::read(raw).unwrap();
    let is_tooth = |frame: &[u8], at: usize| {
        let [above, here, below] = [at - WIDTH, at, at + WIDTH].map(|at| i32::from(frame[at]));
        (above - below).abs() < 20 && (here - above).abs() > 40 && (here - below).abs() > 40
    };
    let frames = bytes.chunks_exact(WIDTH * 128);
    let inner = WIDTH..WIDTH * 127;
    frames
        .map(|frame| inner.clone().filter(|&at| is_tooth(frame, at)).count())
        .collect()
}

#[test]
fn a_moving_edge_has_no_combs() {
    let bar = "color=gray:s=160x128:r=50:d=4[back];color=white:s=24x128:r=50:d=4[bar];\
               [back][bar]overlay=x=mod(n*4\\,136)";
    for (name, filters, encoder) in [
        ("moving.ts", TOP_FIRST, MPEG2.to_owned()),
        ("moving.mp4", TOP_FIRST, MBAFF.to_owned()),
        ("moving.vob", BOTTOM_FIRST, format!("{MPEG2} -top 0")),
        // Its container alone says so.
        (
            "moving.mov",
            TOP_FIRST,
            "-c:v mjpeg -q:v 2 -field_order tt".to_owned(),
        ),
    ] {
        let input = words(&["-f", "lavfi", "-i", bar, "-vf", filters]);
        let source = made(
            name,
            &[input, words(&["-pix_fmt", "yuv420p"]), split(&encoder)],
        );
        let dir = folder();
        let profile = profile(dir.path(), "true", "yuv420p");
        let (output, _) = delivered(&source, dir.path(), &profile);
        let (before, after) = (teeth(&source), teeth(&output));
        assert_eq!(before.len(), after.len(), "{name}");
        let combed = before.iter().filter(|&&teeth| teeth > 400).count();
        assert!(combed > before.len() * 9 / 10, "{name}: {before:?}");
        assert!(after.iter().all(|&teeth| teeth < 20), "{name}: {after:?}");
    }
}

/// Three seconds progressive, three interlaced, three progressive, three interlaced: the header
/// tells of the first ones only, and a window may begin among any.
#[test]
fn frames_that_turn_interlaced_are_deinterlaced_and_no_others() {
    let dir = folder();
    let still_rate = [picture("160x128", "25", "3"), split(X264)];
    let progressive = made("progressive.mp4", &still_rate);
    let fields = [
        picture("160x128", "50", "3"),
        words(&["-vf", TOP_FIRST]),
        split(MBAFF),
    ];
    let interlaced = made("interlaced.mp4", &fields);
    let parts = [&progressive, &interlaced, &progressive, &interlaced].map(PathBuf::clone);
    let source = joined(dir.path(), "mixed.ts", &parts);
    let (output, certificate) =
        delivered(&source, dir.path(), &profile(dir.path(), "true", "yuv420p"));
    assert_eq!(certificate["chunks"].as_array().unwrap().len(), 6);

    let delivered = frames(&output, "null");
    let untouched = frames(&source, "null");
    same_times(&delivered, &untouched);
    // One sequential pass over the whole source gives the same pictures.
    let sequential = frames(&source, "yadif=deint=interlaced");
    let pictures = |frames: &[Frame]| {
        frames
            .iter()
            .map(|frame| frame.1.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(pictures(&delivered), pictures(&sequential));
    let changed: Vec<bool> = delivered
        .iter()
        .zip(&untouched)
        .map(|(a, b)| a.1 != b.1)
        .collect();
    let expected: Vec<bool> = (0..300).map(|frame| frame / 75 % 2 == 1).collect();
    assert_eq!(changed, expected);
}

#[test]
fn fields_become_frames_where_the_profile_says_field_rate() {
    let dir = folder();
    let source = interlaced("rate.ts", "160x128", TOP_FIRST, MPEG2);
    let profile = profile(dir.path(), "\"field-rate\"", "yuv420p");
    let (output, certificate) = delivered(&source, dir.path(), &profile);
    assert_eq!(certificate["deinterlaced"], "field-rate");
    assert_eq!(certificate["chunks"].as_array().unwrap().len(), 3);
    let (delivered, source) = (frames(&output, "null"), frames(&source, "null"));
    assert_eq!(delivered.len(), 2 * source.len());
    for (pair, frame) in delivered.chunks(2).zip(&source) {
        assert!((pair[0].0 - frame.0).abs() <= 2, "{pair:?} {frame:?}");
        assert!(
            (pair[1].0 - frame.0 - 20_000).abs() <= 2,
            "{pair:?} {frame:?}"
        );
        assert_ne!(pair[0].1, pair[1].1);
    }
}

/// Half frames of 1/25 s cannot be counted in the stream's own ticks.
#[test]
fn field_rate_needs_finer_ticks_than_the_source_has() {
    let dir = folder();
    let encoder = "-c:v mpeg4 -q:v 3 -g 25 -flags +ildct+ilme";
    let source = interlaced("ticks.avi", "160x128", TOP_FIRST, encoder);
    let profile = profile(dir.path(), "\"field-rate\"", "yuv420p");
    let (output, _) = delivered(&source, dir.path(), &profile);
    let times: Vec<i64> = frames(&output, "null")
        .iter()
        .map(|frame| frame.0)
        .collect();
    let expected: Vec<i64> = (0..times.len()).map(|n| n as i64 * 20_000).collect();
    assert_eq!(times, expected);
    assert_eq!(times.len(), 250);
}

/// Frame threads of ffmpeg's H.264 decoder race on damaged references.
#[test]
fn a_damaged_source_in_one_chunk_gives_the_same_bytes_each_time() {
    let dir = folder();
    let encoder = "-c:v libx264 -preset veryfast -bf 3 -g 250 -b:v 2M";
    let whole = made("whole.ts", &[picture("640x360", "25", "4"), split(encoder)]);
    let mut bytes = std::fs::read(whole).unwrap();
    // A few bytes of every 40th packet of the transport stream.
    for at in (188 * 100..bytes.len() - 188).step_by(188 * 40) {
        bytes[at + 90..at + 96].fill(0x5a);
    }
    let source = dir.path().join("damaged.ts");
    std::fs::write(&source, bytes).unwrap();
    let profile = profile(dir.path(), "true", "yuv420p");
    let digests = [0, 1, 2, 3].map(|number| {
        let out = dir.path().join(number.to_string());
        run(transcode(&source, &out, &profile).args(["--slots", "4"])).ended(0);
        let certificate = certificate(&out);
        assert_eq!(certificate["chunks"].as_array().unwrap().len(), 1);
        assert_ne!(certificate["complaints"], 0);
        digest(&out.join("output_all.mp4"))
    });
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "{digests:?}"
    );
}
