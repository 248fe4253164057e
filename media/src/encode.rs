//! One window of a source into every rendition, with one decode.
//!
//! ```text
//! source ─ seek ─ decode ─ (deinterlace) ─┬─ frames near the seams ─ hash ──────► frames.txt
//!                                         └─ window by PTS ─ list of PTS ───────► pts.txt
//!                                                          └┬ scale ─ encode ───► 1080p.mp4
//!                                                           └ scale ─ encode ───► 720p.mp4 …
//! ```

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::manifest::{FrameChanges, RenditionPlan, SeamRange};
use reelmill_common::marker::SeamFrame;
use reelmill_common::media_info::VideoStream;
use reelmill_common::profile::Deinterlace;
use reelmill_common::{Timebase, Timeline, Window};

use crate::codec::video_args;
use crate::error::MediaError;
use crate::input::Input;
use crate::process::{Ended, Invocation, Limits, run};
use crate::progress;
use crate::timeline::{before_input, others};
use crate::tools::Tools;

/// Where the PTS of every frame of the window is listed.
pub const PTS_FILE: &str = "pts.txt";
/// Where the hashes of decoded frames are listed.
pub const FRAMES_FILE: &str = "frames.txt";

/// One window to encode.
#[derive(Clone, Debug)]
pub struct EncodeRequest<'a> {
    /// The source.
    pub input: &'a Input,
    /// The picture's stream index.
    pub stream: u32,
    /// The unit of every tick here.
    pub timebase: Timebase,
    /// Whether the source's own timestamps are used as they are; else ffmpeg mends discontinuities.
    pub copy_timestamps: bool,
    /// The job's.
    pub timeline: &'a Timeline,
    /// Where to begin decoding, in microseconds of the source's timeline; `None` is its start.
    pub lead_in_us: Option<i64>,
    /// The frames to encode.
    pub window: Window,
    /// The tick that the encoders see as 0: where the window's first grid cell begins.
    pub zero: i64,
    /// From `zero` to the first frame, as far as known: keyframes fall on the grid by it.
    pub first_frame_offset: i64,
    /// The source's frames per second as a fraction, where known.
    pub frame_rate: Option<(u32, u32)>,
    /// A cell of the grid in milliseconds.
    pub fragment_ms: u32,
    /// What becomes of interlaced frames.
    pub deinterlace: Deinterlace,
    /// The picture as the probe found it, with the size of its largest frame.
    pub source: &'a VideoStream,
    /// What of it changes on the way.
    pub changes: FrameChanges,
    /// What to make; each goes to `{name}.mp4`.
    pub renditions: &'a [RenditionPlan],
    /// Ticks per second of what is made.
    pub timescale: u32,
    /// Whether frames of one time are told apart by a tick of `timescale`, and not of `timebase`.
    pub fine_times: bool,
    /// Threads of each encoder.
    pub threads: u32,
    /// Frames to hash for the chunk before.
    pub start_seam: Option<SeamRange>,
    /// Frames to hash for the chunk after.
    pub end_seam: Option<SeamRange>,
    /// Whether every frame of the window is hashed as well.
    pub every_frame: bool,
}

