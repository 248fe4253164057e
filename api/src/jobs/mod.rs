//! Jobs: the list, one of them, its end and its second life.

mod events;
mod memory;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, RawQuery, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use reelmill_common::JobId;
use reelmill_common::job::JobStatus;
use reelmill_ledger::JobRecord;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use memory::{Memory, Output, delivered};
pub(crate) use view::{Job, Status};

use crate::query::pairs;
use crate::{Api, Problem};

/// How many jobs a page has at most.
const MAX_PAGE: usize = 200;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, cancel))
        .routes(routes!(retry))
        .routes(routes!(events::events))
}

/// The `{id}` of a path. What cannot be the id of a job is that of no job.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let id = params.ok().and_then(|params| {
            let (_, id) = params.iter().find(|(name, _)| *name == "id")?;
            JobId::new(id).ok()
        });
        id.map(Self).ok_or_else(unknown)
    }
}

/// There is no such job.
pub(crate) fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "job-unknown",
        "there is no job of this id: `GET /v1/jobs` lists those that there are",
    )
}

/// A job's record, or that there is none. A ledger keeps ended jobs for a while only, and the store
/// for as long as their files are kept.
pub(crate) async fn record(api: &Api, id: &JobId) -> Result<JobRecord, Problem> {
    let record = reelmill_stage::known(&api.ports, id).await?;
    if record.is_none() {
        api.memory.forget(id);
    }
    record.ok_or_else(unknown)
}

/// A job as clients see it.
pub(crate) async fn load(api: &Api, id: &JobId) -> Result<Job, Problem> {
    let record = record(api, id).await?;
    view::job(api, &record).await
}

/// Which jobs are wanted.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Only jobs of this status.
    status: Option<Status>,
    /// At most so many.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[a-z0-9][a-z0-9-]{0,63}$")]
    cursor: Option<String>,
}

impl Wanted {
    /// Reads a query. Parameters of other names are ignored.
    fn of_query(query: Option<&str>) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        for (name, value) in pairs(query)? {
            let is_repeated = match name.as_str() {
                "status" => wanted.status.replace(status(&value)?).is_some(),
                "limit" => wanted.limit.replace(limit(&value)?).is_some(),
                "cursor" => wanted.cursor.replace(value).is_some(),
                _ => false,
            };
            if is_repeated {
                return Err(invalid(format!("`{name}` is given twice: give it once")));
            }
        }
        Ok(wanted)
    }
}

fn status(text: &str) -> Result<Status, Problem> {
    let status = text.parse::<JobStatus>().map(Status::from);
    status.map_err(|_unknown| {
        let shown = shown(text);
        invalid(format!(
            "`status` is `{shown}`: use pending, running, completed, failed or cancelled"
        ))
    })
}

fn limit(text: &str) -> Result<usize, Problem> {
    let limit = text.parse().ok();
    let limit = limit.filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| {
        let shown = shown(text);
        invalid(format!("`limit` is `{shown}`: use 1 to {MAX_PAGE}"))
    })
}

/// The beginning of a client's text, in one line.
fn shown(text: &str) -> String {
    let beginning = text.chars().filter(|c| !c.is_control());
    beginning.take(64).collect()
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query-invalid", detail)
}

/// A page of jobs.
#[derive(Debug, Serialize, ToSchema)]
struct Page {
    /// The newest first.
    jobs: Vec<Job>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// Jobs, the newest first
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(Wanted),
    responses(
        (status = 200, description = "A page of jobs", body = Page),
        (status = 400, description = "`query-invalid`, `query-malformed` or `cursor-invalid`"),
    ),
    security(("key" = ["read"]))
)]
async fn list(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    let wanted = Wanted::of_query(query.as_deref())?;
    let limit = wanted.limit.unwrap_or(50);
    let bad_cursor = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "cursor-invalid",
            "`cursor` names no place in the list any more: begin without it",
        )
    };
    let after = wanted.cursor.map(JobId::new).transpose();
    let after = after.map_err(|_error| bad_cursor())?;
    let status = wanted.status.map(JobStatus::from);
    let ledger = &api.ports.ledger;
    // One more than asked for tells whether there is another page.
    let page = ledger.jobs(status, after.as_ref(), limit + 1).await;
    let mut records = page.map_err(|error| Problem::of(&error))?;
    if let (true, Some(after)) = (records.is_empty(), &after) {
        let known = ledger.job(after).await;
        known
            .map_err(|error| Problem::of(&error))?
            .ok_or_else(bad_cursor)?;
    }
    let more = records.len() > limit;
    records.truncate(limit);
    let mut jobs = Vec::with_capacity(records.len());
    for record in &records {
        jobs.push(view::job(&api, record).await?);
    }
    let last = records.last().filter(|_| more);
    Ok(Json(Page {
        next_cursor: last.map(|record| record.id.to_string()),
        jobs,
    }))
}

/// One job
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = 404, description = "`job-unknown`"),
    ),
    security(("key" = ["read"]))
)]
async fn show(State(api): State<Arc<Api>>, Id(id): Id) -> Result<Json<Job>, Problem> {
    load(&api, &id).await.map(Json)
}

/// Cancel a job
///
/// Its encodes stop within two seconds and what was half-made is cleared away. Where a job has
/// ended already nothing changes.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "cancelJob",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job, cancelled", body = Job),
        (status = 404, description = "`job-unknown`"),
        (status = 409, description = "`job-ended`: there is nothing to cancel"),
    ),
    security(("key" = ["admin"]))
)]
async fn cancel(State(api): State<Arc<Api>>, Id(id): Id) -> Result<Json<Job>, Problem> {
    let before = record(&api, &id).await?;
    if !before.status.is_terminal() {
        reelmill_stage::cancel(&api.ports, &id).await?;
        let job = load(&api, &id).await?;
        // It may have ended by itself in between.
        if job.status == Status::Cancelled {
            tracing::info!(job = %id, "cancelled");
            return Ok(Json(job));
        }
    }
    let after = record(&api, &id).await?.status;
    Err(Problem::new(
        StatusCode::CONFLICT,
        "job-ended",
        format!("the job `{id}` is {} already", after.as_str()),
    ))
}

/// Run a failed or cancelled job again
///
/// Only what is missing is done.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The job, which runs again", body = Job),
        (status = 404, description = "`job-unknown`"),
        (status = 409, description = "`job-not-retryable`: it has neither failed nor was it cancelled"),
    ),
    security(("key" = ["admin"]))
)]
async fn retry(State(api): State<Arc<Api>>, Id(id): Id) -> Result<impl IntoResponse, Problem> {
    let before = record(&api, &id).await?;
    let is_over = matches!(before.status, JobStatus::Failed | JobStatus::Cancelled);
    if is_over && reelmill_stage::retry(&api.ports, &id).await? {
        tracing::info!(job = %id, "runs again");
        return Ok((StatusCode::ACCEPTED, Json(load(&api, &id).await?)));
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "job-not-retryable",
        format!(
            "the job `{id}` is {}: only a failed or cancelled one can be run again",
            before.status.as_str()
        ),
    ))
}
