//! What stands behind the `?` of a URL.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Problem;

/// A query, or the problem with it.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Query(value) = Query::try_from_uri(&parts.uri).map_err(|error| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "query-invalid",
                format!("cannot understand the query: {}", error.body_text()),
            )
        })?;
        Ok(Self(value))
    }
}
