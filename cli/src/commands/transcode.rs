//! `reelmill transcode`: the whole job here and now, through the stages that a cluster runs.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reelmill_common::certificate::Certificate;
use reelmill_common::job::JobStatus;
use reelmill_common::manifest::{Location, Manifest, SourceInfo};
use reelmill_common::profile::Profile;
use reelmill_common::request::{JobOptions, JobRequest, VERSION};
use reelmill_common::{JobId, WorkerId};
use reelmill_ledger::JobRecord;
use reelmill_media::Tools;
use reelmill_source::{CACHE_BYTES, SourceSettings, Sources};
use reelmill_splitter::WorkBounds;
use reelmill_stage::{Shutdown, manifest};
use tokio::sync::Mutex;

use super::intent::Intent;
use super::submit::{self, Resumed};
use super::{deliver, load_profile, source_file};
use crate::args::{ToolArgs, TranscodeArgs, ViaArg};
use crate::failure::{Exit, Failure};
use crate::folder::{OutputFolder, is_for_a_folder, spares_the_source};
use crate::progress::Progress;
use crate::report::{FailureReport, Report, Timings, outputs, print_json, print_line};
use crate::stop::Stop;
use crate::wire::{Clock, Machine, Slots, embedded, start};

/// How often the ledger is asked how far the job is.
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn run(tools: &ToolArgs, args: TranscodeArgs) -> Result<(), Failure> {
    let job = OnceLock::new();
    let result = transcode(tools, &args, &job).await;
    match &result {
        Ok(report) if args.json => print_json(report),
        Ok(report) => {
            let paths = report.outputs.iter().map(|output| &output.path);
            paths.for_each(|path| print_line(path));
        }
        Err(failure) if args.json => print_json(&FailureReport::new(job.get(), failure)),
        Err(_) => {}
    }
    result.map(|_report| ())
}

