//! Where an upload stands, and how it goes on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use reelmill_common::JobId;

use super::headers::{Fields, date, number};
use super::{EXPIRES, LENGTH, OFFSET, OFFSET_STREAM};
use super::{bad, check_size, conflict, is_offset_stream, unknown, upload_id, whole_fields};
use crate::uploads::checksum::{Check, content_digest, digest_mismatch};
use crate::uploads::desk::{Desk, Held};
use crate::uploads::receive::{Active, Cut, linger, receive, too_long};
use crate::uploads::stored::{Found, Record, seal, sealed};
use crate::uploads::writer::{Progress, SegmentWriter};
use crate::uploads::{submit_upload, to_the_end};
use crate::{Api, Problem};

/// Where an upload stands.
#[derive(Debug)]
pub(super) enum Standing {
    Open(Record, Found),
    /// It is a job, of a source of so many bytes.
    Whole(u64),
}

pub(super) async fn stand(api: &Api, job: &JobId) -> Result<Standing, Problem> {
    let store = &api.ports.store;
    let record = Record::load(store, job, api.settings.upload_expiry).await?;
    if let Some(source) = sealed(store.as_ref(), job).await? {
        if let Some(record) = record {
            // The process died between the two.
            submit_upload(&api.ports, &record.upload, api.settings.slots).await?;
        }
        return Ok(Standing::Whole(source.size));
    }
    match record {
        Some(record) if record.is_expired() => Err(Problem::new(
            StatusCode::GONE,
            "upload-expired",
            "the upload stood unfinished for too long: begin it again",
        )),
        Some(record) => Ok(Standing::Open(
            record,
            Found::look(store.as_ref(), job).await?,
        )),
        None => Err(unknown()),
    }
}

/// What a `PATCH` leads to.
#[derive(Debug)]
pub(super) enum Ready {
    Write(Held, Record, Found),
    Answer(Response),
}

pub(super) async fn go_on(
    api: &Arc<Api>,
    desk: &Arc<Desk>,
    id: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    length: Option<u64>,
) -> Result<Ready, Problem> {
    let job = upload_id(id)?;
    if !is_offset_stream(headers) {
        let detail = format!("`Content-Type: {OFFSET_STREAM}` is expected");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "upload-content-type", detail));
    }
    let Some(wanted) = number(headers, OFFSET)? else {
        return Err(bad("upload-offset", "`Upload-Offset` is expected"));
    };
    let held = desk.take(&job).await?;
    let (mut record, found) = match stand(api, &job).await? {
        Standing::Open(record, found) => (record, found),
        // A client whose last answer was lost sends nothing more, and is told once more.
        Standing::Whole(size) if size == wanted && length == Some(0) => {
            let fields = whole_fields(&job, size);
            return Ok(Ready::Answer(
                (StatusCode::NO_CONTENT, fields).into_response(),
            ));
        }
        Standing::Whole(size) => return Ok(Ready::Answer(conflict(wanted, size))),
    };
    if found.offset() != wanted {
        return Ok(Ready::Answer(conflict(wanted, found.offset())));
    }
    if let Some(size) = number(headers, LENGTH)? {
        if record.upload.size.is_some_and(|known| known != size) {
            return Err(bad(
                "upload-length",
                "`Upload-Length` was told before and cannot change",
            ));
        }
        check_size(api, Some(size), wanted)?;
        if record.upload.size.is_none() {
            record.upload.size = Some(size);
            record.save().await?;
        }
    }
    let limit = record.upload.size.unwrap_or(api.settings.max_upload_bytes);
    if length.is_some_and(|length| length > limit.saturating_sub(wanted)) {
        return Err(too_long(limit));
    }
    Ok(Ready::Write(held, record, found))
}

/// How far an upload has come by one request.
#[derive(Debug)]
pub(super) enum Written {
    Part { offset: u64, expires_at: u64 },
    Whole(u64),
}

impl Written {
    pub(super) fn fields(&self, job: &JobId) -> Fields {
        match self {
            Self::Whole(size) => whole_fields(job, *size),
            Self::Part { offset, expires_at } => Fields::new()
                .set(OFFSET, (*offset).into())
                .set(EXPIRES, date(*expires_at)),
        }
    }
}

