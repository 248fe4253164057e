//! Uploads that may break off and go on: [tus 1.0](https://tus.io/protocols/resumable-upload) with
//! creation, creation-with-upload, termination, expiration and checksum.

mod append;
mod headers;

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use reelmill_common::JobId;

use self::append::{Ready, Standing, complete, go_on, open, recall, stand, write};
use self::headers::{Fields, date, metadata_header, number, parse_metadata};
use super::answers::{Appended, Refused};
use super::checksum::ALGORITHMS;
use super::desk::Desk;
use super::order::Draft;
use super::raw::empty;
use super::receive::{count, linger, too_long};
use super::stored::{Found, Record, clear};
use super::{job_path, new_job, new_record, to_the_end};
use crate::{Api, Problem};

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum";
const RESUMABLE: &str = "tus-resumable";
const OFFSET: &str = "upload-offset";
const LENGTH: &str = "upload-length";
const EXPIRES: &str = "upload-expires";
const OFFSET_STREAM: &str = "application/offset+octet-stream";

/// Speaks the protocol's version on every answer, and refuses clients that speak another.
pub(super) async fn versioned(request: Request, next: Next) -> Response {
    let is_good = request.method() == Method::OPTIONS
        || request
            .headers()
            .get(RESUMABLE)
            .is_some_and(|version| *version == VERSION);
    let mut response = match is_good {
        true => next.run(request).await,
        false => {
            let detail = "this is tus 1.0.0: send `Tus-Resumable: 1.0.0`, or use `PUT /v1/jobs`";
            let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "tus-version", detail);
            (Fields::new().set("tus-version", VERSION), problem).into_response()
        }
    };
    response.headers_mut().insert(RESUMABLE, VERSION);
    response
}

/// Says what of tus is spoken here.
#[utoipa::path(
    options, path = "/v1/uploads", tag = "uploads", operation_id = "uploadCapabilities",
    responses((status = 204, description = "Version, extensions and limits as headers")),
    security(())
)]
pub(super) async fn capabilities(State(api): State<Arc<Api>>) -> Response {
    let fields = Fields::new()
        .set("tus-version", VERSION)
        .set("tus-extension", HeaderValue::from_static(EXTENSIONS))
        .set("tus-max-size", api.settings.max_upload_bytes.into())
        .set(
            "tus-checksum-algorithm",
            HeaderValue::from_static(ALGORITHMS),
        );
    (StatusCode::NO_CONTENT, fields).into_response()
}

/// Begins an upload, with its first bytes if the client sends some.
///
/// `Upload-Metadata` may have `filename`, `profile`, `priority`, `time_limit_s`, `video_stream`,
/// `audio_streams` and `name`; all other pairs are kept with the job.
#[utoipa::path(
    post, path = "/v1/uploads", tag = "uploads", operation_id = "createUpload",
    params(
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Length" = Option<u64>, Header, description = "bytes of the whole file"),
        ("Upload-Defer-Length" = Option<u32>, Header, description = "`1` when that is not known yet"),
        ("Upload-Metadata" = Option<String>, Header, description = "names and values in base64"),
    ),
    responses(
        (status = 201, description = "The upload", headers(("Location" = String), ("Upload-Expires" = String))),
        Appended,
    ),
    security(("key" = ["submit"]))
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let record = match begin(&api, &headers).await {
        Ok(record) => record,
        Err(problem) => {
            count("tus", "refused");
            linger(&headers, body.into_data_stream());
            return problem.into_response();
        }
    };
    let job = record.upload.job.clone();
    let place = HeaderValue::try_from(format!("/v1/uploads/{job}"));
    let mut fields = Fields::new().set(EXPIRES, date(record.upload.expires_at));
    if let Ok(place) = place {
        fields = fields.set("location", place);
    }
    if is_offset_stream(&headers) {
        let held = match desk.take(&job).await {
            Ok(held) => held,
            Err(problem) => return problem.into_response(),
        };
        let found = Found::default();
        match write(&api, &desk, held, record, found, headers, body).await {
            Ok(written) => fields = fields.and(written.fields(&job)),
            Err(problem) => return (fields, problem).into_response(),
        }
    }
    (StatusCode::CREATED, fields).into_response()
}

