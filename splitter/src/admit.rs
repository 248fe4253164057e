//! What is refused before any work is done on it, each with one sentence.

use std::collections::BTreeSet;

use reelmill_common::manifest::SourceInfo;
use reelmill_common::media_info::{MediaInfo, VideoStream};
use reelmill_common::profile::Profile;
use reelmill_media::codec::{audio_encoder, video_encoder};
use reelmill_media::probe::{Found, Kind, Probed};
use reelmill_stage::StageError;

/// More tracks than any film has; a file with more was made to cost.
const MOST_AUDIO_TRACKS: usize = 64;

/// The most work that a source may cause, whatever its size in bytes: a slide that stands still for
/// hours is a small file too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkBounds {
    /// Millions of pixels of one picture, which bounds the memory of decoders and encoders.
    pub frame_megapixels: u32,
    /// Thousands of millions of pixels of all pictures together, which bounds the time.
    pub decode_gigapixels: u32,
}

impl Default for WorkBounds {
    /// 8K in all its common forms (7680x4320 has 33.2 megapixels, 8192x4096 has 33.6), and 11 hours
    /// of 2160p30 or 44 of 1080p30.
    fn default() -> Self {
        Self {
            frame_megapixels: 35,
            decode_gigapixels: 10_000,
        }
    }
}

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
    let is_track = |found: &&Found| found.kind == Kind::Audio;
    let tracks = probed.streams.iter().filter(is_track).count();
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

/// Whether the picture's colours can be told.
pub(crate) fn colours(source: &SourceInfo, picture: &Found) -> Result<(), StageError> {
    if picture.needs_dolby_vision {
        return Err(StageError::permanent(
            "dolby-vision",
            format!(
                "`{}` is Dolby Vision without a base layer that other players show (profile 5), so that its colours would be wrong: export it as HDR10, HLG or SDR",
                source.name
            ),
        ));
    }
    Ok(())
}

/// Whether the pictures are not too large and not too many.
pub(crate) fn picture(
    source: &SourceInfo,
    stream: &VideoStream,
    packets: u64,
    bounds: WorkBounds,
) -> Result<(), StageError> {
    let name = &source.name;
    let (width, height) = (stream.width, stream.height);
    let frame = u64::from(width) * u64::from(height);
    let refuse = |what: String| Err(StageError::permanent("too-much-work", what));
    let most = bounds.frame_megapixels;
    if frame > u64::from(most) * 1_000_000 {
        return refuse(format!(
            "`{name}` has pictures of {width}x{height}, and {most} megapixels are the most: raise `max_frame_megapixels` of the service, or use --trust with `transcode`"
        ));
    }
    let most = bounds.decode_gigapixels;
    let gigapixels = frame.saturating_mul(packets) / 1_000_000_000;
    if gigapixels > u64::from(most) {
        return refuse(format!(
            "`{name}` has {packets} pictures of {width}x{height}, {gigapixels} gigapixels to decode, and {most} are the most: raise `max_decode_gigapixels` of the service, or use --trust with `transcode`"
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

#[cfg(test)]
mod tests {
    use reelmill_common::manifest::Location;
    use reelmill_common::media_info::Colour;
    use reelmill_common::{Sha256, Timebase};

    use super::*;

    #[test]
    fn work_is_bounded_and_not_pixels_a_byte() {
        let source = SourceInfo {
            name: "x.mp4".to_owned(),
            size: 1,
            sha256: Sha256::of(b""),
            location: Location::Path("/x.mp4".into()),
        };
        let judge = |width, height, packets| {
            let stream = VideoStream {
                index: 0,
                codec: "h264".to_owned(),
                width,
                height,
                sar: None,
                rotation: 0,
                pixel_format: "yuv420p".to_owned(),
                timebase: Timebase::new(1, 1000).unwrap(),
                frame_rate: None,
                interlaced: false,
                colour: Colour::default(),
            };
            picture(&source, &stream, packets, WorkBounds::default())
        };
        let hour = 3600 * 30;
        // A lecture of 12 hours in one byte, 8K film, a round view of 8K.
        for (width, height, hours) in [(1920, 1080, 12), (7680, 4320, 2), (8192, 4096, 2)] {
            judge(width, height, hours * hour).unwrap();
        }
        let large = judge(8192, 4320, 10).unwrap_err();
        assert!(
            large.message.contains("8192x4320, and 35 megapixels"),
            "{large}"
        );
        let long = judge(3840, 2160, 12 * hour).unwrap_err();
        assert!(
            long.message
                .contains("10749 gigapixels to decode, and 10000 are"),
            "{long}"
        );
    }
}
