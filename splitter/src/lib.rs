//! The first stage: opens a source in place, probes and scans it, plans windows, lead-ins and audio
//! tasks, writes the manifest and publishes a message for each task.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use reelmill_common::job::Phase;
use reelmill_common::manifest::Manifest;
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, key};
use reelmill_ledger::NewJob;
use reelmill_media::{Input, Tools, interlace, probe, scan};
use reelmill_source::Sources;
use reelmill_stage::{
    Handler, Outcome, Ports, StageError, Work, create_json, load_json, manifest, planned,
    publish_missing, revisions, scratch_folder,
};

mod admit;
mod cost;
mod early;
mod jumps;
mod last;
mod plan;
mod refusal;
mod spread;
mod summary;
mod windows;

use early::Packets;
use plan::{Facts, plan};
use refusal::not_media;
use summary::Scanner;

/// Plans jobs.
#[derive(Debug)]
pub struct Splitter {
    /// The three ports.
    pub ports: Ports,
    /// The ffmpeg that jobs planned here will use.
    pub tools: Arc<Tools>,
    /// Shared with the other stages of this process, so that a source is read for its digest once.
    pub sources: Arc<Sources>,
    /// Where scratch folders are made.
    pub scratch: PathBuf,
}

#[async_trait]
impl Handler for Splitter {
    async fn handle(&self, work: &Work) -> Result<Outcome, StageError> {
        let job = &work.task.job;
        let store = self.ports.store.as_ref();
        let manifest = match manifest(store, job).await? {
            Some(manifest) => manifest,
            None => self.plan(job).await?,
        };
        let revisions = revisions(store, job).await?;
        self.ports.ledger.set_phase(job, Phase::Transcoding).await?;
        publish_missing(&self.ports, &manifest, &revisions).await?;
        Ok(Outcome::Complete)
    }
}

impl Splitter {
    /// Plans a job and writes its manifest; should another have written one meanwhile, that one
    /// counts.
    async fn plan(&self, job: &JobId) -> Result<Manifest, StageError> {
        let store = self.ports.store.as_ref();
        let Some(request) = load_json::<JobRequest>(store, &key::request(job)).await? else {
            let message = format!(
                "`{}` is not in the store: submit the job again",
                key::request(job)
            );
            return Err(StageError::permanent("request-missing", message));
        };
        self.ports.ledger.set_phase(job, Phase::Scanning).await?;
        let manifest = self.look(job, &request).await?;
        let new = NewJob {
            id: job.clone(),
            profile: manifest.profile.clone(),
            name: manifest.source.name.clone(),
            options: manifest.options.clone(),
        };
        self.ports.ledger.create_job(&new).await?;
        match create_json(store, &key::manifest(job), &manifest).await? {
            true => Ok(manifest),
            false => planned(store, job).await,
        }
    }

    /// Probes and scans the source.
    async fn look(&self, job: &JobId, request: &JobRequest) -> Result<Manifest, StageError> {
        let opened = self.sources.open_undescribed(&request.location).await?;
        let dir = scratch_folder(&self.scratch, "scan")?;
        let input = Input::at(opened.place());
        let (tools, dir) = (self.tools.as_ref(), dir.path());
        let packets = Packets::new(early::MOST);
        let scan = || async {
            let mut add = |packet| packets.add(packet);
            scan::scan(tools, &input, dir, &mut add).await
        };
        let mut scanning = Box::pin(scan());
        let mut scanned = None;
        // By the name that was asked for, whatever a link leads to.
        let describing = self.sources.describe(&request.name, &request.location);
        let probing = probe::probe(tools, &input, dir);
        let beginning = self
            .sources
            .beginning(&request.location, refusal::BEGINNING);
        let mut looking =
            pin!(async { tokio::join!(describing, probing, tools.encoders(), beginning) });
        let wants_picture = !request.profile.video.is_empty();
        let (source, probed, encoders, beginning) = loop {
            tokio::select! {
                looked = &mut looking => break looked,
                ended = &mut scanning, if wants_picture && scanned.is_none() => scanned = Some(ended),
            }
        };
        let source = source?;
        opened.check()?;
        let beginning = beginning?;
        if let Some(kind) = refusal::image(&beginning) {
            return Err(refusal::is_an_image(&source, kind));
        }
        let probed = probed.map_err(|error| not_media(&source, &error, &beginning))?;
        admit::encoders(&request.profile, encoders?)?;
        admit::streams(&source, &probed)?;

        let mut info = probed.info;
        if !wants_picture {
            info.video = None;
        }
        let mut summary = None;
        if let Some(stream) = &info.video {
            let deinterlace = interlace::deinterlace(request.profile.deinterlace, stream);
            let scanner = Scanner::new(stream.timebase, request.profile.fragment_ms, &info.format)
                .deinterlaced(deinterlace, stream.interlaced);
            if !packets.count_with(scanner) {
                (scanning, scanned) = (Box::pin(scan()), None);
            }
            let scanned = match scanned {
                Some(scanned) => scanned,
                None => scanning.await,
            };
            opened.check()?;
            scanned.map_err(|error| not_media(&source, &error, &beginning))?;
            summary = packets.finish();
            admit::picture(&source, stream, summary.as_ref(), request.trusted)?;
        }
        let track_ends = info.video.as_ref().map(|stream| stream.index);
        let track_ends = track_ends.and_then(|index| probed.track_ends.get(&index).copied());
        let mut left_out = probed.left_out;
        if info.video.is_some() && summary.is_none() {
            left_out.push("the picture has no packets".to_owned());
            info.video = None;
        }
        admit::something(&source, &info, &request.profile, &left_out)?;
        let ffmpeg = self.tools.version.as_str();
        Ok(plan(Facts {
            job,
            request,
            source,
            ffmpeg,
            info,
            duration: probed.duration,
            track_ends,
            begins_at_zero: probed.begins_at_zero,
            summary,
            left_out,
        }))
    }
}
