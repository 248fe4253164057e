//! `reelmill verify`: outputs against their certificate, and on request the source as well.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use reelmill_common::certificate::{Certificate, CertifiedOutput, CertifiedVideo};
use reelmill_common::colour::is_grey;
use reelmill_common::marker::SeamFrame;
use reelmill_common::{JobId, Sha256, Timeline};
use reelmill_media::decode::{DecodeRequest, decode};
use reelmill_media::listen::{ListenRequest, listen};
use reelmill_media::mp4::inspect;
use reelmill_media::{Input, Tools};
use serde::Serialize;

use self::source::{Fingerprints, Lossless};
use self::tables::audio_as_certified;
use crate::args::{ToolArgs, VerifyArgs};
use crate::failure::{Exit, Failure, io};
use crate::folder::{CERTIFICATE, read_certificate};
use crate::report::{FailureReport, noted, print_json, print_line};

mod source;
mod tables;

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
        let mut lossless = Vec::new();
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
                    Ok(frames) => {
                        decoded.frames = video.frames;
                        lossless.extend(video.lossless.clone().map(|rendition| Lossless {
                            path: output.path.clone(),
                            rendition,
                            frames,
                        }));
                    }
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
            self.source(source, &lossless, &mut findings).await?;
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

    /// Decodes every frame of an output: number, first and last time. Gives what the frames of one
    /// without loss show; of the others none is kept.
    async fn picture(
        &self,
        output: &CertifiedOutput,
        video: &CertifiedVideo,
    ) -> Result<Fingerprints, String> {
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
            rendition: None,
            luma_only: video
                .lossless
                .as_ref()
                .is_some_and(|rendition| is_grey(&rendition.pixel_format)),
        };
        let mut shown = Fingerprints::default();
        let (mut frames, mut first, mut last, mut backwards) = (0_u64, None, None, None);
        let decoded = decode(
            &self.tools,
            &request,
            &self.scratch,
            &mut |frame: SeamFrame| {
                if last.is_some_and(|last| frame.pts <= last) {
                    backwards.get_or_insert(frames);
                }
                if video.lossless.is_some() {
                    shown.add(&frame);
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
        Ok(shown)
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
}
