//! Outputs against the source that they were made of.

use std::path::Path;

use reelmill_common::Sha256;
use reelmill_common::certificate::Certificate;
use reelmill_common::colour::is_grey;
use reelmill_common::digest::Hasher;
use reelmill_common::manifest::{Proof, RenditionPlan};
use reelmill_common::marker::SeamFrame;
use reelmill_media::Input;
use reelmill_media::decode::{DecodeRequest, decode};
use reelmill_media::encode::Increasing;

use super::{Check, Findings};
use crate::commands::source_file;
use crate::failure::{Failure, io};

impl Check {
    /// Decodes the source in one go, and holds every chunk against it, and every output that is said to
    /// be without loss. Adds what it finds, and how many frames it decoded.
    pub(super) async fn source(
        &self,
        path: &Path,
        lossless: &[Lossless],
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        let problems = &mut findings.problems;
        let certified = &self.certificate.source;
        let (absolute, _) = source_file(path)?;
        let mut file = std::fs::File::open(path).map_err(io("read", path))?;
        let (sha256, _) = Sha256::of_reader(&mut file).map_err(io("read", path))?;
        if sha256 != certified.sha256 {
            problems.push(format!(
                "`{}` is not the source that the certificate names",
                path.display()
            ));
            return Ok(());
        }
        let Some(stream) = &certified.video else {
            return Ok(());
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
            rendition: None,
            luma_only: false,
        };
        let mut compare = Compare::new(&self.certificate);
        let mut frames = 0;
        decode(&self.tools, &request, &self.scratch, &mut |frame| {
            frames += 1;
            compare.frame(&frame);
        })
        .await?;
        compare.finish(problems);
        for output in lossless {
            let request = DecodeRequest {
                rendition: Some((self.certificate.changes, &output.rendition)),
                luma_only: is_grey(&output.rendition.pixel_format),
                ..request
            };
            let windows = || self.certificate.chunks.iter().map(|chunk| chunk.window);
            let mut expected = Fingerprints::default();
            let ended = decode(&self.tools, &request, &self.scratch, &mut |frame| {
                if windows().any(|window| window.contains(frame.pts)) {
                    expected.add(&frame);
                }
            })
            .await?;
            let path = &output.path;
            match output.frames.first_difference(&expected) {
                None => {}
                // What a decoder makes of damage depends on where it begins.
                Some(frame) if ended.complaints > 0 => findings.notes.push(format!(
                    "the source is damaged: from frame {frame} on, `{path}` shows it otherwise than a decoder that begins at its start"
                )),
                Some(frame) => problems.push(format!(
                    "`{path}` is said to be without loss, but frame {frame} is not the source's{}",
                    self.other_ffmpeg()
                )),
            }
        }
        findings.source_frames = frames;
        Ok(())
    }

    /// Words on another ffmpeg than the one that made the outputs, which may scale otherwise.
    fn other_ffmpeg(&self) -> String {
        let (made, here) = (&self.certificate.ffmpeg, &self.tools.version);
        match made == here {
            true => String::new(),
            false => format!(" (made by ffmpeg {made}, decoded by {here})"),
        }
    }
}

/// An output whose pictures are the source's, scaled and converted at most.
pub(super) struct Lossless {
    pub(super) path: String,
    /// How its frames were made.
    pub(super) rendition: RenditionPlan,
    pub(super) frames: Fingerprints,
}

/// Frames in order, the first 8 bytes of each one's hash: hours of them have room.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprints(Vec<Option<u64>>);

impl Fingerprints {
    pub(super) fn add(&mut self, frame: &SeamFrame) {
        let start = frame.hash.get(..16);
        self.0
            .push(start.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
    }

    /// The number of the first frame that is another, or that only one side has.
    fn first_difference(&self, other: &Self) -> Option<usize> {
        let same = self
            .0
            .iter()
            .zip(&other.0)
            .take_while(|(a, b)| a.is_some() && a == b);
        let same = same.count();
        (same < self.0.len().max(other.0.len())).then_some(same)
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
