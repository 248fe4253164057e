//! What a job delivers, the proof of it, and the source that it was made from.

mod answer;
mod outputs;
mod range;
mod source;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use outputs::{OutputBody, main_outputs};

use crate::Api;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(outputs::list))
        .routes(routes!(outputs::file))
        .routes(routes!(outputs::certificate))
        .routes(routes!(source::source))
}
