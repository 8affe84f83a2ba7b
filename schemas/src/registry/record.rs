//! The records of the topic `_schemas`, as Confluent's registry writes and reads them: JSON keys and values, the newest
//! value of a key counts, no value removes it. Source: Confluent Schema Registry, storage layout of `_schemas`.

use super::canonical::quote;
use super::{Config, Mode, Reference};
use serde_json::Value as Json;
use std::fmt::Write;

/// One change of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A version of a subject.
    Schema(SchemaRecord),
    /// A version is gone for good.
    SchemaGone {
        /// Subject.
        subject: String,
        /// Version.
        version: u32,
    },
    /// All versions of the subject up to this one are deleted, softly.
    DeleteSubject {
        /// Subject.
        subject: String,
        /// Greatest version concerned.
        version: u32,
    },
    /// The level of a subject, or of all (`None`); no value takes it away.
    Config(Option<String>, Option<Config>),
    /// The mode of a subject, or of all (`None`); no value takes it away.
    Mode(Option<String>, Option<Mode>),
    /// Greatest id ever given out: an id is never used twice, though its schema is gone.
    IdMax(u32),
    /// A kind of record that newer registries write: kept as it is.
    Other {
        /// Key.
        key: String,
        /// Value.
        value: Option<String>,
    },
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaRecord {
    /// Subject.
    pub subject: String,
    /// From 1.
    pub version: u32,
    /// The schema's id, one for one content.
    pub id: u32,
    /// Canonical text.
    pub schema: String,
    /// What it builds on.
    pub references: Vec<Reference>,
    /// Soft-deleted.
    pub deleted: bool,
}

/// A record that no registry writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of a schema registry: {what}")]
pub struct RecordError {
    /// What is wrong.
    pub what: String,
}

impl RecordError {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// Stable label.
    pub fn kind(&self) -> &'static str {
        "registry_record"
    }
}

impl Record {
    /// The key; equal keys replace each other.
    pub fn key(&self) -> String {
        match self {
            Self::Schema(SchemaRecord { subject, version, .. }) | Self::SchemaGone { subject, version } => {
                schema_key(subject, *version)
            }
            Self::DeleteSubject { subject, .. } => key("DELETE_SUBJECT", Some(subject)),
            Self::Config(subject, _) => key("CONFIG", subject.as_deref()),
            Self::Mode(subject, _) => key("MODE", subject.as_deref()),
            Self::IdMax(_) => "{\"keytype\":\"NOOP\",\"magic\":0}".to_owned(),
            Self::Other { key, .. } => key.clone(),
        }
    }

    /// The value; `None` removes the key.
    pub fn value(&self) -> Option<String> {
        match self {
            Self::Schema(record) => Some(record.value()),
            Self::SchemaGone { .. } | Self::Config(_, None) | Self::Mode(_, None) => None,
            Self::DeleteSubject { subject, version } => {
                Some(format!("{{\"subject\":{},\"version\":{version}}}", Json::from(subject.as_str())))
            }
            Self::Config(_, Some(config)) => {
                let normalize = config.normalize.map_or_else(String::new, |n| format!(",\"normalize\":{n}"));
                Some(format!("{{\"compatibilityLevel\":\"{}\"{normalize}}}", config.level))
            }
            Self::Mode(_, Some(mode)) => Some(format!("{{\"mode\":\"{}\"}}", mode.as_str())),
            Self::IdMax(id) => Some(format!("{{\"max_id\":{id}}}")),
            Self::Other { value, .. } => value.clone(),
        }
    }

