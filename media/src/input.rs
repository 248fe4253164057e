//! How a source is named to ffmpeg, and what ffmpeg may make of it.

use std::ffi::OsString;
use std::path::PathBuf;

use reelmill_common::{LoopbackUrl, Place};

/// The protocols that a source on the disk is read by.
pub(crate) const FILE: &str = "file";

/// The protocols that a source in the store is read by.
pub(crate) const LOOPBACK: &str = "http,tcp";

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
    place: Place,
}

impl Input {
    /// A source where it was opened.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self { place }
    }

    /// A file by its absolute path.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    /// The files that ffmpeg must be let read.
    pub(crate) fn reads(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::File(path) => vec![path.clone()],
            Place::Loopback(_) => Vec::new(),
        }
    }

    /// The address that ffmpeg must be let connect to.
    pub(crate) fn connects(&self) -> Option<LoopbackUrl> {
        match &self.place {
            Place::File(_) => None,
            Place::Loopback(url) => Some(url.clone()),
        }
    }

    /// The arguments that open the source, `-i` and its URL last. The `file:` protocol takes the
    /// rest as it is: no colon, bar, percent or dash in a name means anything.
    ///
    /// Over HTTP there is no time-out, since ffmpeg takes a read that failed for the end of the
    /// source and ends well: the server bounds each wait and remembers what it could not serve.
    pub(crate) fn args(&self) -> Vec<OsString> {
        let (protocols, url) = match &self.place {
            Place::File(path) => {
                let mut url = OsString::from("file:");
                url.push(path);
                (FILE, url)
            }
            Place::Loopback(url) => (LOOPBACK, url.secret().into()),
        };
        let pixels = MAX_PIXELS.to_string();
        let mut args = [
            "-protocol_whitelist",
            protocols,
            "-format_whitelist",
            DEMUXERS,
            "-max_pixels",
            &pixels,
        ]
        .map(OsString::from)
        .to_vec();
        if self.connects().is_some() {
            args.extend(["-seekable".into(), "1".into()]);
        }
        args.extend(["-i".into(), url]);
        args
    }
}
