//! From pieces to whole files in a scratch folder, each checked against the markers.

use std::path::{Path, PathBuf};

use reelmill_common::manifest::{Manifest, RenditionPlan, VideoPlan};
use reelmill_common::marker::StoredFile;
use reelmill_common::media_info::AudioStream;
use reelmill_common::time::Grid;
use reelmill_common::{Sha256, Timebase};
use reelmill_media::mp4::{Continuity, Joined, Joiner, Regrouper, Track, TrackKind, inspect};
use reelmill_media::mux::{
    FragmentRequest, MuxPicture, MuxRequest, MuxTrack, TimedFile, chapter_list, fragment, mux,
};
use reelmill_stage::{StageError, blocking};

use crate::timing::{Measured, Start, starts};
use crate::{Merger, Parts};

/// The name of the output of a source without picture.
pub(crate) const AUDIO_ONLY: &str = "audio";

/// A whole file, ready to be put into the store.
#[derive(Debug)]
pub(crate) struct Made {
    /// Where it will be in the output folder.
    pub(crate) path: String,
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha256,
}

/// One rendition, joined.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) plan: RenditionPlan,
    pub(crate) file: PathBuf,
    pub(crate) joined: Joined,
}

/// One audio track.
#[derive(Debug)]
pub(crate) struct Sound {
    /// The output track, from 0.
    pub(crate) track: u32,
    pub(crate) stream: AudioStream,
    pub(crate) samples: u64,
    pub(crate) sample_rate: u32,
    pub(crate) channels: u32,
    /// The track in a file of its own, with an edit list.
    pub(crate) file: PathBuf,
    /// Microseconds of encoder delay before the first sample in it.
    priming_us: i64,
    /// When its first sample is heard on the source's timeline, and the unit of that.
    first: (i64, Timebase),
    /// The same in fragments, where those are wanted.
    pub(crate) fragments: Option<(PathBuf, Joined)>,
}

/// A progressive file and what its tables say.
#[derive(Debug)]
pub(crate) struct Progressive {
    pub(crate) made: Made,
    /// The picture of it, as its place in [`Assembled::pictures`].
    pub(crate) picture: Option<(usize, Track)>,
}

/// Everything that was made of a job.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) pictures: Vec<Picture>,
    pub(crate) sounds: Vec<Sound>,
    pub(crate) progressive: Vec<Progressive>,
    /// What turned out while joining, one sentence each.
    pub(crate) notes: Vec<String>,
}

impl Merger {
    pub(crate) async fn assemble(
        &self,
        manifest: &Manifest,
        parts: &Parts,
        dir: &Path,
    ) -> Result<Assembled, StageError> {
        let mut notes = Vec::new();
        let mut sounds = self.sounds(manifest, parts, dir, &mut notes).await?;
        let (video_start, audio_starts) = placed(manifest, parts, &sounds);

        let mut pictures = Vec::new();
        if let (Some(video), Some(start)) = (&manifest.video, video_start) {
            for (index, plan) in video.renditions.iter().enumerate() {
                pictures.push(self.join(video, index, plan, parts, start, dir).await?);
            }
        }
        if manifest.outputs.hls {
            let step_ms = manifest
                .video
                .as_ref()
                .map_or(2000, |video| video.grid.step_ms);
            let from = video_start.map_or(0, |start| start.fragments_us);
            for (sound, start) in sounds.iter_mut().zip(&audio_starts) {
                let grid = Grid {
                    origin: from,
                    timebase: Timebase::MICROS,
                    step_ms,
                };
                self.fragment(sound, *start, grid, dir).await?;
            }
        }
        let mut progressive = Vec::new();
        if manifest.outputs.mp4 {
            let origin_us = origin_us(manifest, parts, &sounds);
            let about = About {
                title: manifest.title.clone(),
                chapters: chapters(manifest, origin_us, dir)?,
            };
            progressive = self
                .mux(&pictures, &sounds, video_start, &audio_starts, about, dir)
                .await?;
        }
        Ok(Assembled {
            pictures,
            sounds,
            progressive,
            notes,
        })
    }

