//! HLS over the fragments that were joined: playlists are all that is added.

use std::path::Path;

use reelmill_common::manifest::Manifest;
use reelmill_media::mp4::{Joined, codec_string};
use reelmill_stage::StageError;

use crate::Merger;
use crate::assemble::{Assembled, Made, made};
use crate::certify::Holds;
use crate::hls::{Audio, Fragment, Stream, Video, master, media};

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
            videos.push(Video {
                stream,
                width: picture.plan.width,
                height: picture.plan.height,
                frame_rate: manifest
                    .video
                    .as_ref()
                    .and_then(|video| video.stream.frame_rate),
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
