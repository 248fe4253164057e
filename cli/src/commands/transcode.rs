//! `reelmill transcode`: the whole job here and now, through the stages that a cluster runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reelmill_common::certificate::Certificate;
use reelmill_common::job::JobStatus;
use reelmill_common::manifest::{Location, Manifest, SourceInfo};
use reelmill_common::profile::Profile;
use reelmill_common::request::{JobOptions, JobRequest, VERSION};
use reelmill_common::{JobId, WorkerId};
use reelmill_ledger::JobRecord;
use reelmill_media::Tools;
use reelmill_source::{CACHE_BYTES, SourceSettings, Sources, regular_file};
use reelmill_stage::{Ports, Shutdown, load_json, manifest};
use tokio::sync::Mutex;

use super::{deliver, load_profile, submit};
use crate::args::{ToolArgs, TranscodeArgs, ViaArg};
use crate::failure::{Exit, Failure};
use crate::folder::OutputFolder;
use crate::progress::Progress;
use crate::report::{FailureReport, Report, Timings, outputs, print_json, print_line};
use crate::stop::Stop;
use crate::wire::{Clock, Machine, Slots, embedded, start};

/// How often the ledger is asked how far the job is.
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn run(tools: &ToolArgs, args: TranscodeArgs) -> Result<(), Failure> {
    let result = transcode(tools, &args).await;
    match &result {
        Ok(report) if args.json => print_json(report),
        Ok(report) => {
            let paths = report.outputs.iter().map(|output| &output.path);
            paths.for_each(|path| print_line(path));
        }
        Err(failure) if args.json => print_json(&FailureReport {
            status: "failed",
            code: &failure.code,
            message: &failure.message,
            detail: &failure.detail,
        }),
        Err(_) => {}
    }
    result.map(|_report| ())
}

async fn transcode(tools: &ToolArgs, args: &TranscodeArgs) -> Result<Report, Failure> {
    let began = Instant::now();
    let profile = load_profile(&args.profile)?;
    regular_file(&args.input).map_err(|error| Failure::of(&error))?;
    let folder = OutputFolder::open(&args.output)?;
    let run = Run {
        tools,
        args,
        profile,
        folder: &folder,
        began,
    };
    let mut progress = Progress::new(args.quiet);
    let result = run.in_folder(&mut progress).await;
    match &result {
        Ok(report) => {
            for deviation in &report.deviations {
                progress.say(&format!("note: {deviation}"));
            }
            progress.say(&report.summary());
            folder.clear()?;
        }
        // What no second try can mend, or what never began, leaves nothing behind.
        Err(failure) if failure.for_good || !folder.has_work()? => folder.clear()?,
        Err(_) => {}
    }
    result
}

/// One call of the command, with its folder locked.
struct Run<'a> {
    tools: &'a ToolArgs,
    args: &'a TranscodeArgs,
    profile: Profile,
    folder: &'a OutputFolder,
    began: Instant,
}

