//! Sends a file or a part of it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reelmill_common::{ObjectKey, Sha256};
use reelmill_store::Store;

use super::range::{Asked, asked};
use crate::Problem;

/// How much is read at once. One piece is sent while the next one is read, so a client takes twice
/// as much of our memory, however large the file and however slow the client.
const PIECE: u64 = 512 * 1024;

/// A file to send.
#[derive(Debug)]
pub(super) struct File {
    /// The objects that it consists of, in order, with their lengths.
    pub(super) objects: Vec<(ObjectKey, u64)>,
    /// Of all bytes; also the entity tag.
    pub(super) sha256: Sha256,
    /// What HTTP calls its kind.
    pub(super) content_type: &'static str,
    /// Whether a browser may show it in its window.
    pub(super) inline: bool,
    /// The name to save it under.
    pub(super) name: String,
}

/// What a player that a browser makes for the file itself needs, and nothing more.
const PLAYER_CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
);

/// Answers a request for a file.
pub(super) fn answer(
    store: Arc<dyn Store>,
    file: &File,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    let size: u64 = file.objects.iter().map(|(_, len)| len).sum();
    let etag = format!("\"{}\"", file.sha256);
    let (status, part) = match asked(method, headers, &etag, size) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Unchanged => (StatusCode::NOT_MODIFIED, 0..0),
        Asked::Beyond => return beyond(size),
    };
    let mut response = match status {
        StatusCode::NOT_MODIFIED => StatusCode::NOT_MODIFIED.into_response(),
        _ if method == Method::HEAD => Response::new(Body::empty()),
        _ => Response::new(body(store, &file.objects, &part)),
    };
    *response.status_mut() = status;
    let out = response.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            out.insert(name, value);
        }
    };
    set(header::ETAG, etag);
    // A name stands for these bytes for ever; the key that was needed for them is not for caches
    // that many share.
    set(
        header::CACHE_CONTROL,
        "private, max-age=86400, immutable".to_owned(),
    );
    if status != StatusCode::NOT_MODIFIED {
        set(header::ACCEPT_RANGES, "bytes".to_owned());
        set(header::CONTENT_TYPE, file.content_type.to_owned());
        set(header::CONTENT_LENGTH, (part.end - part.start).to_string());
        set(
            header::CONTENT_DISPOSITION,
            disposition(file.inline, &file.name),
        );
        out.insert(header::CONTENT_SECURITY_POLICY, PLAYER_CSP);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        if let Ok(value) = HeaderValue::try_from(range) {
            out.insert(header::CONTENT_RANGE, value);
        }
    }
    response
}

fn beyond(size: u64) -> Response {
    let problem = Problem::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "range-beyond",
        format!("the file has {size} bytes: the range asked for has none of them"),
    );
    let mut response = problem.into_response();
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// A name for `Content-Disposition`: plain for old clients, and as it is by RFC 5987.
fn disposition(inline: bool, name: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let kind = if inline { "inline" } else { "attachment" };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._ ".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    match plain == name {
        true => format!("{kind}; filename=\"{plain}\""),
        false => {
            let exact = utf8_percent_encode(name, KEPT);
            format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{exact}")
        }
    }
}

/// The bytes `part` of the objects laid end to end.
fn body(store: Arc<dyn Store>, objects: &[(ObjectKey, u64)], part: &Range<u64>) -> Body {
    let mut begin = 0;
    let mut wanted = Vec::new();
    for (key, len) in objects {
        let (from, to) = (part.start.max(begin), part.end.min(begin + len));
        if from < to {
            wanted.push((key.clone(), from - begin..to - begin));
        }
        begin += len;
    }
    let pieces = wanted
        .into_iter()
        .flat_map(|(key, range)| pieces(key, range));
    let reads = stream::iter(pieces).map(move |(key, range)| {
        let store = Arc::clone(&store);
        async move { read(store.as_ref(), &key, range).await }
    });
    Body::from_stream(reads.buffered(2))
}

fn pieces(key: ObjectKey, part: Range<u64>) -> impl Iterator<Item = (ObjectKey, Range<u64>)> {
    let Range {
        start: mut next,
        end,
    } = part;
    std::iter::from_fn(move || {
        (next < end).then(|| {
            let piece = next..(next + PIECE).min(end);
            next = piece.end;
            (key.clone(), piece)
        })
    })
}

/// A piece that is not whole ends the connection: the client must not take what it has for the file.
async fn read(store: &dyn Store, key: &ObjectKey, range: Range<u64>) -> io::Result<Bytes> {
    let expected = range.end - range.start;
    let bytes = match store.get_range(key, range).await {
        Ok(bytes) if bytes.len() as u64 == expected => return Ok(bytes),
        Ok(bytes) => io::Error::other(format!("{} of {expected} bytes", bytes.len())),
        Err(error) => io::Error::other(error),
    };
    tracing::error!(%key, error = %bytes, "cannot send a file to its end");
    Err(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(disposition(true, "a b.mp4"), "inline; filename=\"a b.mp4\"");
        assert_eq!(
            disposition(false, "\"; x=\"é\r\n.mp4"),
            "attachment; filename=\"__ x_____.mp4\"; filename*=UTF-8''%22%3B%20x%3D%22%C3%A9%0D%0A.mp4"
        );
    }
}
