//! The HTTP service: uploads, jobs, outputs, events.
//!
//! Knows the ports and no backend, so that the same service stands before one machine's SQLite files
//! and before a cluster. [`router`] is the whole of it; [`serve`](server::serve) puts it behind a
//! socket.

mod problem;
mod state;
mod uploads;

pub use problem::Problem;
pub use state::{Api, Settings};

/// The routes for uploads alone, with problems written out: for tests, until the router is whole.
#[doc(hidden)]
pub fn router(api: std::sync::Arc<Api>) -> axum::Router {
    use axum::response::{IntoResponse as _, Response};
    let (router, _) = uploads::routes().with_state(api).split_for_parts();
    router.layer(axum::middleware::map_response(
        |mut response: Response| async {
            if let Some(problem) = response.extensions_mut().remove::<Problem>() {
                let body = axum::Json(problem.body("none")).into_response();
                let (parts, _) = response.into_parts();
                response = Response::from_parts(parts, body.into_body());
            }
            response
        },
    ))
}