/// Appends a body to an upload, also when the client goes away in the middle.
pub(super) async fn write(
    api: &Arc<Api>,
    desk: &Arc<Desk>,
    held: Held,
    record: Record,
    found: Found,
    headers: HeaderMap,
    body: Body,
) -> Result<Written, Problem> {
    let (api, desk) = (Arc::clone(api), Arc::clone(desk));
    to_the_end(write_here(api, desk, held, record, found, headers, body)).await
}

async fn write_here(
    api: Arc<Api>,
    desk: Arc<Desk>,
    mut held: Held,
    mut record: Record,
    found: Found,
    headers: HeaderMap,
    body: Body,
) -> Result<Written, Problem> {
    let active = Active::begin("tus");
    let (check, mismatch) = promised(&headers)?;
    desk.prepare(&api.settings.scratch).await?;
    record.keep().await?;
    let progress = recall(held.recall(), &found);
    let before = check.is_some().then(|| progress.clone());
    let is_checked = check.is_some();
    let mut writer = open(&api, &record, &found, progress, check).await?;
    let limit = record.upload.size.unwrap_or(api.settings.max_upload_bytes);
    let mut stream = body.into_data_stream();
    let received = receive(&mut stream, &mut writer, &mut record, limit, &held.stop).await;
    let accepted = match received {
        Ok(()) => writer.accept().await.map_err(Cut::Failed),
        Err(cut) => Err(cut),
    };
    match accepted {
        Ok(true) if record.upload.size == Some(writer.offset()) => {
            let size = writer.offset();
            complete(&api, &record, writer).await?;
            desk.forget(&record.upload.job);
            active.end("completed");
            Ok(Written::Whole(size))
        }
        Ok(true) => {
            let progress = writer.park().await?;
            let offset = progress.offset;
            held.remember(progress);
            active.end("parked");
            let expires_at = record.upload.expires_at;
            Ok(Written::Part { offset, expires_at })
        }
        Ok(false) => {
            writer.abandon().await;
            before.into_iter().for_each(|before| held.remember(before));
            active.end("refused");
            Err(mismatch)
        }
        Err(cut) => {
            active.end(cut.outcome());
            if is_checked || matches!(cut, Cut::Failed(_)) {
                writer.abandon().await;
                before.into_iter().for_each(|before| held.remember(before));
            } else {
                held.remember(writer.park().await?);
            }
            if !matches!(cut, Cut::Gone(_)) {
                linger(&headers, stream);
            }
            Err(cut.problem(limit))
        }
    }
}

/// Makes a job of an upload whose bytes are all there.
pub(super) async fn complete(
    api: &Api,
    record: &Record,
    writer: SegmentWriter,
) -> Result<(), Problem> {
    let received = writer.finish().await?;
    seal(api.ports.store.as_ref(), &record.upload, received).await?;
    submit_upload(&api.ports, &record.upload, api.settings.slots).await?;
    Ok(())
}

pub(super) async fn open(
    api: &Api,
    record: &Record,
    found: &Found,
    progress: Progress,
    check: Option<Check>,
) -> Result<SegmentWriter, Problem> {
    let store = Arc::clone(&api.ports.store);
    let folder = &api.settings.scratch;
    let job = &record.upload.job;
    Ok(SegmentWriter::open(store, folder, job, found, progress, check).await?)
}

pub(super) fn recall(remembered: Option<Progress>, found: &Found) -> Progress {
    match remembered {
        Some(progress) => progress,
        None if found.offset() == 0 => Progress::start(),
        None => Progress {
            offset: found.offset(),
            digests: None,
        },
    }
}

/// The checksum that the request's body must have, and what is said if it has another.
fn promised(headers: &HeaderMap) -> Result<(Option<Check>, Problem), Problem> {
    if let Some(digest) = content_digest(headers)? {
        return Ok((Some(Check::sha256(digest)), digest_mismatch()));
    }
    let mismatch = Problem::new(
        StatusCode::from_u16(460).unwrap_or(StatusCode::BAD_REQUEST),
        "checksum-mismatch",
        "what arrived is not what `Upload-Checksum` promised, and nothing of it was kept: send it again",
    );
    Ok((Check::of_tus(headers)?, mismatch))
}
