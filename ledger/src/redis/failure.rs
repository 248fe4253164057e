//! What can go wrong between the ledger and Redis, and whether trying again may help.

use redis::{ErrorKind, RedisError, RetryMethod, ServerErrorKind};

use crate::LedgerError;

/// An error of this backend. None shows the user or the password of an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the ledger's address is none of redis (use `redis://host:6379`): {0}")]
    Address(RedisError),
    #[error(
        "`maxmemory-policy` is `{policy}` on the redis at `{address}`, which drops leases when \
         memory is short: set it to `noeviction`"
    )]
    Evicting { address: String, policy: String },
    #[error(
        "the redis at `{address}` spreads its keys over a cluster: name one that has all of them"
    )]
    Spread { address: String },
    // Not as a source: the client's errors say the same as theirs.
    #[error("redis at `{address}`: {error}")]
    Failed { address: String, error: RedisError },
}

impl Failure {
    pub(super) fn of(address: &str, error: RedisError) -> Self {
        let address = address.to_owned();
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot,
            ) => Self::Spread { address },
            _ => Self::Failed { address, error },
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Self::Failed { error, .. } => is_retryable(error),
            Self::Address(_) | Self::Evicting { .. } | Self::Spread { .. } => false,
        }
    }

    /// As the port's error; `action` is what was tried.
    pub(super) fn during(self, action: &'static str) -> LedgerError {
        LedgerError {
            action,
            retryable: self.is_retryable(),
            source: Box::new(self),
        }
    }
}

/// Conditions of a server that pass, or that an operator ends, by the first word of what it says.
const PASSING: [&str; 5] = ["BUSY", "MISCONF", "NOREPLICAS", "OOM", "READONLY"];

fn is_retryable(error: &RedisError) -> bool {
    match error.kind() {
        // All but what cannot be connected to at all, such as a socket that we may not open.
        ErrorKind::Io => !matches!(error.retry_method(), RetryMethod::NoRetry),
        // A connection that ended in the midst of an answer looks like this.
        ErrorKind::Parse => true,
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            // Its scripts were flushed between two commands.
            | ServerErrorKind::NoScript
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::TryAgain => true,
            // Before version 7 a server wraps what a command in a script says.
            ServerErrorKind::ResponseError => {
                let text = error.detail().unwrap_or_default();
                PASSING.iter().any(|word| text.contains(&format!("-{word} ")))
            }
            _ => false,
        },
        ErrorKind::Extension => error.code().is_some_and(|code| PASSING.contains(&code)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use reelmill_common::Retryable as _;

    use super::*;

    /// What a server says, as the client understands it.
    fn said(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        answer.extract_error().unwrap_err()
    }

    fn error(error: RedisError) -> LedgerError {
        Failure::of("127.0.0.1:6379", error).during("claim a task in")
    }

    #[test]
    fn what_passes_is_tried_again() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "MASTERDOWN Link with MASTER is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
            "ERR Error running script (call to f_1): @user_script:9: -OOM command not allowed",
            "ERR Error running script (call to f_1): @user_script:9: -READONLY You can't write",
        ] {
            assert!(error(said(line)).is_retryable(), "{line}");
        }
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::TimedOut,
        ] {
            assert!(error(io::Error::from(kind).into()).is_retryable(), "{kind}");
        }
    }

    #[test]
    fn what_stays_is_not() {
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "ERR user_script:3: attempt to index a nil value script: 5f, on @user_script:3.",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "MOVED 3999 127.0.0.1:6381",
            "CROSSSLOT Keys in request don't hash to the same slot",
        ] {
            assert!(!error(said(line)).is_retryable(), "{line}");
        }
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(!error(denied.into()).is_retryable());
    }

    #[test]
    fn an_error_names_the_server() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = error(refused.into());
        assert_eq!(error.to_string(), "cannot claim a task in the ledger");
        assert_eq!(
            error.source.to_string(),
            "redis at `127.0.0.1:6379`: connection refused"
        );
    }
}
