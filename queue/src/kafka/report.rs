//! What the client says, in our log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// After a warning, others of its kind are silent for so long: while brokers are away every attempt
/// to reach one fails.
const SILENCE: Duration = Duration::from_secs(60);

/// Takes the words of some clients.
///
/// A client tries again by itself whatever may pass, so nothing of that is an error here.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    /// What the clients are for.
    client: &'static str,
    /// Whether whoever uses the client tells of its failures, so that they need not be logged.
    is_asked: bool,
    said: Arc<Mutex<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    /// Why a broker cannot be reached.
    reason: Option<String>,
    /// By the code of the error.
    warned_at: BTreeMap<i32, Instant>,
}

impl Reporter {
    /// For clients that work in the background.
    pub(super) fn new(client: &'static str) -> Self {
        let is_asked = false;
        Self {
            client,
            is_asked,
            said: Arc::default(),
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
        self.said().reason.clone()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody was warned of this lately.
    fn is_news(&self, code: Code) -> bool {
        let now = Instant::now();
        let mut said = self.said();
        let warned_at = said.warned_at.get(&(code as i32));
        let is_news = warned_at.is_none_or(|at| now.duration_since(*at) >= SILENCE);
        if is_news {
            said.warned_at.insert(code as i32, now);
        }
        is_news
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
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        // That it cannot reach any broker says less than why it cannot reach one.
        let is_told = code != Code::AllBrokersDown;
        if is_told {
            self.said().reason = Some(reason.to_owned());
        }
        if is_told && !self.is_asked && self.is_news(code) {
            tracing::warn!(client, reason, "the Kafka client is in trouble");
        } else {
            tracing::debug!(client, reason, "the Kafka client is in trouble");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_a_minute_and_the_best_reason_is_kept() {
        let reporter = Reporter::new("test");
        assert!(reporter.is_news(Code::BrokerTransportFailure));
        assert!(reporter.is_news(Code::Authentication));
        assert!(!reporter.is_news(Code::BrokerTransportFailure));
        assert!(!reporter.clone().is_news(Code::Authentication));
        let refused = KafkaError::Global(Code::BrokerTransportFailure);
        reporter.error(refused, "Connection refused");
        reporter.error(
            KafkaError::Global(Code::AllBrokersDown),
            "1/1 brokers are down",
        );
        assert_eq!(
            reporter.last_reason().as_deref(),
            Some("Connection refused")
        );
    }
}