impl EncodeRequest<'_> {
    /// The argument vector.
    #[must_use]
    pub fn args(&self, tools: &Tools) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "repeat+level+warning",
            "-y",
        ]
        .into_iter()
        .chain(["-progress", "pipe:1", "-stats_period", "0.25"])
        .map(OsString::from)
        .collect();
        args.extend(before_input(self.copy_timestamps, self.timeline));
        if let Some(at) = self.lead_in_us {
            let at = seconds(at);
            args.extend(
                ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", &at].map(OsString::from),
            );
        }
        // A damaged stretch may fill a whole window: plain ffmpeg counts over the whole file.
        // One thread, however many the encoders have: frame threads of a decoder race where a stream
        // is damaged.
        args.extend(["-max_error_rate", "1", "-threads", "1"].map(OsString::from));
        // A change of size in mid-stream must not begin the graph anew: it counts and lists frames.
        // The scalers take it as it comes.
        args.extend(["-reinit_filter", "0"].map(OsString::from));
        args.extend(self.input.args());
        for graph in self.graphs(tools) {
            args.extend(["-filter_complex".into(), graph.into()]);
        }
        for (index, rendition) in self.renditions.iter().enumerate() {
            args.extend(self.output(tools, index, rendition));
        }
        if self.hashes() {
            args.extend(
                ["-map", "[hashed]", "-noautoscale", "-c:v", "rawvideo"].map(OsString::from),
            );
            args.extend(passthrough(tools, self.deinterlace, self.timebase));
            // Murmur3: what is compared is two decodes of ours, not a message from an enemy.
            args.extend(["-f", "framehash", "-hash", "murmur3", FRAMES_FILE].map(OsString::from));
        }
        let own = Some(self.stream);
        args.extend(others(self.copy_timestamps, self.timeline, own));
        args
    }

    pub(crate) fn hashes(&self) -> bool {
        self.every_frame || self.start_seam.is_some() || self.end_seam.is_some()
    }

    fn output(&self, tools: &Tools, index: usize, rendition: &RenditionPlan) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["-map".into(), format!("[v{index}]").into()];
        args.extend(video_args(
            &rendition.settings,
            self.threads,
            self.fragment_frames(),
        ));
        args.extend(["-force_key_frames".into(), self.keyframes().into()]);
        match self.fine_timebase() {
            None => args.extend(passthrough(tools, self.deinterlace, self.timebase)),
            Some(fine) => {
                let fine = fine.to_string();
                args.extend(
                    ["-fps_mode", "passthrough", "-enc_time_base", &fine].map(OsString::from),
                );
            }
        }
        args.extend(fragmented(self.timescale));
        args.push(format!("{}.mp4", rendition.name).into());
        args
    }

    /// The unit of the encoders' times, where it is not the source's.
    pub(crate) fn fine_timebase(&self) -> Option<Timebase> {
        let fine = Timebase::new(1, self.timescale).ok();
        fine.filter(|_| self.fine_times)
    }

    fn fragment_frames(&self) -> Option<u32> {
        let (num, den) = self.frame_rate?;
        let frames = (u64::from(num) * u64::from(self.fragment_ms)).div_ceil(u64::from(den) * 1000);
        u32::try_from(frames.max(1)).ok()
    }

    /// A keyframe at the first frame of every grid cell. `t` counts from the first frame.
    fn keyframes(&self) -> String {
        let cell = f64::from(self.fragment_ms) / 1000.0;
        // A microsecond of slack: `t` is a rounded number of seconds.
        let offset = self.timebase.seconds(self.first_frame_offset) + 0.000_001;
        format!(
            "expr:if(isnan(prev_forced_t),1,gt(floor((t+{offset:.9})/{cell}),floor((prev_forced_t+{offset:.9})/{cell})))"
        )
    }
}

/// What the decoder and the encoders said of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The PTS of every frame of the window as the decoder gave them.
    pub decoded: Vec<i64>,
    /// The same, strictly increasing: as the encoders were given them, unless they were given finer
    /// times.
    pub pts: Vec<i64>,
    /// Frames that the decoder gave no later PTS than the one before them, as it does for some
    /// damaged streams; they are shown one tick after it, of the source or of the finer times.
    pub moved: u64,
    /// Decoded frames with their hashes, as far as asked for.
    pub frames: Vec<SeamFrame>,
    /// How ffmpeg ended.
    pub ended: Ended,
}

/// Encodes a window in `dir`; `on_frames` is told how many frames are done.
///
/// # Errors
/// Any [`MediaError`].
pub async fn encode(
    tools: &Tools,
    request: &EncodeRequest<'_>,
    dir: &Path,
    limits: Limits,
    on_frames: &mut (dyn FnMut(u64) + Send),
) -> Result<Encoded, MediaError> {
    let invocation = Invocation {
        action: "encode a chunk",
        program: tools.ffmpeg.clone(),
        args: request.args(tools),
        dir: dir.to_path_buf(),
        reads: request.input.reads(),
        connects: request.input.connects(),
        limits,
    };
    let ended = run(invocation, &mut |line| {
        if let Some(frames) = progress::frames(line) {
            on_frames(frames);
        }
    })
    .await?;
    let decoded = parse_lines(&dir.join(PTS_FILE), parse_pts)?;
    let mut pts = decoded.clone();
    let moved = increasing(&mut pts);
    let frames = match request.hashes() {
        true => parse_lines(&dir.join(FRAMES_FILE), parse_frame)?,
        false => Vec::new(),
    };
    Ok(Encoded {
        decoded,
        pts,
        moved,
        frames,
        ended,
    })
}

/// Gives frames whose time is not later than that of the one before them a time one tick after it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Increasing {
    last: Option<i64>,
}

impl Increasing {
    /// The time of the next frame, which was decoded with `pts`.
    pub fn next(&mut self, pts: i64) -> i64 {
        let pts = self
            .last
            .map_or(pts, |last| pts.max(last.saturating_add(1)));
        self.last = Some(pts);
        pts
    }
}

