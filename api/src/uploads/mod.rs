//! Uploads: from a client's bytes to a job.
//!
//! Three ways in, one way on. [`raw`] takes a body as it is (`curl -T`), [`form`] the file of a
//! form, [`tus`] an upload that may break off and go on. Each writes, in this order:
//!
//! 1. `uploads/{job}.json`, so that what is half-made is found and cleared when it expires;
//! 2. the segments ([`writer`]), each durable before it counts, and a partial object for what came
//!    after the last whole one, durable before it is acknowledged;
//! 3. `raw/{job}/source.json`: the upload is whole;
//! 4. the job; and the record of step 1 goes.
//!
//! A kill between any two of them loses nothing that was acknowledged: where an upload stands is
//! read from the store, never from memory.

mod answers;
mod checksum;
mod desk;
mod form;
mod idempotency;
mod order;
mod raw;
mod receive;
mod stored;
mod tus;
mod writer;

use std::sync::Arc;

use axum::Extension;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use reelmill_common::JobId;
use reelmill_common::upload::{self, Order, Upload};
use reelmill_stage::{StageError, submit_upload};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Api, Problem, jobs};
use desk::Desk;
use stored::{Record, millis, now};

/// The routes that take uploads.
pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    let tus = OpenApiRouter::new()
        .routes(routes!(tus::capabilities, tus::create))
        .routes(routes!(
            tus::standing,
            tus::append,
            tus::terminate,
            tus::overridden
        ))
        .route_layer(axum::middleware::from_fn(tus::versioned));
    OpenApiRouter::new()
        .routes(routes!(raw::put, raw::post))
        .routes(routes!(raw::put_unnamed))
        .routes(routes!(raw::put_named))
        .merge(tus)
        .layer(Extension(Arc::new(Desk::default())))
        // The limit is `max_upload_bytes`, which counts as the bytes come.
        .layer(DefaultBodyLimit::disable())
}

/// The answer to a request that made a job: where it is, and what is known of it.
async fn job_response(api: &Api, job: &JobId) -> Result<Response, Problem> {
    let body = jobs::load(api, job).await?;
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    if let Ok(location) = HeaderValue::try_from(job_path(job)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Where a job is.
fn job_path(job: &JobId) -> String {
    format!("/v1/jobs/{job}")
}

/// An id that sorts by time.
fn new_job() -> Result<JobId, Problem> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    JobId::new(id)
        .map_err(|error| StageError::permanent("job-id-malformed", error.to_string()).into())
}

/// The record of an upload that begins, not yet written.
fn new_record(api: &Api, job: JobId, size: Option<u64>, order: Order) -> Record {
    let expiry = api.settings.upload_expiry;
    let created_at = now();
    let upload = Upload {
        version: upload::VERSION,
        job,
        size,
        created_at,
        expires_at: created_at.saturating_add(millis(expiry)),
        said: Default::default(),
        order,
    };
    Record::new(Arc::clone(&api.ports.store), upload, expiry)
}

/// Runs what must come to its end also when the client does not wait for it.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|error| Err(StageError::permanent("interrupted", error.to_string()).into()))
}
