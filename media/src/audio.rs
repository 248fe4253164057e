//! One audio track, whole: encoded once, so that no join can be heard.
//!
//! A track is encoded straight from the source, and the time of each decoded block is watched. Where
//! all follow one another, that is all. Where sound is missing or doubled, begins late, or its format
//! changes, `mend` makes the track again with silence in its holes.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::manifest::AudioPlan;
use reelmill_common::profile::AudioCodec;
use reelmill_common::{Timebase, Timeline};

use crate::codec::audio_args;
use crate::error::MediaError;
use crate::input::Input;
use crate::layout;
use crate::mend::mend;
use crate::observe::{OBSERVE, Observer};
use crate::placement::Placed;
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
    /// The unit of `first_pts`: a sample of what was decoded.
    pub timebase: Timebase,
    /// How ffmpeg ended.
    pub ended: Ended,
    /// What was filled, left out or converted: one sentence each.
    pub notes: Vec<String>,
}

impl AudioRequest<'_> {
    /// The argument vector: the track into [`TRACK_FILE`], the time of each decoded block to standard
    /// output.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args = self.open();
        // Nothing else listens to the track: a second output would have a say in its sample format.
        // Its samples are numbered, since the muxer would make times that jitter into packets of
        // uneven length.
        let graph = format!(
            "[0:{}]asettb=1/{},{OBSERVE},asetpts=N{}[track]",
            self.plan.stream.index,
            self.plan.stream.sample_rate,
            self.mapping()
        );
        args.extend(["-filter_complex".into(), graph.into()]);
        args.extend(["-map".into(), "[track]".into()]);
        args.extend(self.encoder(self.plan.stream.sample_rate));
        args.extend(self.others());
        args
    }

    /// The arguments up to the source: all runs over it are on one timeline.
    pub(crate) fn open(&self) -> Vec<OsString> {
        let mut args = quiet();
        args.extend(before_input(self.copy_timestamps, self.timeline));
        args.extend(without_picture(self.copy_timestamps, self.timeline));
        args.extend(["-max_error_rate", "1", "-threads", "1"].map(OsString::from));
        args.extend(self.input.args());
        args
    }

    /// Filters that bring the channels into the planned layout, each with a comma before it.
    pub(crate) fn mapping(&self) -> String {
        let Some(layout) = &self.plan.layout else {
            return String::new();
        };
        let filter = layout::filter(&self.plan.stream, layout);
        let filter = filter
            .map(|filter| format!(",{filter}"))
            .unwrap_or_default();
        // A decoder may give another layout than the header has.
        format!("{filter},aformat=channel_layouts={layout}")
    }

    /// Samples of silence before the track's first block, where the plan asks for them.
    pub(crate) fn late_by(&self, placed: &Placed, rate: u32) -> u64 {
        let samples = Timebase::new(1, rate).ok();
        let start = samples
            .zip(self.plan.begins_us)
            .map(|(samples, begins)| Timebase::MICROS.rescale_nearest(begins, samples));
        start.map_or(0, |start| placed.late_by(start, rate))
    }

    /// The encoder's arguments, and where it writes. `rate` is that of the samples it is given.
    pub(crate) fn encoder(&self, rate: u32) -> Vec<OsString> {
        let mut args = audio_args(&self.plan.settings, self.plan.kbps);
        // libopus takes channels in Vorbis' order. ffmpeg reorders them wrongly for 5 and 7 where the
        // mapping is left to it; where it is right, naming it would change nothing but the bytes.
        let channels = self.plan.layout.as_deref().map_or(0, layout::count);
        if self.plan.settings.codec == AudioCodec::Opus && matches!(channels, 5 | 7) {
            args.extend(["-mapping_family", "1"].map(OsString::from));
        }
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
                "-map_chapters",
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
            _ => rate,
        };
        args.extend(["-movie_timescale".into(), rate.to_string().into()]);
        args.extend(["-f", "mp4", TRACK_FILE].map(OsString::from));
        args
    }

    /// The output that reads the other streams of the job, where all runs must read the same.
    pub(crate) fn others(&self) -> Vec<OsString> {
        let own = Some(self.plan.stream.index);
        others(self.copy_timestamps, self.timeline, own)
    }

    /// A run of ffmpeg over the source.
    pub(crate) fn invocation(&self, tools: &Tools, dir: &Path, args: Vec<OsString>) -> Invocation {
        Invocation {
            action: "encode an audio track",
            program: tools.ffmpeg.clone(),
            args,
            dir: dir.to_path_buf(),
            reads: self.input.reads(),
            connects: self.input.connects(),
            limits: limits(Duration::from_millis(self.plan.cost_ms)),
        }
    }
}

/// The arguments with which each run begins.
pub(crate) fn quiet() -> Vec<OsString> {
    let words = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "repeat+level+warning",
        "-y",
    ];
    words.map(OsString::from).to_vec()
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
    let rate = request.plan.stream.sample_rate;
    let mut observer = Observer::new(&request.plan.stream.codec, rate);
    let invocation = request.invocation(tools, dir, request.args());
    let ended = run(invocation, &mut |line| observer.line(line)).await;
    let observed = observer.finish();
    // Encoders may refuse to go on in another format.
    let ended = match ended {
        Err(MediaError::Failed { .. }) if observed.format_changed => Ended::default(),
        ended => ended?,
    };
    let is_late = request.late_by(&observed.placed, rate) > 0;
    if observed.format_changed || is_late || !observed.placed.edits.is_empty() {
        return mend(tools, request, &observed, dir).await;
    }
    Ok(EncodedAudio {
        first_pts: observed.placed.first,
        timebase: Timebase::new(1, rate).unwrap_or(Timebase::MICROS),
        notes: broken_times(request, observed.placed.broken)
            .into_iter()
            .collect(),
        ended,
    })
}

/// Says that times jumped further than silence may fill.
pub(crate) fn broken_times(request: &AudioRequest<'_>, broken: u64) -> Option<String> {
    let index = request.plan.stream.index;
    (broken > 0).then(|| {
        format!(
            "timestamps of the sound in stream {index} jump by more than 12 hours {broken} times: what follows such a jump is delivered without a gap"
        )
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
