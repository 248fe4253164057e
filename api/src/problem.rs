//! What a client is told when its request cannot be answered: `application/problem+json`
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reelmill_common::Retryable;
use reelmill_stage::StageError;
use serde::Serialize;
use utoipa::ToSchema;

/// An error as a client sees it. The request's id is added on the way out.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable code in kebab-case.
    pub code: String,
    /// One sentence that names the thing and the way out.
    pub detail: String,
}

/// Why a request could not be answered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// The HTTP status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// A stable code in kebab-case.
    #[schema(example = "job-unknown")]
    code: &'a str,
    /// One sentence that names the thing and the way out.
    detail: &'a str,
    /// Also in the header `X-Request-Id` and in the service's logs.
    request_id: &'a str,
}

impl Problem {
    /// A problem with its status, code and sentence.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            detail: detail.into(),
        }
    }

    /// The body for the request of this id.
    pub(crate) fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: &self.code,
            detail: &self.detail,
            request_id,
        }
    }
}

/// A port that failed: the client is told to come again, the log is told why.
impl From<StageError> for Problem {
    fn from(error: StageError) -> Self {
        let status = match error.is_disk_full() {
            true => StatusCode::INSUFFICIENT_STORAGE,
            false if error.retryable => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::error!(code = error.code, %error, "cannot answer a request");
        // What a port says may name paths and servers of ours: it is for the log.
        let detail = match status {
            StatusCode::INSUFFICIENT_STORAGE => "the service has no space left: try again later",
            StatusCode::SERVICE_UNAVAILABLE => {
                "the service cannot reach its storage now: try again in a moment"
            }
            _ => "the service failed: its log names the request id and the reason",
        };
        Self::new(status, &error.code, detail)
    }
}

impl Problem {
    /// A port's error, as [`From<StageError>`] does it.
    pub fn of(error: &(impl Retryable + 'static)) -> Self {
        StageError::of(error).into()
    }
}

impl Problem {
    /// A request's body that could not be read to its end.
    #[must_use]
    pub fn of_body(error: &axum::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(stalled) = error.downcast_ref::<crate::server::BodyStalled>() {
                let sentence = format!("{stalled}: send it again, or go on where it stopped");
                return Self::new(StatusCode::REQUEST_TIMEOUT, "body-stalled", sentence);
            }
            cause = error.source();
        }
        Self::new(
            StatusCode::BAD_REQUEST,
            "body-incomplete",
            "the body ended before it was whole: send it again, or go on where it stopped",
        )
    }
}

/// Without a body yet: the outermost layer takes the problem out of the response's extensions and
/// writes it with the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
