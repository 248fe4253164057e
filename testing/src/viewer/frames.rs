//! Frames as a viewer sees them: decoded, rotated, scaled to one size and converted to RGB.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

use crate::ffmpeg::Ffmpeg;
use crate::oracle::input;
use crate::run::Piped;

/// The weights of red, green and blue in the luma of a matrix, in 1/1000.
const WEIGHTS_601: [u32; 3] = [299, 587, 114];
const WEIGHTS_709: [u32; 3] = [213, 715, 72];
const WEIGHTS_2020: [u32; 3] = [263, 678, 59];

/// The matrix by which a picture's samples become RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Matrix {
    /// No conversion: the samples are RGB.
    Rgb,
    /// BT.601.
    Bt601,
    /// BT.709.
    Bt709,
    /// BT.2020, non-constant luminance.
    Bt2020,
}

impl Matrix {
    /// The matrix that a player takes: the one that is tagged; BT.601 for an untagged picture
    /// lower than 720 pixels, BT.709 for every other. `tag` is ffprobe's `color_space`.
    #[must_use]
    pub fn displayed(tag: Option<&str>, pixel_format: &str, height: u32) -> Self {
        let is_rgb = ["gbr", "rgb", "bgr", "pal8", "0rgb", "0bgr", "argb", "abgr"]
            .iter()
            .any(|prefix| pixel_format.starts_with(prefix));
        match tag {
            _ if is_rgb => Self::Rgb,
            Some("bt709") => Self::Bt709,
            Some("bt2020nc" | "bt2020c") => Self::Bt2020,
            Some("smpte170m" | "bt470bg" | "fcc" | "smpte240m") => Self::Bt601,
            _ if height < 720 => Self::Bt601,
            _ => Self::Bt709,
        }
    }

    /// The argument of ffmpeg's `scale` filter that names it; RGB needs none.
    fn scale_option(self) -> &'static str {
        match self {
            Self::Rgb => "",
            Self::Bt601 => ":in_color_matrix=bt601",
            Self::Bt709 => ":in_color_matrix=bt709",
            Self::Bt2020 => ":in_color_matrix=bt2020",
        }
    }

    fn weights(self) -> [u32; 3] {
        match self {
            Self::Bt601 => WEIGHTS_601,
            Self::Rgb | Self::Bt709 => WEIGHTS_709,
            Self::Bt2020 => WEIGHTS_2020,
        }
    }
}

/// Which picture of a file is looked at, and how.
#[derive(Clone, Debug)]
pub struct View {
    /// The stream's index in its file.
    pub stream: usize,
    /// The matrix of its samples.
    pub matrix: Matrix,
    /// The matrix whose weights make luma of the RGB frames: the same on both sides.
    pub luma: Matrix,
    /// Deinterlaces the frames that say that they are interlaced.
    pub deinterlace: bool,
    /// The size of the frames that come out.
    pub size: (u32, u32),
    /// The sample aspect ratio of `size`. A frame of another shape is padded, never stretched.
    pub sar: f64,
    /// Whether the file is decoded by one thread, which gives repeatable frames.
    pub alone: bool,
}

impl View {
    /// The filters that make RGB frames of one size.
    #[must_use]
    pub fn filters(&self) -> String {
        let (width, height) = self.size;
        // One even pixel less in either direction is rounding, not another shape.
        let fit = |whole: u32, fitted: String| {
            format!("if(lt({fitted}\\,{whole}-3)\\,trunc({fitted}/2+0.5)*2\\,{whole})")
        };
        let w = fit(width, format!("{height}*dar/{}", self.sar));
        let h = fit(height, format!("{width}/dar*{}", self.sar));
        let deinterlace = if self.deinterlace {
            "bwdif=mode=send_frame:parity=auto:deint=interlaced,"
        } else {
            ""
        };
        format!(
            "{deinterlace}scale=w={w}:h={h}:flags=bicubic+accurate_rnd+full_chroma_int\
             +full_chroma_inp{}:eval=frame,format=rgb24,pad={width}:{height}:(ow-iw)/2:(oh-ih)/2",
            self.matrix.scale_option()
        )
    }
}

