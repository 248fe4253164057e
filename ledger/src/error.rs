//! What can go wrong with a ledger.

use reelmill_common::Retryable;

/// A ledger operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the ledger")]
pub struct LedgerError {
    /// What was tried, such as `write to`.
    pub action: &'static str,
    /// Whether trying again may help.
    pub retryable: bool,
    /// The backend's own error.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Retryable for LedgerError {
    fn is_retryable(&self) -> bool {
        self.retryable
    }

    fn code(&self) -> &'static str {
        "ledger-failed"
    }
}

/// Of a caller that ends a job with a status that is no end.
#[cfg(any(feature = "redis", feature = "sqlite"))]
#[derive(Debug, thiserror::Error)]
#[error("`{0}` does not end a job")]
pub(crate) struct NotTerminal(pub(crate) &'static str);
