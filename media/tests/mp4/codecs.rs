use reelmill_media::mp4::{Fragmented, codec_string, inspect};
use tempfile::TempDir;

use super::tools::{FRAGMENTS, ffmpeg, text};

/// The codec string of what ffmpeg makes with these arguments, by `codec_string`, by `inspect`,
/// and by ffmpeg's own DASH muxer where that knows.
fn encoded(source: &str, codec: &[&str]) -> (String, Option<String>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out.mp4");
    let input = ["-f", "lavfi", "-i", source];
    ffmpeg(&[&input[..], codec, FRAGMENTS, &[text(&path)]].concat());
    let string = codec_string(&Fragmented::read(&path).unwrap().init).unwrap();
    let [track] = inspect(&path).unwrap().try_into().unwrap();
    assert_eq!(track.codec, string);

    let manifest = folder.path().join("out.mpd");
    ffmpeg(&[&input[..], codec, &["-f", "dash", text(&manifest)]].concat());
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let known = manifest
        .split_once("codecs=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    (string, known.map(|(codec, _)| codec.to_owned()))
}

#[test]
fn video_strings() {
    let video = |codec: &[&str]| encoded("testsrc2=size=320x240:rate=25:duration=0.4", codec);
    for codec in [
        &["-c:v", "libx264"][..],
        &[
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            "-profile:v",
            "baseline",
        ],
        &["-c:v", "libx264", "-pix_fmt", "yuv420p10le"],
        &["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"],
        &[
            "-c:v",
            "libsvtav1",
            "-preset",
            "12",
            "-pix_fmt",
            "yuv420p10le",
        ],
        &[
            "-c:v",
            "libvpx-vp9",
            "-cpu-used",
            "8",
            "-pix_fmt",
            "yuv420p",
        ],
    ] {
        let (ours, theirs) = video(codec);
        assert!(
            ours.eq_ignore_ascii_case(&theirs.unwrap()),
            "{ours}: {codec:?}"
        );
    }
    // Some of ffmpeg's versions take colours from the frames, some from the options.
    let frames = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc";
    let hdr = [
        "-color_primaries",
        "bt2020",
        "-color_trc",
        "smpte2084",
        "-colorspace",
        "bt2020nc",
        "-vf",
        frames,
    ];
    let av1 = [
        "-c:v",
        "libsvtav1",
        "-preset",
        "12",
        "-pix_fmt",
        "yuv420p10le",
    ];
    let (ours, theirs) = video(&[&av1[..], &hdr].concat());
    assert_eq!(ours, "av01.0.00M.10.0.110.09.16.09.0");
    assert_eq!(Some(ours), theirs);
    let vp9 = [
        "-c:v",
        "libvpx-vp9",
        "-cpu-used",
        "8",
        "-pix_fmt",
        "yuv420p10le",
    ];
    let (ours, _) = video(&[&vp9[..], &hdr].concat());
    // Where the chroma samples lie is a matter of ffmpeg's version too.
    let ours = ours.replace(".10.00.", ".10.01.");
    assert_eq!(ours, "vp09.02.20.10.01.09.16.09.00");

    // ffmpeg 5.1 names no HEVC profile; these are what ffmpeg 9's DASH muxer says.
    let hevc = [
        "-c:v",
        "libx265",
        "-tag:v",
        "hvc1",
        "-x265-params",
        "log-level=none",
        "-pix_fmt",
    ];
    assert_eq!(
        video(&[&hevc[..], &["yuv420p"]].concat()).0,
        "hvc1.1.6.L60.90"
    );
    assert_eq!(
        video(&[&hevc[..], &["yuv420p10le"]].concat()).0,
        "hvc1.2.4.L60.90"
    );
}

#[test]
fn audio_strings() {
    let audio = |codec: &[&str]| encoded("sine=sample_rate=48000:duration=0.4", codec).0;
    assert_eq!(audio(&["-c:a", "aac"]), "mp4a.40.2");
    assert_eq!(audio(&["-c:a", "aac", "-ac", "6"]), "mp4a.40.2");
    assert_eq!(audio(&["-c:a", "libopus"]), "Opus");
    assert_eq!(audio(&["-c:a", "libopus", "-ac", "6"]), "Opus");
    assert_eq!(audio(&["-c:a", "flac", "-strict", "-2"]), "fLaC");
}

#[test]
fn what_is_no_init_segment_has_no_codec() {
    assert!(codec_string(b"").is_err());
    assert!(codec_string(b"\0\0\0\x08moov").is_err());
    assert!(codec_string(b"hello, this is no mp4 at all").is_err());
}
