//! From what an encoder wrote to fragments at the times that the plan says.

use std::path::{Path, PathBuf};

use reelmill_common::Sha256;
use reelmill_common::time::Grid;
use reelmill_media::mp4::{Fragmented, Mp4Error, Written};
use reelmill_stage::StageError;

/// One rendition of one window, as ffmpeg left it.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The encoder's file.
    pub(crate) made: PathBuf,
    /// When each frame must be presented, in ticks of the delivered timeline.
    pub(crate) pts: Vec<i64>,
    /// When the frame after the last one is presented, where that is known.
    pub(crate) end: Option<i64>,
    /// Fragments begin with its cells.
    pub(crate) grid: Grid,
    /// Where the result goes, under the same file name.
    pub(crate) folder: PathBuf,
}

/// The result.
#[derive(Debug)]
pub(crate) struct Retimed {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha256,
    pub(crate) init_sha256: Sha256,
}

/// Names the rendition in place of its file, which lies in a scratch folder that is gone by the time
/// anybody reads of it.
fn without_path(made: &Path, error: Mp4Error) -> StageError {
    let Mp4Error::Retime { source, .. } = &error else {
        return error.into();
    };
    let rendition = made.file_stem().unwrap_or_default().to_string_lossy();
    let message = format!("ffmpeg gave frames of `{rendition}` other times than planned: {source}");
    StageError {
        message,
        ..StageError::of(&error)
    }
}

/// Checks every frame of a piece against the window and gives it its exact time. Blocking.
pub(crate) fn retime(piece: &Piece) -> Result<Retimed, StageError> {
    std::fs::create_dir_all(&piece.folder)
        .map_err(|error| crate::unreadable(&piece.folder, &error))?;
    let path = piece
        .folder
        .join(piece.made.file_name().unwrap_or_default());
    let mut fragmented = Fragmented::read(&piece.made)?;
    let retimed = fragmented.retime_video(&piece.pts, piece.end);
    retimed.map_err(|error| without_path(&piece.made, error))?;
    let grid = piece.grid;
    let written = fragmented.write(&path, |pts| grid.cell(pts))?;
    // The scratch folder holds each piece once.
    std::fs::remove_file(&piece.made).map_err(|error| crate::unreadable(&piece.made, &error))?;
    let Written {
        bytes,
        sha256,
        init_sha256,
        ..
    } = written;
    Ok(Retimed {
        path,
        bytes,
        sha256,
        init_sha256,
    })
}