    async fn sounds(
        &self,
        manifest: &Manifest,
        parts: &Parts,
        dir: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Sound>, StageError> {
        let mut sounds = Vec::new();
        for (plan, marker) in manifest.audio.iter().zip(&parts.audio) {
            let Some(StoredFile { key, .. }) = &marker.file else {
                if marker.notes.is_empty() {
                    notes.push(format!(
                        "the audio track in stream {} is left out: nothing in it can be decoded",
                        plan.stream.index
                    ));
                }
                continue;
            };
            let track = u32::try_from(sounds.len()).unwrap_or(u32::MAX);
            let file = dir.join(format!("track_{track}.mp4"));
            self.ports.store.get_file(key, &file).await?;
            let inspected = file.clone();
            let priming_us = blocking(move || priming_us(&inspected)).await??;
            sounds.push(Sound {
                priming_us,
                first: (marker.first_pts.unwrap_or(0), marker.timebase),
                track,
                stream: plan.stream.clone(),
                samples: marker.samples,
                sample_rate: marker.sample_rate,
                channels: marker.channels,
                file,
                fragments: None,
            });
        }
        if manifest.video.is_none() && sounds.is_empty() {
            return Err(StageError::permanent(
                "nothing-decoded",
                format!(
                    "nothing in `{}` can be decoded: the file is damaged",
                    manifest.source.name
                ),
            ));
        }
        Ok(sounds)
    }

    /// Joins the chunks of a rendition, in order.
    async fn join(
        &self,
        video: &VideoPlan,
        index: usize,
        plan: &RenditionPlan,
        parts: &Parts,
        start: Start,
        dir: &Path,
    ) -> Result<Picture, StageError> {
        let mut pieces = Vec::new();
        for (place, (_, marker)) in parts.chunks.iter().enumerate() {
            let Some(stored) = marker.renditions.get(index) else {
                continue;
            };
            let piece = dir.join(format!("{}-{place:05}.mp4", plan.name));
            self.ports.store.get_file(&stored.key, &piece).await?;
            pieces.push(piece);
        }
        let file = dir.join("hls").join(format!("{}.mp4", plan.name));
        let first_pts = first_pts(parts);
        let shift = shift(video, first_pts, start)?;
        let target = file.clone();
        let joined = blocking(move || -> Result<Joined, StageError> {
            let mut joiner = Joiner::create(&target, shift, Continuity::Exact)?;
            for piece in &pieces {
                joiner.append(piece)?;
                // Joined pieces only take room.
                std::fs::remove_file(piece).ok();
            }
            Ok(joiner.finish()?)
        })
        .await??;
        let frames: u64 = parts.chunks.iter().map(|(_, marker)| marker.frames).sum();
        if joined.frames != frames {
            let message = format!(
                "`{}` has {} frames after joining, its chunks have {frames}",
                plan.name, joined.frames
            );
            return Err(StageError::permanent("frames-lost", message));
        }
        Ok(Picture {
            plan: plan.clone(),
            file,
            joined,
        })
    }

    /// Cuts a track into fragments whose times are those of the joined picture.
    async fn fragment(
        &self,
        sound: &mut Sound,
        start: Start,
        grid: Grid,
        dir: &Path,
    ) -> Result<(), StageError> {
        let raw = dir.join(format!("raw_{}.mp4", sound.track));
        let request = FragmentRequest {
            track: &sound.file,
            output: &raw,
        };
        fragment(&self.tools, &request, dir).await?;
        let file = dir.join("hls").join(format!("audio_{}.mp4", sound.track));
        let (target, priming) = (file.clone(), sound.priming_us);
        let joined = blocking(move || -> Result<Joined, StageError> {
            let samples = Regrouper::open(&raw)?;
            let timebase = Timebase::new(1, samples.timescale()).unwrap_or(Timebase::MICROS);
            let begin = Timebase::MICROS.rescale_nearest(start.fragments_us - priming, timebase);
            let shift = begin.max(0) - samples.first_dts();
            let cell = |pts: i64| grid.cell(timebase.rescale_nearest(pts, Timebase::MICROS));
            let joined = samples.write(&target, shift, cell)?;
            std::fs::remove_file(&raw).ok();
            Ok(joined)
        })
        .await??;
        sound.fragments = Some((file, joined));
        Ok(())
    }

    /// Makes the progressive files and checks them against what they were made of.
    async fn mux(
        &self,
        pictures: &[Picture],
        sounds: &[Sound],
        video_start: Option<Start>,
        audio_starts: &[Start],
        about: About,
        dir: &Path,
    ) -> Result<Vec<Progressive>, StageError> {
        let output = |name: &str| dir.join(format!("output_{name}.mp4"));
        let starts_us = video_start.map_or(0, |start| start.progressive_us);
        let timed = |path: &Path, starts_us| TimedFile {
            path: path.to_path_buf(),
            starts_us,
        };
        let track = |(sound, start): (&Sound, &Start)| MuxTrack {
            file: timed(&sound.file, start.progressive_us),
            language: sound.stream.language.clone(),
            title: sound.stream.title.clone(),
            default: sound.stream.default,
        };
        let request = MuxRequest {
            pictures: pictures
                .iter()
                .map(|p| MuxPicture {
                    file: timed(&p.file, starts_us),
                    output: output(&p.plan.name),
                    frames: p.joined.frames,
                    last_frame_ticks: p.joined.end - p.joined.last_pts,
                })
                .collect(),
            audio: sounds.iter().zip(audio_starts).map(track).collect(),
            audio_only: pictures.is_empty().then(|| output(AUDIO_ONLY)),
            title: about.title,
            chapters: about.chapters,
            movie_timescale: sounds
                .iter()
                .map(|sound| sound.sample_rate)
                .chain(pictures.iter().map(|picture| picture.joined.timescale))
                .next()
                .unwrap_or(1000),
        };
        mux(&self.tools, &request, dir).await?;

        let mut progressive = Vec::new();
        if pictures.is_empty() {
            let made = made(output(AUDIO_ONLY), format!("output_{AUDIO_ONLY}.mp4")).await?;
            progressive.push(Progressive {
                made,
                picture: None,
            });
        }
        for (index, picture) in pictures.iter().enumerate() {
            let name = &picture.plan.name;
            let file = output(name);
            let (whole, joined) = (file.clone(), picture.file.clone());
            let expected = sounds.len();
            let track =
                blocking(move || same_times(&whole, &joined, expected, starts_us)).await??;
            let made = made(file, format!("output_{name}.mp4")).await?;
            progressive.push(Progressive {
                made,
                picture: Some((index, track)),
            });
        }
        Ok(progressive)
    }
}

/// The first frame of all, in source ticks; a window may hold none.
fn first_pts(parts: &Parts) -> Option<i64> {
    parts.chunks.iter().find_map(|(_, marker)| marker.first_pts)
}

/// What progressive files say of the whole.
#[derive(Debug)]
struct About {
    title: Option<String>,
    /// The list of chapters, where there are any.
    chapters: Option<PathBuf>,
}

/// Writes the list of chapters on the delivered timeline.
fn chapters(
    manifest: &Manifest,
    origin_us: i64,
    dir: &Path,
) -> Result<Option<PathBuf>, StageError> {
    let Some(list) = chapter_list(&manifest.chapters, origin_us) else {
        return Ok(None);
    };
    let file = dir.join("chapters.txt");
    std::fs::write(&file, list)
        .map_err(|error| StageError::scratch("cannot write", &file, &error))?;
    Ok(Some(file))
}

/// The time on the job's timeline, in microseconds, at which progressive files begin.
fn origin_us(manifest: &Manifest, parts: &Parts, sounds: &[Sound]) -> i64 {
    let measured = measured(manifest, parts, sounds);
    let firsts = measured.iter().map(|track| {
        track
            .timebase
            .rescale_nearest(track.first, Timebase::MICROS)
    });
    firsts.min().unwrap_or(0)
}

/// When the picture and each track begin.
fn placed(manifest: &Manifest, parts: &Parts, sounds: &[Sound]) -> (Option<Start>, Vec<Start>) {
    let mut all = starts(&measured(manifest, parts, sounds)).into_iter();
    let video = manifest.video.as_ref().and_then(|_| all.next());
    (video, all.collect())
}

/// The first frame and sample of each track: the picture, where there is one, then the sounds.
fn measured(manifest: &Manifest, parts: &Parts, sounds: &[Sound]) -> Vec<Measured> {
    let mut measured = Vec::new();
    if let Some(video) = &manifest.video {
        let first = first_pts(parts);
        let timebase = video.grid.timebase;
        measured.push(Measured {
            first: first.unwrap_or(0),
            timebase,
            priming_us: 0,
        });
    }
    measured.extend(sounds.iter().map(|sound| Measured {
        first: sound.first.0,
        timebase: sound.first.1,
        priming_us: sound.priming_us,
    }));
    measured
}

/// Microseconds of encoder delay before the first sample of a track. Blocking.
fn priming_us(file: &Path) -> Result<i64, StageError> {
    let tracks = inspect(file)?;
    let delay = tracks.first().and_then(|track| {
        let timebase = Timebase::new(1, track.timescale).ok()?;
        Some(timebase.rescale_nearest(-track.first_pts?, Timebase::MICROS))
    });
    Ok(delay.unwrap_or(0).max(0))
}

/// Ticks by which the chunks' times are moved when they are joined.
fn shift(video: &VideoPlan, first_pts: Option<i64>, start: Start) -> Result<i64, StageError> {
    let timebase = Timebase::new(1, video.timescale).unwrap_or(Timebase::MICROS);
    let begin = Timebase::MICROS.rescale_nearest(start.fragments_us, timebase);
    // Chunks count from the plan's origin, the one chunk of an uncut source from its first frame.
    let behind = match first_pts.filter(|_| !video.begins_with_first_frame()) {
        Some(first) => video.delivered_ticks(first - video.grid.origin),
        None => Some(0),
    };
    behind.map(|behind| begin - behind).ok_or_else(|| {
        StageError::permanent(
            "timestamps-broken",
            "the first frame has no exact place on the timeline",
        )
    })
}

/// The picture of a progressive file, once it is known to hold exactly the frames of the joined
/// fragments at their times, and all tracks. Blocking.
fn same_times(
    whole: &Path,
    joined: &Path,
    sounds: usize,
    starts_us: i64,
) -> Result<Track, StageError> {
    let wrong = |what: String| {
        let name = whole.file_name().unwrap_or_default().to_string_lossy();
        StageError::permanent("output-wrong", format!("`{name}` is not published: {what}"))
    };
    let video = |tracks: Vec<Track>| tracks.into_iter().find(|t| t.kind == TrackKind::Video);
    // First, since reading fragments takes most memory.
    let theirs = video(inspect(joined)?);
    let tracks = inspect(whole)?;
    let heard = tracks
        .iter()
        .filter(|track| track.kind == TrackKind::Audio)
        .count();
    if heard != sounds {
        return Err(wrong(format!(
            "it has {heard} audio tracks instead of {sounds}"
        )));
    }
    let (Some(mut ours), Some(theirs)) = (video(tracks), theirs) else {
        return Err(wrong("it has no picture".to_owned()));
    };
    if ours.samples != theirs.samples {
        return Err(wrong(format!(
            "it has {} frames instead of {}",
            ours.samples, theirs.samples
        )));
    }
    let to = |track: &Track, ticks: i64| {
        i128::from(ticks) * 1_000_000_000 / i128::from(track.timescale.max(1))
    };
    let since_first = |track: &Track, pts: i64| to(track, pts - track.first_pts.unwrap_or(0));
    let moved = ours
        .pts
        .iter()
        .zip(&theirs.pts)
        .position(|(&a, &b)| since_first(&ours, a) != since_first(&theirs, b));
    if let Some(frame) = moved {
        return Err(wrong(format!(
            "its frame {frame} is not where the fragments have it"
        )));
    }
    let first_us = to(&ours, ours.first_pts.unwrap_or(0)) / 1000;
    // Edit lists count in the movie's ticks, which need not be the picture's.
    if (first_us - i128::from(starts_us)).abs() > 1000 {
        return Err(wrong(format!(
            "its picture begins at {first_us} µs instead of {starts_us}"
        )));
    }
    // They are as many as the frames, and nobody asks for them again.
    ours.pts = Vec::new();
    Ok(ours)
}

/// A finished file with its digest.
pub(crate) async fn made(file: PathBuf, path: String) -> Result<Made, StageError> {
    let read = file.clone();
    let (sha256, bytes) = blocking(move || {
        std::fs::File::open(&read).and_then(|mut file| Sha256::of_reader(&mut file))
    })
    .await?
    .map_err(|error| StageError::scratch("cannot read", &file, &error))?;
    Ok(Made {
        path,
        file,
        bytes,
        sha256,
    })
}
