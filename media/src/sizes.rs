//! Sizes and shapes of a picture's keyframes: a source may change them where a GOP begins.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use reelmill_common::media_info::VideoStream;

use crate::error::MediaError;
use crate::ffprobe;
use crate::input::Input;
use crate::process::{Limits, run};
use crate::tools::Tools;

/// Bounds for decoding some hundred keyframes.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(600),
    idle: Duration::from_secs(120),
    cpu: Duration::from_secs(60),
    memory: 4 << 30,
    file_size: 0,
};

/// What a keyframe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyframe {
    /// Presentation time in ticks of the stream, where known.
    pub pts: Option<i64>,
    /// Stored width in pixels.
    pub width: u32,
    /// Stored height in pixels.
    pub height: u32,
    /// Sample aspect ratio where stated.
    pub sar: Option<(u32, u32)>,
    /// Matrix coefficients where stated.
    pub matrix: Option<String>,
}

/// Which keyframes are decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Looks {
    /// All of them, in one run through the source.
    All,
    /// One from each of these times on, in seconds of the source's timeline.
    At(Vec<f64>),
}

/// The arguments of a look at a picture's keyframes.
#[must_use]
pub fn args(input: &Input, stream: &VideoStream, looks: &Looks) -> Vec<OsString> {
    let entries =
        "frame=best_effort_timestamp,width,height,sample_aspect_ratio,color_space:frame_side_data=";
    let stream = stream.index.to_string();
    let intervals = match looks {
        Looks::All => None,
        Looks::At(times) => {
            let each: Vec<String> = times.iter().map(|at| format!("{at:.3}%+#1")).collect();
            Some(each.join(","))
        }
    };
    let mut shows = vec![
        "-select_streams",
        &stream,
        "-skip_frame",
        "nokey",
        "-threads",
        "1",
        "-show_entries",
        entries,
        "-of",
        "compact=p=0",
    ];
    if let Some(intervals) = &intervals {
        shows.extend(["-read_intervals", intervals]);
    }
    ffprobe::args(&shows, input.args())
}

/// Gives each keyframe to `on_keyframe`. One that cannot be decoded is passed over.
///
/// # Errors
/// Any [`MediaError`]; what was found before still holds.
pub async fn look(
    tools: &Tools,
    input: &Input,
    stream: &VideoStream,
    looks: &Looks,
    dir: &Path,
    on_keyframe: &mut (dyn FnMut(Keyframe) + Send),
) -> Result<(), MediaError> {
    let invocation = ffprobe::invocation(
        tools,
        "look at the source's keyframes",
        args(input, stream, looks),
        input,
        dir,
        LIMITS,
    );
    run(invocation, &mut |line| {
        if let Some(keyframe) = parse(line) {
            on_keyframe(keyframe);
        }
    })
    .await?;
    Ok(())
}

/// Reads `best_effort_timestamp=126000|width=640|height=360|sample_aspect_ratio=1:1|color_space=bt709`.
fn parse(line: &str) -> Option<Keyframe> {
    let value = |key: &str| {
        line.split('|')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    };
    let ratio = |text: &str| {
        let (x, y) = text.split_once(':')?;
        let (x, y): (u32, u32) = (x.parse().ok()?, y.parse().ok()?);
        (x > 0 && y > 0).then_some((x, y))
    };
    let stated = |text: &&str| !matches!(*text, "unknown" | "unspecified" | "reserved" | "N/A");
    Some(Keyframe {
        pts: value("best_effort_timestamp").and_then(|text| text.parse().ok()),
        width: value("width")?.parse().ok().filter(|&width| width > 0)?,
        height: value("height")?.parse().ok().filter(|&height| height > 0)?,
        sar: value("sample_aspect_ratio").and_then(ratio),
        matrix: value("color_space").filter(stated).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_read_with_what_they_state() {
        let keyframe = parse(
            "best_effort_timestamp=126000|width=640|height=360|sample_aspect_ratio=4:3|color_space=bt709",
        );
        assert_eq!(
            keyframe,
            Some(Keyframe {
                pts: Some(126_000),
                width: 640,
                height: 360,
                sar: Some((4, 3)),
                matrix: Some("bt709".to_owned()),
            })
        );
        let silent = parse(
            "best_effort_timestamp=N/A|width=640|height=360|sample_aspect_ratio=N/A|color_space=unknown",
        )
        .unwrap();
        assert_eq!((silent.pts, silent.sar, silent.matrix), (None, None, None));
        assert_eq!(parse("side_data_type=x"), None);
        assert_eq!(parse("best_effort_timestamp=1|width=0|height=0"), None);
    }
}
