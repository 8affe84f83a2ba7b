//! Why a text is not a schema.

/// A text that is not a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SchemaError {
    /// What is wrong.
    pub kind: SchemaErrorKind,
    /// The place, by names: `$.touches[].credit_ppm`.
    pub path: String,
    /// What is wrong in words, and what would be right.
    pub message: String,
}

impl SchemaError {
    pub(super) fn new(kind: SchemaErrorKind, path: &str, message: impl Into<String>) -> Self {
        Self { kind, path: path.to_owned(), message: message.into() }
    }

    /// Stable label.
    pub fn kind(&self) -> &'static str {
        self.kind.as_str()
    }
}

/// What is wrong with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaErrorKind {
    /// The text is not JSON.
    Json,
    /// The text or the schema is too large.
    Limit,
    /// JSON that is no schema: a missing or ill-typed attribute.
    Shape,
    /// A name that Avro does not allow.
    Name,
    /// A name that nothing defines.
    Reference,
    /// A name, field, symbol or branch that is there twice.
    Duplicate,
    /// A default that is no value of its type.
    Default,
}

impl SchemaErrorKind {
    /// Stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "schema_json",
            Self::Limit => "schema_limit",
            Self::Shape => "schema_shape",
            Self::Name => "schema_name",
            Self::Reference => "schema_reference",
            Self::Duplicate => "schema_duplicate",
            Self::Default => "schema_default",
        }
    }
}
