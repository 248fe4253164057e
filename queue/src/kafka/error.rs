//! What Kafka's errors mean to whoever runs it.

use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::{DeadLetterError, QueueError};

/// Why an operation on Kafka failed. None of the sentences holds the value of a property: it may be
/// a password.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(
        "no Kafka broker answers at `{brokers}`: {reason}; see that one runs there and listens on that address"
    )]
    Unreachable { brokers: String, reason: String },
    #[error("there is no topic `{topic}` on Kafka at `{brokers}`: run `reelmill topics create`")]
    NoTopic { topic: String, brokers: String },
    #[error(
        "Kafka at `{brokers}` refuses the credentials: {reason}; set `sasl.username`, `sasl.password` and `sasl.mechanism`, or the client's certificate"
    )]
    Credentials { brokers: String, reason: String },
    #[error(
        "Kafka at `{brokers}` does not allow this user to use {what}: {reason}; give it the right"
    )]
    Forbidden {
        brokers: String,
        what: String,
        reason: String,
    },
    #[error("a message is too large for the topic `{topic}`: raise its `max.message.bytes`")]
    TooLarge { topic: String },
    #[error("Kafka at `{brokers}` cannot do it: {reason}")]
    Answer {
        brokers: String,
        reason: String,
        retryable: bool,
    },
    #[error("`{0}` cannot be set: reelmill depends on the value that it sets itself")]
    Reserved(String),
    #[error(
        "librdkafka does not know the property `{0}`, or not with the value that it was given: see its CONFIGURATION.md"
    )]
    Property(String),
    #[error("the Kafka client does not start: {0}")]
    Start(String),
    #[error(
        "the addresses of Kafka brokers are written HOST:PORT with commas between; a user and a password are given as `sasl.username` and `sasl.password`"
    )]
    Address,
    #[error("{0}")]
    Letter(String),
    #[error("the work was given up: {0}")]
    Abandoned(String),
    #[error("the consumer is closed")]
    Closed,
    #[error("the thread that polls Kafka has ended: start the worker again")]
    Ended,
    #[error(
        "the group did not let go within {0:?}: others are given the deliveries when the session times out"
    )]
    StillLeaving(Duration),
}

impl Trouble {
    /// The meaning of an error of the client, where `topic` was used.
    pub(super) fn of(error: &KafkaError, brokers: &str, topic: Option<&str>) -> Self {
        match error {
            KafkaError::ClientConfig(_, _, property, _) => Self::Property(property.clone()),
            KafkaError::ClientCreation(reason) => Self::Start(reason.clone()),
            _ => match code(error) {
                Some(code) => Self::of_code(code, brokers, topic),
                None => Self::Answer {
                    brokers: brokers.to_owned(),
                    reason: error.to_string(),
                    retryable: true,
                },
            },
        }
    }

    /// The meaning of an error of a broker, or of the client on its behalf.
    pub(super) fn of_code(code: Code, brokers: &str, topic: Option<&str>) -> Self {
        let (brokers, reason) = (brokers.to_owned(), code.to_string());
        match (code, topic) {
            (
                Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopicId,
                Some(topic),
            ) => Self::NoTopic {
                topic: topic.to_owned(),
                brokers,
            },
            (Code::MessageSizeTooLarge | Code::MessageBatchTooLarge, Some(topic)) => {
                let topic = topic.to_owned();
                Self::TooLarge { topic }
            }
            (
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::MessageTimedOut
                | Code::TimedOutQueue,
                _,
            ) => Self::Unreachable { brokers, reason },
            (
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::IllegalSASLState,
                _,
            ) => Self::Credentials { brokers, reason },
            (
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed,
                _,
            ) => Self::Forbidden {
                brokers,
                what: match (code, topic) {
                    (Code::GroupAuthorizationFailed, _) => "the consumer group".to_owned(),
                    (Code::TopicAuthorizationFailed, Some(topic)) => format!("the topic `{topic}`"),
                    (Code::TopicAuthorizationFailed, None) => "a topic".to_owned(),
                    _ => "the cluster".to_owned(),
                },
                reason,
            },
            _ => Self::Answer {
                brokers,
                reason,
                retryable: !is_for_good(code),
            },
        }
    }

