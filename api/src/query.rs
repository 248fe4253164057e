//! What stands behind the `?` of a URL.

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::Problem;

/// Decodes the pairs of a query, in their order.
///
/// # Errors
/// `query-malformed` where it is not UTF-8.
pub(crate) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.unwrap_or_default().split('&');
    let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Ok((decoded(name)?, decoded(value)?))
    });
    pairs.collect()
}

fn decoded(text: &str) -> Result<String, Problem> {
    let text = text.replace('+', " ");
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "query-malformed",
            "the query is not UTF-8",
        )),
    }
}