async fn transcode(
    tools: &ToolArgs,
    args: &TranscodeArgs,
    job: &OnceLock<JobId>,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let profile = load_profile(&args.profile)?;
    let (source, _) = source_file(&args.input)?;
    is_for_a_folder(&args.output)?;
    spares_the_source(&args.output, &source)?;
    let folder = OutputFolder::open(&args.output)?;
    let run = Run {
        tools,
        args,
        profile,
        folder: &folder,
        began,
        job,
    };
    let mut progress = Progress::new(args.quiet);
    let result = run.in_folder(&mut progress).await;
    if let Err(failure) = &result {
        // Should the disk be the trouble, that is what is to be said, not what follows from it.
        let in_vain = failure.permanent && !folder.has_done_chunks().unwrap_or(true);
        let unplanned = !folder.has_plan().unwrap_or(true);
        if in_vain || unplanned || failure.condemns_the_source() {
            folder.abandon().ok();
        } else if failure.code != INTERRUPTED && folder.has_done_chunks().unwrap_or(false) {
            progress.say("the chunks that are done are kept: the same command goes on with them");
        }
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
    /// Told as soon as it is known.
    job: &'a OnceLock<JobId>,
}

impl Run<'_> {
    async fn in_folder(&self, progress: &mut Progress) -> Result<Report, Failure> {
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
        let intent = self.intent(&source)?;
        let job = self.job.get_or_init(|| intent.job.clone());
        if let Some(certificate) = intent.done(self.folder) {
            progress.say("already done: the folder holds these outputs");
            // Work of another job was begun with --force and is its owner's.
            if !intent.others_work(self.folder).await {
                self.folder.clear()?;
            }
            let resumed = Resumed {
                chunks: certificate.chunks.len(),
                ..Resumed::default()
            };
            let report = self.report(&certificate, None, &resumed, &Clock::default());
            progress.note(&report.notes);
            return Ok(report);
        }
        let tools = Arc::new(tools?);
        let unfinished = intent.unfinished(self.folder, &tools).await?;
        let worker = WorkerId::new("local").map_err(|error| Failure::failed(error.to_string()))?;
        let ports = embedded(&self.folder.work(), &worker).await?;
        let resumed = match unfinished {
            Some(manifest) => {
                let resumed = submit::again(&ports, &manifest).await?;
                progress.say(&format!(
                    "going on: {} of {} tasks are done already",
                    resumed.tasks, resumed.total
                ));
                resumed
            }
            None => {
                let source = match self.args.via {
                    ViaArg::Path => source,
                    ViaArg::Store => submit::store(&ports, job, source, &scratch).await?,
                };
                reelmill_stage::submit(&ports, job, &self.request(&source)).await?;
                Resumed::default()
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
            bounds: WorkBounds::default(),
        };
        let clock = Arc::new(Mutex::new(Clock {
            tracks: resumed.tracks.clone(),
            ..Clock::default()
        }));
        self.work(&machine, job, progress, &clock).await?;
        let certificate = deliver::deliver(&machine.ports, job, self.folder).await?;
        let manifest = manifest(machine.ports.store.as_ref(), job).await?;
        let clock = clock.lock().await;
        let report = self.report(&certificate, manifest.as_ref(), &resumed, &clock);
        progress.note(&report.notes);
        progress.say(&report.summary());
        self.folder.clear()?;
        Ok(report)
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
        let mut plan_known = false;
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
            if !plan_known && record.total_chunks > 0 {
                plan_known = true;
                if let Some(manifest) = manifest(machine.ports.store.as_ref(), job).await? {
                    progress.set_plan(seconds(&manifest, 0), Some(manifest.audio.len()));
                }
            }
            if record.status.is_terminal() {
                break outcome(record);
            }
            // Asked after the ledger, which counts a track a moment later than the clock.
            let tracks = clock.lock().await.tracks.len();
            progress.update(&record, tracks);
        };
        progress.finish();
        switch.send(true).ok();
        while stages.join_next().await.is_some() {}
        ended
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
            options: self.options(),
        }
    }

    fn options(&self) -> JobOptions {
        JobOptions {
            video_stream: self.args.video_stream,
            audio_streams: self.args.audio_streams.clone(),
            ..JobOptions::default()
        }
    }

    fn slots(&self) -> u32 {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.args
            .slots
            .unwrap_or_else(|| u32::try_from(cores()).unwrap_or(1))
    }

    fn intent<'s>(&'s self, source: &'s SourceInfo) -> Result<Intent<'s>, Failure> {
        let profile_digest = self.profile.digest();
        let mut what = format!("{} {profile_digest} {:?}", source.sha256, self.args.proof);
        let options = self.options();
        if let Some(stream) = options.video_stream {
            what.push_str(&format!(" video {stream}"));
        }
        if let Some(streams) = &options.audio_streams {
            what.push_str(&format!(" audio {streams}"));
        }
        let digest = reelmill_common::Sha256::of(what.as_bytes()).to_string();
        let short = digest.get(..16).unwrap_or_default();
        let job = JobId::new(format!("t-{short}"));
        Ok(Intent {
            job: job.map_err(|error| Failure::failed(error.to_string()))?,
            source,
            profile_digest,
            proof: self.args.proof.into(),
            input: &self.args.input,
            force: self.args.force,
        })
    }

    fn report(
        &self,
        certificate: &Certificate,
        manifest: Option<&Manifest>,
        resumed: &Resumed,
        clock: &Clock,
    ) -> Report {
        let encoded = manifest.map_or(0.0, |manifest| seconds(manifest, resumed.packets));
        let wall = self.began.elapsed().as_secs_f64();
        let since = |at: Option<Instant>| at.map_or(0.0, |at| (at - self.began).as_secs_f64());
        Report {
            job: certificate.job.to_string(),
            status: "completed",
            outputs: outputs(certificate, &self.folder.path),
            chunks: certificate.chunks.len(),
            chunks_resumed: resumed.chunks,
            wall_s: wall,
            speed: encoded / wall.max(0.001),
            timings: Timings {
                start_to_first_encode: since(clock.first),
                last_encode_to_done: clock.last.map_or(0.0, |last| last.elapsed().as_secs_f64()),
                lead_in_share: manifest.map_or(0.0, lead_in_share),
            },
            notes: certificate.notes.clone(),
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

/// The code of an end that the user asked for, whose sentence says what becomes of the work.
const INTERRUPTED: &str = "interrupted";

fn interrupted() -> Failure {
    Failure::new(
        Exit::Failed,
        INTERRUPTED,
        "interrupted: the same command goes on from here",
    )
}

/// Seconds of video in a plan without those that so many packets are.
fn seconds(manifest: &Manifest, without: u64) -> f64 {
    let Some(video) = &manifest.video else {
        return 0.0;
    };
    let packets: u64 = video.chunks.iter().map(|chunk| chunk.packets).sum();
    let packets = packets.saturating_sub(without);
    video.frame_rate().map_or(0.0, |(num, den)| {
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
