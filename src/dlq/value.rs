//! What is inside a letter, for people: its record in the version of its topic's schema that this binary has, as its service
//! would read it, whoever wrote it.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use runtime::outcome::Failure;
use runtime::writers::{WriterSchemas, Writers};
use schemas::frame;
use serde_json::{Map, Value as Json, json};

use super::{DlqError, OwnedLetter};
use crate::operate::values::topics;

/// Built-in schemas by id, from 1; read with apache-avro, which can also write what was changed. And what is known of others'.
pub struct Schemas {
    all: Vec<(&'static str, Schema)>,
    /// Schema of each topic.
    topics: BTreeMap<&'static str, u32>,
    writers: Writers,
}

/// A decoded record and what it was written with.
pub struct Decoded<'s> {
    pub id: u32,
    pub name: &'static str,
    pub schema: &'s Schema,
    pub value: Value,
}

impl Schemas {
    /// # Errors
    /// [`DlqError::Schema`] if a built-in schema does not parse.
    pub fn new(writers: Arc<dyn WriterSchemas>) -> Result<Self, DlqError> {
        let parse = |builtin: &schemas::Builtin| {
            let name = builtin.name.rsplit('.').next().unwrap_or(builtin.name);
            let schema = Schema::parse_str(builtin.avsc);
            let schema =
                schema.map_err(|error| DlqError::Schema { name: name.to_owned(), reason: error.to_string() })?;
            Ok((name, schema))
        };
        Ok(Self {
            all: schemas::builtin().iter().map(parse).collect::<Result<_, DlqError>>()?,
            topics: topics().into_iter().map(|topic| (topic.name, topic.schema_id)).collect(),
            writers: Writers::new(writers),
        })
    }

    /// Without a registry.
    #[cfg(test)]
    pub fn builtin() -> Self {
        Self::new(Arc::new(runtime::writers::NoWriters)).expect("built-in schemas parse")
    }

    /// The letter's value as the service that failed gets it: a frame of the topic's own schema.
    ///
    /// # Errors
    /// Nobody knows the writer's schema, its registry is away, or what it wrote cannot be read with ours.
    pub fn own<'v>(&self, letter: &'v OwnedLetter, scratch: &'v mut Vec<u8>) -> Result<&'v [u8], Failure> {
        let value = letter.value.as_deref().unwrap_or_default();
        match self.topics.get(letter.event.topic.as_str()) {
            Some(reader) => self.writers.own(*reader, value, &letter.headers(), scratch),
            // A topic of another release: what its frame says is all there is.
            None => Ok(value),
        }
    }

    /// Decodes a letter's record.
    ///
    /// # Errors
    /// In words: as [`Schemas::own`], or no frame of a built-in schema.
    pub fn read(&self, letter: &OwnedLetter) -> Result<Decoded<'_>, String> {
        let mut scratch = Vec::new();
        self.decode(self.own(letter, &mut scratch).map_err(|failure| failure.to_string())?)
    }

    /// Decodes a frame of a built-in schema.
    ///
    /// # Errors
    /// In words: no frame, a schema that is not built in, bytes that do not follow it.
    pub fn decode(&self, value: &[u8]) -> Result<Decoded<'_>, String> {
        let (wire, datum) = frame::split(value).map_err(|error| error.to_string())?;
        // An external registry has its own ids for the schemas of the binary.
        let id = frame::own_id(wire);
        let unknown = || format!("schema id {wire} is not built in");
        let (name, schema) = (id as usize).checked_sub(1).and_then(|at| self.all.get(at)).ok_or_else(unknown)?;
        // Our own decoder has the limits: what it refuses is not given to another one.
        let builtin = schemas::builtin_by_id(id).ok_or_else(unknown)?;
        (builtin.recode)(datum, &mut Vec::new()).map_err(|error| error.to_string())?;
        let reader = GenericDatumReader::builder(schema).build().map_err(|error| error.to_string())?;
        let value = reader.read_value(&mut Cursor::new(datum)).map_err(|error| error.to_string())?;
        Ok(Decoded { id, name, schema, value })
    }
}

impl Decoded<'_> {
    /// The record without the tags of unions.
    pub fn json(&self) -> Json {
        plain(&self.value)
    }

    /// Money that hangs on this event, micros; 0 where none does.
    pub fn stake_micros(&self) -> i64 {
        let json = self.json();
        let of = |name: &str| json.get(name).and_then(Json::as_i64);
        of("win_price_micros").or_else(|| of("price_micros")).or_else(|| of("amount_micros")).unwrap_or(0).max(0)
    }
}

fn plain(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(flag) => json!(flag),
        Value::Int(n) | Value::Date(n) | Value::TimeMillis(n) => json!(n),
        Value::Long(n)
        | Value::TimeMicros(n)
        | Value::TimestampMillis(n)
        | Value::TimestampMicros(n)
        | Value::TimestampNanos(n)
        | Value::LocalTimestampMillis(n)
        | Value::LocalTimestampMicros(n)
        | Value::LocalTimestampNanos(n) => json!(n),
        Value::Float(x) => json!(x),
        Value::Double(x) => json!(x),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => json!(hex(bytes)),
        Value::String(text) | Value::Enum(_, text) => json!(text),
        Value::Union(_, value) => plain(value),
        Value::Array(values) => Json::Array(values.iter().map(plain).collect()),
        Value::Map(entries) => {
            // Sorted: the order of a hash map reaches nobody.
            let sorted: std::collections::BTreeMap<_, _> = entries.iter().collect();
            Json::Object(sorted.into_iter().map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::Record(fields) => {
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect::<Map<_, _>>())
        }
        // No schema of ours has these.
        other => json!(format!("{other:?}")),
    }
}

/// The value at a path of names, `metadata.exchange`.
pub fn at<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    path.split('.').try_fold(json, |json, name| json.get(name))
}

/// A value as people write it: text without quotes.
pub fn text(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as text where they are, else as `0x` and digits.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("0x{}", hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use schemas::codec::Map as Entries;
    use schemas::events::ImpressionEvent;

    use super::*;

    #[test]
    fn a_record_is_shown_without_tags_and_with_its_money() {
        let schemas = Schemas::builtin();
        let pairs = [("exchange", "adx")];
        let metadata = Entries::from_pairs(&pairs);
        let event =
            ImpressionEvent { event_id: "e", user_id: Some("u"), win_price_micros: 70, metadata, ..Default::default() };
        let mut value = Vec::new();
        schemas::frame::encode(&event, &mut value);
        let decoded = schemas.decode(&value).expect("decodes");
        let json = decoded.json();
        assert_eq!((decoded.name, decoded.stake_micros()), ("ImpressionEvent", 70));
        assert_eq!((text(&json["user_id"]), at(&json, "metadata.exchange")), ("u".to_owned(), Some(&json!("adx"))));
        assert!(schemas.decode(&value[..value.len() - 1]).is_err() && schemas.decode(b"\0\0\0\x7f\x7f").is_err());
        assert!(schemas.decode(b"").is_err());
    }
}
