//! The outermost layer: every answer has an id, a line in the log, a place in the metrics, and says
//! its error in the same way.

use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use super::{is_watch, route};
use crate::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// See the module.
pub(crate) async fn outermost(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = request_id(request.headers());
    let method = method_label(request.method());
    // Never the path: it may hold what only its caller should know, and has no bound.
    let route = route(&request).unwrap_or("unmatched").to_owned();
    let span = tracing::info_span!(
        "http", %method, route, request_id = id, key = tracing::field::Empty
    );
    // Those that come every few seconds for ever would be most of the log.
    let is_watch = is_watch(&route);
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = problem(&response) {
        write(&mut response, &problem, &id);
    }
    headers(response.headers_mut(), &id);
    let status = response.status();
    let took = begin.elapsed();
    let labels = [
        ("method", method.to_owned()),
        ("route", route),
        ("status", status.as_str().to_owned()),
    ];
    metrics::counter!("reelmill_http_requests_total", &labels).increment(1);
    metrics::histogram!("reelmill_http_request_seconds", &labels).record(took.as_secs_f64());
    let (status, ms) = (status.as_u16(), took.as_millis());
    span.in_scope(|| match is_watch {
        true => tracing::debug!(status, ms, "answered"),
        false => tracing::info!(status, ms, "answered"),
    });
    response
}

/// The caller's own id where it is one to be logged, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_good = |id: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (1..=64).contains(&id.len()) && id.bytes().all(is_plain)
    };
    let theirs = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    match theirs.filter(is_good) {
        Some(id) => id.to_owned(),
        None => uuid::Uuid::now_v7().to_string(),
    }
}

/// One of the few that there are: a label must not be the caller's to choose.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The problem that a response stands for: one of ours, or what the router and its extractors
/// answer by themselves.
fn problem(response: &Response) -> Option<Problem> {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return Some(problem.clone());
    }
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_said = response.headers().get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON);
    if !is_error || is_said {
        return None;
    }
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (
            "not-found",
            "there is nothing here: `GET /openapi.json` describes every route",
        ),
        StatusCode::METHOD_NOT_ALLOWED => (
            "method-not-allowed",
            "the route does not have this method: the header `Allow` names those that it has",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", "the body is longer than is taken"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("media-type", "a body of this `Content-Type` is not taken")
        }
        _ if status.is_client_error() => ("request-invalid", "the request cannot be understood"),
        _ => (
            "internal",
            "the service failed: its log names the request id and the reason",
        ),
    };
    Some(Problem::new(status, code, detail))
}

fn write(response: &mut Response, problem: &Problem, id: &str) {
    *response.status_mut() = problem.status;
    let body = serde_json::to_vec(&problem.body(id)).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    headers.remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
}

/// What every answer says to browsers and caches, unless it says otherwise itself.
fn headers(headers: &mut HeaderMap, id: &str) {
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in defaults {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}
