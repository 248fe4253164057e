//! One window by several ffmpegs, each of which decodes it and encodes some of its renditions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use reelmill_common::manifest::RenditionPlan;
use reelmill_media::Tools;
use reelmill_media::encode::{EncodeRequest, Encoded, encode};
use reelmill_media::process::Limits;
use reelmill_stage::{StageError, Work};

/// What was made of a window.
#[derive(Debug)]
pub(crate) struct Made {
    /// What the first ffmpeg said, which is asked for the hashes.
    pub(crate) encoded: Encoded,
    /// The encoder's file of each rendition, by its name.
    files: BTreeMap<String, PathBuf>,
}

impl Made {
    /// What the encoder wrote of a rendition.
    pub(crate) fn file(&self, rendition: &RenditionPlan) -> Result<&Path, StageError> {
        let file = self.files.get(&rendition.name).ok_or_else(|| {
            let name = &rendition.name;
            let message = format!("the plan gives no ffmpeg the rendition `{name}`");
            StageError::permanent("plan-broken", message)
        });
        file.map(PathBuf::as_path)
    }
}

/// Encodes each group of renditions in a folder of its own within `dir`, all at once. `window` says
/// everything else. Progress is that of the first group, which has the largest rendition.
///
/// # Errors
/// [`StageError`]: of ffmpeg, of the folder, and where two decodes gave different frames.
pub(crate) async fn encode_groups(
    tools: &Tools,
    window: &EncodeRequest<'_>,
    groups: &[Vec<RenditionPlan>],
    dir: &Path,
    limits: Limits,
    work: &Work,
) -> Result<Made, StageError> {
    let folders: Vec<PathBuf> = (0..groups.len())
        .map(|group| dir.join(group.to_string()))
        .collect();
    for folder in &folders {
        std::fs::create_dir(folder)
            .map_err(|error| StageError::scratch("cannot work in", folder, &error))?;
    }
    let runs = groups.iter().zip(&folders).enumerate();
    let runs = runs.map(|(number, (renditions, folder))| async move {
        let is_first = number == 0;
        let request = EncodeRequest {
            renditions,
            start_seam: window.start_seam.filter(|_| is_first),
            end_seam: window.end_seam.filter(|_| is_first),
            every_frame: window.every_frame && is_first,
            ..window.clone()
        };
        let mut report = |frames| {
            if is_first {
                work.report_frames(frames);
            }
        };
        encode(tools, &request, folder, limits, &mut report).await
    });
    let mut ended = try_join_all(runs).await?.into_iter();
    let Some(encoded) = ended.next() else {
        return Err(StageError::permanent(
            "plan-broken",
            "a chunk has no renditions",
        ));
    };
    if ended.any(|other| other.pts != encoded.pts) {
        let message = "two ffmpegs decoded other frames of the same window";
        return Err(StageError::passing("frames-differ", message));
    }
    let files = groups.iter().zip(&folders).flat_map(|(group, folder)| {
        let file = |r: &RenditionPlan| (r.name.clone(), folder.join(format!("{}.mp4", r.name)));
        group.iter().map(file)
    });
    Ok(Made {
        encoded,
        files: files.collect(),
    })
}
