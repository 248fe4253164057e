//! The first stage: opens a source in place, probes and scans it, plans windows, lead-ins and audio
//! tasks, writes the manifest and publishes a message for each task.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use reelmill_common::job::Phase;
use reelmill_common::manifest::{FrameChanges, Manifest, SourceInfo};
use reelmill_common::media_info::MediaInfo;
use reelmill_common::opening::Opening;
use reelmill_common::request::JobRequest;
use reelmill_common::{JobId, key};
use reelmill_ledger::NewJob;
use reelmill_media::{Input, Tools, probe, scan};
use reelmill_source::{Opened, Sources};
use reelmill_stage::{
    Handler, Outcome, Ports, StageError, Work, create_json, load_json, manifest, planned,
    publish_missing, revisions, scratch_folder,
};

mod admit;
mod choice;
mod cost;
mod early;
mod jumps;
mod last;
mod plan;
mod refusal;
mod shapes;
mod spread;
mod summary;
mod survey;
mod tally;
mod tracks;
mod truncated;
mod windows;

pub use admit::WorkBounds;
use choice::{Chosen, Streams, choose, likely_picture};
use early::Packets;
use plan::{Facts, plan};
use refusal::not_media;
use survey::{Looker, Survey, scanner};

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
    /// The most work that a source may cause, unless its submitter trusts it.
    pub bounds: WorkBounds,
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
        let (source, mut survey) = self.first_look(&opened, request, dir.path()).await?;
        let looker = Looker {
            tools: &self.tools,
            opened: &opened,
            source: &source,
            request,
            dir: dir.path(),
        };
        survey = looker.complete(survey).await?;
        looker.find_scrambled(&mut survey).await?;
        admit::streams(&source, &survey.probed)?;
        let streams = Streams {
            source: &source,
            request,
            probed: &survey.probed,
            tallies: &survey.counted.tallies,
        };
        let Chosen {
            mut video,
            audio,
            notes,
        } = choose(streams)?;
        let mut left_out = notes;
        let chosen = video.iter().map(|video| video.index);
        let chosen: Vec<u32> = chosen
            .chain(audio.iter().map(|track| track.index))
            .collect();
        let (probed, tallies) = (&survey.probed, &survey.counted.tallies);
        let cut = truncated::notes(probed, tallies, &chosen, survey.size);
        let is_cut = !cut.is_empty();
        left_out.extend(cut);
        left_out.extend(survey.unread());
        left_out.append(&mut survey.probed.notes);
        left_out.append(&mut survey.notes);
        let format = survey.probed.format.clone();
        let mut summary = None;
        if let Some(stream) = &video {
            let scanner = scanner(request, stream, &format);
            summary = looker.summary(&mut survey, stream.index, scanner).await?;
            let packets = summary.as_ref().map_or(0, |summary| summary.packets);
            if !request.trusted {
                admit::picture(&source, stream, packets, self.bounds)?;
            }
        }
        let track_ends = video.as_ref().map(|stream| stream.index);
        let track_ends = track_ends.and_then(|index| survey.probed.track_ends.get(&index).copied());
        // What is not there is not shown.
        let track_ends = track_ends.filter(|_| !is_cut);
        if video.is_some() && summary.is_none() {
            left_out.push("the picture has no packets".to_owned());
            video = None;
        }
        let mut info = MediaInfo {
            format,
            video,
            audio,
            title: survey.probed.title,
            chapters: survey.probed.chapters,
        };
        admit::something(&source, &info, &request.profile, &left_out)?;
        let mut changes = FrameChanges::default();
        if let (Some(stream), Some(summary)) = (&mut info.video, &summary) {
            let found = survey.probed.streams.iter();
            for found in found.filter(|found| found.index == stream.index) {
                admit::colours(&source, found)?;
                left_out.extend(found.unkept.clone());
            }
            let notes;
            (changes, notes) = looker.shapes(survey.opening, stream, summary).await?;
            left_out.extend(notes);
        }
        let ffmpeg = self.tools.version.as_str();
        Ok(plan(Facts {
            job,
            request,
            source,
            ffmpeg,
            info,
            opening: survey.opening,
            duration: survey.probed.duration,
            track_ends,
            begins_at_zero: survey.probed.begins_at_zero,
            start_us: survey.probed.start_us,
            summary,
            changes,
            left_out,
        }))
    }

    /// Describes, probes and scans the source at the same time.
    async fn first_look(
        &self,
        opened: &Opened,
        request: &JobRequest,
        dir: &Path,
    ) -> Result<(SourceInfo, Survey), StageError> {
        let input = Input::at(opened.place());
        let tools = self.tools.as_ref();
        let packets = Packets::new(early::MOST);
        let mut add = |packet| packets.add(packet);
        let mut scanning = pin!(scan::scan(tools, &input, dir, &mut add));
        let mut scanned = None;
        // By the name that was asked for, whatever a link leads to.
        let describing = self.sources.describe(&request.name, &request.location);
        let probing = probe::probe(tools, &input, dir);
        let beginning = self
            .sources
            .beginning(&request.location, refusal::BEGINNING);
        let mut looking =
            pin!(async { tokio::join!(describing, probing, tools.encoders(), beginning) });
        let (source, probed, encoders, beginning) = loop {
            tokio::select! {
                looked = &mut looking => break looked,
                ended = &mut scanning, if scanned.is_none() => scanned = Some(ended),
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
        if let Some(picture) = likely_picture(request, &probed) {
            let scanner = scanner(request, &picture, &probed.format);
            packets.count_with(picture.index, scanner);
        }
        let scanned = match scanned {
            Some(scanned) => scanned,
            None => scanning.await,
        };
        opened.check()?;
        let scanned = scanned.map_err(|error| not_media(&source, &error, &beginning))?;
        let survey = Survey {
            opening: Opening::default(),
            probed,
            scanned,
            counted: packets.finish(),
            size: truncated::Size::new(&beginning, source.size),
            notes: Vec::new(),
        };
        Ok((source, survey))
    }
}
