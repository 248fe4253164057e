//! What is done to bytes by hand, where ffmpeg cannot be talked into it.

use anyhow::{Result, ensure};

use super::{boxes, fields};

/// A change of a file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Patch {
    /// The display matrix of the first track of an MP4, as 16.16 and 2.30 fixed point.
    Matrix([i32; 9]),
    /// The edit list of a track of an MP4: durations in the movie's ticks, starts in the track's.
    Edits(usize, &'static [(u32, i32)]),
    /// Decode times of all fragments of an MP4 moved by so many seconds.
    LateFragments(u64),
    /// Whole transport stream packets taken from the front.
    CutFront(usize),
    /// One byte in every so many turned over, behind an untouched start.
    Damage { from: usize, every: usize },
    /// H.264 with field pictures: so many frames.
    FieldPictures(u32),
}

/// Bytes of a transport stream packet.
const TS_PACKET: usize = 188;

impl Patch {
    /// Whether the file comes out of nothing.
    pub(super) fn makes_its_file(&self) -> bool {
        matches!(self, Self::FieldPictures(_))
    }

    /// The changed bytes.
    pub(super) fn apply(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        match self {
            Self::Matrix(matrix) => boxes::set_matrix(&mut bytes, matrix)?,
            Self::Edits(track, edits) => bytes = boxes::set_edits(&bytes, *track, edits)?,
            Self::LateFragments(seconds) => boxes::move_fragments(&mut bytes, *seconds)?,
            Self::CutFront(packets) => {
                ensure!(
                    bytes.len() > packets * TS_PACKET,
                    "the file is too short to be cut"
                );
                bytes.drain(..packets * TS_PACKET);
            }
            Self::Damage { from, every } => {
                for byte in bytes.iter_mut().skip(*from).step_by(*every) {
                    *byte ^= 0x5a;
                }
            }
            Self::FieldPictures(frames) => bytes = fields::stream(*frames),
        }
        Ok(bytes)
    }
}
