//! The whole service as one router.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware};
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::layers::{self, Layers};
use crate::openapi::{self, Needs};
use crate::{Api, files, jobs, operations, uploads};

/// Every route with its description.
pub(crate) fn all() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(operations::routes())
        .merge(jobs::routes())
        .merge(files::routes())
        .merge(uploads::routes())
        .routes(routes!(document))
}

/// The service as one router, to be served by [`serve`](crate::server::serve).
pub fn router(api: Arc<Api>) -> Router {
    let (router, written) = all().split_for_parts();
    let written = openapi::as_json(&written);
    let needs = Needs::of(&written);
    let mut document = openapi::finished(written);
    if api.keys.is_none() {
        document = openapi::without_keys(document);
    }
    let document = Document(Bytes::from(document.to_string()));
    let layers = Arc::new(Layers::new(Arc::clone(&api), needs));
    // The last one is the outermost.
    router
        .layer(axum::Extension(document))
        .with_state(api)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&layers),
            layers::guard,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&layers),
            layers::bound,
        ))
        .layer(middleware::from_fn(layers::catch))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&layers),
            layers::cors,
        ))
        .layer(middleware::from_fn(layers::outermost))
}

/// What a worker answers: `/livez`, `/readyz` and `/metrics`, to everybody who reaches it.
pub fn health(api: Arc<Api>) -> Router {
    let (router, _written) = operations::health().split_for_parts();
    router.with_state(api)
}

#[derive(Clone)]
struct Document(Bytes);

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "getOpenApi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
    security(())
)]
async fn document(
    State(_api): State<Arc<Api>>,
    axum::Extension(Document(text)): axum::Extension<Document>,
) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}
