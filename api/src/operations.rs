//! What operators ask: workers, profiles, numbers, health.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reelmill_common::ObjectKey;
use reelmill_common::message::Topic;
use reelmill_common::profile::{Profile, builtins};
use reelmill_ledger::{ACTIVE, WorkerRecord};
use reelmill_stage::exists;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Api, Problem, rfc3339};

/// A worker that was silent for so long counts as gone.
const WORKER_AGE: Duration = Duration::from_secs(60);

/// How long a port may take to show that it works.
const READY_WITHIN: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(index))
        .routes(routes!(workers))
        .routes(routes!(profiles))
        .routes(routes!(stats))
        .merge(health())
}

/// The routes for whatever looks after the process.
pub(crate) fn health() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// What the service is and where to go from here.
#[derive(Debug, Serialize, ToSchema)]
struct Index {
    /// Always `reelmill`.
    name: &'static str,
    /// The version of the service.
    version: &'static str,
    /// The description of every route.
    openapi: &'static str,
    /// The list of jobs; a source is sent here to make one.
    jobs: &'static str,
    /// The profiles to choose from.
    profiles: &'static str,
}

/// The way in
#[utoipa::path(
    get, path = "/", tag = "service", operation_id = "getIndex",
    responses((status = 200, description = "Where to go from here", body = Index)),
    security(())
)]
async fn index() -> Json<Index> {
    Json(Index {
        name: "reelmill",
        version: env!("CARGO_PKG_VERSION"),
        openapi: "/openapi.json",
        jobs: "/v1/jobs",
        profiles: "/v1/profiles",
    })
}

/// A worker.
#[derive(Debug, Serialize, ToSchema)]
struct Worker {
    /// Its id.
    id: String,
    /// How many encodes it has room for.
    slots: u32,
    /// Its reelmill version.
    version: String,
    /// Its ffmpeg version.
    ffmpeg: String,
    /// Its yt-dlp version; `null` where it has none.
    yt_dlp: Option<String>,
    /// Whether it reported within the last 15 seconds, as those at work do.
    active: bool,
    /// When it last reported.
    #[schema(format = DateTime)]
    last_heartbeat: String,
}

/// The living workers.
#[derive(Debug, Serialize, ToSchema)]
struct Workers {
    /// Those that reported within the last minute, by id.
    workers: Vec<Worker>,
}

/// Workers that reported within the last minute
#[utoipa::path(
    get, path = "/v1/workers", tag = "service", operation_id = "listWorkers",
    responses((status = 200, description = "The living workers", body = Workers)),
    security(("key" = ["read"]))
)]
async fn workers(State(api): State<Arc<Api>>) -> Result<Json<Workers>, Problem> {
    let active = reporting(&api, ACTIVE).await?;
    let workers = reporting(&api, WORKER_AGE).await?;
    let workers = workers.into_iter().map(|worker| Worker {
        active: active.iter().any(|active| active.id == worker.id),
        id: worker.id.to_string(),
        slots: worker.slots,
        version: worker.version,
        ffmpeg: worker.ffmpeg,
        yt_dlp: worker.yt_dlp,
        last_heartbeat: rfc3339::text(worker.last_heartbeat),
    });
    Ok(Json(Workers {
        workers: workers.collect(),
    }))
}

/// The workers that reported within this time.
async fn reporting(api: &Api, age: Duration) -> Result<Vec<WorkerRecord>, Problem> {
    let workers = api.ports.ledger.workers(age).await;
    workers.map_err(|error| Problem::of(&error))
}

/// What a job can be made into.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Profile)]
struct ProfileBody {
    /// To be named in `profile`.
    name: String,
    /// One line.
    description: String,
    /// Whether a job that names none has it.
    default: bool,
    /// The ladder; what of it a source gets depends on the source's size.
    renditions: Vec<Rendition>,
    /// The audio codec; null where audio is dropped.
    audio: Option<&'static str>,
    /// Whether each rendition is one MP4.
    mp4: bool,
    /// Whether there is HLS.
    hls: bool,
}

/// One step of a ladder.
#[derive(Debug, Serialize, ToSchema)]
struct Rendition {
    /// Such as `1080p`.
    name: String,
    /// Pixels of the shorter side; null keeps the source's size.
    short_side: Option<u32>,
    /// The codec.
    codec: &'static str,
}

/// The profiles of the service.
#[derive(Debug, Serialize, ToSchema)]
struct Profiles {
    /// The built-in ones, then the service's own.
    profiles: Vec<ProfileBody>,
}

/// The profiles to choose from
#[utoipa::path(
    get, path = "/v1/profiles", tag = "service", operation_id = "listProfiles",
    responses((status = 200, description = "The profiles", body = Profiles)),
    security(("key" = ["read"]))
)]
async fn profiles(State(api): State<Arc<Api>>) -> Json<Profiles> {
    let settings = &api.settings;
    let is_own = |profile: &Profile| settings.profiles.iter().any(|own| own.name == profile.name);
    let built_in = builtins().iter().filter_map(|file| file.profile().ok());
    let all = built_in
        .filter(|profile| !is_own(profile))
        .chain(settings.profiles.iter().cloned());
    let profiles = all.map(|profile| ProfileBody {
        default: profile.name == settings.default_profile,
        renditions: profile.video.into_iter().map(rendition).collect(),
        audio: profile.audio.map(|audio| audio.codec.as_str()),
        mp4: profile.outputs.mp4,
        hls: profile.outputs.hls,
        name: profile.name,
        description: profile.description,
    });
    Json(Profiles {
        profiles: profiles.collect(),
    })
}