    /// Reads a record of the topic.
    ///
    /// # Errors
    /// Not JSON, or not what the key promises.
    pub fn parse(key: &[u8], value: Option<&[u8]>) -> Result<Self, RecordError> {
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| RecordError::new("a text that is not UTF-8"))
        };
        let key_text = text(key)?;
        let json = parse(&key_text)?;
        let subject = json.get("subject").and_then(Json::as_str).map(str::to_owned);
        let of_subject = || subject.clone().ok_or_else(|| RecordError::new(format!("no subject in {json}")));
        let value_json = value.map(|value| parse(&text(value)?)).transpose();
        Ok(match (json.get("keytype").and_then(Json::as_str), value.is_some()) {
            (Some("SCHEMA"), true) => {
                let record = SchemaRecord::parse(&value_json?.unwrap_or_default())?;
                if (Some(&record.subject), Some(record.version)) != (subject.as_ref(), number(&json, "version").ok()) {
                    return Err(RecordError::new(format!("key {json} and value name different versions")));
                }
                Self::Schema(record)
            }
            (Some("SCHEMA"), false) => Self::SchemaGone { subject: of_subject()?, version: number(&json, "version")? },
            (Some("DELETE_SUBJECT"), true) => Self::DeleteSubject {
                subject: of_subject()?,
                version: number(&value_json?.unwrap_or_default(), "version")?,
            },
            (Some("CONFIG"), _) => Self::Config(subject, value_json?.map(|v| Config::parse(&v)).transpose()?),
            (Some("MODE"), _) => {
                let mode = |v: Json| {
                    let word = v.get("mode").and_then(Json::as_str).unwrap_or_default();
                    word.parse::<Mode>().map_err(|e| RecordError::new(e.to_string()))
                };
                Self::Mode(subject, value_json?.map(mode).transpose()?)
            }
            (Some("NOOP"), _) => {
                let id = value_json.ok().flatten().and_then(|v| number(&v, "max_id").ok());
                Self::IdMax(id.unwrap_or(0))
            }
            _ => Self::Other { key: key_text, value: value.map(text).transpose()? },
        })
    }
}

impl SchemaRecord {
    fn value(&self) -> String {
        let mut out = String::with_capacity(self.schema.len() + 128);
        let subject = Json::from(self.subject.as_str());
        let _ = write!(out, "{{\"subject\":{subject},\"version\":{},\"id\":{}", self.version, self.id);
        if !self.references.is_empty() {
            out.push_str(",\"references\":[");
            for (i, reference) in self.references.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                let _ = write!(out, "{comma}{}", reference.json());
            }
            out.push(']');
        }
        out.push_str(",\"schema\":");
        quote(&self.schema, &mut out);
        let _ = write!(out, ",\"deleted\":{}}}", self.deleted);
        out
    }

    fn parse(json: &Json) -> Result<Self, RecordError> {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let lacks = |what: &str| RecordError::new(format!("a schema without {what}"));
        if let Some(other) = text("schemaType").filter(|t| t != "AVRO") {
            return Err(RecordError::new(format!("a schema of type {other}; only Avro is kept here")));
        }
        let references = json.get("references").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let references = references.iter().map(Reference::parse).collect::<Option<Vec<_>>>();
        Ok(Self {
            subject: text("subject").ok_or_else(|| lacks("subject"))?,
            version: number(json, "version")?,
            id: number(json, "id")?,
            schema: text("schema").ok_or_else(|| lacks("text"))?,
            references: references.ok_or_else(|| lacks("whole references"))?,
            deleted: json.get("deleted").and_then(Json::as_bool).unwrap_or(false),
        })
    }
}

fn parse(text: &str) -> Result<Json, RecordError> {
    serde_json::from_str(text).map_err(|e| RecordError::new(format!("not JSON: {e}")))
}

fn number(json: &Json, key: &str) -> Result<u32, RecordError> {
    let number = json.get(key).and_then(Json::as_u64).and_then(|n| i32::try_from(n).ok());
    number.map(i32::cast_unsigned).ok_or_else(|| RecordError::new(format!("no number \"{key}\" in {json}")))
}

fn schema_key(subject: &str, version: u32) -> String {
    format!("{{\"keytype\":\"SCHEMA\",\"subject\":{},\"version\":{version},\"magic\":1}}", Json::from(subject))
}

fn key(keytype: &str, subject: Option<&str>) -> String {
    format!("{{\"keytype\":\"{keytype}\",\"subject\":{},\"magic\":0}}", Json::from(subject))
}
