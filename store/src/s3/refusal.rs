//! What came back instead of an answer, and what it means.

use std::error::Error;
use std::fmt::{self, Write as _};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use reelmill_common::ObjectKey;

use crate::StoreError;

/// Why a request was not answered as it should be, after the client library's own attempts.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Option<u16>,
    code: Option<String>,
    retryable: bool,
    words: String,
}

/// Codes that an answer of status 4xx, or one that began well, may have though nothing is wrong
/// with the request: the bytes suffered on their way, another request came between, or the upload
/// that a part belongs to was cleared, and a new one may be begun.
const PASSING: [&str; 11] = [
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "NoSuchUpload",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "XAmzContentSHA256Mismatch",
];

/// How codes end that say that no room is left; services spell them with their own names in front.
const FULL: [&str; 3] = ["InsufficientStorage", "QuotaExceeded", "StorageFull"];

impl<E> From<SdkError<E>> for Refusal
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let retryable = match &error {
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
            SdkError::DispatchFailure(failure) => !failure.is_user(),
            SdkError::ServiceError(_) => is_passing(status, code.as_deref()),
            _ => false,
        };
        let words = match &error {
            SdkError::ServiceError(_) => {
                let id = error
                    .raw_response()
                    .and_then(|response| response.headers().get("x-amz-request-id"));
                service_words(status, code.as_deref(), error.message(), id)
            }
            SdkError::TimeoutError(_) => "does not answer in time".to_owned(),
            SdkError::DispatchFailure(_) => chain("cannot be reached", &error),
            SdkError::ResponseError(_) => chain("gives an answer that makes no sense", &error),
            _ => chain("cannot be asked this", &error),
        };
        Self {
            status,
            code,
            retryable,
            words,
        }
    }
}

fn is_passing(status: Option<u16>, code: Option<&str>) -> bool {
    match status {
        _ if code.is_some_and(|code| PASSING.contains(&code)) => true,
        // What a service cannot do, it cannot do later.
        Some(501 | 505 | 507) => false,
        Some(408 | 409 | 429 | 500..) => true,
        _ => false,
    }
}

/// As in "answers `SlowDown`: reduce your request rate (status 503, request 4442587F)".
fn service_words(
    status: Option<u16>,
    code: Option<&str>,
    message: Option<&str>,
    request: Option<&str>,
) -> String {
    let mut words = match (code, message) {
        (Some(code), Some(message)) => format!("answers `{code}`: {}", message.trim()),
        (Some(code), None) => format!("answers `{code}`"),
        (None, Some(message)) => format!("answers: {}", message.trim()),
        (None, None) => "refuses".to_owned(),
    };
    let request = request.map(|id| format!(", request {id}"));
    if let Some(status) = status {
        let request = request.unwrap_or_default();
        // Writing to a string cannot fail.
        write!(words, " (status {status}{request})").unwrap_or_default();
    }
    words
}

/// An error with all its causes on one line; the library's own outermost words say nothing.
fn chain(words: &str, error: &dyn Error) -> String {
    let mut line = words.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !line.ends_with(&words) {
            line.push_str(": ");
            line.push_str(&words);
        }
        cause = error.source();
    }
    line
}

impl Refusal {
    /// A failure in the middle of an answer that had begun well.
    pub(super) fn broken(error: &dyn Error) -> Self {
        let mut words = format!("breaks off an answer: {error}");
        words = chain(&words, error);
        Self {
            status: None,
            code: None,
            retryable: true,
            words,
        }
    }

    /// An answer against the protocol.
    pub(super) fn senseless(words: &str) -> Self {
        Self {
            status: None,
            code: None,
            retryable: true,
            words: words.to_owned(),
        }
    }

    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    pub(super) fn has_status(&self, status: u16) -> bool {
        self.status == Some(status)
    }

    /// Whether it says that there is no such object, and not that there is no such bucket.
    pub(super) fn means_no_object(&self) -> bool {
        self.has_code("NoSuchKey")
    }

