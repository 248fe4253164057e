//! `reelmill verify`: outputs against their certificate, and on request the source as well.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use reelmill_common::certificate::{Certificate, CertifiedOutput, CertifiedVideo};
use reelmill_common::digest::Hasher;
use reelmill_common::manifest::Proof;
use reelmill_common::marker::SeamFrame;
use reelmill_common::{JobId, Sha256, Timeline};
use reelmill_media::decode::{DecodeRequest, decode};
use reelmill_media::encode::Increasing;
use reelmill_media::listen::{ListenRequest, listen};
use reelmill_media::mp4::{Track, TrackKind, inspect};
use reelmill_media::{Input, Tools};
use serde::Serialize;

use super::source_file;
use crate::args::{ToolArgs, VerifyArgs};
use crate::failure::{Exit, Failure, io};
use crate::folder::{CERTIFICATE, read_certificate};
use crate::report::{FailureReport, noted, print_json, print_line};

/// What a verification found.
#[derive(Debug, Serialize)]
struct Findings {
    job: JobId,
    status: &'static str,
    /// Files whose bytes were compared.
    files: usize,
    /// What was decoded of each output that has frames or sound.
    outputs: Vec<Decoded>,
    /// Frames decoded from all outputs together.
    frames: u64,
    /// Samples decoded from all outputs' audio tracks together.
    samples: u64,
    /// Frames decoded from the source.
    source_frames: u64,
    /// One sentence for each thing that is not as certified.
    problems: Vec<String>,
    /// The certificate's notes: how the outputs differ from the source.
    notes: Vec<String>,
}

/// What was decoded of one output.
#[derive(Debug, Serialize)]
struct Decoded {
    path: String,
    frames: u64,
    samples: u64,
}

impl Decoded {
    /// `290 frames, 512000 samples of sound`.
    fn words(&self) -> String {
        let (frames, samples) = (self.frames, self.samples);
        let frames = (frames > 0).then(|| format!("{frames} frames"));
        let samples = (samples > 0).then(|| format!("{samples} samples of sound"));
        let parts: Vec<String> = frames.into_iter().chain(samples).collect();
        format!("{}: {}", self.path, parts.join(", "))
    }
}

pub(crate) async fn run(tools: &ToolArgs, args: VerifyArgs) -> Result<(), Failure> {
    let job = OnceLock::new();
    let result = verify(tools, &args, &job).await;
    match &result {
        Ok(findings) if args.json => print_json(findings),
        Ok(findings) => findings.print(),
        Err(failure) if args.json => print_json(&FailureReport::new(job.get(), failure)),
        Err(_) => {}
    }
    let count = result?.problems.len();
    if count == 0 {
        return Ok(());
    }
    let message = format!(
        "`{}` is not as certified in {count} places",
        args.dir.display()
    );
    Err(Failure::new(Exit::Failed, "not-as-certified", message))
}

async fn verify(
    tools: &ToolArgs,
    args: &VerifyArgs,
    job: &OnceLock<JobId>,
) -> Result<Findings, Failure> {
    let Some(certificate) = read_certificate(&args.dir)? else {
        return Err(Failure::failed(format!(
            "`{}` has no `{CERTIFICATE}`: name a folder that `reelmill transcode` finished",
            args.dir.display()
        )));
    };
    job.get_or_init(|| certificate.job.clone());
    let scratch = tempfile::tempdir().map_err(io("work in", &std::env::temp_dir()))?;
    let tools = Tools::find(tools.ffmpeg.as_deref(), scratch.path()).await?;
    let dir = std::path::absolute(&args.dir).map_err(io("find", &args.dir))?;
    let check = Check {
        tools,
        scratch: scratch.path().to_path_buf(),
        dir,
        certificate,
    };
    check.all(args.source.as_deref()).await
}

impl Findings {
    fn print(&self) {
        self.problems.iter().for_each(|problem| print_line(problem));
        if !self.problems.is_empty() {
            return;
        }
        let outputs = self.outputs.iter().map(Decoded::words);
        outputs.for_each(|line| print_line(&line));
        self.notes.iter().for_each(|note| print_line(&noted(note)));
        let source = match self.source_frames {
            0 => String::new(),
            frames => format!(" and {frames} frames of the source"),
        };
        print_line(&format!(
            "verified: {} files{source} are as certified",
            self.files
        ));
    }
}

