//! From a request's body into a [`SegmentWriter`].

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use metrics::{counter, gauge};
use reelmill_stage::StageError;
use tokio_util::sync::CancellationToken;

use super::desk::taken;
use super::stored::Record;
use super::writer::SegmentWriter;
use crate::Problem;

/// After how long without a byte the client counts as slower than the disk.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// How long what a refused client still sends is read, so that it gets to read the answer.
const LINGER: Duration = Duration::from_secs(5);

/// Why a body was not received to its end.
#[derive(Debug)]
pub(super) enum Cut {
    /// The line broke, or the client sent nothing for too long.
    Gone(&'static str),
    /// There was more than there may be.
    TooLong,
    /// Another request goes on with the upload.
    Taken,
    /// It is not what its headers said.
    Malformed(Problem),
    /// The disk or the store fails.
    Failed(StageError),
}

impl Cut {
    /// What the client is told.
    pub(super) fn problem(self, limit: u64) -> Problem {
        match self {
            Self::Gone(detail) => {
                Problem::new(StatusCode::REQUEST_TIMEOUT, "upload-interrupted", detail)
            }
            Self::TooLong => too_long(limit),
            Self::Taken => taken(),
            Self::Malformed(problem) => problem,
            Self::Failed(error) => error.into(),
        }
    }

    /// How the metrics call it.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Gone(_) | Self::Taken => "interrupted",
            Self::TooLong | Self::Malformed(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// What is said of a body that is longer than `limit` bytes.
pub(super) fn too_long(limit: u64) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "upload-too-large",
        format!("the upload is larger than the {limit} bytes that are taken here"),
    )
}

/// Takes a body to its end, or until the upload has `limit` bytes.
pub(super) async fn receive<S, E>(
    body: &mut S,
    writer: &mut SegmentWriter,
    record: &mut Record,
    limit: u64,
    stop: &CancellationToken,
) -> Result<(), Cut>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<Cut>,
{
    let bytes_total = counter!("reelmill_upload_bytes_total");
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Cut::Taken),
            next = tokio::time::timeout(PAUSE, body.next()) => next,
        };
        let next = match next {
            Ok(next) => Ok(next),
            Err(_elapsed) => {
                // What the client has sent need not wait in memory for more.
                writer.settle().await.map_err(Cut::Failed)?;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(Cut::Taken),
                    next = tokio::time::timeout(SILENCE, body.next()) => next,
                }
            }
        };
        let bytes = match next {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => return Ok(()),
            Err(_elapsed) => return Err(Cut::Gone("the client sent nothing for a minute")),
        };
        if bytes.len() as u64 > limit.saturating_sub(writer.offset()) {
            return Err(Cut::TooLong);
        }
        bytes_total.increment(bytes.len() as u64);
        writer.push(bytes).await.map_err(Cut::Failed)?;
        record.keep().await.map_err(Cut::Failed)?;
    }
}

impl From<axum::Error> for Cut {
    fn from(error: axum::Error) -> Self {
        tracing::debug!(%error, "a body broke off");
        Self::Gone("the body broke off before its end")
    }
}

/// Reads on for a while after a refusal: to a client that is still sending, a connection closed at
/// once would look like a broken line and not like an answer.
pub(super) fn linger<S>(headers: &HeaderMap, mut body: S)
where
    S: Stream + Unpin + Send + 'static,
{
    // This client waits for the word to begin, and reading would give it.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    tokio::spawn(async move {
        let rest = async { while body.next().await.is_some() {} };
        if tokio::time::timeout(LINGER, rest).await.is_err() {
            tracing::debug!("a refused client went on sending");
        }
    });
}

/// Counts one request that brings bytes.
#[derive(Debug)]
pub(super) struct Active {
    kind: &'static str,
    is_counted: bool,
}

impl Active {
    /// Begins.
    pub(super) fn begin(kind: &'static str) -> Self {
        gauge!("reelmill_uploads_active").increment(1.0);
        Self {
            kind,
            is_counted: false,
        }
    }

    /// Says how it ended.
    pub(super) fn end(mut self, outcome: &'static str) {
        count(self.kind, outcome);
        self.is_counted = true;
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        gauge!("reelmill_uploads_active").decrement(1.0);
        if !self.is_counted {
            count(self.kind, "interrupted");
        }
    }
}

/// Counts an upload by how it came and how it ended.
pub(super) fn count(kind: &'static str, outcome: &'static str) {
    counter!("reelmill_uploads_total", "kind" => kind, "outcome" => outcome).increment(1);
}

/// The length that the client says its body has.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