/// A picture's frames in order of output.
#[derive(Debug)]
pub struct Frames {
    process: Piped,
    size: (u32, u32),
    weights: [u32; 3],
}

impl Frames {
    /// Starts to decode a file's picture.
    ///
    /// # Errors
    /// When ffmpeg cannot be started.
    pub fn open(ffmpeg: &Ffmpeg, file: &Path, view: &View) -> Result<Self> {
        let mut command = ffmpeg.command();
        if view.alone {
            command = command.words("-threads 1");
        }
        let command = input(command, file)
            .args(["-map", &format!("0:{}", view.stream)])
            .words("-fps_mode passthrough -enc_time_base")
            .arg(ffmpeg.source_timebase)
            .args(["-vf", &view.filters()])
            .words("-f rawvideo -pix_fmt rgb24 -");
        Ok(Self {
            process: command.pipe(false)?,
            size: view.size,
            weights: view.luma.weights(),
        })
    }

    /// The next frame; `None` after the last.
    ///
    /// # Errors
    /// When ffmpeg ends in the middle of a frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let mut rgb = vec![0; width * height * 3];
        let mut filled = 0;
        while filled < rgb.len() {
            let read = self.process.stdout.read(&mut rgb[filled..])?;
            if read == 0 {
                anyhow::ensure!(filled == 0, "the last decoded frame is incomplete");
                return Ok(None);
            }
            filled += read;
        }
        Ok(Some(Frame::new(self.size, rgb, self.weights)))
    }
}

/// A frame in RGB, with its luma.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Width and height.
    pub size: (u32, u32),
    /// Three bytes for each pixel.
    pub rgb: Vec<u8>,
    /// One byte for each pixel.
    pub luma: Vec<u8>,
}

impl Frame {
    /// A frame of RGB pixels whose luma has these weights, in 1/1000.
    #[must_use]
    pub fn new(size: (u32, u32), rgb: Vec<u8>, [r, g, b]: [u32; 3]) -> Self {
        let luma = rgb
            .chunks_exact(3)
            .map(|p| {
                let sum = u32::from(p[0]) * r + u32::from(p[1]) * g + u32::from(p[2]) * b;
                u8::try_from((sum + 500) / 1000).unwrap_or(u8::MAX)
            })
            .collect();
        Self { size, rgb, luma }
    }

    /// The mean of its luma.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean of bytes")]
    pub fn mean_luma(&self) -> f64 {
        let sum: u64 = self.luma.iter().map(|v| u64::from(*v)).sum();
        sum as f64 / self.luma.len().max(1) as f64
    }

    /// Writes it as a PNG.
    ///
    /// # Errors
    /// When ffmpeg fails.
    pub fn save(&self, ffmpeg: &Ffmpeg, path: &Path) -> Result<()> {
        let raw = path.with_extension("rgb");
        std::fs::write(&raw, &self.rgb)?;
        let size = format!("{}x{}", self.size.0, self.size.1);
        let made = input(
            ffmpeg
                .command()
                .words("-f rawvideo -pix_fmt rgb24 -video_size")
                .arg(size),
            &raw,
        )
        .words("-frames:v 1 -update 1")
        .arg(path)
        .succeed();
        std::fs::remove_file(&raw)?;
        made.map(drop).context("a frame cannot be saved")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untagged_pictures_go_by_their_height() {
        let of = |tag, height| Matrix::displayed(tag, "yuv420p", height);
        assert_eq!(of(None, 576), Matrix::Bt601);
        assert_eq!(of(None, 720), Matrix::Bt709);
        assert_eq!(of(Some("bt709"), 360), Matrix::Bt709);
        assert_eq!(of(Some("bt2020nc"), 2160), Matrix::Bt2020);
        assert_eq!(Matrix::displayed(None, "gbrp", 360), Matrix::Rgb);
    }

    #[test]
    fn luma_is_weighted_as_the_matrix_says() {
        let frame = Frame::new((2, 1), vec![255, 0, 0, 255, 255, 255], WEIGHTS_601);
        assert_eq!(frame.luma, [76, 255]);
    }
}
