//! What is refused before any work is done on it, each with one sentence.

use std::collections::BTreeSet;

use reelmill_common::manifest::SourceInfo;
use reelmill_common::media_info::{MediaInfo, VideoStream};
use reelmill_common::profile::Profile;
use reelmill_media::codec::{audio_encoder, video_encoder};
use reelmill_media::probe::Probed;
use reelmill_stage::StageError;

use crate::summary::Summary;

/// More tracks than any film has; a file with more was made to cost.
const MOST_AUDIO_TRACKS: usize = 64;

/// Pixels to decode for each byte of the source beyond which it is taken for a bomb. Film has
/// about 100, a still slide show a few thousand.
const MOST_PIXELS_PER_BYTE: u64 = 10_000;

/// Pixels that are decoded without asking whether that is a bomb: some minutes of one core.
const UNSUSPICIOUS_PIXELS: u64 = 10_000_000_000;

pub(crate) fn encoders(profile: &Profile, present: &BTreeSet<String>) -> Result<(), StageError> {
    let video = profile
        .video
        .iter()
        .map(|rung| video_encoder(rung.settings.codec));
    let audio = profile.audio.iter().map(|audio| audio_encoder(audio.codec));
    match video
        .chain(audio)
        .find(|encoder| !present.contains(*encoder))
    {
        None => Ok(()),
        Some(encoder) => Err(StageError::permanent(
            "encoder-missing",
            format!(
                "profile `{}` needs the encoder `{encoder}`, which this ffmpeg was built without: install a fuller ffmpeg or choose another profile",
                profile.name
            ),
        )),
    }
}

pub(crate) fn streams(source: &SourceInfo, probed: &Probed) -> Result<(), StageError> {
    if let Some(damage) = &probed.damage {
        return Err(StageError::permanent(
            "media-damaged",
            format!(
                "`{}` is damaged, {damage}: get a whole copy of it",
                source.name
            ),
        ));
    }
    let tracks = probed.info.audio.len();
    if tracks > MOST_AUDIO_TRACKS {
        return Err(StageError::permanent(
            "too-many-tracks",
            format!(
                "`{}` has {tracks} audio tracks, {MOST_AUDIO_TRACKS} are the most: leave some out of the source",
                source.name
            ),
        ));
    }
    Ok(())
}

pub(crate) fn picture(
    source: &SourceInfo,
    stream: &VideoStream,
    summary: Option<&Summary>,
    trusted: bool,
) -> Result<(), StageError> {
    let frame = u64::from(stream.width) * u64::from(stream.height);
    let packets = summary.map_or(0, |summary| summary.packets);
    let pixels = frame.saturating_mul(packets);
    let suspicious =
        pixels > UNSUSPICIOUS_PIXELS && pixels / source.size.max(1) > MOST_PIXELS_PER_BYTE;
    if suspicious && !trusted {
        return Err(StageError::permanent(
            "decompression-bomb",
            format!(
                "`{}` holds {packets} frames of {}x{} in {} bytes, which looks like a decompression bomb: use --trust to transcode it all the same",
                source.name, stream.width, stream.height, source.size
            ),
        ));
    }
    Ok(())
}

/// Whether there is anything to make of the source with this profile.
pub(crate) fn something(
    source: &SourceInfo,
    info: &MediaInfo,
    profile: &Profile,
    left_out: &[String],
) -> Result<(), StageError> {
    let audio = profile.audio.is_some() && !info.audio.is_empty();
    if info.video.is_some() || audio {
        return Ok(());
    }
    let why = match left_out.first() {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    Err(StageError::permanent(
        "nothing-to-transcode",
        format!(
            "`{}` has nothing that profile `{}` can transcode{why}: check the file or choose another profile",
            source.name, profile.name
        ),
    ))
}
