//! Pages of other origins: those on the list may call the service.
//!
//! Not a layer of a library, since those answer every `OPTIONS` themselves, also the one by which
//! tus clients ask what the service can do.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Layers, is_safe};
use crate::Problem;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// What a page may read of an answer beside what every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Accept-Ranges, Content-Range, Content-Length, Content-Disposition, \
     Retry-After, X-Request-Id, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, \
     Tus-Checksum-Algorithm, Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, \
     Upload-Expires",
);

/// Tells browsers which pages may call.
pub(crate) async fn cors(
    State(layers): State<Arc<Layers>>,
    request: Request,
    next: Next,
) -> Response {
    let origins = &layers.api.settings.cors_origins;
    if origins.is_empty() {
        return next.run(request).await;
    }
    let asked = request.headers().get(header::ORIGIN).cloned();
    let allowed = asked.as_ref().filter(|origin| is_allowed(origins, origin));
    let wanted = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let (mut response, answers) = match (is_preflight, allowed) {
        (true, Some(_)) => {
            let mut answers = vec![
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (
                    header::ACCESS_CONTROL_MAX_AGE,
                    HeaderValue::from_static("3600"),
                ),
            ];
            answers.extend(
                wanted.map(|headers| (header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone())),
            );
            (StatusCode::NO_CONTENT.into_response(), answers)
        }
        _ => (
            next.run(request).await,
            vec![(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)],
        ),
    };
    let out = response.headers_mut();
    // What is answered depends on who asks, and a cache must know.
    out.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        insert_all(out, answers);
    }
    response
}

fn insert_all(headers: &mut HeaderMap, all: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in all {
        headers.insert(name, value);
    }
}

fn is_allowed(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|allowed| {
        allowed == "*" || allowed.trim_end_matches('/').as_bytes() == origin.as_bytes()
    })
}

/// A request that changes something, sent by a page of an origin that is neither the service's own
/// nor on the list. Browsers send simple ones without asking: without this any page that somebody
/// has open could make jobs on the service of their own machine.
pub(super) fn foreign(origins: &[String], request: &Request) -> Option<Problem> {
    let origin = request.headers().get(header::ORIGIN)?;
    if is_safe(request.method()) || is_allowed(origins, origin) {
        return None;
    }
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let text = origin.to_str().unwrap_or("null");
    let own = text.split_once("://").map(|(_, authority)| authority);
    if own.is_some() && own == host {
        return None;
    }
    Some(Problem::new(
        StatusCode::FORBIDDEN,
        "origin-refused",
        "a page of another origin may not do this: put the origin on the list of those that may",
    ))
}