impl Run<'_> {
    async fn in_folder(&self, progress: &mut Progress) -> Result<Report, Failure> {
        let work = self.folder.work();
        if self.args.force {
            self.folder.discard_work()?;
        }
        let scratch = self.folder.fresh_scratch()?;
        let sources = Sources::default();
        let input = Location::Path(self.args.input.clone());
        let name = self.args.input.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let (source, tools) = tokio::join!(
            sources.describe(&name, &input),
            Tools::find(self.tools.ffmpeg.as_deref(), &scratch)
        );
        let source = source.map_err(|error| Failure::of(&error))?;
        if let Some(report) = self.already_done(&source)? {
            progress.say("already done: the folder holds these outputs");
            return Ok(report);
        }
        let tools = Arc::new(tools?);
        let worker = WorkerId::new("local").map_err(|error| Failure::failed(error.to_string()))?;
        let ports = embedded(&work, &worker).await?;
        let job = self.job_id(&source)?;
        let resumed = match self.unfinished(&ports).await? {
            Some(manifest) => {
                self.same_job(&manifest, &source, &tools)?;
                let resumed = submit::again(&ports, &manifest).await?;
                progress.say(&format!(
                    "going on: {} of {} tasks are done already",
                    resumed.tasks, resumed.total
                ));
                resumed.chunks
            }
            None => {
                let source = match self.args.via {
                    ViaArg::Path => source,
                    ViaArg::Store => submit::store(&ports, &job, source, &scratch).await?,
                };
                submit::new(&ports, &job, &self.request(&source)).await?;
                0
            }
        };
        let slots = Slots {
            ingest: 1,
            chunks: self.slots(),
            merges: 1,
        };
        let settings = SourceSettings {
            cache: scratch.join("sources"),
            cache_bytes: CACHE_BYTES,
        };
        let sources = Arc::new(sources.with_store(Arc::clone(&ports.store), settings));
        let machine = Machine {
            ports,
            tools,
            sources,
            scratch,
            worker,
            slots,
            lease: Duration::from_secs(60),
        };
        let clock = Arc::new(Mutex::new(Clock::default()));
        self.work(&machine, &job, progress, &clock).await?;
        let certificate = deliver::deliver(&machine.ports, &job, self.folder).await?;
        let manifest = manifest(machine.ports.store.as_ref(), &job).await?;
        let clock = clock.lock().await;
        Ok(self.report(&certificate, manifest.as_ref(), resumed, &clock))
    }

    /// Runs the stages until the job has ended or somebody wants this process to end.
    async fn work(
        &self,
        machine: &Machine,
        job: &JobId,
        progress: &mut Progress,
        clock: &Arc<Mutex<Clock>>,
    ) -> Result<(), Failure> {
        let (switch, shutdown) = Shutdown::new();
        let mut stages = start(machine, &shutdown, clock);
        let mut stop = Stop::new()?;
        let mut length_known = false;
        let ended = loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.wait() => break Err(interrupted()),
                Some(stage) = stages.join_next() => match stage {
                    Ok(Err(error)) => break Err(error.into()),
                    Ok(Ok(())) | Err(_) => break Err(Failure::failed("a stage ended before the job did")),
                },
            }
            if let Some(error) = clock.lock().await.out_of_room.take() {
                break Err(error.into());
            }
            let record = machine
                .ports
                .ledger
                .job(job)
                .await
                .map_err(|error| Failure::of(&error))?;
            let Some(record) = record else { continue };
            if !length_known && record.total_chunks > 0 {
                length_known = true;
                if let Some(manifest) = manifest(machine.ports.store.as_ref(), job).await? {
                    progress.set_seconds(seconds(&manifest));
                }
            }
            if record.status.is_terminal() {
                break outcome(record);
            }
            progress.update(&record);
        };
        progress.finish();
        switch.send(true).ok();
        while stages.join_next().await.is_some() {}
        ended
    }

    /// The folder's outputs, where they are those that were asked for.
    fn already_done(&self, source: &SourceInfo) -> Result<Option<Report>, Failure> {
        if self.args.force {
            return Ok(None);
        }
        let folder = self.folder.path.display();
        let Some(certificate) = self.folder.certificate()? else {
            if let Some(name) = self
                .folder
                .uncertified()?
                .filter(|_| !self.folder.has_work().unwrap_or(true))
            {
                return Err(
                    self.refuse(&format!("`{folder}` holds `{name}` without a certificate"))
                );
            }
            return Ok(None);
        };
        if certificate.source.sha256 != source.sha256 {
            return Err(self.refuse(&format!(
                "`{folder}` holds the outputs of another source, `{}`",
                certificate.source.name
            )));
        }
        let same = certificate.profile_digest == self.profile.digest()
            && certificate.proof == self.args.proof.into();
        if !same {
            return Err(self.refuse(&format!(
                "`{folder}` holds outputs of this source made with profile `{}` or another proof",
                certificate.profile
            )));
        }
        if let Some(changed) = deliver::first_change(&self.folder.path, &certificate) {
            return Err(self.refuse(&format!("`{folder}` was finished, but {changed} since")));
        }
        Ok(Some(self.report(
            &certificate,
            None,
            certificate.chunks.len(),
            &Clock::default(),
        )))
    }

    fn refuse(&self, what: &str) -> Failure {
        Failure::new(
            Exit::Failed,
            "folder-in-use",
            format!("{what}: choose another folder, or overwrite it with --force"),
        )
    }

    /// The manifest of a job that an earlier run left in the folder.
    async fn unfinished(&self, ports: &Ports) -> Result<Option<Manifest>, Failure> {
        let mut jobs = ports
            .store
            .list("chunks/", None, 2)
            .await
            .map_err(|error| Failure::of(&error))?;
        let Some(first) = jobs.drain(..).next() else {
            return Ok(None);
        };
        Ok(load_json(ports.store.as_ref(), &first.key).await?)
    }

    /// Whether unfinished work is that of this very command.
    fn same_job(
        &self,
        manifest: &Manifest,
        source: &SourceInfo,
        tools: &Tools,
    ) -> Result<(), Failure> {
        let folder = self.folder.path.display();
        let way_out = "begin anew with --force";
        let refuse = |code, what: String| Err(Failure::new(Exit::Failed, code, what));
        if manifest.source.sha256 != source.sha256 {
            return refuse(
                "source-changed",
                format!(
                    "`{}` is not the file that the unfinished work in `{folder}` was begun with: put the old one back, or {way_out}",
                    self.args.input.display()
                ),
            );
        }
        if manifest.profile_digest != self.profile.digest()
            || manifest.proof != self.args.proof.into()
        {
            return refuse(
                "profile-changed",
                format!(
                    "the unfinished work in `{folder}` was begun with profile `{}` and proof `{:?}`: use those, or {way_out}",
                    manifest.profile, manifest.proof
                ),
            );
        }
        if manifest.ffmpeg != tools.version {
            return refuse(
                "ffmpeg-differs",
                format!(
                    "the unfinished work in `{folder}` was begun with ffmpeg {}, this is {}: use that one, or {way_out}",
                    manifest.ffmpeg, tools.version
                ),
            );
        }
        Ok(())
    }

    fn request(&self, source: &SourceInfo) -> JobRequest {
        JobRequest {
            version: VERSION,
            location: source.location.clone(),
            name: source.name.clone(),
            profile: self.profile.clone(),
            proof: self.args.proof.into(),
            slots: self.slots(),
            window_ms: self.args.window,
            trusted: self.args.trust,
            options: JobOptions::default(),
        }
    }

    fn slots(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.args
            .slots
            .unwrap_or_else(|| u32::try_from(cores()).unwrap_or(1))
    }

    /// The same source, profile and proof are the same job, so that its certificate is the same.
    fn job_id(&self, source: &SourceInfo) -> Result<JobId, Failure> {
        let what = format!(
            "{} {} {:?}",
            source.sha256,
            self.profile.digest(),
            self.args.proof
        );
        let digest = reelmill_common::Sha256::of(what.as_bytes()).to_string();
        let short = digest.get(..16).unwrap_or_default();
        JobId::new(format!("t-{short}")).map_err(|error| Failure::failed(error.to_string()))
    }

    fn report(
        &self,
        certificate: &Certificate,
        manifest: Option<&Manifest>,
        resumed: usize,
        clock: &Clock,
    ) -> Report {
        let wall = self.began.elapsed().as_secs_f64();
        let since = |at: Option<Instant>| at.map_or(0.0, |at| (at - self.began).as_secs_f64());
        Report {
            job: certificate.job.to_string(),
            status: "completed",
            outputs: outputs(certificate, &self.folder.path),
            chunks: certificate.chunks.len(),
            chunks_resumed: resumed,
            wall_s: wall,
            speed: manifest.map_or(0.0, |manifest| seconds(manifest) / wall.max(0.001)),
            timings: Timings {
                start_to_first_encode: since(clock.first),
                last_encode_to_done: clock.last.map_or(0.0, |last| last.elapsed().as_secs_f64()),
                lead_in_share: manifest.map_or(0.0, lead_in_share),
            },
            deviations: certificate.deviations.clone(),
        }
    }
}

