//! Records of topics as JSON and back: which schema a topic has, what its key is, and what of it is somebody's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actors::catalogue;
use actors::ids;
use actors::metadata::{IP, SENTINEL_USER, UA};
use runtime::log::Record;
use runtime::topology::{ServiceSpec, Topic};
use runtime::writers::{Found, NoWriters, WriterSchemas};
use schemas::codec::{Encode as _, Limits};
use schemas::events::{AdminAction, DeadLetterAction};
use schemas::frame::Writer;
use schemas::model::{Kind, NodeId, Schema};
use schemas::plan::Plan;
use schemas::{frame, json};
use serde_json::{Map, Value};

use super::OperateError;
use crate::config::nearest;

/// Fields whose text names a person or a device.
const PERSONAL: [&str; 4] = ["user_id", SENTINEL_USER, IP, UA];
/// What stands in their place.
const MASK: &str = "***";

/// All services of the product, as data.
pub fn services() -> Vec<ServiceSpec> {
    catalogue::services(&catalogue::Config::default()).into_iter().map(|service| service.spec).collect()
}

/// All topics of the catalogue, by name.
pub fn topics() -> Vec<&'static Topic> {
    let mut topics: Vec<&'static Topic> = services()
        .iter()
        .flat_map(|spec| spec.inputs.iter().chain(&spec.outputs).copied().collect::<Vec<_>>())
        .collect();
    topics.sort_by_key(|topic| topic.name);
    topics.dedup_by_key(|topic| topic.name);
    topics
}

/// What processes were told to change, and what was done with dead letters: read like any topic, produced by nobody.
static AUDITS: [Topic; 2] = [
    Topic::external(crate::admin::audit::TOPIC, "action", AdminAction::SCHEMA_ID, None),
    Topic::external(crate::dlq::audit::TOPIC, "job", DeadLetterAction::SCHEMA_ID, None),
];

/// A topic of the catalogue, or an audit.
///
/// # Errors
/// As [`topic`].
pub fn readable(name: &str) -> Result<&'static Topic, OperateError> {
    AUDITS.iter().find(|topic| topic.name == name).map_or_else(|| topic(name), Ok)
}

/// A topic of the catalogue.
///
/// # Errors
/// There is none of that name; the message says what was probably meant.
pub fn topic(name: &str) -> Result<&'static Topic, OperateError> {
    let all = topics();
    if let Some(topic) = all.iter().find(|topic| topic.name == name) {
        return Ok(topic);
    }
    let names: Vec<&str> = all.iter().map(|topic| topic.name).collect();
    Err(OperateError::Wrong(match nearest(name, &names) {
        Some(known) => format!("no topic is named `{name}`; did you mean `{known}`?"),
        None => format!("no topic is named `{name}`; there are {}", names.join(", ")),
    }))
}

/// Reads and writes the values of one topic.
pub struct Values {
    pub topic: &'static Topic,
    own: Codec,
    writers: Arc<dyn WriterSchemas>,
    others: Mutex<BTreeMap<Writer, Arc<Codec>>>,
}

/// Schemas of other writers that stay compiled: writers of one topic are a handful.
const OTHERS_MAX: usize = 64;

/// A schema, as its own writer and reader.
struct Codec {
    schema: Schema,
    plan: Plan,
}

impl Codec {
    fn new(schema: Schema) -> Result<Self, String> {
        let plan = Plan::new(&schema, &schema).map_err(|error| error.to_string())?;
        Ok(Self { schema, plan })
    }

    fn read(&self, datum: &[u8]) -> Result<Value, String> {
        let text = json::decode(&self.plan, datum, &Limits::EVENT).map_err(|error| error.to_string())?;
        let tagged: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(untagged(&self.schema, self.schema.root(), tagged))
    }
}

impl Values {
    /// # Errors
    /// The topic's schema is not part of this build.
    pub fn of(topic: &'static Topic) -> Result<Self, OperateError> {
        let builtin = schemas::builtin().iter().find(|builtin| builtin.id == topic.schema_id);
        let builtin = builtin.ok_or_else(|| OperateError::Failed(format!("{} has no built-in schema", topic.name)))?;
        let schema = Schema::parse(builtin.avsc).map_err(OperateError::failed)?;
        let own = Codec::new(schema).map_err(OperateError::Failed)?;
        Ok(Self { topic, own, writers: Arc::new(NoWriters), others: Mutex::default() })
    }

    /// The same, with what is known of other writers.
    pub fn with(self, writers: Arc<dyn WriterSchemas>) -> Self {
        Self { writers, ..self }
    }

    /// A framed value as JSON, union branches untagged: as its writer wrote it, whoever that was.
    ///
    /// # Errors
    /// Nobody knows the writer's schema, or the bytes are no value of it.
    pub fn read(&self, value: &[u8]) -> Result<Value, String> {
        self.read_headed(None, value)
    }

    /// The same of a record whose header may name the schema.
    ///
    /// # Errors
    /// As [`Values::read`].
    pub fn read_record(&self, record: &Record<'_>) -> Result<Value, String> {
        let header = record.headers.get(frame::VALUE_HEADER.as_bytes());
        self.read_headed(header, record.value.unwrap_or_default())
    }

    fn read_headed(&self, header: Option<&[u8]>, value: &[u8]) -> Result<Value, String> {
        let (writer, datum) = frame::split_headed(header, value).map_err(|error| error.to_string())?;
        if writer == Writer::Id(frame::wire_id(self.topic.schema_id)) {
            return self.own.read(datum);
        }
        self.other(writer)?.read(datum).map_err(|error| format!("written with {writer}: {error}"))
    }

