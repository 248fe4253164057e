//! What happens around every request.
//!
//! From the outside in: the id, the log, the metrics and the form of errors; other origins; panics;
//! how many at once; keys.

mod cors;
mod outermost;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use tokio::sync::Semaphore;

pub(crate) use cors::cors;
pub(crate) use outermost::outermost;

use crate::auth::Caller;
use crate::openapi::{Need, Needs};
use crate::{Api, Problem};

/// What the layers work with.
#[derive(Debug)]
pub(crate) struct Layers {
    api: Arc<Api>,
    needs: Needs,
    room: Semaphore,
}

impl Layers {
    pub(crate) fn new(api: Arc<Api>, needs: Needs) -> Self {
        let room = api.settings.max_requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            room: Semaphore::new(room),
            needs,
            api,
        }
    }
}

/// The template of the route that a request found, never the path itself.
fn route(request: &Request) -> Option<&str> {
    request
        .extensions()
        .get::<MatchedPath>()
        .map(MatchedPath::as_str)
}

/// A panic is a bug of ours: it ends the request and nothing else.
pub(crate) async fn catch(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
            tracing::error!(panic = words, "a request panicked");
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the service failed: its log names the request id and the reason",
            )
            .into_response()
        }
    }
}

/// Works on so many requests at once and tells others to come again. Whoever asks for the health
/// of the service is always answered: a busy service is not a dead one.
pub(crate) async fn bound(
    State(layers): State<Arc<Layers>>,
    request: Request,
    next: Next,
) -> Response {
    if route(&request).is_some_and(is_watch) {
        return next.run(request).await;
    }
    let Ok(_room) = layers.room.try_acquire() else {
        let problem = Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-busy",
            "the service works on as many requests as it may: come again in a moment",
        );
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    next.run(request).await
}

/// Lets nobody in without the key that the route wants, nor a page of a foreign origin that would
/// use its visitor's place in the network.
pub(crate) async fn guard(
    State(layers): State<Arc<Layers>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(problem) = cors::foreign(&layers.api.settings.cors_origins, &request) {
        return problem.into_response();
    }
    // What no route matches is answered by the router without a look at anything.
    let need = match route(&request) {
        Some(path) => layers.needs.get(path, request.method()),
        None => Need::Nothing,
    };
    let (Some(keys), Need::Key(scope)) = (&layers.api.keys, need) else {
        return next.run(request).await;
    };
    match keys.admit(request.headers(), scope) {
        Ok(name) => {
            tracing::Span::current().record("key", name);
            let caller = Caller(name.to_owned());
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            let is_unauthorized = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.into_response();
            if is_unauthorized {
                const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"reelmill\"");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, BEARER);
            }
            response
        }
    }
}

/// Whether a route is asked by what watches over the service.
fn is_watch(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz" | "/metrics")
}

/// Whether a method changes nothing.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}
