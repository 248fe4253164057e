//! The headers of tus, read and written.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Problem;

/// Bytes of `Upload-Metadata`.
const MAX_METADATA: usize = 16 * 1024;

/// Headers of an answer.
#[derive(Clone, Debug)]
pub(super) struct Fields(HeaderMap);

impl Fields {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(HeaderMap::new())
    }

    /// With one more.
    pub(super) fn set(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.0.insert(HeaderName::from_static(name), value);
        self
    }

    /// With those of another.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl IntoResponseParts for Fields {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.headers_mut().extend(self.0);
        Ok(parts)
    }
}

impl IntoResponse for Fields {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

/// A header that is a whole number, if it is there.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let digits = value.to_str().unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if is_number => Ok(Some(number)),
        _ => Err(bad(
            "header-malformed",
            format!("`{name}` must be a whole number"),
        )),
    }
}

/// A moment, given in milliseconds since 1970, as HTTP writes it.
pub(super) fn date(millis: u64) -> HeaderValue {
    // A date that the format has no room for is as good as never.
    const LAST: u64 = 253_402_300_799_000;
    let time = UNIX_EPOCH + Duration::from_millis(millis.min(LAST));
    HeaderValue::try_from(httpdate::fmt_http_date(time))
        .unwrap_or_else(|_| HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT"))
}

/// The pairs of `Upload-Metadata`.
pub(super) fn parse_metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut pairs = BTreeMap::new();
    let Some(value) = headers.get("upload-metadata") else {
        return Ok(pairs);
    };
    let malformed = || {
        bad(
            "metadata-malformed",
            "`Upload-Metadata` must be names, each with a space and its UTF-8 value in base64, separated by commas".to_owned(),
        )
    };
    let text = value.to_str().map_err(|_not_ascii| malformed())?;
    if text.len() > MAX_METADATA {
        let detail = format!("`Upload-Metadata` is longer than {MAX_METADATA} bytes");
        return Err(bad("metadata-malformed", detail));
    }
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = STANDARD.decode(value.trim()).ok();
        let value = value.and_then(|bytes| String::from_utf8(bytes).ok());
        let value = value.ok_or_else(malformed)?;
        if pairs.insert(name.to_owned(), value).is_some() {
            return Err(bad(
                "metadata-malformed",
                format!("`{name}` is given twice in `Upload-Metadata`"),
            ));
        }
    }
    Ok(pairs)
}

/// The pairs as the client said them.
pub(super) fn metadata_header(said: &BTreeMap<String, String>) -> Option<HeaderValue> {
    if said.is_empty() {
        return None;
    }
    let pairs: Vec<String> = said
        .iter()
        .map(|(name, value)| match value.is_empty() {
            true => name.clone(),
            false => format!("{name} {}", STANDARD.encode(value)),
        })
        .collect();
    HeaderValue::try_from(pairs.join(",")).ok()
}

fn bad(code: &str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}
