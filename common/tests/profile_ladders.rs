//! What the built-in profiles make of typical sources.

use reelmill_common::media_info::{Colour, VideoStream};
use reelmill_common::profile::{
    AudioCodec, AudioSettings, Channels, DEFAULT, Deinterlace, Outputs, PixelFormat, Profile, Rate,
    VideoCodec, builtin, builtins, ladder, parse,
};
use reelmill_common::time::Timebase;

fn load(name: &str) -> Profile {
    let builtin = builtin(name).unwrap_or_else(|| panic!("{name} is not built in"));
    builtin.profile().unwrap_or_else(|error| panic!("{error}"))
}

fn stream(width: u32, height: u32) -> VideoStream {
    VideoStream {
        index: 0,
        codec: "h264".to_owned(),
        width,
        height,
        sar: None,
        rotation: 0,
        pixel_format: "yuv420p".to_owned(),
        timebase: Timebase::MICROS,
        frame_rate: Some((25, 1)),
        interlaced: false,
        colour: Colour::default(),
    }
}

fn sources() -> Vec<(&'static str, VideoStream)> {
    vec![
        ("1920x1080", stream(1920, 1080)),
        (
            "1920x1080 turned by 90",
            VideoStream {
                rotation: 90,
                ..stream(1920, 1080)
            },
        ),
        (
            "1080x1920 turned by 180",
            VideoStream {
                rotation: 180,
                ..stream(1080, 1920)
            },
        ),
        ("640x360", stream(640, 360)),
        (
            "1440x1080 SAR 4:3",
            VideoStream {
                sar: Some((4, 3)),
                ..stream(1440, 1080)
            },
        ),
        ("161x121", stream(161, 121)),
        (
            "161x121 10 bit",
            VideoStream {
                pixel_format: "yuv420p10le".into(),
                ..stream(161, 121)
            },
        ),
        ("7680x4320", stream(7680, 4320)),
    ]
}

fn show(profile: &Profile, source: &VideoStream) -> String {
    let renditions = ladder(profile, source);
    let shown = renditions
        .iter()
        .map(|r| format!("{} {}x{} {}", r.name, r.width, r.height, r.pixel_format));
    shown.collect::<Vec<_>>().join(", ")
}

