//! Decoded events of a topic, personal data masked.

use std::sync::Arc;

use runtime::log::{Log, Record};
use runtime::writers::WriterSchemas;
use serde_json::{Value, json};

use super::OperateError;
use super::values::{Values, mask, readable, shown_key};
use crate::demo::scan::Scan;

/// Events of one answer.
pub const EVENTS_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    /// Only events whose field (`a.b` for a field of a field) has this value as text.
    pub wanted: Option<(String, String)>,
    /// From this offset of each partition on; below zero counts from the end.
    pub from_offset: Option<i64>,
    /// From this event time on, ms.
    pub from_ms: Option<i64>,
    pub limit: usize,
}

/// Reads `FIELD=VALUE`.
///
/// # Errors
/// There is no `=`.
pub fn wanted(text: &str) -> Result<(String, String), String> {
    let (field, value) = text.split_once('=').ok_or("write FIELD=VALUE, for example campaign_id=camp-1")?;
    Ok((field.to_owned(), value.to_owned()))
}

/// Events of a topic in the order of their partitions.
///
/// # Errors
/// The topic is unknown, or the log cannot be read.
pub fn events(
    log: &dyn Log,
    writers: Arc<dyn WriterSchemas>,
    name: &str,
    tap: &Tap,
) -> Result<Vec<Value>, OperateError> {
    let topic = readable(name)?;
    let values = Values::of(topic)?.with(writers);
    let partitions =
        log.topics().iter().find(|(_, config)| &*config.name == name).map_or(0, |(_, config)| config.partitions);
    let scan = Scan { log, partitions };
    let limit = tap.limit.min(EVENTS_MAX);
    let mut events = Vec::new();
    for partition in 0..partitions {
        let (start, end) = scan.extent(name, partition).map_err(OperateError::failed)?;
        let from = match tap.from_offset {
            Some(back) if back < 0 => end.saturating_add(back).max(start),
            from => from.unwrap_or(start),
        };
        let visited = scan.records(name, partition, from, |record| {
            if events.len() < limit
                && tap.from_ms.is_none_or(|ms| record.timestamp_ms >= ms)
                && let Some(event) = shown(&values, partition, record, tap)
            {
                events.push(event);
            }
            Ok(())
        });
        visited.map_err(OperateError::failed)?;
    }
    Ok(events)
}

fn shown(values: &Values, partition: u32, record: &Record<'_>, tap: &Tap) -> Option<Value> {
    let read = values.read_record(record);
    let mut value = match read {
        Ok(value) => value,
        Err(error) => json!({ "unreadable": error }),
    };
    if let Some((field, wanted)) = &tap.wanted {
        let found = field.split('.').try_fold(&value, |value, name| value.get(name))?;
        let is_same = match found {
            Value::String(text) => text == wanted,
            other => &other.to_string() == wanted,
        };
        if !is_same {
            return None;
        }
    }
    mask(&mut value);
    Some(json!({
        "partition": partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": shown_key(values.topic, record.key.unwrap_or_default()),
        "value": value,
    }))
}