    fn other(&self, writer: Writer) -> Result<Arc<Codec>, String> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = others.get(&writer) {
            return Ok(known.clone());
        }
        let schema = match self.writers.find(writer) {
            Found::Schema(schema) => schema,
            Found::Absent => return Err(format!("written with {writer}, which nobody here knows")),
            Found::Away(why) => return Err(format!("written with {writer}: {why}; ask again")),
        };
        let codec = Arc::new(Codec::new(Schema::clone(&schema))?);
        if others.len() >= OTHERS_MAX {
            others.clear();
        }
        others.insert(writer, codec.clone());
        Ok(codec)
    }

    /// JSON as a framed value.
    ///
    /// # Errors
    /// The value does not fit, with the place.
    pub fn write(&self, value: &Value) -> Result<Vec<u8>, String> {
        let mut framed = vec![frame::MAGIC_ID];
        framed.extend_from_slice(&frame::wire_id(self.topic.schema_id).to_be_bytes());
        json::encode(&self.own.schema, value, &mut framed).map_err(|error| error.to_string())?;
        Ok(framed)
    }

    /// The key that a value belongs under, by the rule of its topic.
    ///
    /// # Errors
    /// The value lacks what the key is made of.
    pub fn key(&self, value: &Value) -> Result<String, String> {
        let row = ["after", "before"].into_iter().map(|name| &value[name]).find(|row| row.is_object()).unwrap_or(value);
        let text = |name: &str| row[name].as_str().filter(|text| !text.is_empty());
        let found = match self.topic.key {
            "campaign_id" => text("campaign_id").map(str::to_owned),
            "user key" => text("user_id")
                .map(str::to_owned)
                .or_else(|| text("bid_id").map(ids::impression_event_id))
                .or_else(|| text("impression_event_id").map(str::to_owned)),
            "user id, else auction id" => text("user_id").or(text("auction_id")).map(str::to_owned),
            _ => None,
        };
        found.ok_or_else(|| format!("nothing to make the key of ({}); give one beside the value", self.topic.key))
    }
}

/// A value without the tags of its unions.
fn untagged(schema: &Schema, ty: NodeId, value: Value) -> Value {
    match (schema.kind(ty), value) {
        (Kind::Union(branches), Value::Object(entries)) if entries.len() == 1 => {
            let (tag, inner) = entries.into_iter().next().unwrap_or_default();
            match branches.iter().find(|branch| schema.kind(**branch).label() == tag) {
                Some(branch) => untagged(schema, *branch, inner),
                None => Value::Object(Map::from_iter([(tag, inner)])),
            }
        }
        (Kind::Record(record), Value::Object(entries)) => {
            let field = |(name, value): (String, Value)| match record.position(&name) {
                Some(at) => (name, untagged(schema, record.fields[at].ty, value)),
                None => (name, value),
            };
            Value::Object(entries.into_iter().map(field).collect())
        }
        (Kind::Array(item), Value::Array(values)) => {
            Value::Array(values.into_iter().map(|value| untagged(schema, *item, value)).collect())
        }
        (Kind::Map(ty), Value::Object(entries)) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, untagged(schema, *ty, value))).collect())
        }
        (_, value) => value,
    }
}

/// Puts a mask over what names a person or a device, however deep.
pub fn mask(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                if PERSONAL.contains(&name.as_str()) && value.is_string() {
                    *value = Value::from(MASK);
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        _ => {}
    }
}

/// A record's key for people: masked where it may be a user.
pub fn shown_key(topic: &Topic, key: &[u8]) -> String {
    let is_personal = topic.key.contains("user") && !key.starts_with(b"imp-");
    if is_personal { MASK.to_owned() } else { String::from_utf8_lossy(key).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_comes_back_as_it_was_given() {
        let values = Values::of(topic("campaigns-changes").expect("a topic")).expect("a schema");
        let row = json!({"campaign_id": "c", "advertiser_id": "a", "name": "n", "status": "ACTIVE", "creative_id": "x",
            "width": 300, "height": 250, "bid_cpm_micros": 1, "destination_domain": "shop.example"});
        let given = json!({"after": row, "op": "c", "ts_ms": 5, "source": {"lsn": 1, "table": "campaigns", "snapshot": "true"}});
        let read = values.read(&values.write(&given).expect("fits")).expect("a value");
        assert_eq!((&read["after"]["width"], &read["before"]), (&json!(300), &Value::Null));
        assert_eq!(read["after"]["destination_domain"], "shop.example", "no tag");
        assert_eq!(values.key(&given), Ok("c".into()));
        assert!(values.key(&json!({"op": "c"})).expect_err("refused").contains("campaign_id"));
    }

    #[test]
    fn names_that_are_nearly_right_are_told() {
        assert!(
            topic("campaign-changes").expect_err("refused").to_string().contains("did you mean `campaigns-changes`")
        );
        assert!(topic("zzz").expect_err("refused").to_string().contains("there are"));
        assert!(topics().iter().all(|topic| Values::of(topic).is_ok()));
    }

    #[test]
    fn what_is_somebodys_is_masked() {
        let mut value = json!({"user_id": "u", "a": [{"metadata": {"ip": "1", "ua": "x", "ad_size": "1x1"}}]});
        mask(&mut value);
        assert_eq!(value, json!({"user_id": "***", "a": [{"metadata": {"ip": "***", "ua": "***", "ad_size": "1x1"}}]}));
        let bids = topic("bids").expect("a topic");
        assert_eq!((shown_key(bids, b"user-1"), shown_key(bids, b"imp-x")), ("***".into(), "imp-x".into()));
    }
}
