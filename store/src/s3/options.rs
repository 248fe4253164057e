//! Where a bucket is and who opens it.

use std::fmt;
use std::time::Duration;

use reelmill_common::ObjectKey;

use crate::StoreError;

/// The longest prefix: a bucket takes names of 1024 bytes, and a key may have 512 of them.
const LONGEST_PREFIX: usize = 500;

/// Which bucket of which service to open, and how.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// What every name in the bucket begins with, before a slash and the object's key; so several
    /// installations can share a bucket.
    pub prefix: Option<ObjectKey>,
    /// The URL of the service, such as `http://127.0.0.1:9000`; `None` is AWS.
    pub endpoint: Option<String>,
    /// The URL under which *clients* reach the service, for the links they are given; `None` is
    /// `endpoint`.
    pub link_endpoint: Option<String>,
    /// The bucket's region.
    pub region: String,
    /// Who asks.
    pub credentials: S3Credentials,
    /// Whether the bucket is named in the path of URLs instead of in the host. `None` is what
    /// suits most: in the path where an endpoint is given, in the host at AWS.
    pub path_style: Option<bool>,
    /// Whether to make the bucket where there is none.
    pub create_bucket: bool,
    /// How long the service may take to answer a small request, or pause within an answer, before
    /// the request is made anew. What is sent with a request has more time, by its length.
    pub patience: Duration,
    /// How often a request is made before its failure counts.
    pub attempts: u32,
}

impl S3Options {
    /// A bucket of AWS in `us-east-1`; all else is set in the fields.
    #[must_use]
    pub fn new(bucket: impl Into<String>, credentials: S3Credentials) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: None,
            endpoint: None,
            link_endpoint: None,
            region: "us-east-1".to_owned(),
            credentials,
            path_style: None,
            create_bucket: false,
            patience: Duration::from_secs(20),
            attempts: 5,
        }
    }

    /// The bucket as a URI, for people.
    pub(super) fn uri(&self) -> String {
        match &self.prefix {
            Some(prefix) => format!("s3://{}/{prefix}", self.bucket),
            None => format!("s3://{}", self.bucket),
        }
    }

    pub(super) fn is_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    /// Refuses what the client library would refuse only later, in words of its own.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let urls = self.endpoint.iter().chain(&self.link_endpoint);
        let message = if self.bucket.is_empty() {
            "the bucket has no name: give one, as in `s3://videos`"
        } else if urls.into_iter().any(|url| !is_endpoint(url)) {
            // It is not repeated here: whoever puts a password into a URL puts it into a log, too.
            "an endpoint must be a URL such as `http://127.0.0.1:9000`, without user or password"
        } else if self.prefix.as_ref().is_some_and(is_too_long) {
            "the prefix is longer than 500 bytes: choose a shorter one"
        } else {
            return Ok(());
        };
        Err(StoreError::Backend {
            action: "open",
            key: self.uri(),
            retryable: false,
            source: message.into(),
        })
    }
}

fn is_too_long(prefix: &ObjectKey) -> bool {
    prefix.as_str().len() > LONGEST_PREFIX
}

fn is_endpoint(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| {
        !rest.is_empty()
            && rest
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"@?#".contains(&b))
    })
}

/// The keys of an account of the service.
#[derive(Clone)]
pub struct S3Credentials {
    /// The access key: the account's name.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
    /// The token that belongs to temporary keys.
    pub session_token: Option<String>,
}

impl S3Credentials {
    /// Keys that do not expire.
    #[must_use]
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            session_token: None,
        }
    }
}

/// Shows who, and hides the proof.
impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> S3Options {
        S3Options::new("videos", S3Credentials::new("who", "proof"))
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut options = options();
        options.credentials.session_token = Some("token".to_owned());
        let shown = format!("{options:?} {options:#?}");
        assert!(shown.contains("who"));
        assert!(
            !shown.contains("proof") && !shown.contains("token"),
            "{shown}"
        );
    }

    #[test]
    fn what_cannot_be_opened_is_refused_without_repeating_it() {
        let url = |url: &str| S3Options {
            endpoint: Some(url.to_owned()),
            ..options()
        };
        for good in ["http://127.0.0.1:9000", "https://s3.example.org/base/"] {
            url(good).check().unwrap();
        }
        for bad in [
            "",
            "http://",
            "localhost:9000",
            "ftp://host",
            "https://user:hunter2@host",
            "http://host?hunter2",
            "http://ho st",
        ] {
            let error = url(bad).check().unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
            let links = S3Options {
                link_endpoint: Some(bad.to_owned()),
                ..options()
            };
            links.check().unwrap_err();
        }
        S3Options::new("", options().credentials)
            .check()
            .unwrap_err();
        let prefix = |len| S3Options {
            prefix: Some(ObjectKey::new("p".repeat(len)).unwrap()),
            ..options()
        };
        prefix(500).check().unwrap();
        prefix(501).check().unwrap_err();
    }

    #[test]
    fn the_bucket_is_in_the_path_where_an_endpoint_is_given() {
        assert!(!options().is_path_style());
        let mut local = options();
        local.endpoint = Some("http://127.0.0.1:9000".to_owned());
        assert!(local.is_path_style());
        local.path_style = Some(false);
        assert!(!local.is_path_style());
    }
}