struct Check {
    tools: Tools,
    scratch: PathBuf,
    dir: PathBuf,
    certificate: Certificate,
}

impl Check {
    async fn all(&self, source: Option<&Path>) -> Result<Findings, Failure> {
        let mut findings = Findings {
            job: self.certificate.job.clone(),
            status: "verified",
            files: 0,
            outputs: Vec::new(),
            frames: 0,
            samples: 0,
            source_frames: 0,
            problems: Vec::new(),
            notes: self.certificate.notes.clone(),
        };
        for output in &self.certificate.outputs {
            findings.files += 1;
            if let Some(problem) = self.bytes(output) {
                findings.problems.push(problem);
            }
            let mut decoded = Decoded {
                path: output.path.clone(),
                frames: 0,
                samples: 0,
            };
            if let Some(video) = &output.video {
                match self.picture(output, video).await {
                    Ok(frames) => decoded.frames = frames,
                    Err(problem) => findings.problems.push(problem),
                }
            }
            match self.sound(output).await {
                Ok(samples) => decoded.samples = samples,
                Err(problem) => findings.problems.push(problem),
            }
            findings.frames += decoded.frames;
            findings.samples += decoded.samples;
            if (decoded.frames, decoded.samples) != (0, 0) {
                findings.outputs.push(decoded);
            }
        }
        let chunks: u64 = self
            .certificate
            .chunks
            .iter()
            .map(|chunk| chunk.frames)
            .sum();
        for output in &self.certificate.outputs {
            if output
                .video
                .as_ref()
                .is_some_and(|video| video.frames != chunks)
            {
                let problem = format!(
                    "the certificate's chunks have {chunks} frames, `{}` another number",
                    output.path
                );
                findings.problems.push(problem);
            }
        }
        if let Some(source) = source {
            findings.source_frames = self.source(source, &mut findings.problems).await?;
        }
        if !findings.problems.is_empty() {
            findings.status = "failed";
        }
        Ok(findings)
    }

