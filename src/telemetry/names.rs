//! Every name that goes into spans, metrics and logs, once. Those of OpenTelemetry's semantic conventions are compared with
//! the conventions' own crate by a test: old and new names stand side by side there, and are easily confused.

/// What the log is to the conventions: its batches and their semantics are Kafka's.
pub const SYSTEM: &str = "kafka";

pub const MESSAGING_SYSTEM: &str = "messaging.system";
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// A text by the conventions, not a number.
pub const MESSAGING_DESTINATION_PARTITION_ID: &str = "messaging.destination.partition.id";
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
/// On spans of batches only.
pub const MESSAGING_BATCH_MESSAGE_COUNT: &str = "messaging.batch.message_count";
pub const MESSAGING_KAFKA_OFFSET: &str = "messaging.kafka.offset";
pub const ERROR_TYPE: &str = "error.type";
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub const HTTP_ROUTE: &str = "http.route";
pub const SERVICE_NAME: &str = "service.name";
pub const SERVICE_VERSION: &str = "service.version";
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";

pub const PROCESS_DURATION: &str = "messaging.process.duration";
pub const CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";

/// The operation `process`: its name and its type.
pub const PROCESS: &str = "process";

/// Ours, where the conventions have no name.
pub const SERVICE: &str = "bulkhead.service";
pub const SHARD: &str = "bulkhead.shard";
pub const COMMIT_SEQUENCE: &str = "bulkhead.commit.sequence";
pub const FAILURE_CLASS: &str = "bulkhead.failure.class";
pub const DEAD_LETTERED: &str = "bulkhead.batch.dead_lettered";
pub const PARKED: &str = "bulkhead.batch.parked";
pub const SPANS_DROPPED: &str = "bulkhead.batch.spans_dropped";
pub const RESTART_REASON: &str = "bulkhead.restart.reason";
pub const OUTCOME: &str = "bulkhead.outcome";
pub const EVENTS: &str = "bulkhead.events";
pub const RESTARTS: &str = "bulkhead.restarts";
pub const RETRIES: &str = "bulkhead.retries";
pub const COMMITS: &str = "bulkhead.commits";
pub const QUEUE_BYTES: &str = "bulkhead.queue.size";
pub const DROPPED: &str = "bulkhead.telemetry.dropped";

/// Bounds of `messaging.process.duration`, seconds: the conventions' own, and below them what a fold takes.
pub const DURATION_BOUNDS_S: [f64; 20] = [
    0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5,
    5.0, 7.5, 10.0,
];

#[cfg(test)]
mod tests {
    use opentelemetry_semantic_conventions::{attribute, metric, resource};

    use super::*;

    #[test]
    fn names_are_those_of_the_conventions() {
        for (ours, theirs) in [
            (MESSAGING_SYSTEM, attribute::MESSAGING_SYSTEM),
            (MESSAGING_OPERATION_NAME, attribute::MESSAGING_OPERATION_NAME),
            (MESSAGING_OPERATION_TYPE, attribute::MESSAGING_OPERATION_TYPE),
            (MESSAGING_DESTINATION_NAME, attribute::MESSAGING_DESTINATION_NAME),
            (MESSAGING_DESTINATION_PARTITION_ID, attribute::MESSAGING_DESTINATION_PARTITION_ID),
            (MESSAGING_CONSUMER_GROUP_NAME, attribute::MESSAGING_CONSUMER_GROUP_NAME),
            (MESSAGING_BATCH_MESSAGE_COUNT, attribute::MESSAGING_BATCH_MESSAGE_COUNT),
            (MESSAGING_KAFKA_OFFSET, attribute::MESSAGING_KAFKA_OFFSET),
            (ERROR_TYPE, attribute::ERROR_TYPE),
            (HTTP_REQUEST_METHOD, attribute::HTTP_REQUEST_METHOD),
            (HTTP_RESPONSE_STATUS_CODE, attribute::HTTP_RESPONSE_STATUS_CODE),
            (HTTP_ROUTE, attribute::HTTP_ROUTE),
            (SERVICE_NAME, resource::SERVICE_NAME),
            (SERVICE_VERSION, resource::SERVICE_VERSION),
            (SERVICE_INSTANCE_ID, resource::SERVICE_INSTANCE_ID),
            (PROCESS_DURATION, metric::MESSAGING_PROCESS_DURATION),
            (CONSUMED_MESSAGES, metric::MESSAGING_CLIENT_CONSUMED_MESSAGES),
        ] {
            assert_eq!(ours, theirs);
        }
        assert!(DURATION_BOUNDS_S.is_sorted());
    }
}
