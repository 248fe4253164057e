//! How a source is named to ffmpeg, and what ffmpeg may make of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Demuxers that a source may need. What is missing here is missing on purpose: playlists and
/// scripts (`hls`, `dash`, `concat`, `sdp`), image sequences and devices read other files or the
/// network, whatever the name of the file they hide in.
const DEMUXERS: &str = "aac,ac3,aiff,amr,ape,asf,av1,avi,caf,dts,dv,eac3,flac,flv,gif,gxf,h264,hevc,ivf,m4v,\
matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,truehd,vc1,vvc,w64,wav,wtv,yuv4mpegpipe";

/// The largest picture that is decoded, in pixels: 8K and square 8K. A picture bomb is larger.
const MAX_PIXELS: u32 = 8192 * 8192;

/// A source that ffmpeg opens in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    path: PathBuf,
}

impl Input {
    /// A file by its absolute path.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The arguments that open the source, `-i` and its URL last. The `file:` protocol takes the
    /// rest as it is: no colon, bar, percent or dash in a name means anything.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let mut url = OsString::from("file:");
        url.push(&self.path);
        let mut args = self.guard();
        args.extend(["-i".into(), url]);
        args
    }

    /// The allow-lists and bounds of [`args`](Self::args) without the source itself.
    pub(crate) fn guard(&self) -> Vec<OsString> {
        let pixels = MAX_PIXELS.to_string();
        [
            "-protocol_whitelist",
            "file",
            "-format_whitelist",
            DEMUXERS,
            "-max_pixels",
            &pixels,
        ]
        .map(OsString::from)
        .to_vec()
    }
}
