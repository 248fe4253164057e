//! How a source is named to ffmpeg, and what ffmpeg may make of it.

use std::ffi::OsString;
use std::path::PathBuf;

use reelmill_common::opening::Opening;
use reelmill_common::{LoopbackUrl, Place};

/// The protocols that a source on the disk is read by.
pub(crate) const FILE: &str = "file";

/// The protocols that a source in the store is read by.
pub(crate) const LOOPBACK: &str = "http,tcp";

/// Demuxers that a source may need, as `docs/sources.md` says: what cameras, recorders, phones,
/// broadcasters and programs write and people keep. What is missing here is missing on purpose.
/// Playlists and scripts (`hls`, `dash`, `concat`, `imf`, `sdp`, `vobsub`), image sequences and
/// devices read other files or the network, whatever the name of the file they hide in; raw formats
/// without a header would take any bytes for pictures or sound; formats of games and of drawings
/// that ffmpeg shows in part only are not worth what their demuxers may do wrong.
const DEMUXERS: &str = "aac,ac3,ac4,aiff,amr,amrnb,amrwb,ape,apng,asf,au,av1,avi,avs2,avs3,caf,cavsvideo,cine,dhav,\
dirac,dnxhd,dsf,dts,dtshd,dv,eac3,flac,flic,flv,gif,gxf,h261,h263,h264,hevc,iff,ifv,ivf,ivr,kux,loas,lxf,m4v,\
matroska,mjpeg,mjpeg_2000,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mpjpeg,mxf,nsv,nut,nuv,obu,ogg,oma,pva,qcp,\
r3d,rm,shn,simbiosis_imx,smjpeg,tak,truehd,tta,ty,vc1,vivo,voc,vvc,w64,wav,webp_anim,wtv,wv,yuv4mpegpipe";

/// The largest picture that is decoded, in pixels: 8K and square 8K. A picture bomb is larger.
const MAX_PIXELS: u32 = 8192 * 8192;

/// A source that ffmpeg opens in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    place: Place,
    opening: Opening,
}

impl Input {
    /// A source where it was opened.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self {
            place,
            opening: Opening::default(),
        }
    }

    /// The same source, opened as a plan says.
    #[must_use]
    pub fn opened(self, opening: Opening) -> Self {
        Self { opening, ..self }
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
        self.args_of(DEMUXERS)
    }

    /// The same with other demuxers allowed.
    pub(crate) fn args_of(&self, demuxers: &str) -> Vec<OsString> {
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
            demuxers,
            "-max_pixels",
            &pixels,
        ]
        .map(OsString::from)
        .to_vec();
        if self.connects().is_some() {
            args.extend(["-seekable".into(), "1".into()]);
        }
        if let Some(bounds) = self.opening.bounds {
            let us = u64::from(bounds.seconds) * 1_000_000;
            args.extend(["-probesize".into(), bounds.bytes.to_string().into()]);
            args.extend(["-analyzeduration".into(), us.to_string().into()]);
        }
        args.extend(["-i".into(), url]);
        args
    }
}
