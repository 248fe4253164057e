//! What may be given as a source: names, kinds of file, and what is in it.
#![cfg(test)]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::*;
use serde_json::Value;

/// Time in which a refusal must come.
const SOON: Duration = Duration::from_secs(30);

/// A profile file with these rungs, MP4 only.
fn profile(dir: &Path, sides: &[u32]) -> PathBuf {
    profile_file(dir, "quick.toml", &quick_profile("2", sides, "[\"mp4\"]"))
}

/// Transcodes a source that must work; the JSON report.
#[track_caller]
fn report(source: &Path, out: &Path, sides: &[u32]) -> Value {
    let profile = profile(out.parent().unwrap(), sides);
    run(transcode(source, out, profile).arg("--json"))
        .ended(0)
        .json()
}

/// Renditions of a report as `name WIDTHxHEIGHT`.
fn renditions(report: &Value) -> Vec<String> {
    let outputs = report["outputs"].as_array().unwrap().iter();
    outputs
        .map(|o| {
            format!(
                "{} {}x{}",
                o["rendition"].as_str().unwrap(),
                o["width"],
                o["height"]
            )
        })
        .collect()
}

/// Refused for what is in it.
#[track_caller]
fn refused_soon(source: &Path, words: &[&str]) {
    refused_soon_with(1, source, words);
}

/// Refused as a source that cannot be named.
#[track_caller]
fn not_a_source(source: &Path, words: &[&str]) {
    refused_soon_with(2, source, words);
}

#[track_caller]
fn refused_soon_with(code: i32, source: &Path, words: &[&str]) {
    let dir = folder();
    let out = dir.path().join("out");
    let ran = Running::start(&mut transcode(source, &out, "h264-1080p")).wait(SOON);
    ran.refused(code, words);
    assert!(!is_there(&out), "{source:?} left something behind");
}

#[test]
fn what_is_no_file_with_something_in_it_is_refused() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    not_a_source(&at("missing.mp4"), &["missing.mp4", "does not exist"]);
    std::fs::write(at("empty.mp4"), "").unwrap();
    refused_soon(&at("empty.mp4"), &["empty.mp4", "is empty"]);
    not_a_source(dir.path(), &["is a folder", "regular file"]);
    not_a_source(Path::new("/dev/zero"), &["/dev/zero", "device"]);
    not_a_source(&at("missing/../x.mp4"), &["x.mp4", "does not exist"]);
    std::os::unix::fs::symlink("nowhere", at("dangling.mp4")).unwrap();
    not_a_source(&at("dangling.mp4"), &["dangling.mp4", "does not exist"]);
    std::os::unix::fs::symlink("loop.mp4", at("loop.mp4")).unwrap();
    refused_soon(&at("loop.mp4"), &["loop.mp4"]);
    refused_soon(&second().join(""), &["clip.mp4/", "Not a directory"]);
}

#[test]
fn a_pipe_is_not_waited_for() {
    let dir = folder();
    let pipe = dir.path().join("pipe.mp4");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    not_a_source(&pipe, &["pipe.mp4", "is a pipe"]);
    // Nor does it do as a profile for long, or as what is verified against.
    let socket = dir.path().join("socket.mp4");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    not_a_source(&socket, &["socket.mp4", "device or socket"]);
}

#[test]
fn a_file_that_may_not_be_read_is_refused() {
    let dir = folder();
    let source = dir.path().join("secret.mp4");
    std::fs::copy(second(), &source).unwrap();
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o000)).unwrap();
    let out = dir.path().join("out");
    let mut plain = transcode(&source, &out, "h264-1080p");
    let mut command = if std::fs::File::open(&source).is_ok() {
        // Root may read everything until it gives that right away.
        let mut setpriv = program(on_path("setpriv").expect("setpriv of util-linux"));
        without_settings(&mut setpriv);
        setpriv.arg("--bounding-set=-dac_override,-dac_read_search");
        setpriv.arg(plain.get_program()).args(plain.get_args());
        setpriv
    } else {
        plain
    };
    run(&mut command).refused(
        2,
        &["secret.mp4", "cannot be read by this user", "permissions"],
    );
    assert!(!is_there(&out));
    // The same way it works with a file that may be read.
    plain = transcode(&source, &out, profile(dir.path(), &[240]));
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o400)).unwrap();
    run(&mut plain).ended(0);
}

