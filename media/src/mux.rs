//! Stream copies: nothing is decoded or encoded here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reelmill_common::media_info::Chapter;

use crate::error::MediaError;
use crate::process::{Ended, Invocation, Limits, run};
use crate::tools::Tools;

/// A file of our own making, and when its first sample is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedFile {
    /// The file, with one track.
    pub path: PathBuf,
    /// Microseconds after the output's beginning.
    pub starts_us: i64,
}

/// The picture of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuxPicture {
    /// The joined fragments.
    pub file: TimedFile,
    /// The file to make.
    pub output: PathBuf,
    /// How many frames there are.
    pub frames: u64,
    /// Ticks of the track that the last frame is shown. ffmpeg 5.1 reads no durations of fragments, and
    /// would take the average for it.
    pub last_frame_ticks: i64,
}

impl MuxPicture {
    fn args(&self, index: usize) -> [OsString; 4] {
        let (last, ticks) = (self.frames.saturating_sub(1), self.last_frame_ticks);
        let durations = format!("if(eq(N\\,{last})\\,{ticks}\\,DURATION)");
        let filter = format!("setts=pts=PTS:dts=DTS:duration={durations}");
        let map = format!("{index}:v:0");
        ["-map".into(), map.into(), "-bsf:v".into(), filter.into()]
    }
}

/// An audio track of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuxTrack {
    /// Its file.
    pub file: TimedFile,
    /// ISO 639-2 language, where known.
    pub language: Option<String>,
    /// Its title, where it has one.
    pub title: Option<String>,
    /// Whether players should choose it unasked.
    pub default: bool,
}

/// One progressive MP4 for each picture, all with the same audio tracks.
#[derive(Clone, Debug)]
pub struct MuxRequest {
    /// Each rendition; empty where there is no picture.
    pub pictures: Vec<MuxPicture>,
    /// The audio tracks.
    pub audio: Vec<MuxTrack>,
    /// The output when there is no picture.
    pub audio_only: Option<PathBuf>,
    /// The title of each output, where there is one.
    pub title: Option<String>,
    /// A file of chapters as [`chapter_list`] writes it, where there are any.
    pub chapters: Option<PathBuf>,
    /// Ticks per second of the edit lists that say when tracks begin; the audio's sample rate
    /// keeps that to the sample, where ffmpeg's own choice of 1000 would not.
    pub movie_timescale: u32,
}

impl MuxRequest {
    /// The argument vector.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "repeat+level+warning",
            "-y",
        ]
        .map(OsString::from)
        .to_vec();
        let pictures = self.pictures.iter().map(|picture| &picture.file);
        for file in pictures.chain(self.audio.iter().map(|track| &track.file)) {
            args.extend(open(file));
        }
        if let Some(chapters) = &self.chapters {
            args.extend(["-f", "ffmetadata", "-i"].map(OsString::from));
            args.push(file_url(chapters));
        }
        for (index, picture) in self.pictures.iter().enumerate() {
            args.extend(picture.args(index));
            args.extend(self.output(&picture.output));
        }
        if let Some(output) = &self.audio_only {
            args.extend(self.output(output));
        }
        args
    }

    fn output(&self, output: &Path) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        for (track, index) in self.audio.iter().zip(0_usize..) {
            let input = self.pictures.len() + index;
            args.extend(["-map".into(), format!("{input}:a:0").into()]);
            let mut tag = |name: &str, value: &str| {
                args.push(format!("-metadata:s:a:{index}").into());
                args.push(format!("{name}={value}").into());
            };
            tag("language", track.language.as_deref().unwrap_or("und"));
            if let Some(title) = &track.title {
                tag("title", title);
            }
            args.push(format!("-disposition:a:{index}").into());
            args.push(if track.default { "default" } else { "0" }.into());
        }
        args.extend(
            [
                "-c",
                "copy",
                "-strict",
                "experimental",
                "-fflags",
                "+bitexact",
                // Tracks begin when they begin: edit lists say so, nothing is shifted.
                "-avoid_negative_ts",
                "disabled",
                "-movflags",
                "+faststart",
                "-f",
                "mp4",
            ]
            .map(OsString::from),
        );
        // Nothing is copied from the scratch files. `-map_metadata -1` would leave out the titles of
        // chapters too, and with them the track that the file says they are in.
        args.extend(["-map_metadata:g", "-1", "-map_metadata:s", "-1"].map(OsString::from));
        let chapters = match self.chapters {
            Some(_) => (self.pictures.len() + self.audio.len()).to_string(),
            None => "-1".to_owned(),
        };
        args.extend(["-map_chapters".into(), chapters.into()]);
        if let Some(title) = &self.title {
            args.extend(["-metadata".into(), format!("title={title}").into()]);
        }
        args.extend([
            "-movie_timescale".into(),
            self.movie_timescale.to_string().into(),
        ]);
        args.push(file_url(output));
        args
    }

    /// About how much it writes: every output has all sound.
    fn bytes(&self) -> u64 {
        let pictures = self.pictures.iter().map(|picture| size(&picture.file.path));
        let sounds = self.audio.iter().map(|track| size(&track.file.path));
        let outputs = self.pictures.len().max(1) as u64;
        pictures.sum::<u64>() + sounds.sum::<u64>() * outputs
    }

    fn reads(&self) -> Vec<PathBuf> {
        let pictures = self.pictures.iter().map(|picture| &picture.file);
        pictures
            .chain(self.audio.iter().map(|track| &track.file))
            .map(|f| f.path.clone())
            .chain(self.chapters.clone())
            .collect()
    }
}

