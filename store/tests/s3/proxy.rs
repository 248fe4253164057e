//! The requests of an S3 client, and what a proxy does to them.

use reelmill_faultproxy::http::{Http, Message};

use super::harness::{ACCESS_KEY, SECRET_KEY};

mod signing;

pub(crate) type Proxy = reelmill_faultproxy::Proxy<Http>;
pub(crate) type Fate = reelmill_faultproxy::Fate<Message>;

/// The service has too many requests.
pub(crate) const SLOW_DOWN: Fate = Fate::Respond(|request| {
    let reason = "Please reduce your request rate.";
    error(request, "503 Slow Down", "SlowDown", reason)
});

/// The bucket does not exist any more.
pub(crate) const NO_BUCKET: Fate = Fate::Respond(|request| {
    let reason = "The bucket does not exist.";
    error(request, "404 Not Found", "NoSuchBucket", reason)
});

/// Another client writes the same object.
pub(crate) const CONFLICT: Fate = Fate::Respond(|request| {
    let reason = "Come back.";
    error(
        request,
        "409 Conflict",
        "ConditionalRequestConflict",
        reason,
    )
});

/// The service never hears that the object must be new.
pub(crate) const UNCONDITIONAL: Fate =
    Fate::Rewrite(|request| signing::drop_condition(request, ACCESS_KEY, SECRET_KEY));

/// Whether a request sends a part of an upload.
pub(crate) fn is_part(request: &str) -> bool {
    request.starts_with("PUT") && request.contains("partNumber=")
}

/// Whether a request removes an upload.
pub(crate) fn is_abort(request: &str) -> bool {
    request.starts_with("DELETE") && request.contains("uploadId=")
}

/// Whether a request is the last of an upload.
pub(crate) fn is_complete(request: &str) -> bool {
    request.starts_with("POST") && request.contains("uploadId=")
}

/// Whether a request is the first of an upload.
pub(crate) fn is_begin(request: &str) -> bool {
    request.starts_with("POST") && request.contains("uploads")
}

/// An error as the service responds with it.
fn error(request: &Message, status: &str, code: &str, reason: &str) -> Vec<u8> {
    let body = match request.first.starts_with("HEAD") {
        true => String::new(),
        false => format!("<Error><Code>{code}</Code><Message>{reason}</Message></Error>"),
    };
    let response = Message {
        first: format!("HTTP/1.1 {status}"),
        headers: vec![
            ("content-type".to_owned(), "application/xml".to_owned()),
            ("content-length".to_owned(), body.len().to_string()),
            ("x-amz-request-id".to_owned(), "from-the-proxy".to_owned()),
        ],
        body: body.into(),
    };
    response.bytes()
}
