//! Who may do what: API keys with scopes.
//!
//! Which scope a route wants stands beside the route, in the `security` of its `utoipa::path`; the
//! router is built from there, so that the document and the guard cannot disagree.

use std::fmt;

use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::Problem;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Upload sources and make jobs of them.
    Submit,
    /// See jobs, their sources and outputs, workers and metrics.
    Read,
    /// Everything, also to cancel and to retry jobs.
    Admin,
}

/// Whose key a request was let in by: its name. Only where keys are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) String);

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    /// The word that key files and the OpenAPI document use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// The keys that the service knows: their digests, never themselves.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    #[serde(deserialize_with = "digest")]
    sha256: [u8; 32],
    scopes: Vec<Scope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    key: Vec<Key>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not TOML, or not of this shape.
    #[error("cannot understand the keys: {0}")]
    Malformed(String),
    /// Nobody could use the service.
    #[error(
        "there is no key: write `[[key]]` with `name`, `sha256` and `scopes` (`submit`, `read`, `admin`)"
    )]
    None,
    /// A key that would let nobody in, or everybody.
    #[error("the key `{0}` {1}")]
    Useless(String, &'static str),
}

impl Keys {
    /// Reads a file of keys: TOML with a `[[key]]` of `name`, `sha256` (of the key, in hexadecimal
    /// digits) and `scopes` for each.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        // Not the error's own text, which repeats the line: somebody may have written a key there.
        let file: KeyFile = toml::from_str(text)
            .map_err(|error| KeysError::Malformed(error.message().to_owned()))?;
        let mut names = std::collections::HashSet::new();
        for key in &file.key {
            let wrong = if !names.insert(key.name.as_str()) {
                "is there twice: give each a name of its own"
            } else if key.scopes.is_empty() {
                "has no scopes: give it `submit`, `read` or `admin`"
            } else if key.sha256 == <[u8; 32]>::from(Sha256::digest(b"")) {
                "has the digest of nothing: hash the key itself"
            } else {
                continue;
            };
            return Err(KeysError::Useless(key.name.clone(), wrong));
        }
        if file.key.is_empty() {
            return Err(KeysError::None);
        }
        Ok(Self(file.key))
    }

    /// One key that may do everything.
    ///
    /// # Errors
    /// [`KeysError::Useless`] when it has fewer than 16 characters, which could be guessed.
    pub fn single(secret: &str) -> Result<Self, KeysError> {
        if secret.len() < 16 {
            return Err(KeysError::Useless(
                "--api-key".to_owned(),
                "is shorter than 16 characters: take a longer one, such as of `openssl rand -hex 32`",
            ));
        }
        Ok(Self(vec![Key {
            name: "--api-key".to_owned(),
            sha256: Sha256::digest(secret.as_bytes()).into(),
            scopes: vec![Scope::Admin],
        }]))
    }

    /// Lets a request pass that needs `scope`, and gives the name of its key.
    pub(crate) fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<&str, Problem> {
        let unauthorized = |code, detail| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
        let Some(secret) = presented(headers) else {
            return Err(unauthorized(
                "key-missing",
                "an API key is needed: send it as `Authorization: Bearer KEY` or `X-Api-Key: KEY`",
            ));
        };
        let digest: [u8; 32] = Sha256::digest(secret).into();
        // Every key is looked at, so that the time taken tells nothing of which one came near.
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.sha256.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        let Some(key) = found else {
            return Err(unauthorized(
                "key-unknown",
                "the service does not know this API key",
            ));
        };
        if key.scopes.contains(&scope) || key.scopes.contains(&Scope::Admin) {
            return Ok(&key.name);
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "key-scope",
            format!(
                "the key `{}` lacks the scope `{}`",
                key.name,
                scope.as_str()
            ),
        ))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|key| &key.name);
        f.debug_list().entries(names).finish()
    }
}

/// The key that a request shows.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, secret) = value.as_bytes().split_at_checked("bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(secret)
    });
    let plain = headers
        .get("x-api-key")
        .map(axum::http::HeaderValue::as_bytes);
    bearer
        .or(plain)
        .map(<[u8]>::trim_ascii)
        .filter(|key| !key.is_empty())
}

fn digest<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(from)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_error| {
        serde::de::Error::custom("64 hexadecimal digits are expected, as of `sha256sum`")
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_refused_without_repeating_a_secret() {
        let secret = "this-is-the-key-itself";
        let text = format!("[[key]]\nname = \"a\"\nsha256 = \"{secret}\"\nscopes = [\"read\"]\n");
        let error = Keys::parse(&text).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("64 hexadecimal digits"), "{error}");
        assert!(!error.contains(secret), "{error}");
        for text in [
            "",
            "[[key]]\nname = \"a\"\n",
            "[[key]]\nname = \"a\"\nsha256 = \"00\"\nscopes = []\n",
            "[[key]]\nnaem = \"a\"\n",
        ] {
            assert!(Keys::parse(text).is_err(), "{text}");
        }
        assert!(Keys::single("short").is_err());
    }

    #[test]
    fn keys_are_never_shown() {
        let keys = Keys::single("0123456789abcdef0123").unwrap();
        assert_eq!(format!("{keys:?}"), r#"["--api-key"]"#);
    }
}
