//! Checksums that clients send along: tus `Upload-Checksum`, and `Content-Digest`
//! ([RFC 9530](https://www.rfc-editor.org/rfc/rfc9530)).

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reelmill_common::digest::{Hasher, Sha256};
use sha1::Digest as _;

use crate::Problem;

/// What `Tus-Checksum-Algorithm` offers.
pub(super) const ALGORITHMS: &str = "sha1,sha256";

/// A checksum on its way to be compared.
#[derive(Clone, Debug)]
pub(super) enum Check {
    /// SHA-1: too weak against malice, good enough against a broken line.
    Sha1(sha1::Sha1, [u8; 20]),
    /// SHA-256.
    Sha256(Hasher, Sha256),
}

impl Check {
    /// One that expects `wanted`.
    pub(super) fn sha256(wanted: Sha256) -> Self {
        Self::Sha256(Hasher::default(), wanted)
    }

    /// What `Upload-Checksum` asks for, if it is there.
    pub(super) fn of_tus(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get("upload-checksum") else {
            return Ok(None);
        };
        let text = value.to_str().unwrap_or_default();
        let (algorithm, digest) = text.trim().split_once(' ').unwrap_or((text, ""));
        let malformed = || {
            let detail = format!(
                "`Upload-Checksum` must be one of `{ALGORITHMS}`, a space and the digest in base64"
            );
            Problem::new(StatusCode::BAD_REQUEST, "checksum-malformed", detail)
        };
        let bytes = STANDARD.decode(digest.trim()).unwrap_or_default();
        let check = match algorithm {
            "sha1" => <[u8; 20]>::try_from(bytes)
                .ok()
                .map(|wanted| Self::Sha1(sha1::Sha1::new(), wanted)),
            "sha256" => of_bytes(&bytes).map(Self::sha256),
            _ => None,
        };
        check.map(Some).ok_or_else(malformed)
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher, _) => hasher.update(bytes),
            Self::Sha256(hasher, _) => hasher.update(bytes),
        }
    }

    /// Whether the bytes were those that the client meant.
    pub(super) fn holds(self) -> bool {
        match self {
            Self::Sha1(hasher, wanted) => <[u8; 20]>::from(hasher.finalize()) == wanted,
            Self::Sha256(hasher, wanted) => hasher.finish().0 == wanted,
        }
    }
}

/// The SHA-256 that `Content-Digest` promises, if it does; digests of other kinds may be ignored.
pub(super) fn content_digest(headers: &HeaderMap) -> Result<Option<Sha256>, Problem> {
    let members = headers
        .get_all("content-digest")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','));
    for member in members {
        let Some((name, value)) = member.trim().split_once('=') else {
            continue;
        };
        if !name.eq_ignore_ascii_case("sha-256") {
            continue;
        }
        let digest = value
            .strip_prefix(':')
            .and_then(|value| value.strip_suffix(':'))
            .and_then(|value| STANDARD.decode(value).ok())
            .and_then(|bytes| of_bytes(&bytes));
        return digest.map(Some).ok_or_else(|| {
            let detail = "`Content-Digest` must be `sha-256=:`, the digest in base64 and `:`";
            Problem::new(StatusCode::BAD_REQUEST, "digest-malformed", detail)
        });
    }
    Ok(None)
}

/// What is said when a `Content-Digest` does not hold.
pub(super) fn digest_mismatch() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "digest-mismatch",
        "what arrived is not what `Content-Digest` promised, and nothing of it was kept: send it again",
    )
}

fn of_bytes(bytes: &[u8]) -> Option<Sha256> {
    Sha256::try_from(hex::encode(bytes)).ok()
}
