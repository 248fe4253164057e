//! The argument vectors, one argument a line, for both generations of ffmpeg.
//!
//! `REELMILL_BLESS=1 cargo test -p reelmill-media` writes them anew: read the difference.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use reelmill_common::manifest::{AudioPlan, FrameChanges, RenditionPlan, SeamRange};
use reelmill_common::media_info::{AudioStream, Colour, VideoStream};
use reelmill_common::opening::{Opening, ProbeBounds};
use reelmill_common::profile::{
    AudioCodec, AudioSettings, Channels, Deinterlace, PixelFormat, Rate, VideoCodec, VideoSettings,
};
use reelmill_common::{LoopbackUrl, Place, Timebase, Timeline, Window};
use reelmill_media::audio::AudioRequest;
use reelmill_media::decode::DecodeRequest;
use reelmill_media::encode::EncodeRequest;
use reelmill_media::listen::ListenRequest;
use reelmill_media::mux::{FragmentRequest, MuxPicture, MuxRequest, MuxTrack, TimedFile};
use reelmill_media::scrambled::{self, Reach};
use reelmill_media::{Input, Tools, probe, scan};

fn assert_golden(name: &str, args: &[OsString]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.txt"));
    let lines: Vec<_> = args
        .iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("REELMILL_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{name} differs from {}", path.display());
}

fn old() -> Tools {
    Tools::named("5.1", 59)
}

fn current() -> Tools {
    Tools::named("9.0", 63)
}

fn source() -> Input {
    Input::file("/films/a: 'strange' |%d name.mp4")
}

/// The same source as it is read from the store.
fn served() -> Input {
    let name = "a: 'strange' |%d name.mp4";
    let path = "/2f1c/a%3A%20%27strange%27%20%7C%25d%20name.mp4";
    Input::at(Place::Loopback(LoopbackUrl::new(40_404, path, name)))
}

fn rendition(name: &str, size: (u32, u32), codec: VideoCodec, rate: Rate) -> RenditionPlan {
    RenditionPlan {
        name: name.to_owned(),
        width: size.0,
        height: size.1,
        pixel_format: "yuv420p".to_owned(),
        colour: Colour {
            primaries: Some("bt709".to_owned()),
            transfer: Some("bt709".to_owned()),
            matrix: Some("bt709".to_owned()),
            range: Some("tv".to_owned()),
        },
        settings: VideoSettings {
            codec,
            preset: Some("fast".to_owned()),
            rate,
            pixel_format: PixelFormat::Named("yuv420p".to_owned()),
            options: BTreeMap::new(),
        },
    }
}

fn timeline() -> &'static Timeline {
    const {
        &Timeline {
            offset_us: 0,
            streams: Vec::new(),
        }
    }
}

fn picture(width: u32, height: u32, sar: (u32, u32)) -> VideoStream {
    VideoStream {
        index: 0,
        codec: "h264".to_owned(),
        width,
        height,
        sar: Some(sar),
        rotation: 0,
        pixel_format: "yuv420p".to_owned(),
        timebase: Timebase::new(1, 90_000).unwrap(),
        frame_rate: Some((30_000, 1001)),
        interlaced: false,
        colour: Colour::default(),
    }
}

fn full_hd() -> VideoStream {
    picture(1920, 1080, (1, 1))
}

fn encode<'a>(
    input: &'a Input,
    picture: &'a VideoStream,
    renditions: &'a [RenditionPlan],
) -> EncodeRequest<'a> {
    EncodeRequest {
        input,
        stream: 0,
        timebase: Timebase::new(1, 90_000).unwrap(),
        copy_timestamps: true,
        timeline: timeline(),
        lead_in_us: Some(7_999_999),
        window: Window {
            start: Some(900_000),
            end: Some(1_440_000),
        },
        zero: 900_000,
        first_frame_offset: 1890,
        frame_rate: Some((30_000, 1001)),
        fragment_ms: 2000,
        deinterlace: Deinterlace::Off,
        source: picture,
        changes: FrameChanges::default(),
        renditions,
        timescale: 90_000,
        fine_times: false,
        threads: 1,
        start_seam: Some(SeamRange {
            from: 894_690,
            to: 905_491,
        }),
        end_seam: Some(SeamRange {
            from: 1_434_690,
            to: 1_445_491,
        }),
        every_frame: false,
    }
}

#[test]
fn a_window_of_a_ladder() {
    let (input, capped) = (
        source(),
        Rate::CappedCrf {
            crf: 21,
            max_kbps: 5000,
        },
    );
    let ladder = [
        rendition("1080p", (1920, 1080), VideoCodec::H264, capped),
        rendition("360p", (640, 360), VideoCodec::H264, Rate::Crf(23)),
    ];
    assert_golden(
        "encode-window-5.1",
        &encode(&input, &full_hd(), &ladder).args(&old()),
    );
    assert_golden(
        "encode-window-current",
        &encode(&input, &full_hd(), &ladder).args(&current()),
    );
}

#[test]
fn a_window_of_a_source_in_the_store() {
    let input = served();
    let ladder = [rendition(
        "1080p",
        (1920, 1080),
        VideoCodec::H264,
        Rate::Crf(21),
    )];
    assert_golden(
        "encode-served",
        &encode(&input, &full_hd(), &ladder).args(&old()),
    );
}