    /// Whether something is missing, without saying what: an answer to HEAD has no body.
    pub(super) fn means_nothing_there(&self) -> bool {
        self.has_status(404) && (self.code.is_none() || self.has_code("NotFound"))
    }

    /// Whether an upload was completed or cleared meanwhile.
    pub(super) fn means_no_upload(&self) -> bool {
        self.has_code("NoSuchUpload")
    }

    /// Whether the condition of the request does not hold.
    pub(super) fn means_condition_failed(&self) -> bool {
        self.has_status(412) || self.has_code("PreconditionFailed")
    }

    /// Whether a request with the same condition came between.
    pub(super) fn means_conflict(&self) -> bool {
        self.has_status(409)
    }

    /// The same refusal, where it is known that trying again may help.
    pub(super) fn passing(self) -> Self {
        Self {
            retryable: true,
            ..self
        }
    }

    /// The same refusal, of a new object where none is.
    pub(super) fn without_object(self) -> Self {
        let words = format!("{}, though there is no such object", self.words);
        Self { words, ..self }.passing()
    }

    pub(super) fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The error of an operation on an object; `place` says which service this is about.
    pub(super) fn about(self, action: &'static str, key: &ObjectKey, place: &str) -> StoreError {
        let has_end = |end: &&str| {
            self.code
                .as_deref()
                .is_some_and(|code| code.ends_with(*end))
        };
        if self.has_status(507) || FULL.iter().any(has_end) {
            return StoreError::Full {
                key: key.clone(),
                source: Box::new(self.at(place)),
            };
        }
        self.about_name(action, key.to_string(), place)
    }

    /// The error of an operation on something else, such as a listing.
    pub(super) fn about_name(self, action: &'static str, name: String, place: &str) -> StoreError {
        StoreError::Backend {
            action,
            key: name,
            retryable: self.retryable,
            source: Box::new(self.at(place)),
        }
    }

    fn at(self, place: &str) -> Answer {
        Answer(format!("{place} {}", self.words))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// What the source of an error says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Answer(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal {
            status: Some(status),
            code: Some(code.to_owned()),
            retryable: is_passing(Some(status), Some(code)),
            words: service_words(Some(status), Some(code), Some(" Why. "), Some("id")),
        }
    }

    #[test]
    fn a_service_that_may_do_it_later_is_asked_later() {
        for (status, code) in [
            (500, "InternalError"),
            (502, "Bad Gateway"),
            (503, "SlowDown"),
            (504, "?"),
            (429, "TooManyRequests"),
            (408, "?"),
            (409, "OperationAborted"),
            (400, "RequestTimeout"),
            (400, "IncompleteBody"),
            (404, "NoSuchUpload"),
            (200, "InternalError"),
        ] {
            assert!(refusal(status, code).is_retryable(), "{status} {code}");
        }
        for (status, code) in [
            (400, "InvalidArgument"),
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (404, "NoSuchBucket"),
            (412, "PreconditionFailed"),
            (501, "NotImplemented"),
            (507, "XMinioStorageFull"),
        ] {
            assert!(!refusal(status, code).is_retryable(), "{status} {code}");
        }
    }

    #[test]
    fn an_error_says_who_answered_what() {
        let key = ObjectKey::new("a/b").unwrap();
        let error = refusal(403, "AccessDenied").about("write", &key, "bucket `b` at `u`");
        assert_eq!(error.to_string(), "cannot write `a/b`");
        assert_eq!(
            error.source().unwrap().to_string(),
            "bucket `b` at `u` answers `AccessDenied`: Why. (status 403, request id)"
        );
    }

    #[test]
    fn a_service_without_room_is_full() {
        let key = ObjectKey::new("a").unwrap();
        for refused in [
            refusal(507, "?"),
            refusal(400, "XMinioStorageFull"),
            refusal(403, "QuotaExceeded"),
        ] {
            let error = refused.about("write", &key, "it");
            assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        }
    }
}
