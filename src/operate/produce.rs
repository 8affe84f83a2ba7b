//! Rows of a file become events of a topic: all of them, or none with every bad row named.

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::env::Env;
use runtime::log::{Durability, Log, TopicConfig};
use runtime::producer::Producer;
use runtime::topology::{Topic, TopicKind};
use serde::Serialize;
use serde_json::Value;

use super::OperateError;
use super::values::{Values, topic};

/// Bytes of a file, and of a request to a running process.
pub const FILE_MAX_BYTES: usize = 32 << 20;
/// Bad rows that are told; more are counted.
const TOLD_MAX: usize = 100;
/// Rows of one slice.
const SLICE: usize = 256;
const BUDGET_BYTES: usize = 8 << 20;
/// What an envelope around a value may say.
const ENVELOPE: [&str; 4] = ["topic", "key", "value", "timestamp_ms"];

/// A row that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// Line of the file, from 1.
    pub line: usize,
    pub what: String,
}

/// What became of a file.
#[derive(Clone, Debug, Serialize)]
pub struct Produced {
    pub ok: bool,
    /// Rows that are not blank.
    pub rows: usize,
    /// Events appended, by topic.
    pub appended: BTreeMap<&'static str, usize>,
    pub bad_rows: usize,
    pub bad: Vec<BadRow>,
}

/// One event, checked and ready.
struct Ready {
    topic: &'static Topic,
    key: String,
    timestamp_ms: i64,
    value: Vec<u8>,
}

/// Reads rows of JSON for one topic of the outside. A row is a value, or an envelope `{"value": …}` that may also name its
/// key, its time and another topic.
struct Rows {
    topic: &'static Topic,
    codecs: BTreeMap<&'static str, Values>,
    now_ms: i64,
}

impl Rows {
    fn new(name: &str, now_ms: i64) -> Result<Self, OperateError> {
        Ok(Self { topic: external(name)?, codecs: BTreeMap::new(), now_ms })
    }

    fn ready(&mut self, line: &str) -> Result<Ready, String> {
        let json: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut entries) = json else { return Err("a row is a JSON object".to_owned()) };
        let is_envelope = entries.contains_key("value") && entries.keys().all(|name| ENVELOPE.contains(&name.as_str()));
        if !is_envelope {
            return self.event(self.topic, None, None, &Value::Object(entries));
        }
        let topic = match entries.get("topic").map(Value::as_str) {
            None => self.topic,
            Some(Some(name)) => external(name).map_err(|error| error.to_string())?,
            Some(None) => return Err("topic: expected text".to_owned()),
        };
        let key = match entries.get("key") {
            None => None,
            Some(Value::String(key)) => Some(key.clone()),
            Some(_) => return Err("key: expected text".to_owned()),
        };
        let timestamp_ms = match entries.get("timestamp_ms") {
            None => None,
            Some(time) => Some(time.as_i64().filter(|ms| *ms > 0).ok_or("timestamp_ms: expected milliseconds")?),
        };
        let value = entries.remove("value").unwrap_or_default();
        self.event(topic, key, timestamp_ms, &value)
    }

    fn event(
        &mut self,
        topic: &'static Topic,
        key: Option<String>,
        timestamp_ms: Option<i64>,
        value: &Value,
    ) -> Result<Ready, String> {
        if !self.codecs.contains_key(topic.name) {
            self.codecs.insert(topic.name, Values::of(topic).map_err(|error| error.to_string())?);
        }
        let codec = &self.codecs[topic.name];
        let framed = codec.write(value)?;
        let key = key.map_or_else(|| codec.key(value), Ok)?;
        let stated = || ["timestamp", "ts_ms"].iter().find_map(|name| value[*name].as_i64()).filter(|ms| *ms > 0);
        let timestamp_ms = timestamp_ms.or_else(stated).unwrap_or(self.now_ms);
        Ok(Ready { topic, key, timestamp_ms, value: framed })
    }
}

