//! Why bytes are not a value, or a value may not become bytes.

use std::fmt;

/// A datum that could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {byte}")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Offset in the datum where the bad part starts or is missing.
    pub byte: usize,
}

impl DecodeError {
    /// Stable label for metrics and dead-letter headers.
    pub fn kind(&self) -> &'static str {
        self.kind.as_str()
    }
}

/// What is wrong with a datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecodeErrorKind {
    /// The datum ends inside a value.
    Truncated,
    /// A number of more than ten bytes or 64 bits.
    Varint,
    /// A number outside of 32 bits where the schema has an int.
    IntRange,
    /// A negative length.
    Length,
    /// A byte other than 0 and 1 for a boolean.
    Boolean,
    /// A string that is not UTF-8.
    Utf8,
    /// A union branch that the schema does not have.
    Branch,
    /// An enum symbol that the schema does not have.
    Symbol,
    /// A block whose stated size is not its size.
    BlockSize,
    /// Bytes after the value.
    TrailingBytes,
    /// A message beyond the limit.
    MessageLimit,
    /// A string beyond the limit.
    StringLimit,
    /// A map beyond the limit.
    MapLimit,
    /// Nested beyond the limit.
    DepthLimit,
    /// More items without bytes than the limit.
    ItemLimit,
    /// A value that would become too much text.
    OutputLimit,
    /// A decimal without bytes, or with too many.
    Decimal,
    /// The reader's type has another name.
    NameMismatch,
    /// The reader's fixed type has another size.
    FixedSizeMismatch,
    /// The reader's type cannot take the writer's.
    TypeMismatch,
    /// The reader's union has no branch for the writer's type.
    MissingBranch,
    /// The reader's enum has no such symbol and no default.
    MissingSymbol,
    /// The writer lacks a field for which the reader has no default.
    MissingDefault,
    /// A default of the reader is no value of its type.
    BadDefault,
    /// A field of the reader may be more than one of the writer's.
    AmbiguousAlias,
}

impl DecodeErrorKind {
    /// Stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Varint => "varint",
            Self::IntRange => "int_range",
            Self::Length => "length",
            Self::Boolean => "boolean",
            Self::Utf8 => "utf8",
            Self::Branch => "branch",
            Self::Symbol => "symbol",
            Self::BlockSize => "block_size",
            Self::TrailingBytes => "trailing_bytes",
            Self::MessageLimit => "message_limit",
            Self::StringLimit => "string_limit",
            Self::MapLimit => "map_limit",
            Self::DepthLimit => "depth_limit",
            Self::ItemLimit => "item_limit",
            Self::OutputLimit => "output_limit",
            Self::Decimal => "decimal",
            Self::NameMismatch => "name_mismatch",
            Self::FixedSizeMismatch => "fixed_size_mismatch",
            Self::TypeMismatch => "type_mismatch",
            Self::MissingBranch => "missing_union_branch",
            Self::MissingSymbol => "missing_enum_symbol",
            Self::MissingDefault => "reader_field_missing_default_value",
            Self::BadDefault => "bad_default",
            Self::AmbiguousAlias => "ambiguous_alias",
        }
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the datum ends inside a value",
            Self::Varint => "a number longer than 64 bits",
            Self::IntRange => "a number outside of 32 bits in an int",
            Self::Length => "a negative length",
            Self::Boolean => "a boolean that is neither 0 nor 1",
            Self::Utf8 => "a string that is not UTF-8",
            Self::Branch => "a union branch that the schema does not have",
            Self::Symbol => "an enum symbol that the schema does not have",
            Self::BlockSize => "a block whose stated size is not its size",
            Self::TrailingBytes => "bytes after the value",
            Self::MessageLimit => "a message beyond the size limit",
            Self::StringLimit => "a string beyond the size limit",
            Self::MapLimit => "a map with more entries than the limit",
            Self::DepthLimit => "values nested deeper than the limit",
            Self::ItemLimit => "more items without bytes than the limit",
            Self::OutputLimit => "a value that becomes more text than the limit",
            Self::Decimal => "a decimal without bytes, or with too many",
            Self::NameMismatch => "the reader's type has another name and no alias",
            Self::FixedSizeMismatch => "the reader's fixed type has another size",
            Self::TypeMismatch => "the reader's type cannot take the writer's",
            Self::MissingBranch => "the reader's union has no branch for the writer's type",
            Self::MissingSymbol => "a symbol that the reader's enum does not have, and it has no default",
            Self::MissingDefault => "the writer lacks a field for which the reader has no default",
            Self::BadDefault => "a default of the reader that is no value of its type",
            Self::AmbiguousAlias => "a field of the reader that may be more than one of the writer's",
        })
    }
}

/// A value that readers would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found} {what}, the limit is {limit}: shorten it before it is written")]
pub struct EncodeError {
    /// Outermost `Type.field` that holds the part.
    pub field: &'static str,
    /// What was counted: bytes of a string, entries of a map.
    pub what: &'static str,
    /// How many there are.
    pub found: usize,
    /// How many there may be.
    pub limit: usize,
}

impl EncodeError {
    /// Stable label for metrics and dead-letter headers.
    pub fn kind(&self) -> &'static str {
        "encode_limit"
    }

    pub(crate) fn at(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}
