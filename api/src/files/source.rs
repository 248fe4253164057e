//! The source as it was uploaded.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use reelmill_common::key;
use reelmill_common::manifest::Location;
use reelmill_common::request::JobRequest;
use reelmill_common::upload::StoredSource;
use reelmill_stage::load_json;

use super::answer::{File, answer};
use crate::jobs::{self, Id};
use crate::{Api, Problem};

/// The source of a job
///
/// As it was uploaded, with ranges and conditions as for outputs.
#[utoipa::path(
    method(get, head), path = "/v1/jobs/{id}/source", tag = "files", operation_id = "getSource",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("Range" = Option<String>, Header, description = "Such as `bytes=0-99` or `bytes=-100`"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is meant for"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has"),
    ),
    responses(
        (status = 200, description = "The source", content((String = "*/*"))),
        (status = 206, description = "The range of it", content((String = "*/*"))),
        (status = 304, description = "The client has it"),
        (status = 404, description = "`job-unknown`, or `source-not-stored` where the service has no copy"),
        (status = 416, description = "`range-beyond`: the source has none of these bytes"),
    ),
    security(("key" = ["read"]))
)]
pub(super) async fn source(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    jobs::record(&api, &id).await?;
    let store = api.ports.store.as_ref();
    let request = load_json::<JobRequest>(store, &key::request(&id)).await?;
    let upload = match request.map(|request| request.location) {
        Some(Location::Stored { job }) => job,
        Some(Location::Path(_)) | None => return Err(not_stored()),
    };
    let stored = load_json::<StoredSource>(store, &key::source(&upload)).await?;
    let stored = stored.ok_or_else(not_stored)?;
    let segments = (0_u32..).zip(&stored.segments);
    let file = File {
        objects: segments
            .map(|(index, _)| (key::segment(&upload, index), stored.segment_len(index)))
            .collect(),
        sha256: stored.sha256,
        content_type: content_type(&stored.name),
        // Anybody may have uploaded it: a browser is to save it, not to show it.
        inline: false,
        name: stored.name,
    };
    let store = Arc::clone(&api.ports.store);
    Ok(answer(store, &file, &method, &headers))
}

fn not_stored() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "source-not-stored",
        "the service has no copy of this source: it was given by its path, or is removed",
    )
}

/// Only kinds that a browser plays: what it would show or run is bytes.
fn content_type(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("mp4" | "m4v") => "video/mp4",
        Some("mov") => "video/quicktime",
        Some("webm") => "video/webm",
        Some("mkv") => "video/x-matroska",
        Some("m4a") => "audio/mp4",
        Some("mp3") => "audio/mpeg",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        _ => "application/octet-stream",
    }
}