    fn bytes(&self, output: &CertifiedOutput) -> Option<String> {
        let name = &output.path;
        let path = self.dir.join(name);
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) => return Some(format!("`{name}` cannot be read: {error}")),
        };
        match Sha256::of_reader(&mut file) {
            Err(error) => Some(format!("`{name}` cannot be read: {error}")),
            Ok((_, bytes)) if bytes != output.bytes => Some(format!(
                "`{name}` has {bytes} bytes, {} are certified",
                output.bytes
            )),
            Ok((sha256, _)) if sha256 != output.sha256 => {
                Some(format!("`{name}` has other bytes than certified"))
            }
            Ok(_) => None,
        }
    }

    /// Decodes every frame of an output: number, first and last time.
    async fn picture(
        &self,
        output: &CertifiedOutput,
        video: &CertifiedVideo,
    ) -> Result<u64, String> {
        let name = &output.path;
        let input = Input::file(self.dir.join(name));
        let timeline = Timeline::default();
        let request = DecodeRequest {
            input: &input,
            stream: None,
            timebase: video.timebase,
            copy_timestamps: true,
            timeline: &timeline,
            deinterlace: None,
        };
        let (mut frames, mut first, mut last, mut backwards) = (0_u64, None, None, None);
        let decoded = decode(
            &self.tools,
            &request,
            &self.scratch,
            &mut |frame: SeamFrame| {
                if last.is_some_and(|last| frame.pts <= last) {
                    backwards.get_or_insert(frames);
                }
                frames += 1;
                first.get_or_insert(frame.pts);
                last = Some(frame.pts);
            },
        )
        .await;
        if let Err(error) = decoded {
            return Err(format!("`{name}` cannot be decoded: {error}"));
        }
        if frames != video.frames {
            return Err(format!(
                "`{name}` has {frames} frames, {} are certified",
                video.frames
            ));
        }
        if let Some(frame) = backwards {
            return Err(format!(
                "`{name}` shows frame {frame} before the one ahead of it"
            ));
        }
        let span = |first: i64, last: i64| last - first;
        let ours = first.zip(last).map(|(first, last)| span(first, last));
        if ours != Some(span(video.first_pts, video.last_pts)) {
            return Err(format!("`{name}` does not last as long as certified"));
        }
        Ok(frames)
    }

    /// Holds an output's tables against the certificate, then decodes every audio track: what the
    /// tables promise must be there.
    async fn sound(&self, output: &CertifiedOutput) -> Result<u64, String> {
        let name = &output.path;
        if !name.ends_with(".mp4") {
            return Ok(0);
        }
        let path = self.dir.join(name);
        let tracks = inspect(&path).map_err(|error| format!("`{name}`: {error}"))?;
        let audio = audio_as_certified(&tracks, output)?;
        let input = Input::file(path);
        let mut samples = 0;
        for (track, certified) in audio.into_iter().enumerate() {
            let (packets, delay) = (certified.packets, certified.delay);
            let request = ListenRequest {
                input: &input,
                track,
            };
            let heard = listen(&self.tools, &request, &self.scratch).await;
            let heard = heard.map_err(|error| {
                format!("audio track {track} of `{name}` cannot be decoded: {error}")
            })?;
            // Of the encoder's delay nothing need be heard.
            let hidden = if delay == 0 { 0 } else { 2 };
            if heard.blocks + hidden < packets {
                return Err(format!(
                    "audio track {track} of `{name}` has {packets} packets, of which {} can be decoded",
                    heard.blocks
                ));
            }
            certified
                .lasts_as_long_as(heard.samples)
                .map_err(|why| format!("audio track {track} of `{name}` {why}"))?;
            samples += heard.samples;
        }
        Ok(samples)
    }

    /// Decodes the source once, in one go, and holds every chunk against it.
    async fn source(&self, path: &Path, problems: &mut Vec<String>) -> Result<u64, Failure> {
        let certified = &self.certificate.source;
        let (absolute, _) = source_file(path)?;
        let mut file = std::fs::File::open(path).map_err(io("read", path))?;
        let (sha256, _) = Sha256::of_reader(&mut file).map_err(io("read", path))?;
        if sha256 != certified.sha256 {
            problems.push(format!(
                "`{}` is not the source that the certificate names",
                path.display()
            ));
            return Ok(0);
        }
        let Some(stream) = &certified.video else {
            return Ok(0);
        };
        let input = Input::file(absolute).opened(self.certificate.opening);
        let deinterlace = self.certificate.deinterlaced;
        let request = DecodeRequest {
            input: &input,
            stream: Some(stream.index),
            timebase: deinterlace
                .ticks(stream.timebase)
                .unwrap_or(stream.timebase),
            copy_timestamps: self.certificate.copy_timestamps,
            timeline: &self.certificate.timeline,
            deinterlace: Some((deinterlace, stream)),
        };
        let mut compare = Compare::new(&self.certificate);
        let mut frames = 0;
        decode(&self.tools, &request, &self.scratch, &mut |frame| {
            frames += 1;
            compare.frame(&frame);
        })
        .await?;
        compare.finish(problems);
        Ok(frames)
    }
}

/// Holds what an output's tables say against its certificate: picture size, number of audio tracks,
/// what each is and how long. Gives what the tables promise of each audio track.
fn audio_as_certified(tracks: &[Track], output: &CertifiedOutput) -> Result<Vec<Promised>, String> {
    let name = &output.path;
    let of = |kind| tracks.iter().filter(move |track| track.kind == kind);
    if let Some(video) = &output.video
        && let Some(track) = of(TrackKind::Video).next()
        && (track.width, track.height) != (video.width, video.height)
    {
        return Err(format!(
            "`{name}` is {}x{}, {}x{} is certified",
            track.width, track.height, video.width, video.height
        ));
    }
    let (ours, theirs) = (of(TrackKind::Audio).count(), output.audio.len());
    if ours != theirs {
        return Err(format!(
            "`{name}` has {ours} audio tracks, {theirs} are certified"
        ));
    }
    let mut audio = Vec::new();
    for (track, certified) in of(TrackKind::Audio).zip(&output.audio) {
        let number = certified.track;
        let same =
            track.channels == certified.channels && track.sample_rate == certified.sample_rate;
        let Some(delay) = delay(&track.codec).filter(|_| same) else {
            return Err(format!(
                "audio track {number} of `{name}` is not the one certified"
            ));
        };
        let samples = track.duration - delay;
        if u64::try_from(samples) != Ok(certified.samples) {
            return Err(format!(
                "audio track {number} of `{name}` has {samples} samples, {} are certified",
                certified.samples
            ));
        }
        audio.push(Promised {
            packets: track.samples,
            duration: track.duration,
            delay,
        });
    }
    Ok(audio)
}