#[test]
fn a_whole_interlaced_source_with_every_frame_hashed() {
    let input = source();
    let ladder = [rendition(
        "lossless",
        (720, 576),
        VideoCodec::H264,
        Rate::Lossless,
    )];
    let pal = picture(720, 576, (64, 45));
    let whole = EncodeRequest {
        copy_timestamps: false,
        lead_in_us: None,
        window: Window::ALL,
        deinterlace: Deinterlace::Frames,
        threads: 2,
        start_seam: None,
        end_seam: None,
        every_frame: true,
        ..encode(&input, &pal, &ladder)
    };
    assert_golden("encode-whole", &whole.args(&old()));
}

/// A source whose frames change their shape, and one in RGB.
#[test]
fn frames_that_are_fitted_or_converted() {
    let input = source();
    let ladder = [rendition(
        "360p",
        (640, 360),
        VideoCodec::H264,
        Rate::Crf(21),
    )];
    let turned = full_hd();
    let turned = EncodeRequest {
        changes: FrameChanges {
            shape: true,
            matrix: true,
        },
        ..encode(&input, &turned, &ladder)
    };
    assert_golden("encode-fitted", &turned.args(&old()));
    let rgb = VideoStream {
        pixel_format: "gbrp".to_owned(),
        sar: None,
        ..full_hd()
    };
    assert_golden("encode-rgb", &encode(&input, &rgb, &ladder).args(&old()));
}

#[test]
fn each_codec() {
    let input = source();
    for (name, codec, rate) in [
        (
            "hevc",
            VideoCodec::Hevc,
            Rate::CappedCrf {
                crf: 24,
                max_kbps: 4000,
            },
        ),
        ("av1", VideoCodec::Av1, Rate::Crf(32)),
        (
            "vp9",
            VideoCodec::Vp9,
            Rate::CappedCrf {
                crf: 31,
                max_kbps: 4000,
            },
        ),
    ] {
        let ladder = [rendition(name, (1280, 720), codec, rate)];
        assert_golden(
            &format!("encode-{name}"),
            &encode(&input, &full_hd(), &ladder).args(&current()),
        );
    }
}

#[test]
fn an_audio_track() {
    let input = source();
    let plan = AudioPlan {
        stream: AudioStream {
            index: 2,
            codec: "ac3".to_owned(),
            sample_rate: 48_000,
            channels: 6,
            layout: Some("5.1(side)".to_owned()),
            language: Some("fra".to_owned()),
            title: None,
            default: true,
        },
        settings: AudioSettings {
            codec: AudioCodec::Opus,
            kbps: Some(128),
            channels: Channels::Source,
        },
        layout: Some("5.1".to_owned()),
        begins_us: None,
        counted_times: false,
        kbps: Some(384),
        cost_ms: 1000,
    };
    let request = AudioRequest {
        input: &input,
        plan: &plan,
        copy_timestamps: true,
        timeline: timeline(),
    };
    assert_golden("audio", &request.args());
}

#[test]
fn progressive_files() {
    let file = |name: &str, starts_us| TimedFile {
        path: PathBuf::from(name),
        starts_us,
    };
    let request = MuxRequest {
        pictures: vec![
            MuxPicture {
                file: file("/scratch/1080p.mp4", 0),
                output: PathBuf::from("/scratch/output_1080p.mp4"),
                frames: 250,
                last_frame_ticks: 3003,
            },
            MuxPicture {
                file: file("/scratch/360p.mp4", 0),
                output: PathBuf::from("/scratch/output_360p.mp4"),
                frames: 250,
                last_frame_ticks: 3003,
            },
        ],
        audio: vec![MuxTrack {
            file: file("/scratch/track_0.mp4", 2_980_000),
            language: Some("eng".to_owned()),
            title: Some("Director's = comment".to_owned()),
            default: true,
        }],
        audio_only: None,
        title: Some("A film".to_owned()),
        chapters: Some(PathBuf::from("/scratch/chapters.txt")),
        movie_timescale: 48_000,
    };
    assert_golden("mux", &request.args());
}

#[test]
fn fragments_of_a_track() {
    let request = FragmentRequest {
        track: Path::new("/scratch/track_0.mp4"),
        output: Path::new("/scratch/raw_0.mp4"),
    };
    assert_golden("fragment", &request.args());
}

#[test]
fn looking_at_a_source() {
    let input = source();
    assert_golden("probe", &probe::args(&input));
    assert_golden("scan", &scan::args(&input));
    assert_golden("probe-served", &probe::args(&served()));
    assert_golden("scan-served", &scan::args(&served()));
    let bounds = ProbeBounds {
        bytes: 64 << 20,
        seconds: 60,
    };
    let further = source().opened(Opening {
        bounds: Some(bounds),
    });
    assert_golden("probe-further", &probe::args(&further));
    assert_golden("scrambled", &scrambled::args(&input, Reach::Beginning));
    let decode = DecodeRequest {
        input: &input,
        stream: Some(0),
        timebase: Timebase::new(1, 90_000).unwrap(),
        copy_timestamps: true,
        timeline: timeline(),
        deinterlace: Some((Deinterlace::Frames, &picture(720, 576, (64, 45)))),
        rendition: None,
        luma_only: false,
    };
    assert_golden("decode", &decode.args(&current()));
    let listen = ListenRequest {
        input: &input,
        track: 1,
    };
    assert_golden("listen", &listen.args());
}