/// Moves every PTS by [`Increasing`], and counts those that changed.
fn increasing(pts: &mut [i64]) -> u64 {
    let (mut times, mut moved) = (Increasing::default(), 0);
    for pts in pts {
        let decoded = std::mem::replace(pts, times.next(*pts));
        moved += u64::from(decoded != *pts);
    }
    moved
}

/// The bounds of an encode: generous by its estimated work, its lead-in included, so that only a
/// stuck one meets them.
#[must_use]
pub fn limits(cost: Duration, pixels: u64) -> Limits {
    let wall = Duration::from_secs(600).max(cost * 60);
    Limits {
        wall,
        // ffmpeg reports four times a second once every output has begun; on the way through a
        // lead-in it says nothing and works.
        idle: Duration::from_secs(120),
        cpu: wall * 8,
        // Lookahead and references hold dozens of frames of every rendition.
        memory: (4 << 30) + pixels * 1024,
        file_size: 1 << 40,
    }
}

/// Options that give each frame to the encoder once, with the timestamp it was decoded with. Fields
/// lie between those, so their own `timebase` is named.
pub(crate) fn passthrough(
    tools: &Tools,
    deinterlace: Deinterlace,
    timebase: Timebase,
) -> [OsString; 4] {
    let own = format!("{}:{}", timebase.num(), timebase.den());
    let enc_time_base = match deinterlace {
        Deinterlace::Off | Deinterlace::Frames => tools.enc_time_base(),
        Deinterlace::Fields => own.as_str(),
    };
    ["-fps_mode", "passthrough", "-enc_time_base", enc_time_base].map(OsString::from)
}

/// Options of a fragmented MP4 whose init segment depends on nothing but the encoder's settings.
pub(crate) fn fragmented(timescale: u32) -> Vec<OsString> {
    let timescale = timescale.to_string();
    [
        "-map_metadata",
        "-1",
        "-map_chapters",
        "-1",
        "-fflags",
        "+bitexact",
        "-flags",
        "+bitexact",
        "-video_track_timescale",
        &timescale,
        "-avoid_negative_ts",
        "disabled",
        "-movflags",
        "+frag_keyframe+empty_moov+default_base_moof+frag_discont+negative_cts_offsets+cmaf",
        "-f",
        "mp4",
    ]
    .map(OsString::from)
    .to_vec()
}

/// Microseconds as the decimal seconds that ffmpeg reads.
fn seconds(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Reads a file line by line; a file that ffmpeg never wrote has no lines.
fn parse_lines<T>(path: &Path, parse: fn(&str) -> Option<T>) -> Result<Vec<T>, MediaError> {
    use std::io::BufRead as _;
    let unreadable = |error: std::io::Error| MediaError::Unexpected {
        action: "encode a chunk",
        reason: format!("`{}`: {error}", path.display()),
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut values = Vec::new();
    for line in std::io::BufReader::new(file).lines() {
        values.extend(parse(&line.map_err(unreadable)?));
    }
    Ok(values)
}

/// Reads `frame:0    pts:901890  pts_time:10.021`.
pub(crate) fn parse_pts(line: &str) -> Option<i64> {
    line.split_once(" pts:")?
        .1
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Reads `0,     898290,     898290,     3600,  3110400, 1efbc756…`.
pub(crate) fn parse_frame(line: &str) -> Option<SeamFrame> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split(',').map(str::trim);
    let pts = fields.nth(2)?.parse().ok()?;
    let hash = fields.nth(2)?.to_owned();
    Some(SeamFrame { pts, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_are_written_without_loss() {
        assert_eq!(seconds(0), "0.000000");
        assert_eq!(seconds(-1), "-0.000001");
        assert_eq!(seconds(12_345_678), "12.345678");
    }

    #[test]
    fn frames_without_a_time_of_their_own_get_one() {
        let mut pts = [0, 10, 10, 10, 5, 20];
        assert_eq!(increasing(&mut pts), 3);
        assert_eq!(pts, [0, 10, 11, 12, 13, 20]);
    }

    #[test]
    fn lines_of_ffmpeg_are_read() {
        assert_eq!(
            parse_pts("frame:0    pts:-901890  pts_time:10.021"),
            Some(-901_890)
        );
        assert_eq!(parse_pts("k=1"), None);
        let frame = parse_frame("0,     898290,     898291,     3600,  3110400, 1efb").unwrap();
        assert_eq!((frame.pts, frame.hash.as_str()), (898_291, "1efb"));
        assert_eq!(parse_frame("#tb 0: 1/90000"), None);
    }
}
