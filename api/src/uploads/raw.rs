//! Uploads in one request: the body is the file, or a form with the file in it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use reelmill_common::JobId;
use reelmill_common::digest::Sha256;
use tokio_util::sync::CancellationToken;

use super::answers::Taken;
use super::checksum::{content_digest, digest_mismatch};
use super::desk::Desk;
use super::form::{self, SharedBody};
use super::idempotency::{self, IN_PROGRESS, RETRY_AFTER, Ticket, Turn};
use super::order::Draft;
use super::receive::{Active, Cut, content_length, count, linger, receive, too_long};
use super::stored::{Found, Record, clear, seal};
use super::writer::{Progress, Received, SegmentWriter};
use super::{job_response, new_job, new_record, submit_upload, to_the_end};
use crate::{Api, Problem};

/// What is wanted of a source, in the query.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by the derive that describes it")]
struct Wishes {
    /// The profile's name; the service has a default.
    profile: Option<String>,
    /// A name for people; the file's where it is known.
    name: Option<String>,
    /// Whose turn it is first.
    #[param(pattern = "^(low|normal|high)$")]
    priority: Option<String>,
    /// Seconds that the job may take.
    #[param(minimum = 1)]
    time_limit_s: Option<u64>,
    /// The picture to transcode, by its stream index as ffprobe prints it, or `none`; the stream
    /// that players show where it is not given.
    #[param(pattern = "^([0-9]+|none)$")]
    video_stream: Option<String>,
    /// The audio tracks to transcode, by stream index with commas between, or `none`; all where it
    /// is not given.
    #[param(pattern = "^([0-9]+(,[0-9]+)*|none)$")]
    audio_streams: Option<String>,
}

/// What a client says of the body, in its head.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by the derive that describes it")]
struct Promises {
    /// The same key with the same request gives the same job.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
    /// `sha-256=:BASE64:` of the body, compared when it is whole.
    #[param(rename = "Content-Digest")]
    content_digest: Option<String>,
}

/// A form; `metadata` may also come as `metadata[KEY]`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "read by the derive that describes it")]
struct Form {
    /// The source.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// The profile's name.
    profile: Option<String>,
    /// A name for people.
    name: Option<String>,
    /// `low`, `normal` or `high`.
    priority: Option<String>,
    /// Seconds that the job may take.
    time_limit_s: Option<u64>,
    /// The picture to transcode, by its stream index, or `none`.
    video_stream: Option<String>,
    /// The audio tracks to transcode, by stream index with commas between, or `none`.
    audio_streams: Option<String>,
    /// A JSON object of strings, kept and given back.
    metadata: Option<String>,
}

/// Bytes of a form beside its file.
const FORM_BYTES: u64 = 1024 * 1024;

/// Uploads a file as the request's body and makes a job of it.
///
/// Further parameters: `metadata.KEY=VALUE`. With `Content-Digest` the bytes are compared, with
/// `Idempotency-Key` the same request gives the same job.
#[utoipa::path(
    put, path = "/v1/jobs", tag = "uploads", operation_id = "putJob",
    params(Wishes, Promises),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(Taken),
    security(("key" = ["submit"]))
)]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    take(api, desk, None, request).await
}

/// Uploads as `PUT /v1/jobs` does: what `curl -T - http://host/v1/jobs/` sends.
#[utoipa::path(
    put, path = "/v1/jobs/", tag = "uploads", operation_id = "putJobUnnamed",
    params(Wishes, Promises),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(Taken),
    security(("key" = ["submit"]))
)]
pub(super) async fn put_unnamed(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    take(api, desk, None, request).await
}

/// Uploads as `PUT /v1/jobs` does, with the file's name: what `curl -T FILE http://host/v1/jobs/`
/// sends.
#[utoipa::path(
    put, path = "/v1/jobs/{id}", tag = "uploads", operation_id = "putJobNamed",
    params(("id" = String, Path, description = "The file's name"), Wishes, Promises),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(Taken),
    security(("key" = ["submit"]))
)]
pub(super) async fn put_named(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let name = name.ok().map(|Path(name)| name);
    take(api, desk, name, request).await
}

