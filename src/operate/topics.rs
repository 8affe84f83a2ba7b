//! What topics a log has, and what is in them.

use runtime::log::{Log, TopicPartition};
use runtime::topology::TopicKind;
use serde_json::{Value, json};

use super::OperateError;
use super::values::{services, topics};

/// All topics of a log, by name, with records and time.
///
/// # Errors
/// The log refuses.
pub fn list(log: &dyn Log) -> Result<Value, OperateError> {
    let all: Result<Vec<Value>, OperateError> =
        log.topics().iter().map(|(_, config)| describe(log, &config.name)).collect();
    Ok(json!({ "topics": all? }))
}

/// One topic with its partitions, schema, writers and readers.
///
/// # Errors
/// There is none of that name.
pub fn describe(log: &dyn Log, name: &str) -> Result<Value, OperateError> {
    let found = log.topics().into_iter().find(|(_, config)| &*config.name == name);
    let (id, config) = found.ok_or_else(|| OperateError::Absent(format!("the log has no topic `{name}`")))?;
    let mut records = 0;
    let mut partitions = Vec::new();
    for partition in 0..config.partitions {
        let at = TopicPartition { topic: id, partition };
        let extent = log.extent(at).map_err(OperateError::failed)?;
        records += extent.high_watermark - extent.start;
        let newest_ms = log.timestamp_at(at, extent.high_watermark - 1);
        partitions.push(json!({ "partition": partition, "start": extent.start, "end": extent.high_watermark, "newest_ms": newest_ms }));
    }
    let topic = topics().into_iter().find(|topic| topic.name == name);
    let schema = topic.and_then(|topic| schemas::builtin().iter().find(|builtin| builtin.id == topic.schema_id));
    let specs = services();
    let writes = |spec: &&runtime::topology::ServiceSpec| spec.outputs.iter().any(|topic| topic.name == name);
    let reads = |spec: &&runtime::topology::ServiceSpec| spec.inputs.iter().any(|topic| topic.name == name);
    Ok(json!({
        "topic": name,
        "kind": topic.map(|topic| kind(topic.kind)),
        "key": topic.map(|topic| topic.key),
        "schema": schema.map(|schema| schema.name),
        "schema_id": topic.map(|topic| topic.schema_id),
        "retention_ms": config.retention_ms,
        "compacted": config.compacted,
        "records": records,
        "written_by": specs.iter().filter(writes).map(|spec| spec.name).collect::<Vec<_>>(),
        "read_by": specs.iter().filter(reads).map(|spec| spec.name).collect::<Vec<_>>(),
        "partitions": partitions,
    }))
}

fn kind(kind: TopicKind) -> &'static str {
    match kind {
        TopicKind::External => "external",
        TopicKind::Internal => "internal",
        TopicKind::Compacted => "compacted",
        TopicKind::Replay => "replay",
    }
}
