//! What is asked of the registry and what it answers.

use super::RegistryError;
use super::record::RecordError;
use crate::compat::Level;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::str::FromStr;
use std::sync::Arc;

/// A name that a schema takes from a version of another subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The full name that the schema uses.
    pub name: String,
    /// The subject that defines it.
    pub subject: String,
    /// Its version.
    pub version: u32,
}

impl Reference {
    /// As the API writes it.
    pub fn json(&self) -> Json {
        json!({"name": self.name, "subject": self.subject, "version": self.version})
    }

    /// From the API's JSON; version -1 is 0 here: the latest.
    pub fn parse(json: &Json) -> Option<Self> {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let version = json.get("version")?.as_i64()?;
        let version = if version == -1 { 0 } else { i32::try_from(version).ok().filter(|v| *v > 0)?.cast_unsigned() };
        Some(Self { name: text("name")?, subject: text("subject")?, version })
    }
}

/// The level of a subject, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What new versions must keep.
    pub level: Level,
    /// Whether texts are normalised before they are compared, where a call does not say.
    pub normalize: Option<bool>,
}

impl Config {
    /// Confluent's default.
    pub const DEFAULT: Self = Self { level: Level::Backward, normalize: None };

    pub(super) fn parse(json: &Json) -> Result<Self, RecordError> {
        let word = json.get("compatibilityLevel").and_then(Json::as_str);
        let level = match word {
            None => Level::Backward,
            Some(word) => word.parse().map_err(|e: crate::compat::UnknownLevel| RecordError::new(e.to_string()))?,
        };
        Ok(Self { level, normalize: json.get("normalize").and_then(Json::as_bool) })
    }
}

/// What may be done with a subject, or with all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    ReadWrite,
    /// Reading.
    ReadOnly,
    /// Schemas come with the ids and versions that another registry gave them.
    Import,
}

impl Mode {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "READWRITE",
            Self::ReadOnly => "READONLY",
            Self::Import => "IMPORT",
        }
    }
}

impl FromStr for Mode {
    type Err = RegistryError;
    fn from_str(word: &str) -> Result<Self, RegistryError> {
        match word.to_ascii_uppercase().as_str() {
            "READWRITE" => Ok(Self::ReadWrite),
            "READONLY" => Ok(Self::ReadOnly),
            "IMPORT" => Ok(Self::Import),
            _ => Err(RegistryError::InvalidMode(word.to_owned())),
        }
    }
}

/// A version of a subject, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionSpec {
    /// The newest that is not deleted.
    Latest,
    /// This one.
    Number(u32),
}

impl FromStr for VersionSpec {
    type Err = RegistryError;
    fn from_str(word: &str) -> Result<Self, RegistryError> {
        if word == "latest" || word == "-1" {
            return Ok(Self::Latest);
        }
        let number = word.parse::<i32>().ok().filter(|n| *n > 0);
        number.map(|n| Self::Number(n.cast_unsigned())).ok_or_else(|| RegistryError::InvalidVersion(word.to_owned()))
    }
}

/// A schema as somebody sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// `AVRO` or nothing.
    pub schema_type: Option<String>,
    /// Its text.
    pub schema: String,
    /// What it builds on.
    pub references: Vec<Reference>,
    /// Normalise before comparing; `None`: as the subject is configured.
    pub normalize: Option<bool>,
    /// The id that another registry gave it (mode IMPORT).
    pub id: Option<u32>,
    /// The version that another registry gave it (mode IMPORT).
    pub version: Option<u32>,
}

impl Submission {
    /// A schema without references.
    pub fn of(schema: impl Into<String>) -> Self {
        Self { schema: schema.into(), ..Self::default() }
    }
}

/// A version of a subject with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Subject.
    pub subject: String,
    /// Version, from 1.
    pub version: u32,
    /// The schema's id.
    pub id: u32,
    /// The schema.
    pub content: Content,
    /// Soft-deleted.
    pub deleted: bool,
}

/// A schema that has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Canonical text.
    pub text: Arc<str>,
    /// What it builds on.
    pub references: Arc<[Reference]>,
    /// Hash of both: what frames with magic 1 carry, as 16 bytes.
    pub guid: Guid,
}

/// Sixteen bytes that name a schema in every registry that computes them as this one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The identity of a schema: its canonical text and what it builds on.
    pub fn of(text: &str, references: &[Reference]) -> Self {
        let mut hash = Sha256::new();
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
        for Reference { name, subject, version } in references {
            for part in [name, subject] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hash.update(version.to_be_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        // A UUID of version 8: sixteen bytes of our own making.
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = RegistryError;
    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let unknown = || RegistryError::SchemaNotFound(text.to_owned());
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        let mut bytes = [0; 16];
        if digits.len() != 32 {
            return Err(unknown());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| unknown())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| unknown())?;
        }
        Ok(Self(bytes))
    }
}

/// Which versions a list has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deleted {
    /// Those in use.
    #[default]
    Without,
    /// All.
    With,
    /// Only those that are soft-deleted.
    Only,
}

impl Deleted {
    /// From the API's two parameters.
    pub fn from_flags(deleted: bool, deleted_only: bool) -> Self {
        match (deleted, deleted_only) {
            (_, true) => Self::Only,
            (true, false) => Self::With,
            (false, false) => Self::Without,
        }
    }

    pub(super) fn takes(self, deleted: bool) -> bool {
        match self {
            Self::Without => !deleted,
            Self::With => true,
            Self::Only => deleted,
        }
    }
}
