//! Colours and losslessness of what an encode makes, by real ffmpeg on small sources.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reelmill_common::manifest::FrameChanges;
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::{Deinterlace, Profile, builtin, ladder, parse};
use reelmill_common::{Timeline, Window};
use reelmill_media::encode::{EncodeRequest, encode, limits};
use reelmill_media::probe::probe;
use reelmill_media::sizes::{Keyframe, Looks, look};
use reelmill_media::{Input, Tools};

/// The colours of the patches that sources show one below the other.
const PATCHES: [[u8; 3]; 6] = [
    [16, 222, 16],
    [222, 16, 16],
    [16, 16, 222],
    [128, 128, 128],
    [245, 20, 30],
    [235, 200, 20],
];

#[expect(clippy::disallowed_methods, reason = "tests make their own input")]
fn ffmpeg(dir: &Path, args: &str) -> Vec<u8> {
    let done = Command::new("ffmpeg")
        .current_dir(dir)
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args.split_whitespace())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

/// Makes a source of two frames with the patches; `options` say how it is converted and encoded.
fn patches(dir: &Path, name: &str, (width, height): (u32, u32), options: &str) -> PathBuf {
    let each = height / 6;
    let inputs: Vec<String> = PATCHES
        .iter()
        .map(|[r, g, b]| {
            format!(
                "-f lavfi -i color=c=0x{r:02x}{g:02x}{b:02x}:s={width}x{each}:r=4:d=0.5,format=gbrp"
            )
        })
        .collect();
    let graph = "[0][1][2][3][4][5]vstack=6";
    ffmpeg(
        dir,
        &format!(
            "{} -filter_complex {graph}{options} {name}",
            inputs.join(" ")
        ),
    );
    dir.join(name)
}

/// Encodes a whole source with every rendition of a profile, and gives what the probe found in it.
/// `shape` is the size of its largest frame, where frames differ.
async fn encoded(
    dir: &Path,
    source: &Path,
    profile: &Profile,
    shape: Option<(u32, u32)>,
) -> VideoStream {
    let tools = Tools::find(None, dir).await.unwrap();
    let input = Input::file(source);
    let found = probe(&tools, &input, dir).await.unwrap();
    let mut stream = found.streams.into_iter().find_map(|s| s.picture).unwrap();
    (stream.width, stream.height) = shape.unwrap_or((stream.width, stream.height));
    let changes = FrameChanges {
        shape: shape.is_some(),
        matrix: false,
    };
    let renditions = ladder(profile, &stream);
    let timeline = Timeline::default();
    let request = EncodeRequest {
        input: &input,
        stream: stream.index,
        timebase: stream.timebase,
        copy_timestamps: true,
        timeline: &timeline,
        lead_in_us: None,
        window: Window::ALL,
        zero: 0,
        first_frame_offset: 0,
        frame_rate: stream.frame_rate,
        fragment_ms: profile.fragment_ms,
        deinterlace: Deinterlace::Off,
        source: &stream,
        changes,
        renditions: &renditions,
        timescale: 90_000,
        fine_times: false,
        threads: 1,
        start_seam: None,
        end_seam: None,
        every_frame: false,
    };
    let bounds = limits(Duration::from_secs(60), 1 << 20);
    encode(&tools, &request, dir, bounds, &mut |_| {})
        .await
        .unwrap();
    stream
}

