//! The file of a `multipart/form-data` request, and the fields before and after it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reelmill_common::digest::{Hasher, Sha256};

use super::checksum::digest_mismatch;
use super::order::Draft;
use super::raw::receive_file;
use super::receive::Cut;
use super::stored::Record;
use super::writer::Received;
use crate::{Api, Problem};

/// Bytes of a field that is not the file.
const FIELD_BYTES: usize = 64 * 1024;

/// What is wrong with a form that the parser refuses.
const NO_FORM: &str =
    "it is not `multipart/form-data`, or ended early: send it as `curl -F file=@movie.mp4` does";

/// Fields of a form.
const FIELDS: usize = 128;

/// A body that is still at hand after a parser has taken what it wanted.
#[derive(Clone, Debug)]
pub(super) struct SharedBody(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    stream: BodyDataStream,
    hasher: Option<Hasher>,
}

impl SharedBody {
    /// Wraps a body, of which a digest is taken if asked for.
    pub(super) fn new(body: Body, is_hashed: bool) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            stream: body.into_data_stream(),
            hasher: is_hashed.then(Hasher::default),
        })))
    }

    /// The digest of the whole body, the rest of which is read for it.
    async fn digest(&mut self) -> Result<Option<Sha256>, Cut> {
        while let Some(bytes) = self.next().await {
            bytes.map_err(Cut::from)?;
        }
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(shared.hasher.take().map(|hasher| hasher.finish().0))
    }
}

impl Stream for SharedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = shared.stream.poll_next_unpin(cx);
        if let (Poll::Ready(Some(Ok(bytes))), Some(hasher)) = (&polled, &mut shared.hasher) {
            hasher.update(bytes);
        }
        polled
    }
}

/// Reads a form, and stores its file as the segments of the record's upload.
pub(super) async fn receive_form(
    api: &Api,
    record: &mut Record,
    mut draft: Draft,
    parts: Parts,
    body: &SharedBody,
    digest: Option<Sha256>,
) -> Result<Received, Cut> {
    let request = Request::from_parts(parts, Body::from_stream(body.clone()));
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_not_for_clients| Cut::Malformed(malformed(NO_FORM)))?;
    let (mut received, mut fields) = (None, 0);
    while let Some(mut field) = form.next_field().await? {
        fields += 1;
        if fields > FIELDS {
            return Err(refused(
                "form-malformed",
                &format!("a form may have {FIELDS} fields"),
            ));
        }
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            if received.is_some() {
                let detail =
                    "the form has two fields `file`: send one file, and make a job of each";
                return Err(refused("file-repeated", detail));
            }
            if let Some(name) = field.file_name() {
                draft.set_file_name(name);
            }
            received = Some(receive_file(api, record, &mut field).await?);
            continue;
        }
        let value = text(&name, field).await?;
        draft
            .set(&name, value, &api.settings)
            .map_err(Cut::Malformed)?;
    }
    drop(form);
    let Some(received) = received else {
        let detail =
            "the form has no field `file`: send the file as `curl -F file=@movie.mp4` does";
        return Err(refused("file-missing", detail));
    };
    if let Some(digest) = digest
        && body.clone().digest().await? != Some(digest)
    {
        return Err(Cut::Malformed(digest_mismatch()));
    }
    // The fields that decide may have come after the file.
    record.upload.size = Some(received.size);
    record.upload.order = draft.order(&api.settings).map_err(Cut::Malformed)?;
    record.save().await.map_err(Cut::Failed)?;
    Ok(received)
}

async fn text(name: &str, mut field: Field<'_>) -> Result<String, Cut> {
    let mut value = Vec::new();
    while let Some(bytes) = field.chunk().await? {
        if value.len() + bytes.len() > FIELD_BYTES {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            let detail = format!(
                "the field `{shown}` is longer than {FIELD_BYTES} bytes: the file belongs in the field `file`"
            );
            return Err(refused("field-too-long", &detail));
        }
        value.extend_from_slice(&bytes);
    }
    String::from_utf8(value).map_err(|_not_for_clients| malformed("a field is not UTF-8").into())
}

fn refused(code: &str, detail: &str) -> Cut {
    Problem::new(StatusCode::BAD_REQUEST, code, detail).into()
}

fn malformed(why: &str) -> Problem {
    let detail = format!("the form cannot be read: {why}");
    Problem::new(StatusCode::BAD_REQUEST, "form-malformed", detail)
}

impl From<Problem> for Cut {
    fn from(problem: Problem) -> Self {
        Self::Malformed(problem)
    }
}

impl From<MultipartError> for Cut {
    fn from(error: MultipartError) -> Self {
        tracing::debug!(%error, "a form cannot be read");
        malformed(NO_FORM).into()
    }
}
