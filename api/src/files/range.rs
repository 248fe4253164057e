//! Which bytes of a file a client asks for ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110),
//! sections 13 and 14).

use std::ops::Range;

use axum::http::{HeaderMap, Method, header};

/// What is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Nothing: the client has it.
    Unchanged,
    /// A range that the file does not have.
    Beyond,
}

/// Reads the conditions and the range of a request for a file with this strong `etag`.
pub(crate) fn asked(method: &Method, headers: &HeaderMap, etag: &str, size: u64) -> Asked {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &header::HeaderValue| value.to_str().ok())
    };
    if text(header::IF_NONE_MATCH).is_some_and(|tags| names(tags, etag)) {
        return Asked::Unchanged;
    }
    // Ranges are defined for GET alone, and one condition that fails asks for the whole.
    let is_current = text(header::IF_RANGE).is_none_or(|tag| tag.trim() == etag);
    match text(header::RANGE) {
        Some(range) if method == Method::GET && is_current => parse(range, size),
        _ => Asked::Whole,
    }
}

/// Whether a list of entity tags names this one, compared weakly.
fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag == etag
    })
}

/// What is not understood, or asks for several ranges, is answered with the whole, as it may be.
fn parse(range: &str, size: u64) -> Asked {
    let Some((unit, spec)) = range.split_once('=') else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Asked::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let part = match (number(first), number(last)) {
        (Some(Some(first)), Some(Some(last))) if last < first => return Asked::Whole,
        (Some(Some(first)), Some(last)) => {
            let end = last.map_or(size, |last| last.saturating_add(1)).min(size);
            first..end
        }
        (Some(None), Some(Some(suffix))) => size.saturating_sub(suffix)..size,
        _ => return Asked::Whole,
    };
    match part.start < part.end {
        true => Asked::Part(part),
        false => Asked::Beyond,
    }
}

/// `Some(None)` for nothing, `None` for what is not a number. One too large for any file is one.
fn number(text: &str) -> Option<Option<u64>> {
    match text {
        "" => Some(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(text.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        for (range, expected) in [
            ("bytes=0-3", Asked::Part(0..4)),
            // White space there is not allowed, and forgiven.
            ("BYTES = 2-2", Asked::Part(2..3)),
            ("bytes=4-", Asked::Part(4..10)),
            ("bytes=4-99", Asked::Part(4..10)),
            ("bytes=9-99999999999999999999999", Asked::Part(9..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=99999999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=3-2", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-3", Asked::Whole),
            ("nonsense", Asked::Whole),
        ] {
            assert_eq!(parse(range, 10), expected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Asked::Beyond);
        assert_eq!(parse("bytes=-1", 0), Asked::Beyond);
    }
}