/// What the first picture of an output is tagged with.
#[expect(
    clippy::disallowed_methods,
    reason = "tests look at outputs by themselves"
)]
fn tags(dir: &Path, name: &str) -> String {
    let entries = "stream=color_range,color_space,color_transfer,color_primaries";
    let done = Command::new("ffprobe")
        .current_dir(dir)
        .args([
            "-v",
            "error",
            "-of",
            "csv=p=0",
            "-show_entries",
            entries,
            name,
        ])
        .output()
        .unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// The patches as a player shows them.
fn shown(dir: &Path, name: &str) -> Vec<[u8; 3]> {
    let filter = "scale=10:60:flags=area,format=rgb24";
    let pixels = ffmpeg(
        dir,
        &format!("-i {name} -frames:v 1 -vf {filter} -f rawvideo -"),
    );
    (0..6)
        .map(|patch| {
            let at = ((patch * 10 + 5) * 10 + 5) * 3;
            [pixels[at], pixels[at + 1], pixels[at + 2]]
        })
        .collect()
}

/// Two rungs at high quality.
fn rungs(codec: &str, format: &str, sides: &[u32]) -> Profile {
    let mut text = format!("[video]\ncodec = \"{codec}\"\ncrf = 2\npixel_format = \"{format}\"\n");
    if codec == "h264" {
        text.push_str("preset = \"ultrafast\"\n");
    }
    for side in sides {
        text.push_str(&format!(
            "[[rung]]\nname = \"{side}\"\nshort_side = {side}\n"
        ));
    }
    parse(&text, "test.toml").unwrap()
}

const X264: &str = "-c:v libx264 -preset ultrafast -qp 4";

fn converted(matrix: &str, range: &str, format: &str, tags: &str) -> String {
    format!(",scale=out_color_matrix={matrix}:out_range={range},format={format} {X264} {tags}")
}

#[tokio::test]
async fn every_rung_shows_the_colours_of_its_source() {
    const BT709: &str = "tv,bt709,bt709,bt709";
    const BT601: &str = "tv,smpte170m,smpte170m,smpte170m";
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hd = (96, 720);
    let sd = (96, 480);
    let full = "-color_range pc -colorspace bt709 -color_primaries bt709 -color_trc bt709";
    let partly = "-colorspace bt709";
    let wide = "-color_range tv -colorspace bt2020nc -color_primaries bt2020 -color_trc bt2020-10";
    let cases = [
        (
            "untagged-hd.mp4",
            hd,
            converted("bt709", "tv", "yuv420p", ""),
            BT709,
        ),
        (
            "untagged-sd.mp4",
            sd,
            converted("smpte170m", "tv", "yuv420p", ""),
            BT601,
        ),
        (
            "untagged-full.mp4",
            hd,
            converted("bt709", "pc", "yuvj420p", ""),
            BT709,
        ),
        (
            "full.mp4",
            hd,
            converted("bt709", "pc", "yuvj420p", full),
            BT709,
        ),
        (
            "matrix-only.mp4",
            sd,
            converted("bt709", "tv", "yuv444p", partly),
            BT709,
        ),
        (
            "primaries-only.mp4",
            sd,
            converted("bt709", "tv", "yuv422p", "-color_primaries bt709"),
            BT709,
        ),
        (
            "hd-601.mp4",
            hd,
            converted(
                "smpte170m",
                "tv",
                "yuv420p",
                "-colorspace smpte170m -color_primaries smpte170m -color_trc smpte170m",
            ),
            BT601,
        ),
        (
            "bt2020.mp4",
            hd,
            converted("bt2020", "tv", "yuv420p10le", wide),
            "tv,bt2020nc,bt2020-10,bt2020",
        ),
        (
            "rgb.mkv",
            hd,
            " -c:v libx264rgb -preset ultrafast -qp 4".to_owned(),
            BT709,
        ),
        (
            "bgra.mov",
            hd,
            " -c:v qtrle -pix_fmt argb".to_owned(),
            BT709,
        ),
        (
            "rgb48.mov",
            hd,
            " -c:v png -pix_fmt rgb48be".to_owned(),
            BT709,
        ),
        (
            "rgb-sd.mov",
            sd,
            " -c:v png -pix_fmt rgb24".to_owned(),
            "tv,smpte170m,bt709,bt709",
        ),
    ];
    let profile = rungs("h264", "yuv420p", &[96, 64, 48]);
    for (name, size, options, tagged) in cases {
        let source = patches(dir, name, size, &options);
        encoded(dir, &source, &profile, None).await;
        for rung in ["96", "64", "48"] {
            let output = format!("{rung}.mp4");
            assert_eq!(tags(dir, &output), tagged, "{name} at {rung}");
            for (shown, patch) in shown(dir, &output).iter().zip(PATCHES) {
                let off = shown.iter().zip(patch).map(|(a, b)| a.abs_diff(b)).max();
                assert!(off <= Some(4), "{name} at {rung}: {shown:?} for {patch:?}");
            }
        }
    }
}

#[tokio::test]
async fn every_codec_is_tagged() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hlg =
        "-color_range tv -colorspace bt2020nc -color_primaries bt2020 -color_trc arib-std-b67";
    let sources = [
        (
            "none.mp4",
            converted("smpte170m", "tv", "yuv420p", ""),
            "tv,smpte170m,smpte170m,smpte170m",
        ),
        (
            "hlg.mp4",
            converted("bt2020", "tv", "yuv420p10le", hlg),
            "tv,bt2020nc,arib-std-b67,bt2020",
        ),
    ];
    for (name, options, tagged) in sources {
        let source = patches(dir, name, (96, 216), &options);
        for codec in ["h264", "hevc", "av1", "vp9"] {
            let profile = rungs(codec, "source-depth", &[64]);
            // H.264 with 10 bits is not for everybody, and still tagged.
            encoded(dir, &source, &profile, None).await;
            assert_eq!(tags(dir, "64.mp4"), tagged, "{name} in {codec}");
        }
    }
}

