//! The certificate, and the order in which a job becomes finished.

use reelmill_common::Timebase;
use reelmill_common::certificate::{
    Certificate, CertifiedAudio, CertifiedChunk, CertifiedOutput, CertifiedSource, CertifiedVideo,
    VERSION,
};
use reelmill_common::digest::Hasher;
use reelmill_common::job::Phase;
use reelmill_common::key;
use reelmill_common::manifest::{Manifest, RenditionPlan, Revision};
use reelmill_common::profile::{Deinterlace, Rate};
use reelmill_stage::{StageError, scratch_folder};
use reelmill_store::StoreError;

use crate::assemble::{Assembled, Made, Picture, Progressive, Sound};
use crate::{Merger, Parts};

impl Merger {
    /// Outputs, then the certificate: the job is finished when that exists.
    pub(crate) async fn finish(
        &self,
        manifest: &Manifest,
        revisions: &[Revision],
        parts: &Parts,
    ) -> Result<(), StageError> {
        let dir = self.folder()?;
        let assembled = self.assemble(manifest, parts, dir.path()).await?;
        let packaged = match manifest.outputs.hls {
            true => self.package(manifest, &assembled, dir.path()).await?,
            false => Vec::new(),
        };
        let certificate = certificate(manifest, revisions, parts, &assembled, &packaged)?;
        self.ports
            .ledger
            .set_phase(&manifest.job, Phase::Storing)
            .await?;
        let progressive = assembled
            .progressive
            .iter()
            .map(|progressive| &progressive.made);
        for made in progressive.chain(packaged.iter().map(|(made, _)| made)) {
            let key = key::output(&manifest.job, &made.path)
                .map_err(|error| StageError::permanent("key-invalid", error.to_string()))?;
            self.ports.store.put_file(&key, &made.file).await?;
        }
        let bytes = json(&certificate)?;
        match self
            .ports
            .store
            .put_new(&key::certificate(&manifest.job), bytes.into())
            .await
        {
            // Another merger was first: equal input gave it equal outputs.
            Ok(()) | Err(StoreError::AlreadyExists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn folder(&self) -> Result<tempfile::TempDir, StageError> {
        let dir = scratch_folder(&self.scratch, "merge")?;
        let hls = dir.path().join("hls");
        std::fs::create_dir(&hls)
            .map_err(|error| StageError::scratch("cannot make", &hls, &error))?;
        Ok(dir)
    }
}

/// What a packaged file holds, for the certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Holds {
    /// A rendition, by its place among the pictures.
    Picture(usize),
    /// An audio track, by its place among the sounds.
    Sound(usize),
    /// A playlist.
    Nothing,
}

fn certificate(
    manifest: &Manifest,
    revisions: &[Revision],
    parts: &Parts,
    assembled: &Assembled,
    packaged: &[(Made, Holds)],
) -> Result<Certificate, StageError> {
    let mut plan = Hasher::default();
    // Where the source lies and what the job is called are no part of what was made of it.
    plan.update(&json(&(
        &manifest.video,
        &manifest.audio,
        &manifest.profile_digest,
        revisions,
    ))?);
    let moved: u64 = parts.chunks.iter().map(|(_, marker)| marker.moved).sum();
    let moved = (moved > 0).then(|| {
        format!("{moved} frames have no time of their own and are shown one tick after the one before them")
    });
    let reasons = revisions
        .iter()
        .flat_map(|revision| revision.reasons.clone());
    let sounds: Vec<CertifiedAudio> = assembled.sounds.iter().map(certified_audio).collect();
    let progressive = assembled
        .progressive
        .iter()
        .map(|p| progressive(p, assembled, &sounds));
    let packaged = packaged.iter().map(|(made, holds)| CertifiedOutput {
        video: match holds {
            Holds::Picture(index) => assembled.pictures.get(*index).map(joined_video),
            Holds::Sound(_) | Holds::Nothing => None,
        },
        audio: match holds {
            Holds::Sound(index) => sounds.get(*index).cloned().into_iter().collect(),
            Holds::Picture(_) | Holds::Nothing => Vec::new(),
        },
        ..output(made)
    });
    let source = &manifest.source;
    Ok(Certificate {
        version: VERSION,
        job: manifest.job.clone(),
        reelmill: env!("CARGO_PKG_VERSION").to_owned(),
        ffmpeg: manifest.ffmpeg.clone(),
        profile: manifest.profile.clone(),
        profile_digest: manifest.profile_digest,
        plan_digest: plan.finish().0,
        proof: manifest.proof,
        source: CertifiedSource {
            name: source.name.clone(),
            size: source.size,
            sha256: source.sha256,
            video: manifest.video.as_ref().map(|video| video.stream.clone()),
            audio: manifest
                .audio
                .iter()
                .map(|track| track.stream.clone())
                .collect(),
        },
        opening: manifest.opening,
        copy_timestamps: manifest.copy_timestamps,
        timeline: manifest.timeline.clone(),
        deinterlaced: manifest
            .video
            .as_ref()
            .map_or(Deinterlace::Off, |video| video.deinterlace),
        changes: manifest
            .video
            .as_ref()
            .map(|video| video.changes)
            .unwrap_or_default(),
        chunks: certified_chunks(parts),
        outputs: progressive.chain(packaged).collect(),
        complaints: parts
            .chunks
            .iter()
            .map(|(_, marker)| marker.complaints)
            .sum::<u64>()
            + parts
                .audio
                .iter()
                .map(|marker| marker.complaints)
                .sum::<u64>(),
        notes: once(
            manifest
                .notes
                .iter()
                .cloned()
                .chain(reasons)
                .chain(parts.notes().cloned())
                .chain(assembled.notes.clone())
                .chain(undecoded(manifest, parts))
                .chain(moved),
        ),
    })
}

/// A sentence where fewer frames were decoded than the scan found packets, of codecs in which each packet
/// is a frame. Where fields are coded apart, two packets are.
fn undecoded(manifest: &Manifest, parts: &Parts) -> Option<String> {
    const FRAME_EACH: [&str; 5] = ["h264", "hevc", "mjpeg", "mpeg2video", "prores"];
    let video = manifest.video.as_ref()?;
    let is_counted = FRAME_EACH.contains(&video.stream.codec.as_str())
        && !video.stream.interlaced
        && video.deinterlace != Deinterlace::Fields;
    let packets: u64 = video.chunks.iter().map(|chunk| chunk.packets).sum();
    let frames: u64 = parts.chunks.iter().map(|(_, marker)| marker.frames).sum();
    let missing = packets.saturating_sub(frames);
    // Almost half missing is what field pairs look like that no header tells of.
    (is_counted && missing > 0 && packets < frames.saturating_mul(19) / 10).then(|| {
        format!(
            "{missing} of {packets} frames of the picture cannot be decoded and are left out: the source is damaged, or begins in mid-stream"
        )
    })
}

/// Each sentence once, in the order in which they first appear.
fn once(sentences: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for sentence in sentences {
        if !kept.contains(&sentence) {
            kept.push(sentence);
        }
    }
    kept
}

fn certified_chunks(parts: &Parts) -> Vec<CertifiedChunk> {
    parts
        .chunks
        .iter()
        .map(|(placed, marker)| CertifiedChunk {
            index: placed.index,
            generation: placed.generation,
            window: marker.window,
            lead_in_us: marker.lead_in_us,
            frames: marker.frames,
            first_pts: marker.first_pts,
            last_pts: marker.last_pts,
            pts_digest: marker.pts_digest,
            start_seam: marker.start_seam.clone(),
            end_seam: marker.end_seam.clone(),
            frames_digest: marker.frames_digest,
        })
        .collect()
}

fn certified_audio(sound: &Sound) -> CertifiedAudio {
    CertifiedAudio {
        track: sound.track,
        language: sound.stream.language.clone(),
        channels: sound.channels,
        sample_rate: sound.sample_rate,
        samples: sound.samples,
    }
}

fn output(made: &Made) -> CertifiedOutput {
    CertifiedOutput {
        path: made.path.clone(),
        bytes: made.bytes,
        sha256: made.sha256,
        video: None,
        audio: Vec::new(),
    }
}

fn progressive(
    progressive: &Progressive,
    assembled: &Assembled,
    sounds: &[CertifiedAudio],
) -> CertifiedOutput {
    let video = progressive.picture.as_ref().and_then(|(index, track)| {
        let plan = &assembled.pictures.get(*index)?.plan;
        Some(CertifiedVideo {
            rendition: plan.name.clone(),
            width: plan.width,
            height: plan.height,
            frames: track.samples,
            timebase: Timebase::new(1, track.timescale).ok()?,
            first_pts: track.first_pts?,
            last_pts: track.last_pts?,
            duration: track.duration,
            lossless: lossless(plan),
        })
    });
    CertifiedOutput {
        video,
        audio: sounds.to_vec(),
        ..output(&progressive.made)
    }
}

fn joined_video(picture: &Picture) -> CertifiedVideo {
    let joined = &picture.joined;
    CertifiedVideo {
        rendition: picture.plan.name.clone(),
        width: picture.plan.width,
        height: picture.plan.height,
        frames: joined.frames,
        timebase: Timebase::new(1, joined.timescale).unwrap_or(Timebase::MICROS),
        first_pts: joined.first_pts,
        last_pts: joined.last_pts,
        duration: joined.end - joined.first_pts,
        lossless: lossless(&picture.plan),
    }
}

/// A rendition's plan, where it is encoded without loss.
fn lossless(plan: &RenditionPlan) -> Option<RenditionPlan> {
    (plan.settings.rate == Rate::Lossless).then(|| plan.clone())
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StageError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| StageError::permanent("certificate-unwritable", error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}