    /// The same with more to say: "timed out" is less than the client knows.
    pub(super) fn because(self, reason: Option<String>) -> Self {
        match (self, reason) {
            (Self::Unreachable { brokers, .. }, Some(reason)) => {
                let words = ["uthentication", "SASL", "SSL"];
                match words.iter().any(|word| reason.contains(word)) {
                    true => Self::Credentials { brokers, reason },
                    false => Self::Unreachable { brokers, reason },
                }
            }
            (trouble, _) => trouble,
        }
    }

    pub(super) fn during(self, action: &'static str) -> QueueError {
        QueueError {
            action,
            retryable: self.is_retryable(),
            source: Box::new(self),
        }
    }

    /// A missing topic too: somebody may be making it, and nobody's job should fail for that.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoTopic { .. }
            | Self::Abandoned(_)
            | Self::StillLeaving(_) => true,
            Self::Answer { retryable, .. } => *retryable,
            Self::Credentials { .. }
            | Self::Forbidden { .. }
            | Self::TooLarge { .. }
            | Self::Reserved(_)
            | Self::Property(_)
            | Self::Start(_)
            | Self::Address
            | Self::Letter(_)
            | Self::Closed
            | Self::Ended => false,
        }
    }
}

impl From<DeadLetterError> for Trouble {
    fn from(error: DeadLetterError) -> Self {
        Self::Letter(error.to_string())
    }
}

/// The code of an error, also where the client hides it.
fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        _ => error.rdkafka_error_code(),
    }
}

/// Whether asking again brings the same answer.
fn is_for_good(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::InvalidConfig
            | Code::InvalidGroupId
            | Code::InvalidMessageSize
            | Code::InvalidPartitions
            | Code::InvalidRecord
            | Code::InvalidReplicationFactor
            | Code::InvalidRequest
            | Code::InvalidRequiredAcks
            | Code::InvalidSessionTimeout
            | Code::InvalidTopic
            | Code::NotImplemented
            | Code::PolicyViolation
            | Code::SecurityDisabled
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code) -> QueueError {
        let error = KafkaError::MessageProduction(code);
        Trouble::of(&error, "kafka:9092", Some("video-chunks")).during("publish to")
    }

    #[test]
    fn errors_say_the_way_out_and_whether_to_try_again() {
        let missing = of(Code::UnknownTopicOrPartition);
        assert_eq!(
            missing.source.to_string(),
            "there is no topic `video-chunks` on Kafka at `kafka:9092`: run `reelmill topics create`"
        );
        for (code, retryable) in [
            (Code::UnknownTopicOrPartition, true),
            (Code::UnknownPartition, true),
            (Code::MessageTimedOut, true),
            (Code::BrokerTransportFailure, true),
            (Code::NotEnoughReplicas, true),
            (Code::OutOfOrderSequenceNumber, true),
            (Code::Fatal, true),
            (Code::MessageSizeTooLarge, false),
            (Code::TopicAuthorizationFailed, false),
            (Code::Authentication, false),
            (Code::PolicyViolation, false),
        ] {
            assert_eq!(of(code).retryable, retryable, "{code:?}");
        }
    }

    #[test]
    fn the_value_of_a_property_is_never_shown() {
        use rdkafka::types::RDKafkaConfRes;
        let error = KafkaError::ClientConfig(
            RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value \"hunter2\"".to_owned(),
            "sasl.password".to_owned(),
            "hunter2".to_owned(),
        );
        let trouble = Trouble::of(&error, "kafka:9092", None);
        let shown = format!("{trouble} {trouble:?}");
        assert!(
            shown.contains("`sasl.password`") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
