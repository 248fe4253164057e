//! What the client says, in our log.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Takes the words of one client.
///
/// The client tries again by itself whatever may pass, so nothing of that is an error here.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    /// What the client is for.
    client: &'static str,
    /// Whether whoever uses the client tells of its failures, so that they need not be logged.
    is_asked: bool,
    last_reason: Arc<Mutex<Option<String>>>,
}

impl Reporter {
    /// For a client that works in the background.
    pub(super) fn new(client: &'static str) -> Self {
        let is_asked = false;
        Self {
            client,
            is_asked,
            last_reason: Arc::default(),
        }
    }

    /// For a client that is asked one question after the other.
    pub(super) fn asked(client: &'static str) -> Self {
        let is_asked = true;
        Self {
            is_asked,
            ..Self::new(client)
        }
    }

    /// Why the client cannot reach the brokers, as it last said.
    pub(super) fn last_reason(&self) -> Option<String> {
        let reason = self.last_reason.lock();
        reason.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Reporter {
    fn log(&self, level: Level, facility: &str, line: &str) {
        let client = self.client;
        match level {
            // Comes as an error too.
            _ if facility == "FAIL" => tracing::debug!(client, facility, "{line}"),
            // Consumers and producers are given the same properties, each ignores the other's.
            _ if facility == "CONFWARN" => tracing::debug!(client, facility, "{line}"),
            Level::Emerg | Level::Alert | Level::Critical => {
                tracing::error!(client, facility, "{line}");
            }
            Level::Error | Level::Warning if !self.is_asked => {
                tracing::warn!(client, facility, "{line}");
            }
            _ => tracing::debug!(client, facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let client = self.client;
        if self.is_asked {
            tracing::debug!(client, %error, reason, "the Kafka client is in trouble");
        } else {
            tracing::warn!(client, %error, reason, "the Kafka client is in trouble");
        }
        // That it cannot reach any says less than why it cannot reach one.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        let mut last = self
            .last_reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(reason.to_owned());
    }
}