#[test]
fn names_mean_nothing() {
    let dir = folder();
    let profile = profile(dir.path(), &[240]);
    let names: Vec<&OsStr> = [
        "-version.mp4",
        "--help",
        "it's \"quoted\".mp4",
        "new\nline.mp4",
        "%d-%03d.mp4",
        "a|b.mp4",
        "concat:a|b.mp4",
        "file:x.mp4",
        "http:host.mp4",
        "C:\\x.mp4",
        "two words .mp4",
        "naïve 视频 🎞.mp4",
        "$(id);`id`&.mp4",
        "*?[a].mp4",
        "no-extension",
        ".hidden",
        "x.m3u8",
    ]
    .map(OsStr::new)
    .to_vec();
    for name in &names {
        let source = dir.path().join(name);
        std::fs::copy(second(), &source).unwrap();
        // The output folder has the same name, beside it, and both are given as bare words.
        let mut command = reelmill();
        let beside = dir.path().join("outputs");
        std::fs::create_dir_all(&beside).unwrap();
        command
            .current_dir(&beside)
            .args(["transcode", "--json", "--profile"])
            .arg(&profile);
        let mut out = OsStr::new("./").to_owned();
        out.push(name);
        // With a slash, since a name such as `movie.mp4` is refused.
        out.push("/");
        command
            .arg("-o")
            .arg(&out)
            .arg("--")
            .arg(Path::new("..").join(name));
        let ran = run(&mut command).ended(0);
        let path = beside.join(name).join("output_240p.mp4");
        assert_eq!(ran.json()["outputs"][0]["frames"], 25, "{name:?}");
        assert_eq!(
            streams(&ffprobe(&path), "video")[0]["nb_read_frames"],
            "25",
            "{name:?}"
        );
        let mut verify = reelmill();
        verify
            .current_dir(&beside)
            .arg("verify")
            .arg("--source")
            .arg(&source);
        run(verify.arg("--").arg(name)).ended(0);
    }
    assert_eq!(
        common::names(&dir.path().join("outputs")).len(),
        names.len()
    );
    // A leading dash without a folder before it, as a shell's `*` gives it after `--`.
    let mut command = reelmill();
    command
        .current_dir(dir.path())
        .args(["transcode", "-o", "dash", "--profile"])
        .arg(&profile);
    run(command.args(["--", "-version.mp4"])).ended(0);
    assert!(is_there(&dir.path().join("dash/output_240p.mp4")));
    // What is no text cannot be told to others: a sentence, no panic.
    let source = dir.path().join(OsStr::from_bytes(b"\xff.mp4"));
    std::fs::copy(second(), &source).unwrap();
    not_a_source(&source, &["not UTF-8", "rename it"]);
}

#[test]
fn links_and_relative_paths_are_followed() {
    let dir = folder();
    let real = dir.path().join("real.mp4");
    std::fs::copy(second(), &real).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("../real.mp4", dir.path().join("sub/link.mp4")).unwrap();
    let profile = profile(dir.path(), &[240]);
    let mut command = reelmill();
    command
        .current_dir(dir.path().join("sub"))
        .args(["transcode", "link.mp4", "--json"]);
    command.args(["-o", "../out/", "--profile"]).arg(&profile);
    let report = run(&mut command).ended(0).json();
    let out = dir.path().join("out");
    assert_eq!(common::names(&out), ["certificate.json", "output_240p.mp4"]);
    assert_eq!(certificate(&out)["source"]["name"], "link.mp4");
    assert_eq!(report["outputs"][0]["frames"], 25);
    // The same file by another way is the same source.
    let ran = run(&mut transcode(&real, &out, &profile)).ended(0);
    assert!(ran.stderr.contains("already done"), "{ran:#?}");
}