/// Every built-in profile against every source, one line each.
#[test]
fn ladders_of_the_built_in_profiles() {
    let mut made = String::new();
    for builtin in builtins() {
        let profile = builtin.profile().unwrap();
        made.push_str(&format!("{}\n", builtin.name));
        for (name, source) in sources() {
            made.push_str(&format!("  {name}: {}\n", show(&profile, &source)));
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ladders.txt");
    if std::env::var_os("REELMILL_BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    assert_eq!(made, std::fs::read_to_string(path).unwrap());
}

#[test]
fn the_default_is_what_the_help_says() {
    assert_eq!(builtins()[0].name, DEFAULT);
    let profile = load(DEFAULT);
    assert_eq!(profile.name, "h264-1080p");
    assert_eq!(profile.fragment_ms, 2000);
    assert_eq!(
        profile.outputs,
        Outputs {
            mp4: true,
            hls: true
        }
    );
    assert_eq!(
        profile.audio,
        Some(AudioSettings {
            codec: AudioCodec::Aac,
            kbps: Some(128),
            channels: Channels::Source,
        })
    );
    let [rung] = profile.video.as_slice() else {
        panic!("{:?}", profile.video)
    };
    assert_eq!((rung.name.as_str(), rung.short_side), ("1080p", Some(1080)));
    assert_eq!(rung.settings.codec, VideoCodec::H264);
    assert_eq!(rung.settings.preset.as_deref(), Some("fast"));
    assert_eq!(
        rung.settings.rate,
        Rate::CappedCrf {
            crf: 21,
            max_kbps: 5000
        }
    );
    assert_eq!(
        rung.settings.pixel_format,
        PixelFormat::Named("yuv420p".to_owned())
    );
}

#[test]
fn the_lossless_profile_changes_nothing() {
    let profile = load("lossless");
    assert_eq!(
        profile.audio,
        Some(AudioSettings {
            codec: AudioCodec::Flac,
            kbps: None,
            channels: Channels::Source,
        })
    );
    assert_eq!(profile.deinterlace, Deinterlace::Off);
    let [rung] = profile.video.as_slice() else {
        panic!("{:?}", profile.video)
    };
    assert_eq!((rung.name.as_str(), rung.short_side), ("lossless", None));
    assert_eq!(rung.settings.rate, Rate::Lossless);
    assert_eq!(rung.settings.pixel_format, PixelFormat::Source);
}

#[test]
fn every_built_in_profile_names_and_describes_itself() {
    for builtin in builtins() {
        let profile = builtin.profile().unwrap();
        assert_eq!(profile.name, builtin.name);
        assert!(!profile.description.is_empty(), "{}", builtin.name);
        // A user may start from it under another file name.
        assert_eq!(
            parse(builtin.text, "/some/Own Copy.toml").unwrap().name,
            "own-copy"
        );
    }
    assert!(load("audio").video.is_empty());
    assert!(builtin("H264-1080P").is_none());
}

/// Digests are kept in manifests: one that changes makes a job that was interrupted by an update
/// start anew, so change them knowingly.
#[test]
fn digests_of_the_built_in_profiles() {
    let shown: String = builtins()
        .iter()
        .map(|builtin| format!("{} {}\n", builtin.profile().unwrap().digest(), builtin.name))
        .collect();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/profile-digests.txt"
    );
    if std::env::var_os("REELMILL_BLESS").is_some() {
        std::fs::write(path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(path).unwrap());
}

#[test]
fn a_digest_is_of_the_meaning_not_of_the_text() {
    let digest = |text: &str, name: &str| parse(text, name).unwrap().digest();
    let one = digest(
        "[video]\ncodec = \"h264\"\n[[rung]]\nname = \"a\"\nshort_side = 360\ncrf = 20",
        "one.toml",
    );
    let same = "description = \"x\"\n[audio]\nkbps = 128 # as without\n[[rung]]\ncrf = 20\ncodec = \"h264\"\nname = \"a\"\nshort_side = 360";
    assert_eq!(one, digest(same, "two.toml"));
    assert_ne!(one, digest(&same.replace("128", "96"), "two.toml"));
    assert_ne!(one, digest(&same.replace("\"a\"", "\"b\""), "two.toml"));
}

#[test]
fn a_rung_overrides_what_video_says() {
    let profile = parse(
        r#"
        [video]
        codec = "h264"
        preset = "slow"
        crf = 20
        max_kbps = 4000
        options = { tune = "film", bf = 3 }

        [[rung]]
        name = "same"
        short_side = 720
        [[rung]]
        name = "average"
        short_side = 720
        kbps = 1000
        [[rung]]
        name = "better"
        short_side = 720
        crf = 17
        preset = "slower"
        options = { tune = "grain" }
        [[rung]]
        name = "other-codec"
        short_side = 720
        codec = "av1"
        crf = 40
        "#,
        "p.toml",
    )
    .unwrap();
    let [same, average, better, other] = profile.video.as_slice() else {
        panic!()
    };
    assert_eq!(
        same.settings.rate,
        Rate::CappedCrf {
            crf: 20,
            max_kbps: 4000
        }
    );
    assert_eq!(average.settings.rate, Rate::Bitrate(1000));
    assert_eq!(
        better.settings.rate,
        Rate::CappedCrf {
            crf: 17,
            max_kbps: 4000
        }
    );
    assert_eq!(better.settings.preset.as_deref(), Some("slower"));
    assert_eq!(better.settings.options["tune"], "grain");
    assert_eq!(better.settings.options["bf"], "3");
    // Nothing of another codec's settings is taken over.
    assert_eq!(other.settings.rate, Rate::Crf(40));
    assert_eq!(other.settings.preset, None);
    assert!(other.settings.options.is_empty());
}

#[test]
fn what_a_file_leaves_out_has_these_values() {
    let profile = parse("", "empty.toml").unwrap();
    assert_eq!(profile.fragment_ms, 2000);
    assert_eq!(
        profile.outputs,
        Outputs {
            mp4: true,
            hls: true
        }
    );
    assert_eq!(profile.deinterlace, Deinterlace::Frames);
    assert_eq!(
        profile.audio,
        Some(AudioSettings {
            codec: AudioCodec::Aac,
            kbps: Some(128),
            channels: Channels::Source,
        })
    );
    assert!(profile.video.is_empty());
    let rung = "[[rung]]\nname = \"a\"\nshort_side = \"source\"\ncodec = \"vp9\"\nkbps = 500";
    let profile = parse(rung, "p.toml").unwrap();
    assert_eq!(
        profile.video[0].settings.pixel_format,
        PixelFormat::Named("yuv420p".to_owned())
    );
    assert_eq!(profile.video[0].settings.preset, None);
    let silent = format!("[audio]\ncodec = \"none\"\n{rung}");
    assert_eq!(parse(&silent, "p.toml").unwrap().audio, None);
}

#[test]
fn fragment_seconds_are_exact_to_the_millisecond() {
    for (text, ms) in [
        ("2", 2000),
        ("0.5", 500),
        ("30", 30_000),
        ("1.001", 1001),
        ("6.006", 6006),
    ] {
        let profile = parse(&format!("fragment_seconds = {text}"), "p.toml").unwrap();
        assert_eq!(profile.fragment_ms, ms, "{text}");
    }
    for text in ["0.499", "30.001", "nan", "inf", "-2", "1e9", "2.0005"] {
        assert!(
            parse(&format!("fragment_seconds = {text}"), "p.toml").is_err(),
            "{text}"
        );
    }
}

#[test]
fn hostile_files_are_refused_and_nothing_else_happens() {
    let huge = "#".repeat(100_000);
    let deep = format!("a = {}", "[".repeat(5000));
    for text in [
        huge.as_str(),
        deep.as_str(),
        "\u{0}",
        "a.b.c.d = 1",
        "\u{feff}[x",
    ] {
        let error = parse(text, "bad\nname.toml").unwrap_err();
        assert!(error.to_string().lines().count() == 4, "{error}");
        assert_eq!(error.file(), "bad?name.toml");
    }
}