/// Says how far an upload has come.
#[utoipa::path(
    head, path = "/v1/uploads/{id}", tag = "uploads", operation_id = "uploadOffset",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header, description = "`1.0.0`")),
    responses((status = 200, description = "Where to go on", headers(("Upload-Offset" = u64))), Refused),
    security(("key" = ["submit"]))
)]
pub(super) async fn standing(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let job = upload_id(id)?;
    let held = desk.take(&job).await?;
    let (record, found) = match stand(&api, &job).await? {
        Standing::Whole(size) => {
            desk.forget(&job);
            return Ok((StatusCode::OK, whole_fields(&job, size), no_store()).into_response());
        }
        Standing::Open(record, found) => (record, found),
    };
    let offset = found.offset();
    if record.upload.size == Some(offset) {
        // The last bytes arrived, and the process died before it could say so.
        let fields = to_the_end(async move {
            desk.prepare(&api.settings.scratch).await?;
            let writer = open(&api, &record, &found, recall(None, &found), None).await?;
            complete(&api, &record, writer).await?;
            desk.forget(&job);
            drop(held);
            Ok(whole_fields(&job, offset))
        });
        return Ok((StatusCode::OK, fields.await?, no_store()).into_response());
    }
    let mut fields = Fields::new()
        .set(OFFSET, offset.into())
        .set(EXPIRES, date(record.upload.expires_at));
    fields = match record.upload.size {
        Some(size) => fields.set(LENGTH, size.into()),
        None => fields.set("upload-defer-length", HeaderValue::from_static("1")),
    };
    if let Some(said) = metadata_header(&record.upload.said) {
        fields = fields.set("upload-metadata", said);
    }
    Ok((StatusCode::OK, fields, no_store()).into_response())
}

/// Goes on with an upload. The answer to its last bytes has `Reelmill-Job`: where the job is.
#[utoipa::path(
    patch, path = "/v1/uploads/{id}", tag = "uploads", operation_id = "appendUpload",
    params(
        ("id" = String, Path),
        ("Tus-Resumable" = String, Header, description = "`1.0.0`"),
        ("Upload-Offset" = u64, Header, description = "where the body begins"),
        ("Upload-Checksum" = Option<String>, Header, description = "algorithm and digest in base64"),
    ),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"),
    responses(
        (status = 204, description = "Stored", headers(("Upload-Offset" = u64), ("Reelmill-Job" = String))),
        Appended,
    ),
    security(("key" = ["submit"]))
)]
pub(super) async fn append(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match go_on(&api, &desk, id, &headers, body.size_hint().exact()).await {
        Ok(Ready::Write(held, record, found)) => {
            let job = record.upload.job.clone();
            match write(&api, &desk, held, record, found, headers, body).await {
                Ok(written) => (StatusCode::NO_CONTENT, written.fields(&job)).into_response(),
                Err(problem) => problem.into_response(),
            }
        }
        Ok(Ready::Answer(response)) => {
            linger(&headers, body.into_data_stream());
            response
        }
        Err(problem) => {
            linger(&headers, body.into_data_stream());
            problem.into_response()
        }
    }
}