/// A topic that the outside writes: what services publish carries their provenance, and is not made by hand.
fn external(name: &str) -> Result<&'static Topic, OperateError> {
    let topic = topic(name)?;
    match topic.kind {
        TopicKind::External => Ok(topic),
        _ => Err(OperateError::Wrong(format!(
            "`{name}` is written by a service; rows can only go to topics of the outside"
        ))),
    }
}

/// Appends the rows of `text`, or none of them if one is bad.
///
/// # Errors
/// The topic is none that takes rows, or the log refuses.
pub async fn produce(
    env: &Env,
    log: &Arc<dyn Log>,
    partitions: u32,
    name: &str,
    text: &str,
) -> Result<Produced, OperateError> {
    let mut rows = Rows::new(name, env.clock.wall_ms())?;
    let (mut ready, mut bad, mut bad_rows, mut count) = (Vec::new(), Vec::new(), 0, 0);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        count += 1;
        match rows.ready(line) {
            Ok(event) => ready.push(event),
            Err(what) => {
                bad_rows += 1;
                if bad.len() < TOLD_MAX {
                    bad.push(BadRow { line: index + 1, what });
                }
            }
        }
    }
    let mut appended = BTreeMap::new();
    if bad_rows == 0 {
        append(log, partitions, ready, &mut appended).await?;
    }
    Ok(Produced { ok: bad_rows == 0 && count > 0, rows: count, appended, bad_rows, bad })
}

async fn append(
    log: &Arc<dyn Log>,
    partitions: u32,
    ready: Vec<Ready>,
    appended: &mut BTreeMap<&'static str, usize>,
) -> Result<(), OperateError> {
    for event in &ready {
        if *appended.entry(event.topic.name).and_modify(|count| *count += 1).or_insert(1) == 1 {
            let config = TopicConfig {
                name: event.topic.name.into(),
                partitions,
                durability: Durability::Synced,
                retention_ms: event.topic.retention_ms,
                compacted: false,
            };
            log.ensure_topic(&config).map_err(OperateError::failed)?;
        }
    }
    let mut producer = Producer::new(log.clone(), "produce", BUDGET_BYTES, partitions);
    for slice in ready.chunks(SLICE) {
        for event in slice {
            let added =
                producer.add_bytes(event.topic.name, event.key.as_bytes(), event.timestamp_ms, &event.value, &[]);
            added.map_err(OperateError::failed)?;
        }
        producer.flush().await.map_err(OperateError::failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_values_or_envelopes() {
        let mut rows = Rows::new("budgets-changes", 77).expect("a topic");
        let value = r#"{"after":{"budget_id":"b","campaign_id":"c","advertiser_id":"a","period":"LIFETIME","amount_micros":5,
            "currency":"USD","timezone":"UTC","version":1},"op":"c","ts_ms":9,"source":{"lsn":1,"table":"budgets","snapshot":"true"}}"#;
        let ready = rows.ready(value).expect("an event");
        assert_eq!((ready.key.as_str(), ready.timestamp_ms), ("c", 9));
        let ready = rows.ready(&format!(r#"{{"value":{value},"key":"k","timestamp_ms":8}}"#)).expect("an event");
        assert_eq!((ready.key.as_str(), ready.timestamp_ms), ("k", 8));
        let mut other = Rows::new("campaigns-changes", 77).expect("a topic");
        let ready = other.ready(&format!(r#"{{"topic":"budgets-changes","value":{value}}}"#)).expect("an event");
        assert_eq!(ready.topic.name, "budgets-changes");
        let refused = |rows: &mut Rows, line: &str| rows.ready(line).err().expect("refused");
        assert!(refused(&mut rows, "{").starts_with("not JSON"));
        assert!(refused(&mut rows, "[]").contains("object"));
        assert!(refused(&mut rows, r#"{"value":{},"topic":"impressions"}"#).contains("written by a service"));
        assert!(refused(&mut rows, r#"{"value":{},"timestamp_ms":-1}"#).contains("milliseconds"));
        assert!(refused(&mut rows, r#"{"op":"c"}"#).contains("is missing"));
    }
}
