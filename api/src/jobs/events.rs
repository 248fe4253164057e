//! A job's progress as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use reelmill_common::{JobId, Sha256};
use reelmill_ledger::JobRecord;
use reelmill_stage::Shutdown;
use tokio::time::MissedTickBehavior;

use super::{Id, Job, record, view};
use crate::{Api, Problem};

/// One event of a stream, as its fields are read.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "read by the derive that describes it")]
pub(crate) struct JobEvent {
    /// `snapshot`, `update` or `end`.
    #[schema(pattern = "^(snapshot|update|end)$")]
    event: String,
    /// Names the state that it tells of, for `Last-Event-ID`.
    id: String,
    /// The job, as JSON.
    data: String,
}

/// A job's progress
///
/// Server-sent events, each with the job as JSON: `snapshot` first, `update` when anything has
/// changed, `end` when the job has ended; then the stream closes. A comment every fifteen seconds
/// shows that it lives. A client that comes back with `Last-Event-ID` gets no snapshot of what it
/// has seen, and 204 where there is nothing more to come, which tells an `EventSource` to stop.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", operation_id = "watchJob",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen"),
    ),
    responses(
        (status = 200, description = "Events until the job ends", body = JobEvent,
         content_type = "text/event-stream"),
        (status = 204, description = "The job has ended, and the client has seen how"),
        (status = 404, description = "`job-unknown`"),
    ),
    security(("key" = ["read"]))
)]
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let first = record(&api, &id).await?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let state = fingerprint(&first);
    let is_news = seen != Some(state.as_str());
    if !is_news && first.status.is_terminal() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut ticks = tokio::time::interval(api.events.poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    ticks.tick().await;
    let watch = Watch {
        closing: api.closing.clone(),
        next: match is_news {
            true => Next::Tell("snapshot", Box::new(first)),
            false => Next::Wait,
        },
        seen: if is_news { String::new() } else { state },
        api: Arc::clone(&api),
        id,
        ticks,
    };
    let events = stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    let heartbeat = KeepAlive::new().interval(api.events.heartbeat);
    Ok(Sse::new(events).keep_alive(heartbeat).into_response())
}

struct Watch {
    api: Arc<Api>,
    id: JobId,
    closing: Shutdown,
    ticks: tokio::time::Interval,
    /// The state that the client knows.
    seen: String,
    next: Next,
}

enum Next {
    /// To be told now.
    Tell(&'static str, Box<JobRecord>),
    /// Nothing until something changes.
    Wait,
    /// The stream closes.
    Close,
}

impl Watch {
    async fn next(&mut self) -> Option<Event> {
        loop {
            match std::mem::replace(&mut self.next, Next::Close) {
                Next::Close => return None,
                Next::Tell(kind, record) => match self.event(kind, &record).await {
                    Some(event) => {
                        self.next = match record.status.is_terminal() {
                            true if kind == "end" => Next::Close,
                            true => Next::Tell("end", record),
                            false => Next::Wait,
                        };
                        return Some(event);
                    }
                    None => self.next = Next::Wait,
                },
                Next::Wait => {
                    tokio::select! {
                        _ = self.ticks.tick() => {}
                        () = self.closing.wait() => return None,
                    }
                    self.next = self.look().await;
                }
            }
        }
    }

    /// Asks the ledger. One that cannot answer now is asked again; the request was logged.
    async fn look(&self) -> Next {
        match record(&self.api, &self.id).await {
            Ok(record) if fingerprint(&record) == self.seen => Next::Wait,
            Ok(record) if record.status.is_terminal() => Next::Tell("end", Box::new(record)),
            Ok(record) => Next::Tell("update", Box::new(record)),
            // The job was removed.
            Err(problem) if problem.status == StatusCode::NOT_FOUND => Next::Close,
            Err(_) => Next::Wait,
        }
    }

    async fn event(&mut self, kind: &str, record: &JobRecord) -> Option<Event> {
        let job: Job = view::job(&self.api, record).await.ok()?;
        let state = fingerprint(record);
        let event = Event::default().event(kind).id(&state).json_data(&job);
        self.seen = state;
        event
            .inspect_err(|error| tracing::error!(job = %self.id, %error, "cannot write an event"))
            .ok()
    }
}

/// Names the state of a job: two records that tell a client the same have the same. What follows
/// from the time alone, such as the speed, does not count.
fn fingerprint(record: &JobRecord) -> String {
    let state = format!(
        "{:?} {:?} {} {} {} {} {} {}",
        record.status,
        record.phase,
        record.completed_chunks,
        record.total_chunks,
        record.completed_frames,
        record.total_frames,
        record.attempts,
        // A retry may bring back the very same numbers.
        record.started_at.unwrap_or_default(),
    );
    let digest = Sha256::of(state.as_bytes()).to_string();
    digest.chars().take(16).collect()
}
