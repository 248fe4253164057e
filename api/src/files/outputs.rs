//! The files that a job delivered.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use reelmill_common::{JobId, ObjectKey, Sha256, key};
use reelmill_store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{File, answer};
use crate::jobs::{self, Id, Output};
use crate::{Api, Problem};

/// How long a link into the store holds: as long as most films.
const LINK_HOLDS: Duration = Duration::from_secs(3 * 60 * 60);

const CERTIFICATE: &str = "certificate.json";

/// A delivered file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Output)]
pub(crate) struct OutputBody {
    /// Its path among the outputs, such as `hls/master.m3u8`.
    path: String,
    /// Its length.
    bytes: u64,
    /// Of all bytes; also its `ETag`.
    sha256: String,
    /// What HTTP calls its kind.
    content_type: &'static str,
    /// Where to get it.
    url: String,
}

/// Every delivered file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outputs)]
pub(crate) struct OutputList {
    /// In the order of the certificate.
    outputs: Vec<OutputBody>,
}

/// The outputs to play or to take: not those that a playlist names.
pub(crate) fn main_outputs(job: &JobId, outputs: &[Output]) -> Vec<OutputBody> {
    let is_main = |path: &str| !path.contains('/') || path.ends_with("/master.m3u8");
    let main = outputs.iter().filter(|output| is_main(&output.path));
    main.map(|output| shown(job, output)).collect()
}

fn shown(job: &JobId, output: &Output) -> OutputBody {
    OutputBody {
        path: output.path.clone(),
        bytes: output.bytes,
        sha256: output.sha256.to_string(),
        content_type: output.content_type,
        url: format!("/v1/jobs/{job}/outputs/{}", output.path),
    }
}

/// Every file of a completed job
///
/// The certificate is there too, as `certificate.json`; it cannot name itself.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/outputs", tag = "files", operation_id = "listOutputs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The files", body = OutputList),
        (status = 404, description = "`job-unknown`"),
        (status = 409, description = "`job-not-completed`: there are no files"),
    ),
    security(("key" = ["read"]))
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Id(id): Id,
) -> Result<Json<OutputList>, Problem> {
    let record = jobs::record(&api, &id).await?;
    let Some(delivered) = jobs::delivered(&api, &id).await? else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "job-not-completed",
            format!(
                "the job `{id}` is {}: it has outputs when it is completed",
                record.status.as_str()
            ),
        ));
    };
    let outputs = delivered
        .outputs
        .iter()
        .map(|output| shown(&id, output))
        .collect();
    Ok(Json(OutputList { outputs }))
}

/// One file of a completed job
///
/// With single byte ranges, also from the end, and `If-Range` and `If-None-Match` on the `ETag`,
/// which is the file's SHA-256. A request for several ranges is answered with the whole file.
#[utoipa::path(
    method(get, head), path = "/v1/jobs/{id}/outputs/{*path}", tag = "files",
    operation_id = "getOutput",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("path" = String, Path, description = "The file's path, such as `hls/master.m3u8`: slashes as they are"),
        ("Range" = Option<String>, Header, description = "Such as `bytes=0-99` or `bytes=-100`"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is meant for"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has"),
    ),
    responses(
        (status = 200, description = "The file", content(
            (String = "video/mp4"), (String = "audio/mp4"),
            (String = "application/vnd.apple.mpegurl"), (Object = "application/json"),
            (String = "application/octet-stream"))),
        (status = 206, description = "The range of the file", content(
            (String = "video/mp4"), (String = "audio/mp4"),
            (String = "application/vnd.apple.mpegurl"), (String = "application/json"),
            (String = "application/octet-stream"))),
        (status = 302, description = "Where the service is set so: where the store gives this media file"),
        (status = 304, description = "The client has it"),
        (status = 404, description = "`output-unknown`"),
        (status = 416, description = "`range-beyond`: the file has none of these bytes"),
    ),
    security(("key" = ["read"]))
)]
pub(super) async fn file(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let path = path(uri.path()).ok_or_else(unknown)?;
    if path == CERTIFICATE {
        return proof(&api, &id, &method, &headers)
            .await?
            .ok_or_else(unknown);
    }
    let delivered = jobs::delivered(&api, &id).await?.ok_or_else(unknown)?;
    // Only what the certificate names: a path is never made a key before it was found there.
    let output = delivered.outputs.iter().find(|output| output.path == path);
    let output = output.ok_or_else(unknown)?;
    let key = key::output(&id, &output.path).map_err(|_error| unknown())?;
    match api.ports.store.head(&key).await {
        Ok(_) => {}
        Err(StoreError::NotFound(_)) => {
            // Removed with its job, whose outputs we remembered.
            api.memory.forget(&id);
            return Err(unknown());
        }
        Err(error) => return Err(Problem::of(&error)),
    }
    if let Some(elsewhere) = link(&api, &method, &key, output).await? {
        return Ok(elsewhere);
    }
    let file = File {
        objects: vec![(key, output.bytes)],
        sha256: output.sha256,
        content_type: output.content_type,
        inline: true,
        name: last_part(&output.path).to_owned(),
    };
    let store = Arc::clone(&api.ports.store);
    Ok(answer(store, &file, &method, &headers))
}