fn outcome(record: JobRecord) -> Result<(), Failure> {
    match (record.status, record.error) {
        (JobStatus::Completed, _) => Ok(()),
        (_, Some(error)) => Err(error.into()),
        (status, None) => Err(Failure::failed(format!(
            "the job ended as {}",
            status.as_str()
        ))),
    }
}

fn interrupted() -> Failure {
    Failure::new(
        Exit::Failed,
        "interrupted",
        "interrupted: the same command goes on from here",
    )
}

/// Seconds of video in a plan.
fn seconds(manifest: &Manifest) -> f64 {
    let Some(video) = &manifest.video else {
        return 0.0;
    };
    let packets: u64 = video.chunks.iter().map(|chunk| chunk.packets).sum();
    video.stream.frame_rate.map_or(0.0, |(num, den)| {
        packets as f64 * f64::from(den) / f64::from(num)
    })
}

/// Frames decoded for lead-ins, as a share of all frames.
fn lead_in_share(manifest: &Manifest) -> f64 {
    let chunks = || manifest.video.iter().flat_map(|video| &video.chunks);
    let lead_in: u64 = chunks()
        .filter_map(|chunk| chunk.lead_ins.first())
        .map(|l| l.packets)
        .sum();
    let all: u64 = chunks().map(|chunk| chunk.packets).sum();
    lead_in as f64 / all.max(1) as f64
}