/// Frames as hashes, in the output's format.
fn frames(dir: &Path, name: &str, options: &str) -> Vec<String> {
    let text = ffmpeg(
        dir,
        &format!("-i {name} -map 0:V:0 {options} -f framemd5 -"),
    );
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit(',').next())
        .map(|hash| hash.trim().to_owned())
        .collect()
}

#[tokio::test]
async fn lossless_is_lossless_whatever_the_source_says_of_aspect_and_stereo() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let picture = "-f lavfi -i testsrc2=s=160x120:r=25:d=1 -vf noise=alls=20:allf=t";
    ffmpeg(
        dir,
        &format!(
            "{picture} -c:v libvpx -b:v 400k -g 10 -metadata:s:v stereo_mode=mono stereo.webm"
        ),
    );
    let mut joined = Vec::new();
    for (at, sar) in ["4/3", "16/11", "1/1"].iter().enumerate() {
        ffmpeg(
            dir,
            &format!("{picture},setsar={sar} {X264} -output_ts_offset {at} part.ts"),
        );
        joined.extend(std::fs::read(dir.join("part.ts")).unwrap());
    }
    std::fs::write(dir.join("aspects.ts"), joined).unwrap();
    let lossless = builtin("lossless").unwrap().profile().unwrap();
    let own = Some((160, 120));
    for (name, shape) in [
        ("stereo.webm", None),
        ("aspects.ts", None),
        ("aspects.ts", own),
    ] {
        encoded(dir, &dir.join(name), &lossless, shape).await;
        let (ours, theirs) = (
            frames(dir, "lossless.mp4", ""),
            frames(dir, name, "-vf null -fps_mode passthrough"),
        );
        assert!(ours.len() >= 25, "{name}: {}", ours.len());
        assert_eq!(ours, theirs, "{name}");
    }
}

#[tokio::test]
async fn frames_of_another_shape_are_padded() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // Green, so that borders can be told from the picture.
    for (part, size, at) in [
        ("a", "640x360", 0),
        ("b", "360x640", 1),
        ("c", "320x180", 2),
    ] {
        ffmpeg(
            dir,
            &format!(
                "-f lavfi -i color=c=0x00ff00:s={size}:r=4:d=1 {X264} -output_ts_offset {at} {part}.ts"
            ),
        );
    }
    let mut joined = Vec::new();
    for part in ["a", "b", "c"] {
        joined.extend(std::fs::read(dir.join(format!("{part}.ts"))).unwrap());
    }
    std::fs::write(dir.join("turned.ts"), joined).unwrap();
    let tools = Tools::find(None, dir).await.unwrap();
    let input = Input::file(dir.join("turned.ts"));
    let found = probe(&tools, &input, dir).await.unwrap();
    let stream = found.streams.into_iter().find_map(|s| s.picture).unwrap();
    // Two of the three by their times, then all.
    for (looks, expected) in [
        (Looks::At(vec![1.4, 3.4]), vec![(640, 360), (320, 180)]),
        (Looks::All, vec![(640, 360), (360, 640), (320, 180)]),
    ] {
        let mut sizes = Vec::new();
        let mut add = |frame: Keyframe| sizes.push((frame.width, frame.height));
        look(&tools, &input, &stream, &looks, dir, &mut add)
            .await
            .unwrap();
        assert_eq!(sizes, expected);
    }
    let profile = rungs("h264", "yuv420p", &[180]);
    encoded(dir, &dir.join("turned.ts"), &profile, Some((640, 360))).await;
    let pixels = ffmpeg(
        dir,
        "-i 180.mp4 -fps_mode passthrough -vf format=rgb24 -f rawvideo -",
    );
    let frames: Vec<&[u8]> = pixels.chunks(320 * 180 * 3).collect();
    assert_eq!(frames.len(), 12);
    for (index, frame) in frames.iter().enumerate() {
        let row = frame.chunks(320 * 3).nth(90).unwrap();
        let green = row.chunks(3).filter(|pixel| pixel[1] > 128).count();
        // 180 lines of a picture of 9:16 are 102 wide.
        let expected = if (4..8).contains(&index) { 102 } else { 320 };
        assert_eq!(green, expected, "frame {index}");
    }
}
