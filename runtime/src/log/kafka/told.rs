//! What the client library says of a connection while somebody waits for an answer: "timed out" alone helps nobody.

use std::sync::{Arc, Mutex};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::error::OpenError;
use super::lock;

/// Remembers what was said last.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<Option<(Option<RDKafkaErrorCode>, String)>>>);

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::warn!(?level, facility, "kafka: {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka");
        let mut last = lock(&self.0);
        let code = error.rdkafka_error_code();
        // That all brokers are down follows from what was said before.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
    }
}

impl Told {
    /// Why nobody answered, by its class.
    pub(super) fn unreachable(&self, brokers: &str, waited_ms: u64, error: &KafkaError) -> OpenError {
        let (code, reason) = lock(&self.0).take().unwrap_or_else(|| (error.rdkafka_error_code(), error.to_string()));
        let brokers = brokers.to_owned();
        match code {
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
                OpenError::Authentication { brokers, reason }
            }
            Some(RDKafkaErrorCode::SSL) => OpenError::Tls { brokers, reason },
            _ => OpenError::Unreachable { brokers, waited_ms, reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_class() {
        let timeout = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        let class = |said: &[(RDKafkaErrorCode, &str)]| {
            let told = Told::default();
            said.iter().for_each(|(code, reason)| told.error(KafkaError::Global(*code), reason));
            let error = told.unreachable("h:1", 10, &timeout);
            (error.kind(), error.to_string())
        };
        let (kind, text) = class(&[(RDKafkaErrorCode::BrokerTransportFailure, "Connection refused")]);
        assert_eq!(kind, "KAFKA_UNREACHABLE");
        assert!(text.contains("Connection refused") && text.contains("h:1"), "{text}");
        let all_down = (RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        let (kind, text) = class(&[(RDKafkaErrorCode::Authentication, "wrong password"), all_down]);
        assert_eq!((kind, text.contains("wrong password")), ("KAFKA_AUTHENTICATION", true), "{text}");
        assert_eq!(class(&[(RDKafkaErrorCode::SSL, "certificate"), all_down]).0, "KAFKA_TLS");
        assert_eq!(class(&[]).0, "KAFKA_UNREACHABLE");
    }
}
