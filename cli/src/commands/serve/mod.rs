//! `reelmill serve`, `api` and `worker`: the HTTP service and the workers, in one process or apart.

mod background;
mod http;
mod observe;
mod part;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reelmill_common::message::Topic;
use reelmill_common::profile::{self, Profile};
use reelmill_ledger::WorkerRecord;
use reelmill_media::Tools;
use reelmill_source::{SourceSettings, Sources};
use reelmill_stage::{HousekeepingSettings, Shutdown, housekeep, resume};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::read_profile;
use crate::args::{ServeArgs, ToolArgs};
use crate::config::Settings;
use crate::data::DataFolder;
use crate::failure::{Exit, Failure, io};
use crate::logging;
use crate::metrics;
use crate::report::print_line;
use crate::stop::Stop;
use crate::wire::{Machine, Slots, Stage, ports};

pub(crate) use part::Part;

/// Beside the encodes, so that a long scan or join does not hold up those of other jobs.
const SCANS: u32 = 2;
const MERGES: u32 = 2;

/// The wait before a stage that a port has failed is started again.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// How often what nobody else does is looked for: time limits, retention, uploads that expired.
const HOUSEKEEP_EVERY: Duration = Duration::from_secs(10);

/// Runs a part of the service until it is told to end.
pub(crate) async fn run(tools: &ToolArgs, args: &ServeArgs, part: Part) -> Result<(), Failure> {
    let values = args
        .settings
        .values(tools.ffmpeg.as_deref(), part != Part::Whole)?;
    let settings = values.settings()?;
    part.fits(&settings)?;
    let json_logs = logging::of_the_service(&settings)?;
    let profiles = profiles(&settings)?;
    let front = http::Front::read(&settings, part)?;
    let metrics = metrics::install()?;
    let data = DataFolder::open(&settings.data)?;
    let scratch = data.fresh("scratch")?;
    let tools = match part {
        Part::Api => None,
        Part::Whole | Part::Worker => {
            Some(Tools::find(settings.ffmpeg.as_deref(), &scratch).await?)
        }
    };
    // Asked for before anything is begun, so that a signal that comes meanwhile is not missed.
    let mut stop = Stop::new()?;
    let listener = match part.address(&settings) {
        Some((address, flag)) => Some(listen(address, flag).await?),
        None => None,
    };
    background::constants(tools.as_ref().map_or("none", |tools| &tools.version));
    let worker = Part::worker(&settings)?;
    let ports = ports(&settings.backends, &data.path, &worker).await?;
    let (switch, shutdown) = Shutdown::new();
    let url = listener.as_ref().map(|listener| front.url(listener));
    let url = url.transpose()?;
    if part == Part::Whole {
        resume(&ports).await?;
    }
    let mut work = JoinSet::new();
    work.spawn(background::upkeep(metrics.clone(), shutdown.clone()));
    if listener.is_some() {
        work.spawn(background::numbers(ports.clone(), shutdown.clone()));
    }
    if let Some(tools) = tools {
        let caching = SourceSettings {
            cache: data.fresh("cache")?,
            cache_bytes: settings.source_cache,
        };
        let machine = Machine {
            sources: Arc::new(Sources::new(Arc::clone(&ports.store), caching)),
            ports: ports.clone(),
            tools: Arc::new(tools),
            scratch,
            worker,
            slots: Slots {
                ingest: SCANS,
                chunks: settings.slots,
                merges: MERGES,
            },
            lease: settings.lease,
            bounds: settings.bounds,
        };
        start(&mut work, &machine, &settings, &shutdown);
    }
    let api = http::Service {
        ports,
        scratch: data.fresh("incoming")?,
        profiles,
        metrics,
        shutdown: shutdown.clone(),
    };
    let serving = http::start_http(listener, front, api, settings.clone());
    let mut service = tokio::spawn(serving);
    say_where(url.as_deref(), json_logs);

    tokio::select! {
        () = stop.wait() => {}
        ended = &mut service => {
            let how = ended.err().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(Failure::failed(format!("the HTTP service ended by itself{how}")));
        }
    }
    tracing::info!("ending: what is in hand is given back");
    switch.send(true).ok();
    let end = async {
        while work.join_next().await.is_some() {}
        (&mut service).await
    };
    tokio::select! {
        ended = end => ended.map_err(|error| Failure::failed(format!("the HTTP service broke: {error}"))),
        // The service cuts its requests off by itself; this is for a stage on a disk that hangs.
        () = tokio::time::sleep(settings.shutdown_grace + RESTART_AFTER) => {
            tracing::warn!("not all was given back in time: it is at the next start");
            Ok(())
        }
        () = stop.wait() => Err(Failure::new(
            Exit::Failed,
            "interrupted",
            "ended at once by a second signal: what was in hand is done again after the next start",
        )),
    }
}

