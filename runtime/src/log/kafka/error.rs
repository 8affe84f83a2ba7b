//! What the client library reports, as what the log promises.

use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::log::AppendError;

/// Why the log of a cluster does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("client of {brokers}: {reason}; check --kafka-properties and the settings under `kafka`")]
    Config { brokers: String, reason: String },
    #[error("no answer from {brokers} within {waited_ms} ms: {reason}; is the broker up, and is this its address?")]
    Unreachable { brokers: String, waited_ms: u64, reason: String },
    #[error("{brokers} does not let us in: {reason}; check user and password (`sasl.*` of --kafka-properties)")]
    Authentication { brokers: String, reason: String },
    #[error(
        "no TLS with {brokers}: {reason}; check `security.protocol` and the certificates (`ssl.*` of --kafka-properties)"
    )]
    Tls { brokers: String, reason: String },
    #[error(
        "{} of {wanted} topics are missing at {brokers}, or may not be described: {}; make what is missing with `{make}`",
        missing.len(),
        missing.join(", ")
    )]
    TopicsMissing { brokers: String, wanted: usize, missing: Vec<String>, make: String },
    #[error("topics: no answer from {brokers}: {reason}; is the broker up?")]
    Unanswered { brokers: String, reason: String },
    #[error("starting {what}: {error}")]
    Thread { what: &'static str, error: std::io::Error },
}

impl OpenError {
    /// Settings that the library refuses. Their values are not repeated: one may be a password.
    pub(super) fn refused(brokers: &str, error: KafkaError) -> Self {
        let reason = match error {
            KafkaError::ClientConfig(_, reason, key, _) => format!("{key}: {reason}"),
            error => error.to_string(),
        };
        Self::Config { brokers: brokers.to_owned(), reason }
    }

    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config { .. } => "KAFKA_CONFIG",
            Self::Unreachable { .. } => "KAFKA_UNREACHABLE",
            Self::Authentication { .. } => "KAFKA_AUTHENTICATION",
            Self::Tls { .. } => "KAFKA_TLS",
            Self::TopicsMissing { .. } => "KAFKA_TOPICS_MISSING",
            Self::Unanswered { .. } => "KAFKA_UNREACHABLE",
            Self::Thread { .. } => "THREADS",
        }
    }
}

/// A record that was not delivered. Only what the broker refuses for good is definite (rule P5). `bytes`: of its batch.
pub(super) fn undelivered(topic: &Arc<str>, partition: u32, bytes: usize, error: &KafkaError) -> AppendError {
    let topic = topic.clone();
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
            AppendError::TooLarge { topic, partition, bytes, limit_bytes: super::config::MESSAGE_MAX_BYTES }
        }
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition,
        ) => AppendError::Unknown { what: format!("{topic}-{partition}: {error}") },
        Some(RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed) => {
            AppendError::Denied { topic, partition, reason: error.to_string() }
        }
        _ => AppendError::Indefinite { topic, partition, reason: error.to_string() },
    }
}