/// The proof
///
/// What was made from what, and how it is known to be right.
#[utoipa::path(
    method(get, head), path = "/v1/jobs/{id}/certificate", tag = "files",
    operation_id = "getCertificate",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("Range" = Option<String>, Header, description = "Such as `bytes=0-99`"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is meant for"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` that the client has"),
    ),
    responses(
        (status = 200, description = "The certificate", content((Object = "application/json"))),
        (status = 206, description = "The range of it", content((String = "application/json"))),
        (status = 304, description = "The client has it"),
        (status = 404, description = "`certificate-missing`: there is none before a job is completed"),
        (status = 416, description = "`range-beyond`: it has none of these bytes"),
    ),
    security(("key" = ["read"]))
)]
pub(super) async fn certificate(
    State(api): State<Arc<Api>>,
    Id(id): Id,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = proof(&api, &id, &method, &headers).await?;
    found.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "certificate-missing",
            "there is no certificate: a job has one when it is completed",
        )
    })
}

async fn proof(
    api: &Api,
    id: &JobId,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Response>, Problem> {
    let key = key::certificate(id);
    let bytes = match api.ports.store.get(&key).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(Problem::of(&error)),
    };
    let file = File {
        objects: vec![(key, bytes.len() as u64)],
        sha256: Sha256::of(&bytes),
        content_type: "application/json",
        inline: true,
        name: CERTIFICATE.to_owned(),
    };
    let store = Arc::clone(&api.ports.store);
    Ok(Some(answer(store, &file, method, headers)))
}

/// The output's path in a URL's path; `None` for one that no output could have. A slash that is
/// encoded is not a slash between folders.
fn path(uri: &str) -> Option<String> {
    let raw = uri.splitn(6, '/').nth(5)?;
    let lower = raw.to_ascii_lowercase();
    if ["%2f", "%5c", "%00"]
        .iter()
        .any(|code| lower.contains(code))
    {
        return None;
    }
    let path = percent_decode_str(raw).decode_utf8().ok()?;
    Some(path.into_owned())
}

fn last_part(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "output-unknown",
        "there is no such output: `GET /v1/jobs/{id}/outputs` lists those that a completed job has",
    )
}

/// Sends the client to the store for a media file, where that is wanted and the store gives links.
/// Playlists name their files by paths beside their own, so they stay here.
async fn link(
    api: &Api,
    method: &Method,
    key: &ObjectKey,
    output: &Output,
) -> Result<Option<Response>, Problem> {
    // A link is signed for one method.
    if method != Method::GET || !api.settings.output_links {
        return Ok(None);
    }
    let kind = output.content_type;
    let is_media = kind.starts_with("video/") || kind.starts_with("audio/");
    if !is_media {
        return Ok(None);
    }
    let link = api.ports.store.link(key, Some(kind), LINK_HOLDS).await;
    let link = link.map_err(|error| Problem::of(&error))?;
    let Some(Ok(location)) = link.map(HeaderValue::try_from) else {
        return Ok(None);
    };
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, NO_STORE),
    ];
    Ok(Some((StatusCode::FOUND, headers).into_response()))
}