/// Starts the stages of this process's roles and what goes on beside them.
fn start(work: &mut JoinSet<()>, machine: &Machine, settings: &Settings, shutdown: &Shutdown) {
    let ports = &machine.ports;
    let topics: Vec<Topic> = settings.roles.iter().map(|role| role.topic()).collect();
    let mine = |stage: &Stage| topics.contains(&stage.topic);
    for stage in machine.stages().into_iter().filter(mine) {
        let stage = observe::observed(stage, ports);
        work.spawn(keep_running(machine, stage, shutdown.clone()));
    }
    let encodes = topics.contains(&Topic::Chunks);
    let worker = WorkerRecord {
        id: machine.worker.clone(),
        // Plans are made for the encodes that all workers together have room for.
        slots: if encodes { machine.slots.chunks } else { 0 },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ffmpeg: machine.tools.version.clone(),
        yt_dlp: None,
        last_heartbeat: 0,
    };
    work.spawn(background::heartbeat(
        ports.clone(),
        worker,
        machine.scratch.clone(),
        shutdown.clone(),
    ));
    let house = HousekeepingSettings {
        worker: machine.worker.clone(),
        every: HOUSEKEEP_EVERY,
        retention: settings.retention,
        slots: machine.slots.chunks,
    };
    work.spawn(housekeep(ports.clone(), house, shutdown.clone()));
}

/// Runs a stage, again after a port has failed it: a disk that was full may have room by then.
fn keep_running(
    machine: &Machine,
    stage: Stage,
    mut shutdown: Shutdown,
) -> impl Future<Output = ()> + Send + use<> {
    let machine = machine.clone();
    async move {
        let name = reelmill_stage::metrics::stage(stage.topic);
        while !shutdown.is_set() {
            match machine.run(stage.clone(), shutdown.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(stage = name, code = error.code, %error, "a stage has stopped: it is started again in 5 s");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_AFTER) => {}
                () = shutdown.wait() => {}
            }
        }
    }
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let message =
            format!("cannot listen on `{address}`: {error}: choose another with --{flag}");
        Failure::new(Exit::Failed, "cannot-listen", message)
    })
}

/// Standard output is for whoever started the service, standard error for whoever looks at it.
fn say_where(url: Option<&str>, json_logs: bool) {
    let words = match url {
        Some(url) => format!("listening on {url}"),
        None => "working".to_owned(),
    };
    match json_logs {
        true => tracing::info!("{words}"),
        false => drop(writeln!(std::io::stderr(), "{words}")),
    }
    if let Some(url) = url {
        print_line(url);
    }
}

/// The profiles of the user's folder, sorted by name.
fn profiles(settings: &Settings) -> Result<Vec<Profile>, Failure> {
    let mut profiles: Vec<Profile> = Vec::new();
    if let Some(folder) = &settings.profiles_dir {
        for file in toml_files(folder)? {
            let profile = read_profile(&file)?;
            let taken = profile::builtin(&profile.name).is_some()
                || profiles.iter().any(|other| other.name == profile.name);
            if taken {
                return Err(Failure::usage(format!(
                    "`{}`: there is a profile `{}` already: give it another name",
                    file.display(),
                    profile.name
                )));
            }
            profiles.push(profile);
        }
    }
    let default = &settings.default_profile;
    let names = profile::builtins().iter().map(|builtin| builtin.name);
    let mut names: Vec<&str> = names
        .chain(profiles.iter().map(|profile| profile.name.as_str()))
        .collect();
    if !names.contains(&default.as_str()) {
        names.sort_unstable();
        return Err(Failure::usage(format!(
            "`default_profile`: there is no profile `{default}`: there are {}",
            names.join(", ")
        )));
    }
    Ok(profiles)
}

fn toml_files(folder: &Path) -> Result<Vec<std::path::PathBuf>, Failure> {
    let usage = |failure: Failure| Failure {
        exit: Exit::Usage,
        ..failure
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| usage(io("list", folder)(error)))? {
        let path = entry.map_err(io("list", folder))?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
