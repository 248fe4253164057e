//! MP4 boxes: what encoders wrote is read, retimed, written again and joined, and what is
//! delivered is inspected.
//!
//! Encoders' and muxers' absolute times are not to be trusted (ffmpeg's own versions differ by
//! their reorder delay), so a chunk's samples are given the times of the window they show and only
//! their bytes are kept. Everything here blocks: callers use a thread made for that. Memory is
//! bounded by the sample tables and one copy buffer; media bytes go from file to file.
//!
//! The files come from our own ffmpeg, but a torn write or a bad disk must not take a worker down:
//! whatever a file holds, reading it ends in a value or an error.

mod boxes;
mod codec;
mod error;
mod inspect;
mod join;
mod movie;
mod pace;
mod read;
mod regroup;
mod retime;
mod sound;
mod write;

pub use codec::codec_string;
pub use error::{Mp4Error, RetimeError};
pub use inspect::{Track, inspect};
pub use join::{Continuity, Joined, JoinedFragment, Joiner};
pub use movie::TrackKind;
pub use read::{Fragmented, Sample};
pub use regroup::Regrouper;
pub use sound::{flac_bits, plain_channel_configuration};
pub use write::Written;
