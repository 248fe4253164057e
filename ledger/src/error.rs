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
