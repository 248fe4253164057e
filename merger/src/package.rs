//! HLS over the fragments that were joined: playlists are all that is added.

use std::path::Path;

use reelmill_common::manifest::{Manifest, RenditionPlan};
use reelmill_common::media_info::VideoStream;
use reelmill_media::mp4::{Joined, codec_string};
use reelmill_stage::StageError;

use crate::Merger;
use crate::assemble::{Assembled, Made, made};
use crate::certify::Holds;
use crate::hls::{Audio, Fragment, Stream, Video, VideoRange, master, media};

impl Merger {
    /// Writes the playlists and gives every file of the presentation with what it holds.
    pub(crate) async fn package(
        &self,
        manifest: &Manifest,
        assembled: &Assembled,
        dir: &Path,
    ) -> Result<Vec<(Made, Holds)>, StageError> {
        let mut files = Vec::new();
        let mut videos = Vec::new();
        for (index, picture) in assembled.pictures.iter().enumerate() {
            let stream = stream(&picture.plan.name, &picture.joined)?;
            files.push((
                joined(picture.file.clone(), &stream, &picture.joined),
                Holds::Picture(index),
            ));
            let source = manifest.video.as_ref().map(|video| &video.stream);
            let (width, height) = displayed(&picture.plan, source);
            videos.push(Video {
                stream,
                width,
                height,
                frame_rate: frame_rate(&picture.joined, source),
                range: VideoRange::of_transfer(transfer(&picture.plan, source)),
            });
        }
        let mut audios = Vec::new();
        for (index, sound) in assembled.sounds.iter().enumerate() {
            let Some((file, fragments)) = &sound.fragments else {
                continue;
            };
            let stream = stream(&format!("audio_{}", sound.track), fragments)?;
            files.push((
                joined(file.clone(), &stream, fragments),
                Holds::Sound(index),
            ));
            audios.push(Audio {
                stream,
                language: sound.stream.language.clone(),
                title: sound.stream.title.clone(),
                channels: sound.channels,
                default: sound.stream.default,
            });
        }
        let streams = videos
            .iter()
            .map(|v| &v.stream)
            .chain(audios.iter().map(|a| &a.stream));
        let mut playlists: Vec<(String, String)> = streams
            .map(|stream| (stream.playlist.clone(), media(stream)))
            .collect();
        playlists.push(("master.m3u8".to_owned(), master(&videos, &audios)));
        for (name, text) in playlists {
            let file = dir.join("hls").join(&name);
            std::fs::write(&file, text)
                .map_err(|error| StageError::scratch("cannot write", &file, &error))?;
            files.push((made(file, format!("hls/{name}")).await?, Holds::Nothing));
        }
        Ok(files)
    }
}

/// The size at which a rendition is shown, which keeps the source's shape: pixels that are not
/// square are drawn out in width, as in the track's own header.
fn displayed(plan: &RenditionPlan, source: Option<&VideoStream>) -> (u32, u32) {
    let sar = source.and_then(|source| Some((source, source.displayed_sar()?)));
    let Some((source, (x, y))) = sar.filter(|(_, (x, y))| x != y) else {
        return (plan.width, plan.height);
    };
    let (width, height) = source.displayed_size();
    let shown = u128::from(plan.height) * u128::from(width) * u128::from(x);
    let divisor = u128::from(height) * u128::from(y);
    let shown = (shown + divisor / 2).checked_div(divisor).unwrap_or(0);
    let shown = u32::try_from(shown).unwrap_or(u32::MAX);
    (shown.max(1), plan.height)
}

/// The transfer function that a rendition is tagged with; manifests of version 1 leave it to the source.
fn transfer<'a>(plan: &'a RenditionPlan, source: Option<&'a VideoStream>) -> Option<&'a str> {
    let stated = source.and_then(|source| source.colour.transfer.as_deref());
    plan.colour.transfer.as_deref().or(stated)
}

