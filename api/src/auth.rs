//! Who may do what: API keys with scopes.
//!
//! Which scope a route wants stands beside the route, in the `security` of its `utoipa::path`; the
//! router is built from there, so that the document and the guard cannot disagree.

use std::fmt;

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::Problem;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

#[derive(Clone)]
struct Key {
    name: String,
    sha256: [u8; 32],
    scopes: Vec<Scope>,
}

/// The fields of a key in a file.
const FIELDS: [&str; 3] = ["name", "sha256", "scopes"];

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
        // The whole error text repeats the line, which may hold a key.
        let mut file: toml::Table = toml::from_str(text)
            .map_err(|error| KeysError::Malformed(format!("not TOML: {}", error.message())))?;
        let tables = match file.remove("key") {
            Some(toml::Value::Array(tables)) => tables,
            Some(_) => {
                return Err(KeysError::Malformed(
                    "`key` is not a list: write `[[key]]`".to_owned(),
                ));
            }
            None => Vec::new(),
        };
        if !file.is_empty() {
            let what = "there is something beside the tables `[[key]]`";
            return Err(KeysError::Malformed(what.to_owned()));
        }
        let mut keys = Vec::new();
        for (number, table) in (1..).zip(&tables) {
            let read = table
                .as_table()
                .map_or(Err("it is not a table".to_owned()), read_key);
            let broken = |what| KeysError::Malformed(format!("key {number}: {what}"));
            keys.push(read.map_err(broken)?);
        }
        let mut names = std::collections::HashSet::new();
        for key in &keys {
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
        if keys.is_empty() {
            return Err(KeysError::None);
        }
        Ok(Self(keys))
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

/// Reads the table of one key.
fn read_key(table: &toml::Table) -> Result<Key, String> {
    if let Some(odd) = table.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        // Of unknown length, and perhaps a key that was put in the wrong place.
        let odd: String = odd.chars().take(16).collect();
        return Err(format!(
            "`{odd}` is not a field: there are `name`, `sha256` and `scopes`"
        ));
    }
    let field = |name: &str| {
        table
            .get(name)
            .ok_or_else(|| format!("`{name}` is missing"))
    };
    let text = |name: &str| {
        let text = field(name)?.as_str();
        text.ok_or_else(|| format!("`{name}` is not a text"))
    };
    let name = text("name")?.to_owned();
    let mut sha256 = [0; 32];
    hex::decode_to_slice(text("sha256")?.trim(), &mut sha256).map_err(|_not_hex| {
        "`sha256` is not 64 hexadecimal digits, as of `sha256sum`".to_owned()
    })?;
    let known = |scope: &toml::Value| {
        let word = scope.as_str()?;
        Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
    };
    let scopes = field("scopes")?.as_array();
    let scopes = scopes.and_then(|scopes| scopes.iter().map(known).collect::<Option<Vec<_>>>());
    let scopes = scopes.ok_or("`scopes` is not a list of `submit`, `read` and `admin`")?;
    Ok(Key {
        name,
        sha256,
        scopes,
    })
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
        let digits = "0".repeat(64);
        let missing_scope =
            format!("[[key]]\nname = \"a\"\nsha256 = \"{digits}\"\nscopes = [\"all\"]\n");
        for (text, why) in [
            ("[[key]]\nname = \"a\"\n", "key 1: `sha256` is missing"),
            (
                "[[key]]\nname = \"a\"\nsha256 = \"00\"\nscopes = []\n",
                "key 1: `sha256` is not 64 hexadecimal digits, as of `sha256sum`",
            ),
            (
                "[[key]]\nnaem = \"a\"\n",
                "key 1: `naem` is not a field: there are `name`, `sha256` and `scopes`",
            ),
            ("[[key]]\nname = 1\n", "key 1: `name` is not a text"),
            (
                &missing_scope,
                "key 1: `scopes` is not a list of `submit`, `read` and `admin`",
            ),
            ("key = 1", "`key` is not a list: write `[[key]]`"),
            ("keys = 1", "there is something beside the tables `[[key]]`"),
        ] {
            let error = Keys::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("cannot understand the keys: {why}"));
        }
        assert!(Keys::parse("").is_err());
        assert!(Keys::single("short").is_err());
    }

    #[test]
    fn keys_are_never_shown() {
        let keys = Keys::single("0123456789abcdef0123").unwrap();
        assert_eq!(format!("{keys:?}"), r#"["--api-key"]"#);
    }
}