/// Uploads the field `file` of a form, or a body of any other kind as `PUT` does.
///
/// The form's other fields are `profile`, `name`, `priority`, `time_limit_s`, `video_stream`,
/// `audio_streams` and `metadata` (JSON) or `metadata[KEY]`, before or after the file.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "uploads", operation_id = "postJob",
    params(Wishes, Promises),
    request_body(content(
        (Form = "multipart/form-data"),
        (Vec<u8> = "application/octet-stream"),
    )),
    responses(Taken),
    security(("key" = ["submit"]))
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    take(api, desk, None, request).await
}

/// What a request brings, and how.
#[derive(Debug)]
struct Intake {
    api: Arc<Api>,
    kind: &'static str,
    draft: Draft,
    digest: Option<Sha256>,
    parts: Parts,
}

async fn take(api: Arc<Api>, desk: Arc<Desk>, name: Option<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let admitted = admit(&api, &desk, name, parts).await;
    let (answer, is_again) = match admitted {
        Ok((_, Turn::Again(job), _)) => {
            linger(&headers, body.into_data_stream());
            (Ok(job), true)
        }
        Ok((intake, Turn::First(ticket), job)) => {
            (to_the_end(intake.bring(job, ticket, body)).await, false)
        }
        Err(problem) => {
            linger(&headers, body.into_data_stream());
            (Err(problem), false)
        }
    };
    let answer = match answer {
        Ok(job) => job_response(&api, &job).await,
        Err(problem) => Err(problem),
    };
    let is_early = matches!(&answer, Err(problem) if problem.code == IN_PROGRESS);
    let mut response = answer.into_response();
    if is_early {
        let after = HeaderValue::from_static(RETRY_AFTER);
        response.headers_mut().insert(header::RETRY_AFTER, after);
    }
    if is_again {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert("idempotency-replayed", yes);
    }
    response
}

/// Refuses all that can be refused before the body is read.
async fn admit(
    api: &Arc<Api>,
    desk: &Arc<Desk>,
    name: Option<String>,
    parts: Parts,
) -> Result<(Intake, Turn, JobId), Problem> {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| kind.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
    let is_form =
        parts.method == axum::http::Method::POST && content_type.starts_with("multipart/form-data");
    let kind = if is_form { "form" } else { "raw" };
    let checked = check(api, kind, &content_type, name, &parts);
    let (draft, digest) = checked.inspect_err(|_| count(kind, "refused"))?;

    let length = content_length(&parts.headers).map(|length| length.to_string());
    let promised = digest.map(|digest| digest.to_string());
    let request = idempotency::request_digest(&[
        parts.method.as_str(),
        &parts.uri.to_string(),
        length.as_deref().unwrap_or_default(),
        promised.as_deref().unwrap_or_default(),
    ]);
    desk.prepare(&api.settings.scratch).await?;
    let job = new_job()?;
    let turn = idempotency::begin(api, desk, &parts, request, &job).await?;
    let intake = Intake {
        api: Arc::clone(api),
        kind,
        draft,
        digest,
        parts,
    };
    Ok((intake, turn, job))
}

fn check(
    api: &Api,
    kind: &str,
    content_type: &str,
    name: Option<String>,
    parts: &Parts,
) -> Result<(Draft, Option<Sha256>), Problem> {
    if content_type.starts_with("application/json") {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "source-url-unsupported",
            "a source is not fetched from a URL yet: send its bytes with `PUT /v1/jobs`, as a form or by tus",
        ));
    }
    for refused in [header::CONTENT_ENCODING, header::CONTENT_RANGE] {
        if parts.headers.contains_key(&refused) {
            let detail = format!(
                "`{refused}` is not taken: send the file's own bytes, or use `/v1/uploads` to go on with an upload"
            );
            let code = "upload-encoding-unsupported";
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                code,
                detail,
            ));
        }
    }
    let limit = api.settings.max_upload_bytes;
    let slack = if kind == "form" { FORM_BYTES } else { 0 };
    match content_length(&parts.headers) {
        Some(0) => return Err(empty()),
        Some(length) if length > limit.saturating_add(slack) => return Err(too_long(limit)),
        _ => {}
    }
    let mut draft = Draft::of_query(parts.uri.query(), &api.settings)?;
    if let Some(name) = name {
        draft.set_file_name(&name);
    }
    // What is wrong with the defaults is said before the body is sent.
    draft.order(&api.settings)?;
    Ok((draft, content_digest(&parts.headers)?))
}