#[test]
fn sound_without_picture_becomes_sound() {
    let dir = folder();
    let parts = [sound("2"), words(&["-c:a", "aac"])];
    let source = made("sound.m4a", &parts);
    for (name, profile) in [
        ("video-profile", profile(dir.path(), &[240])),
        ("audio-profile", PathBuf::from("audio")),
    ] {
        let out = dir.path().join(name);
        let report = run(transcode(&source, &out, profile).arg("--json"))
            .ended(0)
            .json();
        assert_eq!(report["outputs"][0]["rendition"], "audio", "{report}");
        let probed = ffprobe(&out.join("output_audio.mp4"));
        assert_eq!(streams(&probed, "video").len(), 0);
        assert_eq!(streams(&probed, "audio").len(), 1);
        let seconds: f64 = probed["format"]["duration"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((seconds - 2.0).abs() < 0.05, "{seconds}");
        run(reelmill()
            .arg("verify")
            .arg(&out)
            .arg("--source")
            .arg(&source))
        .ended(0);
    }
}

#[test]
fn the_audio_profile_leaves_the_picture_out() {
    let dir = folder();
    let out = dir.path().join("out");
    run(&mut transcode(&second(), &out, "audio")).ended(0);
    let probed = ffprobe(&out.join("output_audio.mp4"));
    assert_eq!(probed["streams"].as_array().unwrap().len(), 1);
    assert_eq!(streams(&probed, "audio")[0]["codec_name"], "aac");
    // Nothing to hear is nothing to do.
    let silent = made("silent.mp4", &[picture("320x240", "25", "1"), words(QUICK)]);
    refused_with(
        &silent,
        "audio",
        &["silent.mp4", "nothing that profile `audio` can transcode"],
    );
}

#[track_caller]
fn refused_with(source: &Path, profile: &str, words: &[&str]) {
    let dir = folder();
    let out = dir.path().join("out");
    run(&mut transcode(source, &out, profile)).refused(1, words);
    assert!(!is_there(&out));
}

#[test]
fn picture_without_sound_stays_silent() {
    let dir = folder();
    let out = dir.path().join("out");
    let silent = made("silent.mp4", &[picture("320x240", "25", "1"), words(QUICK)]);
    report(&silent, &out, &[240]);
    let probed = ffprobe(&out.join("output_240p.mp4"));
    assert_eq!(streams(&probed, "audio").len(), 0);
    assert_eq!(streams(&probed, "video")[0]["nb_read_frames"], "25");
}

#[test]
fn five_one_stays_five_one() {
    let dir = folder();
    let out = dir.path().join("out");
    let surround = "sine=frequency=440:sample_rate=48000:duration=2,aformat=channel_layouts=5.1";
    let parts = [
        picture("320x240", "25", "2"),
        words(&["-f", "lavfi", "-i", surround]),
        words(QUICK),
    ];
    report(&made("surround.mp4", &parts), &out, &[240]);
    let audio = &streams(&ffprobe(&out.join("output_240p.mp4")), "audio")[0];
    assert_eq!(
        (&audio["channels"], &audio["channel_layout"]),
        (&6.into(), &"5.1".into())
    );
    assert_eq!(certificate(&out)["outputs"][0]["audio"][0]["channels"], 6);
}

#[test]
fn languages_and_default_flags_are_kept() {
    let dir = folder();
    let out = dir.path().join("out");
    let parts = [
        picture("320x240", "25", "2"),
        sound("2"),
        sound("2"),
        sound("2"),
        words(&["-map", "0", "-map", "1", "-map", "2", "-map", "3"]),
        words(QUICK),
        words(&[
            "-metadata:s:a:0",
            "language=eng",
            "-metadata:s:a:1",
            "language=fra",
        ]),
        words(&["-disposition:a:0", "0", "-disposition:a:1", "default"]),
        words(&["-disposition:a:2", "0"]),
    ];
    let source = made("three.mkv", &parts);
    let wanted = tracks(&source);
    assert_eq!(
        wanted,
        [("eng".into(), 0), ("fra".into(), 1), ("und".into(), 0)]
    );
    let profile = profile_file(
        dir.path(),
        "hls.toml",
        &quick_profile("2", &[240], "[\"mp4\", \"hls\"]"),
    );
    run(&mut transcode(&source, &out, profile)).ended(0);
    assert_eq!(tracks(&out.join("output_240p.mp4")), wanted);
    // In HLS exactly one track of the group is the default, the French one.
    let master = std::fs::read_to_string(out.join("hls/master.m3u8")).unwrap();
    let media: Vec<&str> = master
        .lines()
        .filter(|line| line.starts_with("#EXT-X-MEDIA:"))
        .collect();
    assert_eq!(media.len(), 3, "{master}");
    let default: Vec<_> = media
        .iter()
        .filter(|line| line.contains("DEFAULT=YES"))
        .collect();
    assert_eq!(default.len(), 1, "{master}");
    assert!(default[0].contains("LANGUAGE=\"fr"), "{master}");
}

/// Language and default flag of each audio track.
fn tracks(path: &Path) -> Vec<(String, i64)> {
    let audio = streams(&ffprobe(path), "audio");
    let track = |stream: &Value| {
        let language = stream["tags"]["language"].as_str().unwrap_or("und");
        (
            language.to_owned(),
            stream["disposition"]["default"].as_i64().unwrap(),
        )
    };
    audio.iter().map(track).collect()
}

#[test]
fn rungs_are_measured_on_the_shorter_side() {
    let dir = folder();
    let parts = |size| [picture(size, "10", "1"), words(QUICK)];
    for (size, sides, expected) in [
        (
            "1080x1920",
            &[1080, 720][..],
            &["1080p 1080x1920", "720p 720x1280"][..],
        ),
        (
            "1920x1080",
            &[1080, 360],
            &["1080p 1920x1080", "360p 640x360"],
        ),
        (
            "640x360",
            &[1080, 720, 360, 240],
            &["360p 640x360", "240p 426x240"],
        ),
        // Never enlarged: the source's own size, named by it.
        ("320x240", &[1080, 720], &["240p 320x240"]),
        ("2560x1080", &[1080], &["1080p 2560x1080"]),
    ] {
        let out = dir.path().join(size);
        let report = report(&made(&format!("{size}.mp4"), &parts(size)), &out, sides);
        assert_eq!(renditions(&report), expected, "{size}");
        for output in report["outputs"].as_array().unwrap() {
            let probed = ffprobe(Path::new(output["path"].as_str().unwrap()));
            let video = &streams(&probed, "video")[0];
            assert_eq!(
                (&video["width"], &video["height"]),
                (&output["width"], &output["height"])
            );
            assert_eq!(video["nb_read_frames"], "10");
        }
    }
}

#[test]
fn a_rotated_phone_video_is_upright_and_named_by_its_shorter_side() {
    let dir = folder();
    let upright = made("wide.mp4", &[picture("1920x1080", "10", "1"), words(QUICK)]);
    let source = dir.path().join("phone.mp4");
    // The quarter turn is in the header, as a phone writes it.
    let mut bytes = std::fs::read(&upright).unwrap();
    let header = bytes.windows(4).position(|part| part == b"tkhd").unwrap();
    let turned: [u32; 5] = [0, 0x0001_0000, 0, 0xffff_0000, 0];
    for (at, number) in turned.iter().enumerate() {
        let place = header + 44 + 4 * at;
        bytes[place..place + 4].copy_from_slice(&number.to_be_bytes());
    }
    std::fs::write(&source, bytes).unwrap();
    let out = dir.path().join("out");
    let report = report(&source, &out, &[1080, 360]);
    assert_eq!(renditions(&report), ["1080p 1080x1920", "360p 360x640"]);
    let video = &streams(&ffprobe(&out.join("output_1080p.mp4")), "video")[0];
    assert_eq!(
        (&video["width"], &video["height"]),
        (&1080.into(), &1920.into())
    );
    assert!(video["side_data_list"].is_null(), "turned twice: {video}");
}

#[test]
fn odd_sizes_become_even() {
    let dir = folder();
    let lossless = words(&["-c:v", "ffv1", "-pix_fmt", "yuv444p"]);
    let crop = words(&["-vf", "format=yuv444p,crop=321:241:0:0:exact=1"]);
    let source = made("odd.mkv", &[picture("322x242", "10", "1"), crop, lossless]);
    let out = dir.path().join("out");
    let report = report(&source, &out, &[1080, 120]);
    for output in report["outputs"].as_array().unwrap() {
        let (width, height) = (
            output["width"].as_u64().unwrap(),
            output["height"].as_u64().unwrap(),
        );
        assert!(width % 2 == 0 && height % 2 == 0, "{output}");
        assert!(width <= 322 && height <= 242, "enlarged: {output}");
        let aspect = width as f64 / height as f64;
        assert!((aspect - 321.0 / 241.0).abs() < 0.02, "{output}");
        assert_eq!(output["frames"], 10);
    }
    // Without loss nothing is rounded.
    let out = dir.path().join("lossless");
    run(&mut transcode(&source, &out, "lossless")).ended(0);
    let video = &streams(&ffprobe(&out.join("output_lossless.mp4")), "video")[0];
    assert_eq!(
        (&video["width"], &video["height"]),
        (&321.into(), &241.into())
    );
}

#[test]
fn chapters_title_and_a_stereo_mix_beside_all_channels_are_delivered() {
    let dir = folder();
    let list = dir.path().join("chapters.txt");
    let chapter = |start, end, title| {
        format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n")
    };
    let text = format!(
        ";FFMETADATA1\ntitle=A film\n{}{}",
        chapter(0, 1000, "One\\; first"),
        chapter(1000, 2000, "Two")
    );
    std::fs::write(&list, text).unwrap();
    let source = dir.path().join("chapters.mkv");
    let mut ffmpeg = program("ffmpeg");
    ffmpeg
        .args(["-nostdin", "-v", "error", "-y"])
        .args(picture("320x240", "25", "2"));
    ffmpeg
        .args(sound("2"))
        .arg("-i")
        .arg(&list)
        .args(["-map_chapters", "2", "-map_metadata", "2"]);
    ffmpeg
        .args(QUICK)
        .args(["-ac", "6", "-c:a", "ac3"])
        .arg(&source);
    run(&mut ffmpeg).ended(0);

    let quick = quick_profile("2", &[240], "[\"mp4\", \"hls\"]");
    let both = quick.replace("kbps = 64", "kbps = 64\nchannels = \"stereo+source\"");
    let profile = profile_file(dir.path(), "both.toml", &both);
    let out = dir.path().join("out");
    let json = run(transcode(&source, &out, profile).arg("--json"))
        .ended(0)
        .json();
    let notes = json["notes"].to_string();
    assert!(
        notes.contains("delivered as 5.1: AAC has no 5.1(side)"),
        "{notes}"
    );

    let mut ffprobe = program("ffprobe");
    ffprobe.args([
        "-v",
        "error",
        "-of",
        "json",
        "-show_streams",
        "-show_chapters",
        "-show_format",
    ]);
    let probed = run(ffprobe.arg(out.join("output_240p.mp4"))).ended(0);
    let probed: Value = serde_json::from_str(&probed.stdout).unwrap();
    assert_eq!(probed["format"]["tags"]["title"], "A film");
    let chapters = probed["chapters"].as_array().unwrap().iter();
    let chapters: Vec<_> = chapters
        .map(|c| {
            (
                c["start_time"].as_str().unwrap(),
                c["tags"]["title"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(chapters, [("0.000000", "One; first"), ("1.000000", "Two")]);
    let sounds = streams(&probed, "audio");
    let channels: Vec<_> = sounds
        .iter()
        .map(|s| (&s["channels"], &s["disposition"]["default"]))
        .collect();
    assert_eq!(channels, [(&2.into(), &1.into()), (&6.into(), &0.into())]);
    assert!(is_there(&out.join("hls/audio_1.m3u8")));
    run(reelmill()
        .arg("verify")
        .arg(&out)
        .arg("--source")
        .arg(&source))
    .ended(0);
}
