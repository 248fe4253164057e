//! What ffprobe says of a made file, so that a case can be held to its claim.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use crate::ffmpeg::Ffmpeg;

/// A file, probed as far as its checks ask.
#[derive(Debug)]
pub struct Facts {
    path: PathBuf,
    ffmpeg: Ffmpeg,
    probe: Value,
    frames: OnceCell<Vec<Value>>,
}

/// A coded packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Presentation time, where stated.
    pub pts: Option<i64>,
    /// Decoding time, where stated.
    pub dts: Option<i64>,
    /// Whether it is marked as a keyframe.
    pub key: bool,
}

impl Facts {
    /// Probes streams, format and packets.
    ///
    /// # Errors
    /// When ffprobe fails.
    pub fn new(ffmpeg: &Ffmpeg, path: &Path) -> Result<Self> {
        let done = ffmpeg
            .probe()
            .words("-show_format -show_streams -show_packets")
            .arg(path)
            .succeed()?;
        let probe = serde_json::from_slice(&done.stdout)?;
        let frames = OnceCell::new();
        Ok(Self {
            path: path.into(),
            ffmpeg: ffmpeg.clone(),
            probe,
            frames,
        })
    }

    /// The demuxer's name.
    #[must_use]
    pub fn format(&self) -> &str {
        self.probe["format"]["format_name"].as_str().unwrap_or("")
    }

    /// Streams of a kind, cover art among the pictures.
    #[must_use]
    pub fn streams(&self, kind: &str) -> Vec<&Value> {
        let all = self.probe["streams"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        all.iter()
            .filter(|stream| stream["codec_type"] == kind)
            .collect()
    }

    /// The picture that `-map 0:V:0` takes.
    ///
    /// # Errors
    /// When there is none.
    pub fn video(&self) -> Result<&Value> {
        self.streams("video")
            .into_iter()
            .find(|stream| stream["disposition"]["attached_pic"] != 1)
            .context("no picture")
    }

    /// A property of the picture as text.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn video_text(&self, key: &str) -> Result<String> {
        Ok(text(&self.video()?[key]))
    }

    /// Width and height as stored.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn size(&self) -> Result<(u64, u64)> {
        let video = self.video()?;
        Ok((
            video["width"].as_u64().unwrap_or(0),
            video["height"].as_u64().unwrap_or(0),
        ))
    }

    /// A property of the `k`-th audio track as text.
    ///
    /// # Errors
    /// When there is no such track.
    pub fn audio_text(&self, k: usize, key: &str) -> Result<String> {
        let tracks = self.streams("audio");
        let track = tracks
            .get(k)
            .with_context(|| format!("no audio track {k}"))?;
        let value = key
            .split('/')
            .fold(*track, |value: &Value, part| &value[part]);
        Ok(text(value))
    }

    /// Start in seconds of the first stream of a kind, as ffprobe sees it.
    ///
    /// # Errors
    /// When there is none or it has no start.
    pub fn start(&self, kind: &str) -> Result<f64> {
        seconds(
            self.streams(kind).first().context("no such stream")?,
            "start_time",
        )
    }

    /// Duration in seconds of the first stream of a kind, by its packets.
    ///
    /// # Errors
    /// When there is none.
    pub fn span(&self, kind: &str) -> Result<f64> {
        let stream = *self.streams(kind).first().context("no such stream")?;
        let times: Vec<f64> = self
            .raw_packets(stream)
            .filter_map(|packet| packet["pts_time"].as_str()?.parse().ok())
            .collect();
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        Ok(times.iter().copied().fold(f64::MIN, f64::max) - least)
    }

    /// The picture's packets in file order.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn packets(&self) -> Result<Vec<Packet>> {
        let number = |packet: &Value, key: &str| packet[key].as_i64();
        let packets = self.raw_packets(self.video()?).map(|packet| Packet {
            pts: number(packet, "pts"),
            dts: number(packet, "dts"),
            key: text(&packet["flags"]).contains('K'),
        });
        Ok(packets.collect())
    }

    /// How many packets of the picture are marked as keyframes.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn keyframes(&self) -> Result<usize> {
        Ok(self.packets()?.iter().filter(|packet| packet.key).count())
    }

    /// The picture's presentation times in ascending order.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn times(&self) -> Result<Vec<i64>> {
        let mut times: Vec<i64> = self
            .packets()?
            .iter()
            .filter_map(|packet| packet.pts)
            .collect();
        times.sort_unstable();
        Ok(times)
    }

    /// The distances between neighbouring presentation times, each once, ascending.
    ///
    /// # Errors
    /// When there is no picture.
    pub fn gaps(&self) -> Result<Vec<i64>> {
        let times = self.times()?;
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        gaps.dedup();
        Ok(gaps)
    }

    /// What ffprobe says of every decoded frame of the picture.
    ///
    /// # Errors
    /// When ffprobe fails.
    pub fn frames(&self) -> Result<&[Value]> {
        if let Some(frames) = self.frames.get() {
            return Ok(frames);
        }
        let done = self
            .ffmpeg
            .probe()
            .words("-select_streams V:0 -show_frames")
            .arg(&self.path)
            .run()?;
        let Value::Object(mut answer) = serde_json::from_slice(&done.stdout)? else {
            return Err(anyhow!("ffprobe gave no object"));
        };
        let Some(Value::Array(frames)) = answer.remove("frames") else {
            return Err(anyhow!("ffprobe gave no frames"));
        };
        Ok(self.frames.get_or_init(|| frames))
    }

    /// The picture as an Annex B stream, for H.264 and HEVC.
    ///
    /// # Errors
    /// When the picture cannot be copied out.
    pub fn annex_b(&self) -> Result<Vec<u8>> {
        let format = if self.is_hevc()? { "hevc" } else { "h264" };
        let filter = format!("{format}_mp4toannexb");
        let copied = |filtered: bool| {
            let command = self
                .ffmpeg
                .command()
                .arg("-i")
                .arg(&self.path)
                .words("-map 0:V:0 -c copy");
            let command = if filtered {
                command.args(["-bsf:v", &filter])
            } else {
                command
            };
            command.args(["-f", format, "-"]).succeed()
        };
        // Streams that are in Annex B already may refuse the filter.
        Ok(copied(true).or_else(|_| copied(false))?.stdout)
    }

    /// How many NAL units of the picture have one of these types, for H.264 and HEVC.
    ///
    /// # Errors
    /// As [`Facts::annex_b`].
    pub fn count_units(&self, kinds: &[u8]) -> Result<usize> {
        let hevc = self.is_hevc()?;
        let kind = |header: u8| {
            if hevc {
                header >> 1 & 0x3f
            } else {
                header & 0x1f
            }
        };
        let stream = self.annex_b()?;
        let units = stream.windows(4).filter(|w| w[..3] == [0, 0, 1]);
        Ok(units.filter(|w| kinds.contains(&kind(w[3]))).count())
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(&self.path)?)
    }

    fn is_hevc(&self) -> Result<bool> {
        Ok(self.video_text("codec_name")? == "hevc")
    }

    fn raw_packets<'a>(&'a self, stream: &'a Value) -> impl Iterator<Item = &'a Value> {
        let all = self.probe["packets"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        all.iter()
            .filter(move |packet| packet["stream_index"] == stream["index"])
    }
}

/// A value as ffprobe's flat writers would print it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn seconds(value: &Value, key: &str) -> Result<f64> {
    let text = value[key].as_str().with_context(|| format!("no `{key}`"))?;
    Ok(text.parse()?)
}
