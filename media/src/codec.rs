//! From a profile's words to an encoder's options: the one place that knows encoders.

use std::ffi::OsString;

use reelmill_common::profile::{AudioCodec, AudioSettings, Rate, VideoCodec, VideoSettings};

/// A GOP length that no fragment reaches: keyframes fall where fragments begin, and where the
/// encoder sees a scene cut.
const ENDLESS_GOP: &str = "100000";

/// The ffmpeg encoder of a video codec.
#[must_use]
pub fn video_encoder(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "libx264",
        VideoCodec::Hevc => "libx265",
        VideoCodec::Av1 => "libsvtav1",
        VideoCodec::Vp9 => "libvpx-vp9",
    }
}

/// The ffmpeg encoder of an audio codec.
#[must_use]
pub fn audio_encoder(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "libopus",
        AudioCodec::Flac => "flac",
    }
}

/// The options of one picture output, from `-c:v` on.
///
/// Equal options give equal bytes: thread counts are fixed, and every chunk begins with a keyframe
/// that refers to nothing before it. `threads` is the number of cores to use, `fragment_frames` how
/// many frames a fragment has at the source's frame rate, where that is known.
#[must_use]
pub fn video_args(
    settings: &VideoSettings,
    threads: u32,
    fragment_frames: Option<u32>,
) -> Vec<OsString> {
    let mut args = Args::default();
    args.add("-c:v", video_encoder(settings.codec));
    if let Some(preset) = &settings.preset {
        let option = if settings.codec == VideoCodec::Vp9 {
            "-cpu-used"
        } else {
            "-preset"
        };
        args.add(option, preset);
    }
    match settings.codec {
        VideoCodec::H264 => {
            // x264's own choice for so many cores: half as many frames again are in flight.
            args.add(
                "-threads",
                &if threads == 1 { 1 } else { threads * 3 / 2 }.to_string(),
            );
            args.add("-g", ENDLESS_GOP);
            args.add("-forced-idr", "1");
        }
        VideoCodec::Hevc => {
            args.add("-threads", &threads.to_string());
            args.add("-forced-idr", "1");
            args.add("-tag:v", "hvc1");
            let pools = if threads == 1 {
                "none".to_owned()
            } else {
                threads.to_string()
            };
            let lossless = if settings.rate == Rate::Lossless {
                ":lossless=1"
            } else {
                ""
            };
            let own = format!(
                "log-level=error:keyint={ENDLESS_GOP}:min-keyint=25:open-gop=0:pools={pools}:frame-threads=1{lossless}"
            );
            args.add("-x265-params", &joined(own, settings, "x265-params"));
        }
        VideoCodec::Av1 => {
            // SVT-AV1 before 1.5 does not place keyframes where it is told to: it is given the
            // distance, which comes to the same where frames are evenly spaced.
            let distance = fragment_frames.map(|frames| frames.to_string());
            args.add("-g", distance.as_deref().unwrap_or(ENDLESS_GOP));
            let own = format!("lp={threads}:scd=0");
            args.add("-svtav1-params", &joined(own, settings, "svtav1-params"));
        }
        VideoCodec::Vp9 => {
            args.add("-threads", &threads.to_string());
            args.add("-g", ENDLESS_GOP);
            args.add("-deadline", "good");
            args.add("-auto-alt-ref", "1");
            args.add("-lag-in-frames", "25");
        }
    }
    rate_args(&mut args, settings);
    for (name, value) in settings.options.iter().filter(|(name, _)| !is_joined(name)) {
        args.add(&format!("-{name}:v"), value);
    }
    args.0
}

/// Options that hold a list of an encoder's own: ffmpeg takes the last one given, so a profile's
/// list is added to ours.
fn is_joined(option: &str) -> bool {
    matches!(option, "x265-params" | "svtav1-params")
}

fn joined(own: String, settings: &VideoSettings, option: &str) -> String {
    match settings.options.get(option) {
        Some(theirs) => format!("{own}:{theirs}"),
        None => own,
    }
}

fn rate_args(args: &mut Args, settings: &VideoSettings) {
    // libvpx reads a CRF as a floor under a bit rate unless that is 0.
    let crf_needs_no_bitrate = settings.codec == VideoCodec::Vp9;
    match settings.rate {
        Rate::Crf(crf) => {
            args.add("-crf", &crf.to_string());
            if crf_needs_no_bitrate {
                args.add("-b:v", "0");
            }
        }
        Rate::CappedCrf { crf, max_kbps } => {
            args.add("-crf", &crf.to_string());
            if crf_needs_no_bitrate {
                // Its own constrained quality: the CRF, but never above this average.
                args.add("-b:v", &format!("{max_kbps}k"));
            } else {
                args.add("-maxrate", &format!("{max_kbps}k"));
                args.add("-bufsize", &format!("{}k", 2 * u64::from(max_kbps)));
            }
        }
        Rate::Bitrate(kbps) => args.add("-b:v", &format!("{kbps}k")),
        Rate::Lossless => match settings.codec {
            VideoCodec::H264 => args.add("-qp", "0"),
            VideoCodec::Vp9 => args.add("-lossless", "1"),
            // x265 takes it with its other parameters; SVT-AV1 has no lossless mode and profiles
            // may not ask it for one.
            VideoCodec::Hevc | VideoCodec::Av1 => {}
        },
    }
}

/// The options of one audio output, from `-c:a` on.
#[must_use]
pub fn audio_args(settings: &AudioSettings, kbps: Option<u32>) -> Vec<OsString> {
    let mut args = Args::default();
    args.add("-c:a", audio_encoder(settings.codec));
    if let Some(kbps) = kbps {
        args.add("-b:a", &format!("{kbps}k"));
    }
    args.0
}

#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn add(&mut self, option: &str, value: &str) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}