/// Ends an upload and removes what has arrived.
#[utoipa::path(
    delete, path = "/v1/uploads/{id}", tag = "uploads", operation_id = "terminateUpload",
    params(("id" = String, Path), ("Tus-Resumable" = String, Header, description = "`1.0.0`")),
    responses((status = 204, description = "Removed"), Refused),
    security(("key" = ["submit"]))
)]
pub(super) async fn terminate(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let job = upload_id(id)?;
    let held = desk.take(&job).await?;
    match stand(&api, &job).await {
        Ok(Standing::Whole(_)) => {
            let detail = format!("the upload is whole: end its job at `{}`", job_path(&job));
            return Err(Problem::new(StatusCode::CONFLICT, "upload-whole", detail));
        }
        Ok(Standing::Open(..)) => {}
        // What is past its time may go at once.
        Err(problem) if problem.status == StatusCode::GONE => {}
        Err(problem) => return Err(problem),
    }
    to_the_end(async move {
        clear(api.ports.store.as_ref(), &job).await?;
        desk.forget(&job);
        drop(held);
        count("tus", "terminated");
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Does what `X-HTTP-Method-Override` says, for clients that can send nothing but `POST`.
#[utoipa::path(
    post, path = "/v1/uploads/{id}", tag = "uploads", operation_id = "overriddenUpload",
    params(("id" = String, Path), ("X-HTTP-Method-Override" = String, Header, description = "`PATCH`, `HEAD` or `DELETE`")),
    responses(
        (status = 200, description = "As `HEAD` is answered"),
        (status = 204, description = "As `PATCH` and `DELETE` are answered"),
        (status = 405, description = "None of them was meant"),
        Appended,
    ),
    security(("key" = ["submit"]))
)]
pub(super) async fn overridden(
    state: State<Arc<Api>>,
    desk: Extension<Arc<Desk>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let meant = headers.get("x-http-method-override");
    match meant.and_then(|method| method.to_str().ok()) {
        Some("PATCH") => append(state, desk, id, headers, body).await,
        Some("HEAD") => standing(state, desk, id).await.into_response(),
        Some("DELETE") => terminate(state, desk, id).await.into_response(),
        _ => {
            let detail = "send `PATCH`, `HEAD` or `DELETE`, if need be in `X-HTTP-Method-Override`";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(status, "method-not-allowed", detail).into_response()
        }
    }
}

/// Writes the record of a new upload.
async fn begin(api: &Api, headers: &HeaderMap) -> Result<Record, Problem> {
    if headers.contains_key("upload-concat") {
        return Err(bad(
            "tus-extension",
            "`Upload-Concat` is not offered: send the file as one upload",
        ));
    }
    let deferred = headers.get("upload-defer-length");
    let size = match (number(headers, LENGTH)?, deferred) {
        (Some(size), None) => Some(size),
        (None, Some(one)) if one == "1" => None,
        _ => {
            let detail = "either `Upload-Length` or `Upload-Defer-Length: 1` is expected";
            return Err(bad("upload-length", detail));
        }
    };
    check_size(api, size, 0)?;
    let said = parse_metadata(headers)?;
    let order = Draft::of_tus(&said, &api.settings)?.order(&api.settings)?;
    let mut record = new_record(api, new_job()?, size, order);
    record.upload.said = said;
    record.save().await?;
    Ok(record)
}

fn check_size(api: &Api, size: Option<u64>, offset: u64) -> Result<(), Problem> {
    let limit = api.settings.max_upload_bytes;
    match size {
        Some(0) => Err(empty()),
        Some(size) if size > limit => Err(too_long(limit)),
        Some(size) if size < offset => Err(bad(
            "upload-length",
            "`Upload-Length` is less than what has arrived",
        )),
        _ => Ok(()),
    }
}

fn whole_fields(job: &JobId, size: u64) -> Fields {
    let fields = Fields::new()
        .set(OFFSET, size.into())
        .set(LENGTH, size.into());
    match HeaderValue::try_from(job_path(job)) {
        Ok(path) => fields.set("reelmill-job", path),
        Err(_) => fields,
    }
}

fn no_store() -> [(HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}

fn is_offset_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .eq_ignore_ascii_case(OFFSET_STREAM.as_bytes())
    })
}

fn conflict(wanted: u64, offset: u64) -> Response {
    let detail = format!("the upload is at {offset} and not at {wanted}: go on from there");
    let problem = Problem::new(StatusCode::CONFLICT, "upload-offset", detail);
    let fields = Fields::new().set(OFFSET, offset.into());
    (fields, problem).into_response()
}

fn upload_id(id: Result<Path<String>, PathRejection>) -> Result<JobId, Problem> {
    match id.map(|Path(id)| JobId::new(id)) {
        Ok(Ok(job)) => Ok(job),
        _ => Err(unknown()),
    }
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "upload-unknown",
        "there is no such upload: it was ended, expired or never begun",
    )
}

fn bad(code: &str, detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}
