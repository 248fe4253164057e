//! One audio track, whole: encoded once, so that no join can be heard.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::manifest::AudioPlan;
use reelmill_common::profile::AudioCodec;
use reelmill_common::{Timebase, Timeline};

use crate::codec::audio_args;
use crate::encode::parse_pts;
use crate::error::MediaError;
use crate::input::Input;
use crate::process::{Ended, Invocation, Limits, run};
use crate::timeline::{before_input, others, without_picture};
use crate::tools::Tools;

/// The encoded track, beginning at 0, with an edit list for the encoder's delay.
pub const TRACK_FILE: &str = "audio.mp4";

/// One track to encode.
#[derive(Clone, Debug)]
pub struct AudioRequest<'a> {
    /// The source.
    pub input: &'a Input,
    /// Which track, and how.
    pub plan: &'a AudioPlan,
    /// As for the picture of the same job: both are on one timeline.
    pub copy_timestamps: bool,
    /// The job's.
    pub timeline: &'a Timeline,
}

/// What the decoder gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedAudio {
    /// The first sample's time in ticks of `timebase`; `None` when nothing was decoded.
    pub first_pts: Option<i64>,
    /// The unit of `first_pts`: a sample of the source.
    pub timebase: Timebase,
    /// How ffmpeg ended.
    pub ended: Ended,
}

impl AudioRequest<'_> {
    /// The argument vector: the track into [`TRACK_FILE`], the time of each decoded block to standard
    /// output.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "repeat+level+warning",
            "-y",
        ]
        .map(OsString::from)
        .to_vec();
        args.extend(before_input(self.copy_timestamps, self.timeline));
        args.extend(without_picture(self.copy_timestamps, self.timeline));
        args.extend(["-max_error_rate", "1", "-threads", "1"].map(OsString::from));
        args.extend(self.input.args());
        // Nothing else listens to the track: a second output would have a say in its sample format.
        let graph = format!(
            "[0:{}]asettb=1/{},ametadata=mode=add:key=k:value=1,ametadata=mode=print:file=-,asetpts=PTS-STARTPTS{}[track]",
            self.plan.stream.index,
            self.plan.stream.sample_rate,
            self.layout()
        );
        args.extend(["-filter_complex".into(), graph.into()]);
        args.extend(["-map".into(), "[track]".into()]);
        args.extend(audio_args(&self.plan.settings, self.plan.kbps));
        // FLAC in MP4 was experimental until ffmpeg 6. The muxer may, the encoder may not: it would
        // write 32 bits a sample, which decoders before 6 refuse.
        args.extend(
            [
                "-strict",
                "experimental",
                "-strict:a",
                "normal",
                "-map_metadata",
                "-1",
                "-fflags",
                "+bitexact",
                "-flags",
                "+bitexact",
            ]
            .map(OsString::from),
        );
        // The edit list says in this unit where the track ends. In ffmpeg's own, milliseconds, the
        // end would be a few samples early, and whoever copies the track would cut them off.
        let rate = match self.plan.settings.codec {
            AudioCodec::Opus => 48_000,
            _ => self.plan.stream.sample_rate,
        };
        args.extend(["-movie_timescale".into(), rate.to_string().into()]);
        args.extend(["-f", "mp4", TRACK_FILE].map(OsString::from));
        let own = Some(self.plan.stream.index);
        args.extend(others(self.copy_timestamps, self.timeline, own));
        args
    }

    /// libopus refuses side surrounds; the same channels under the names it knows are the same
    /// sound.
    fn layout(&self) -> &'static str {
        match (self.plan.settings.codec, self.plan.stream.layout.as_deref()) {
            (AudioCodec::Opus, Some("5.1(side)")) => ",aformat=channel_layouts=5.1",
            _ => "",
        }
    }
}

/// Encodes a track in `dir`.
///
/// # Errors
/// Any [`MediaError`].
pub async fn encode(
    tools: &Tools,
    request: &AudioRequest<'_>,
    dir: &Path,
) -> Result<EncodedAudio, MediaError> {
    let invocation = Invocation {
        action: "encode an audio track",
        program: tools.ffmpeg.clone(),
        args: request.args(),
        dir: dir.to_path_buf(),
        reads: request.input.reads(),
        connects: request.input.connects(),
        limits: limits(Duration::from_millis(request.plan.cost_ms)),
    };
    let mut first_pts = None;
    let ended = run(invocation, &mut |line| {
        first_pts = first_pts.or_else(|| parse_pts(line));
    })
    .await?;
    let timebase = Timebase::new(1, request.plan.stream.sample_rate);
    Ok(EncodedAudio {
        first_pts,
        timebase: timebase.unwrap_or(Timebase::MICROS),
        ended,
    })
}

/// The bounds of an encode. Each decoded block is a line, so a stuck one is seen by its silence; how
/// long a track is may be told wrongly by its header or not at all, so time alone is no bound to
/// rely on.
fn limits(cost: Duration) -> Limits {
    let wall = Duration::from_secs(24 * 3600).max(cost * 60);
    Limits {
        wall,
        idle: Duration::from_secs(300),
        cpu: wall,
        memory: 4 << 30,
        file_size: 1 << 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_track_of_unknown_length_has_time() {
        let bounds = limits(Duration::from_millis(120));
        assert!(bounds.wall >= Duration::from_secs(12 * 3600) && bounds.cpu >= bounds.wall);
        assert!(bounds.idle < Duration::from_secs(900));
    }
}
