//! What a file says about its picture beside the frames: aspect, colour, HDR metadata, rotation.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::ffmpeg::Ffmpeg;
use crate::oracle::{How, input, streams};

/// What is said of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// Stored size.
    pub size: (u64, u64),
    /// Sample aspect ratio; square where nothing is said.
    pub sar: (u64, u64),
    /// Range, matrix, transfer and primaries, each where something is said.
    pub colour: [(&'static str, Option<String>); 4],
    /// Mastering display and light levels as ffprobe spells them.
    pub hdr: Vec<String>,
    /// Degrees, where a display matrix is left to the player.
    pub rotation: Option<i64>,
}

impl Tags {
    /// Reads the tags of a file's picture and of its first frame.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn of(ffmpeg: &Ffmpeg, file: &Path) -> Result<Self> {
        let all = streams(ffmpeg, file, "V:0")?;
        let stream = all.first().context("no picture")?;
        let said = |key: &str| {
            let value = stream[key].as_str()?;
            // `reserved` and `unknown` are how prober versions say nothing.
            (!matches!(value, "unknown" | "unspecified" | "reserved")).then(|| value.to_owned())
        };
        let rotation = list(stream)
            .iter()
            .find_map(|data| data["rotation"].as_i64());
        let mut hdr = hdr(list(stream));
        if hdr.is_empty() {
            hdr = first_frame_hdr(ffmpeg, file)?;
        }
        Ok(Self {
            size: (
                stream["width"].as_u64().unwrap_or(0),
                stream["height"].as_u64().unwrap_or(0),
            ),
            sar: sar(stream["sample_aspect_ratio"].as_str().unwrap_or("")),
            colour: [
                "color_range",
                "color_space",
                "color_transfer",
                "color_primaries",
            ]
            .map(|key| (key, said(key))),
            hdr,
            rotation,
        })
    }

    /// The tags of one frame encoded by plain ffmpeg: what a user would get without reelmill.
    /// `None` when plain ffmpeg cannot encode it.
    ///
    /// # Errors
    /// When a tool cannot be run.
    pub fn of_plain_encode(ffmpeg: &Ffmpeg, source: &Path, how: How<'_>) -> Result<Option<Self>> {
        let work = tempfile::tempdir()?;
        let encoded = work.path().join("frame.mp4");
        let mut command = input(ffmpeg.command(), source).words("-map 0:V:0 -frames:v 1");
        if let Some((width, height)) = how.size {
            command = command
                .arg("-vf")
                .arg(format!("scale={width}:{height}:flags=bicubic"));
        }
        if let Some(format) = how.format {
            command = command.args(["-pix_fmt", format]);
        }
        let done = command
            .words("-c:v libx264 -qp 0 -preset ultrafast")
            .arg(&encoded)
            .run()?;
        if done.code == Some(0) {
            Self::of(ffmpeg, &encoded).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Width over height of what a viewer sees.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "small numbers, compared with a tolerance"
    )]
    pub fn aspect(&self) -> f64 {
        let ((width, height), (x, y)) = (self.size, self.sar);
        (width * x) as f64 / (height * y).max(1) as f64
    }
}

fn list(value: &Value) -> &[Value] {
    value["side_data_list"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

/// `0:1` and nothing at all both mean that nothing is known, which players take as square.
fn sar(text: &str) -> (u64, u64) {
    let parts = text
        .split_once(':')
        .and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
    parts.filter(|(x, y)| *x > 0 && *y > 0).unwrap_or((1, 1))
}

fn hdr(list: &[Value]) -> Vec<String> {
    let kinds = ["Mastering display metadata", "Content light level metadata"];
    let kept = |data: &&Value| {
        data["side_data_type"]
            .as_str()
            .is_some_and(|k| kinds.contains(&k))
    };
    let mut found: Vec<_> = list.iter().filter(kept).map(Value::to_string).collect();
    found.sort();
    found
}

fn first_frame_hdr(ffmpeg: &Ffmpeg, file: &Path) -> Result<Vec<String>> {
    let command = ffmpeg
        .probe()
        .words("-select_streams V:0 -read_intervals %+#1 -show_frames");
    let done = input(command, file).run()?;
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    Ok(answer["frames"]
        .get(0)
        .map(|frame| hdr(list(frame)))
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_aspect_is_square() {
        assert_eq!(sar("16:11"), (16, 11));
        assert_eq!(sar("0:1"), (1, 1));
        assert_eq!(sar("N/A"), (1, 1));
    }
}
