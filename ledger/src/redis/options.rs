//! How to reach Redis, and how long it keeps what has ended.

use std::fmt;
use std::time::Duration;

use redis::IntoConnectionInfo as _;

/// Where the ledger is and how it is kept.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, or
    /// `redis+unix:///path` for a socket.
    pub url: String,
    /// How long a job that has ended is known, at least a millisecond. All processes of one
    /// pipeline should agree on it: the one that ends a job decides.
    pub retention: Duration,
    /// Comes before every key, so that several pipelines can share a server.
    pub prefix: String,
    /// The certificates, in PEM, of whoever vouches for a `rediss://` server; the system's when
    /// `None`.
    pub certificates: Option<Vec<u8>>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub response_timeout: Duration,
}

impl RedisOptions {
    /// The server at this address, and for all else what suits most.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            retention: Duration::from_secs(24 * 60 * 60),
            prefix: String::new(),
            certificates: None,
            connect_timeout: Duration::from_secs(2),
            // The client's own half a second is too short for a server that forks to save itself.
            response_timeout: Duration::from_secs(2),
        }
    }
}

/// Without the user and the password.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.url.as_str().into_connection_info() {
            Ok(info) => info.addr().to_string(),
            Err(_) => "not an address".to_owned(),
        };
        f.debug_struct("RedisOptions")
            .field("address", &address)
            .field("retention", &self.retention)
            .field("prefix", &self.prefix)
            .field("certificates", &self.certificates.is_some())
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for url in [
            "redis://user:secret@127.0.0.1:6380/3",
            "rediss://:secret@127.0.0.1:6380",
            "redis+unix:///run/redis.sock?user=user&pass=secret",
            "redis://user:secret@127.0.0.1:many",
            "user:secret@127.0.0.1",
        ] {
            let shown = format!("{:?}", RedisOptions::new(url));
            assert!(!shown.contains("secret"), "{shown}");
            assert!(!shown.contains("user"), "{shown}");
        }
        let shown = format!("{:?}", RedisOptions::new("redis://:secret@10.1.2.3"));
        assert!(shown.contains("10.1.2.3:6379"), "{shown}");
    }
}