/// What the tables of an audio track promise.
#[derive(Clone, Copy, Debug)]
struct Promised {
    packets: u64,
    /// In samples, with the encoder's delay.
    duration: i64,
    delay: i64,
}

impl Promised {
    /// Compares the durations of all packets with what they decode to: a packet that is said to last
    /// longer than its samples is a hole, and what follows is played early.
    fn lasts_as_long_as(self, decoded: u64) -> Result<(), String> {
        let decoded = i64::try_from(decoded).unwrap_or(i64::MAX);
        // An edit list may hide the delay, and only a part of the last packet be meant to be heard.
        let packet = self.duration / i64::try_from(self.packets).unwrap_or(1).max(1) + 1;
        let shortest = self.duration - self.delay - 2 * packet;
        let longest = self.duration + 2 * packet;
        if (shortest..=longest).contains(&decoded) {
            return Ok(());
        }
        Err(format!(
            "decodes to {decoded} samples, but its packets are said to last {}",
            self.duration
        ))
    }
}

/// Samples that an encoder puts before the first one; `None` for a codec that reelmill does not make.
/// It is the codec's: what an edit list hides of it depends on when the track begins.
fn delay(codec: &str) -> Option<i64> {
    match codec {
        "fLaC" => Some(0),
        "Opus" => Some(312),
        "mp4a.40.2" => Some(1024),
        _ => None,
    }
}

/// What was decoded of one chunk.
#[derive(Default)]
struct Seen {
    frames: u64,
    /// Frames are delivered at later and later times, whatever they were decoded with.
    times: Increasing,
    /// Of the times at which they are delivered.
    pts: Hasher,
    /// Of the times and pictures that were decoded.
    hashes: Hasher,
}

/// Sequentially decoded frames against the chunks of a certificate.
struct Compare<'a> {
    certificate: &'a Certificate,
    seen: Vec<Seen>,
    /// Seam frames that came out otherwise, by chunk.
    seams: Vec<(usize, i64)>,
}

impl<'a> Compare<'a> {
    fn new(certificate: &'a Certificate) -> Self {
        let seen = certificate
            .chunks
            .iter()
            .map(|_| Default::default())
            .collect();
        Self {
            certificate,
            seen,
            seams: Vec::new(),
        }
    }

    fn frame(&mut self, frame: &SeamFrame) {
        for (at, chunk) in self.certificate.chunks.iter().enumerate() {
            let near = chunk.start_seam.iter().chain(&chunk.end_seam);
            // Several may have been decoded with one time.
            let mut here = near.filter(|seam| seam.pts == frame.pts).peekable();
            if here.peek().is_some() && here.all(|seam| seam.hash != frame.hash) {
                self.seams.push((at, frame.pts));
            }
            if !chunk.window.contains(frame.pts) {
                continue;
            }
            if let Some(seen) = self.seen.get_mut(at) {
                seen.frames += 1;
                let pts = seen.times.next(frame.pts);
                seen.pts.update(format!("{pts}\n").as_bytes());
                let decoded = format!("{} {}\n", frame.pts, frame.hash);
                seen.hashes.update(decoded.as_bytes());
            }
        }
    }

    fn finish(self, problems: &mut Vec<String>) {
        for (at, pts) in self.seams {
            problems.push(format!(
                "chunk {at}: the source decodes to another picture at {pts}"
            ));
        }
        let every_frame = self.certificate.proof == Proof::EveryFrame;
        for (chunk, seen) in self.certificate.chunks.iter().zip(self.seen) {
            let Seen {
                frames,
                pts,
                hashes,
                ..
            } = seen;
            let name = format!("chunk {} ({})", chunk.index, chunk.window);
            if frames != chunk.frames {
                let certified = chunk.frames;
                problems.push(format!(
                    "{name}: the source has {frames} frames, {certified} are certified"
                ));
            } else if pts.finish().0 != chunk.pts_digest {
                problems.push(format!("{name}: the source's frames are at other times"));
            } else if every_frame && Some(hashes.finish().0) != chunk.frames_digest {
                problems.push(format!("{name}: the source decodes to other pictures"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