fn rendition(rung: reelmill_common::profile::Rung) -> Rendition {
    Rendition {
        name: rung.name,
        short_side: rung.short_side,
        codec: rung.settings.codec.as_str(),
    }
}

/// Numbers of the moment.
#[derive(Debug, Serialize, ToSchema)]
struct Stats {
    /// How many jobs there are of each status.
    jobs: JobCounts,
    /// What waits or is being worked on, by the queue's topic; one of which the queue cannot tell is missing.
    queue: BTreeMap<String, Waiting>,
    /// The living workers.
    workers: WorkerCounts,
}

/// Jobs by status.
#[derive(Debug, Serialize, ToSchema)]
struct JobCounts {
    /// Accepted, nothing started.
    pending: u64,
    /// Being worked on.
    running: u64,
    /// With proven outputs.
    completed: u64,
    /// Ended without.
    failed: u64,
    /// Ended on request.
    cancelled: u64,
}

/// Messages of a topic that are not done with.
#[derive(Debug, Serialize, ToSchema)]
struct Waiting {
    /// How many.
    messages: u64,
    /// How long ago the oldest of them was published, in seconds.
    oldest_s: f64,
}

/// Workers in numbers.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerCounts {
    /// How many reported within the last minute.
    active: usize,
    /// How many encodes they have room for.
    slots: u64,
}

/// Numbers of the moment
#[utoipa::path(
    get, path = "/v1/stats", tag = "service", operation_id = "getStats",
    responses((status = 200, description = "The numbers", body = Stats)),
    security(("key" = ["read"]))
)]
async fn stats(State(api): State<Arc<Api>>) -> Result<Json<Stats>, Problem> {
    use reelmill_common::job::JobStatus::{Cancelled, Completed, Failed, Pending, Running};
    let counts = api.ports.ledger.counts().await;
    let counts = counts.map_err(|error| Problem::of(&error))?;
    let of = |status| counts.get(&status).copied().unwrap_or_default();
    let mut queue = BTreeMap::new();
    for topic in Topic::ALL {
        let backlog = api.ports.queue.backlog(topic).await;
        let backlog = backlog.map_err(|error| Problem::of(&error))?;
        if let Some(backlog) = backlog {
            let waiting = Waiting {
                messages: backlog.messages,
                oldest_s: backlog.oldest.as_secs_f64(),
            };
            queue.insert(topic.as_str().to_owned(), waiting);
        }
    }
    let workers = reporting(&api, WORKER_AGE).await?;
    Ok(Json(Stats {
        jobs: JobCounts {
            pending: of(Pending),
            running: of(Running),
            completed: of(Completed),
            failed: of(Failed),
            cancelled: of(Cancelled),
        },
        queue,
        workers: WorkerCounts {
            active: workers.len(),
            slots: workers.iter().map(|worker| u64::from(worker.slots)).sum(),
        },
    }))
}

/// Whether the service answers.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// Always `ok`: another answer is a problem.
    status: &'static str,
}

const OK: Health = Health { status: "ok" };

/// Whether the process answers
#[utoipa::path(
    get, path = "/livez", tag = "service", operation_id = "getLive",
    responses((status = 200, description = "It does", body = Health)),
    security(())
)]
async fn livez() -> Json<Health> {
    Json(OK)
}

/// Whether the service can do its work
///
/// Asks the queue, the ledger and the store, each of which must answer within two seconds.
#[utoipa::path(
    get, path = "/readyz", tag = "service", operation_id = "getReady",
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "`not-ready`, `shutting-down` or `too-busy`"),
    ),
    security(())
)]
async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    let unavailable = |code, detail| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    if api.closing.is_set() {
        return Err(unavailable(
            "shutting-down",
            "the service is shutting down".to_owned(),
        ));
    }
    let (queue, ledger, store) = tokio::join!(
        in_time(async {
            api.ports
                .queue
                .backlog(Topic::Ingest)
                .await
                .map(drop)
                .map_err(text)
        }),
        in_time(async {
            api.ports
                .ledger
                .workers(WORKER_AGE)
                .await
                .map(drop)
                .map_err(text)
        }),
        in_time(async {
            let probe = ObjectKey::new("ready").map_err(text)?;
            exists(api.ports.store.as_ref(), &probe)
                .await
                .map(drop)
                .map_err(text)
        }),
    );
    let ports = [("queue", queue), ("ledger", ledger), ("store", store)];
    let mut silent = Vec::new();
    for (name, answer) in ports {
        if let Err(error) = answer {
            tracing::warn!(port = name, error, "a port is not ready");
            silent.push(name);
        }
    }
    if silent.is_empty() {
        return Ok(Json(OK));
    }
    Err(unavailable(
        "not-ready",
        format!("no answer from the {}", silent.join(" and the ")),
    ))
}

fn text(error: impl std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

async fn in_time(answer: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    match tokio::time::timeout(READY_WITHIN, answer).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(format!("silent for {READY_WITHIN:?}")),
    }
}

/// Numbers for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "getMetrics",
    responses((status = 200, description = "Prometheus text", body = String,
               content_type = "text/plain")),
    security(("key" = ["read"]))
)]
async fn metrics(State(api): State<Arc<Api>>) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text = (api.metrics)();
    ([(header::CONTENT_TYPE, TEXT)], text).into_response()
}