impl Intake {
    /// Stores a body and makes a job of it, or leaves nothing.
    async fn bring(self, job: JobId, ticket: Option<Ticket>, body: Body) -> Result<JobId, Problem> {
        let active = Active::begin(self.kind);
        let api = Arc::clone(&self.api);
        let (store, limit) = (api.ports.store.as_ref(), api.settings.max_upload_bytes);
        let size = content_length(&self.parts.headers).filter(|_| self.kind == "raw");
        let order = self.draft.order(&api.settings)?;
        let mut record = new_record(&api, job.clone(), size, order);
        let body = SharedBody::new(body, self.kind == "form" && self.digest.is_some());
        let received = self.receive(&mut record, &body).await;
        let sealed = match received {
            Ok(received) => seal(store, &record.upload, received)
                .await
                .map_err(Cut::Failed),
            Err(cut) => Err(cut),
        };
        if let Err(cut) = sealed {
            active.end(cut.outcome());
            // Before the answer: whoever reads it finds nothing left.
            if let Err(error) = clear(store, &job).await {
                tracing::warn!(%job, %error, "an upload that failed is cleared when it expires");
            }
            if let Some(ticket) = ticket {
                ticket.give_back(store).await;
            }
            return Err(cut.problem(limit));
        }
        submit_upload(&api.ports, &record.upload, api.settings.slots).await?;
        active.end("completed");
        Ok(job)
    }

    async fn receive(self, record: &mut Record, body: &SharedBody) -> Result<Received, Cut> {
        record.save().await.map_err(Cut::Failed)?;
        let Self {
            api,
            kind,
            draft,
            digest,
            parts,
        } = self;
        let headers = parts.headers.clone();
        let received = match kind {
            "form" => form::receive_form(&api, record, draft, parts, body, digest).await,
            _ => match receive_file(&api, record, &mut body.clone()).await {
                Ok(received) if digest.is_some_and(|digest| digest != received.sha256) => {
                    Err(Cut::Malformed(digest_mismatch()))
                }
                done => done,
            },
        };
        if received.is_err() {
            linger(&headers, body.clone());
        }
        received
    }
}

/// Stores a stream of bytes as the segments of the record's upload.
pub(super) async fn receive_file<S, E>(
    api: &Api,
    record: &mut Record,
    body: &mut S,
) -> Result<Received, Cut>
where
    S: futures::Stream<Item = Result<bytes::Bytes, E>> + Unpin,
    E: Into<Cut>,
{
    let store = Arc::clone(&api.ports.store);
    let job = record.upload.job.clone();
    let (found, progress) = (Found::default(), Progress::start());
    let folder = &api.settings.scratch;
    let mut writer = SegmentWriter::open(store, folder, &job, &found, progress, None)
        .await
        .map_err(Cut::Failed)?;
    let never = CancellationToken::new();
    let limit = api.settings.max_upload_bytes;
    let received = receive(body, &mut writer, record, limit, &never).await;
    let received = match received {
        Ok(()) if writer.offset() == 0 => Err(Cut::Malformed(empty())),
        done => done,
    };
    match received {
        Ok(()) => writer.finish().await.map_err(Cut::Failed),
        Err(cut) => {
            writer.abandon().await;
            Err(cut)
        }
    }
}

/// What is said of a file without a byte.
pub(super) fn empty() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "upload-empty",
        "the upload has no bytes: send the file as the body or as the field `file` of a form",
    )
}