/// The highest usual frame rate. The source's own word for it counts where it is meant, since times
/// may have been rounded.
fn frame_rate(joined: &Joined, source: Option<&VideoStream>) -> Option<(u32, u32)> {
    let stated = source.and_then(|source| source.frame_rate);
    let Some((frames, ticks)) = joined.fastest else {
        return stated;
    };
    let measured = frames as f64 * f64::from(joined.timescale) / ticks as f64;
    let is_meant = |(num, den): &(u32, u32)| {
        let stated = f64::from(*num) / f64::from(*den);
        (measured / stated - 1.0).abs() < 0.02
    };
    // To the thousandth, which is what a playlist says.
    let thousandths = (u128::from(frames) * u128::from(joined.timescale) * 1000
        + u128::from(ticks) / 2)
        / u128::from(ticks);
    let measured = u32::try_from(thousandths).ok().map(|rate| (rate, 1000));
    stated.filter(is_meant).or(measured)
}

fn joined(file: std::path::PathBuf, stream: &Stream, joined: &Joined) -> Made {
    let path = format!("hls/{}", stream.uri);
    Made {
        path,
        file,
        bytes: joined.bytes,
        sha256: joined.sha256,
    }
}

fn stream(name: &str, joined: &Joined) -> Result<Stream, StageError> {
    let fragment = |fragment: &reelmill_media::mp4::JoinedFragment| Fragment {
        offset: fragment.offset,
        len: fragment.len,
        duration: fragment.duration,
    };
    Ok(Stream {
        uri: format!("{name}.mp4"),
        playlist: format!("{name}.m3u8"),
        codec: codec_string(&joined.init)?,
        timescale: joined.timescale,
        init_len: joined.init_len,
        fragments: joined.fragments.iter().map(fragment).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::profile::{PixelFormat, Rate, VideoCodec, VideoSettings};
    use reelmill_common::{Sha256, Timebase};

    fn source(size: (u32, u32), sar: Option<(u32, u32)>, rotation: u32) -> VideoStream {
        VideoStream {
            index: 0,
            codec: "h264".to_owned(),
            width: size.0,
            height: size.1,
            sar,
            rotation,
            pixel_format: "yuv420p".to_owned(),
            timebase: Timebase::MICROS,
            frame_rate: Some((30_000, 1001)),
            interlaced: false,
            colour: reelmill_common::media_info::Colour::default(),
        }
    }

    fn plan(width: u32, height: u32) -> RenditionPlan {
        RenditionPlan {
            name: "x".to_owned(),
            width,
            height,
            pixel_format: "yuv420p".to_owned(),
            colour: reelmill_common::media_info::Colour::default(),
            settings: VideoSettings {
                codec: VideoCodec::H264,
                preset: None,
                rate: Rate::Crf(23),
                pixel_format: PixelFormat::Named("yuv420p".to_owned()),
                options: std::collections::BTreeMap::new(),
            },
        }
    }

    #[test]
    fn a_picture_is_as_wide_as_it_is_shown() {
        let shown = |plan, source| displayed(&plan, Some(&source));
        let pal = source((720, 576), Some((64, 45)), 0);
        assert_eq!(shown(plan(720, 576), pal.clone()), (1024, 576));
        assert_eq!(shown(plan(360, 288), pal), (512, 288));
        let turned = source((720, 576), Some((64, 45)), 90);
        assert_eq!(shown(plan(576, 720), turned), (405, 720));
        let square = source((1920, 1080), Some((1, 1)), 0);
        assert_eq!(shown(plan(854, 480), square), (854, 480));
        let unknown = source((1920, 1080), None, 0);
        assert_eq!(shown(plan(854, 480), unknown), (854, 480));
    }

    #[test]
    fn the_rate_is_that_of_the_fastest_part() {
        let joined = |frames, ticks| Joined {
            init: Vec::new(),
            init_len: 0,
            bytes: 0,
            sha256: Sha256::of(b""),
            timescale: 1000,
            frames,
            first_pts: 0,
            last_pts: 0,
            end: 0,
            fastest: Some((frames, ticks)),
            fragments: Vec::new(),
        };
        let source = source((1920, 1080), None, 0);
        let rate = |joined| frame_rate(&joined, Some(&source));
        // As stated, by times that were rounded.
        assert_eq!(rate(joined(16, 533)), Some((30_000, 1001)));
        // The mean of a source whose rate varies is not its maximum.
        assert_eq!(rate(joined(60, 1000)), Some((60_000, 1000)));
    }
}
