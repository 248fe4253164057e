//! Decoding to look, not to keep: what `verify` compares.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::manifest::{FrameChanges, RenditionPlan};
use reelmill_common::marker::SeamFrame;
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::Deinterlace;
use reelmill_common::{Timebase, Timeline};

use crate::encode::{parse_frame, passthrough};
use crate::error::MediaError;
use crate::input::Input;
use crate::interlace::filters;
use crate::process::{Ended, Invocation, Limits, run};
use crate::scale;
use crate::timeline::{before_input, others};
use crate::tools::Tools;

/// A picture to decode from its first frame to its last.
#[derive(Clone, Copy, Debug)]
pub struct DecodeRequest<'a> {
    /// The source.
    pub input: &'a Input,
    /// The picture's stream index; `None` takes the first picture.
    pub stream: Option<u32>,
    /// The unit that frames' PTS are given in.
    pub timebase: Timebase,
    /// As when it was encoded.
    pub copy_timestamps: bool,
    /// As when it was encoded.
    pub timeline: &'a Timeline,
    /// As when it was encoded: what became of interlaced frames, and the picture as the probe found
    /// it. `None` takes all frames as they are.
    pub deinterlace: Option<(Deinterlace, &'a VideoStream)>,
    /// The rendition whose frames are wanted, before they are encoded, and what changes within the
    /// source. `None` takes frames as they are decoded; so does `deinterlace` being `None`.
    pub rendition: Option<(FrameChanges, &'a RenditionPlan)>,
    /// Takes the luma alone: of grey H.264, decoders give chroma as well.
    pub luma_only: bool,
}

impl DecodeRequest<'_> {
    /// The argument vector: a line with PTS and hash of each frame to standard output.
    #[must_use]
    pub fn args(&self, tools: &Tools) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "repeat+level+warning",
        ]
        .map(OsString::from)
        .to_vec();
        args.extend(before_input(self.copy_timestamps, self.timeline));
        args.extend(["-max_error_rate", "1", "-threads", "1"].map(OsString::from));
        let (deinterlace, filters) = match self.deinterlace {
            Some((deinterlace, source)) => {
                (deinterlace, filters(self.timebase, deinterlace, source))
            }
            None => (Deinterlace::Off, format!("settb={}", self.timebase)),
        };
        let filters = match (self.rendition, self.deinterlace) {
            (Some((changes, rendition)), Some((_, source))) => {
                format!("{filters},{}", scale::filters(source, changes, rendition))
            }
            _ => filters,
        };
        let filters = match self.luma_only {
            true => format!("{filters},extractplanes=y"),
            false => filters,
        };
        if deinterlace != Deinterlace::Off {
            // As when it was encoded: the deinterlacer must not begin anew.
            args.extend(["-reinit_filter", "0"].map(OsString::from));
        }
        args.extend(self.input.args());
        let stream = self
            .stream
            .map_or_else(|| "V:0".to_owned(), |index| index.to_string());
        args.extend(["-map".into(), format!("0:{stream}").into()]);
        args.extend(["-vf".into(), filters.into()]);
        args.extend(["-noautoscale", "-c:v", "rawvideo"].map(OsString::from));
        args.extend(passthrough(tools, deinterlace, self.timebase));
        args.extend(["-f", "framehash", "-hash", "murmur3", "pipe:1"].map(OsString::from));
        args.extend(others(self.copy_timestamps, self.timeline, self.stream));
        args
    }
}

/// Decodes a picture and gives each frame to `on_frame`; memory does not grow with its length.
///
/// # Errors
/// Any [`MediaError`].
pub async fn decode(
    tools: &Tools,
    request: &DecodeRequest<'_>,
    dir: &Path,
    on_frame: &mut (dyn FnMut(SeamFrame) + Send),
) -> Result<Ended, MediaError> {
    let invocation = Invocation {
        action: "decode a file",
        program: tools.ffmpeg.clone(),
        args: request.args(tools),
        dir: dir.to_path_buf(),
        reads: request.input.reads(),
        connects: request.input.connects(),
        limits: Limits {
            wall: Duration::from_secs(24 * 3600),
            idle: Duration::from_secs(300),
            cpu: Duration::from_secs(24 * 3600),
            memory: 8 << 30,
            file_size: 0,
        },
    };
    run(invocation, &mut |line| {
        if let Some(frame) = parse_frame(line) {
            on_frame(frame);
        }
    })
    .await
}