/// A list of chapters as ffmpeg reads it (`ffmetadata`), with times that many microseconds earlier;
/// `None` where none is left. What lies before 0 is cut.
#[must_use]
pub fn chapter_list(chapters: &[Chapter], earlier_us: i64) -> Option<String> {
    let mut list = ";FFMETADATA1\n".to_owned();
    let mut any = false;
    for chapter in chapters {
        let (start, end) = (chapter.start_us - earlier_us, chapter.end_us - earlier_us);
        if end < 0 {
            continue;
        }
        any = true;
        let start = start.max(0);
        list.push_str(&format!(
            "[CHAPTER]\nTIMEBASE=1/1000000\nSTART={start}\nEND={end}\ntitle="
        ));
        for letter in chapter.title.chars() {
            if matches!(letter, '=' | ';' | '#' | '\\' | '\n') {
                list.push('\\');
            }
            list.push(letter);
        }
        list.push('\n');
    }
    any.then_some(list)
}

/// Makes the progressive files.
///
/// # Errors
/// Any [`MediaError`].
pub async fn mux(tools: &Tools, request: &MuxRequest, dir: &Path) -> Result<Ended, MediaError> {
    copy(
        tools,
        "mux an output",
        request.args(),
        request.reads(),
        dir,
        request.bytes(),
    )
    .await
}

/// A track of ours to turn into fragments of one second each, all of whose samples may be regrouped.
#[derive(Clone, Debug)]
pub struct FragmentRequest<'a> {
    /// The track in a file of its own.
    pub track: &'a Path,
    /// The file to make of it.
    pub output: &'a Path,
}

impl FragmentRequest<'_> {
    /// The argument vector.
    #[must_use]
    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "repeat+level+error",
            "-y",
        ]
        .map(OsString::from)
        .to_vec();
        args.extend(["-i".into(), file_url(self.track)]);
        args.extend(
            [
                "-map",
                "0:a:0",
                "-c",
                "copy",
                "-strict",
                "experimental",
                "-map_metadata",
                "-1",
                "-map_chapters",
                "-1",
                "-fflags",
                "+bitexact",
                "-movflags",
                "+empty_moov+default_base_moof+frag_discont+cmaf",
                "-frag_duration",
                "1000000",
                "-f",
                "mp4",
            ]
            .map(OsString::from),
        );
        args.push(file_url(self.output));
        args
    }
}

/// Turns a track of ours into fragments.
///
/// # Errors
/// Any [`MediaError`].
pub async fn fragment(
    tools: &Tools,
    request: &FragmentRequest<'_>,
    dir: &Path,
) -> Result<Ended, MediaError> {
    copy(
        tools,
        "cut an audio track into fragments",
        request.args(),
        vec![request.track.to_path_buf()],
        dir,
        size(request.track),
    )
    .await
}

async fn copy(
    tools: &Tools,
    action: &'static str,
    args: Vec<OsString>,
    reads: Vec<PathBuf>,
    dir: &Path,
    bytes: u64,
) -> Result<Ended, MediaError> {
    // Ten megabytes a second is slow for a copy.
    let wall = Duration::from_secs(120 + bytes / 10_000_000);
    let limits = Limits {
        wall,
        idle: Duration::MAX,
        cpu: wall,
        memory: 4 << 30,
        file_size: 1 << 42,
    };
    let invocation = Invocation {
        action,
        program: tools.ffmpeg.clone(),
        args,
        dir: dir.to_path_buf(),
        reads,
        connects: None,
        limits,
    };
    run(invocation, &mut |_| {}).await
}

fn open(file: &TimedFile) -> Vec<OsString> {
    // ffmpeg moves each file to begin at 0, then by this.
    let offset = format!("{}us", file.starts_us);
    vec![
        "-itsoffset".into(),
        offset.into(),
        "-i".into(),
        file_url(&file.path),
    ]
}

/// Bytes of a file; one that cannot be read is ffmpeg's to complain about.
fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.len())
}

fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_is_counted_with_its_sound() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: usize| {
            let path = dir.path().join(name);
            std::fs::write(&path, vec![0; bytes]).unwrap();
            TimedFile { path, starts_us: 0 }
        };
        let track = MuxTrack {
            file: file("sound", 100),
            language: None,
            title: None,
            default: true,
        };
        let mut request = MuxRequest {
            pictures: Vec::new(),
            audio: vec![track.clone(), track],
            audio_only: Some(PathBuf::from("out")),
            title: None,
            chapters: None,
            movie_timescale: 1000,
        };
        assert_eq!(request.bytes(), 200);
        for name in ["large", "small"] {
            request.pictures.push(MuxPicture {
                file: file(name, 1000),
                output: PathBuf::from("out"),
                frames: 1,
                last_frame_ticks: 1,
            });
        }
        assert_eq!(request.bytes(), 2400);
    }
}
