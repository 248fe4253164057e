//! What can go wrong with a queue.

use reelmill_common::Retryable;

/// A queue operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the queue")]
pub struct QueueError {
    /// What was tried, such as `publish to`.
    pub action: &'static str,
    /// Whether trying again may help.
    pub retryable: bool,
    /// The backend's own error.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Retryable for QueueError {
    fn is_retryable(&self) -> bool {
        self.retryable
    }

    fn code(&self) -> &'static str {
        "queue-failed"
    }
}
