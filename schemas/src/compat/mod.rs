//! Can a reader with one schema read what a writer with another wrote? The verdict is that of Apache Avro's Java
//! `SchemaCompatibility`; beyond it, every incompatibility has a path by names, a sentence why, and ways to mend it.

mod check;
mod explain;
mod level;

pub use check::Checked;
pub(crate) use check::{promotes, same_name, writer_fields};
pub use level::{Comparison, DeployOrder, Direction, Level, UnknownLevel, check_level};

use crate::model::Schema;

/// Pairs of types that one check may look at; only a hostile schema has more.
pub const PAIRS_MAX: usize = 1_000_000;
/// Incompatibilities that one check lists.
pub const LISTED_MAX: usize = 1_000;

/// A place where the reader cannot read what the writer may have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatibility {
    /// What is wrong.
    pub kind: IncompatibilityKind,
    /// Where, by names: `$.touches[].credit_ppm`, `$.metadata{}`, `$.after<Row>.id`.
    pub path: String,
    /// Where, as Java says it: a JSON pointer into the reader, which starts anew inside a union.
    pub pointer: String,
    /// Why records would be lost, in one sentence.
    pub why: String,
    /// One to three ways to mend it.
    pub fix: Vec<String>,
}

/// Java's kinds, and one that Java throws as an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncompatibilityKind {
    /// Named types with other names, and no alias.
    NameMismatch,
    /// Fixed types of other sizes.
    FixedSizeMismatch,
    /// The reader's enum lacks symbols and has no default.
    MissingEnumSymbols,
    /// The reader wants a field that the writer does not have, and has no default for it.
    ReaderFieldMissingDefaultValue,
    /// Types without promotion.
    TypeMismatch,
    /// The reader's union has no branch for a type.
    MissingUnionBranch,
    /// A reader's field, by name and aliases, is more than one of the writer's.
    AmbiguousAlias,
}

impl IncompatibilityKind {
    /// Java's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::AmbiguousAlias => "AMBIGUOUS_ALIAS",
        }
    }
}

/// A pair that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompatError {
    /// Too many pairs of types.
    #[error("more than {PAIRS_MAX} pairs of types to compare: split the unions of these schemas")]
    TooLarge,
    /// Too deep.
    #[error("types nested deeper than {depth} in this pair: flatten the schemas", depth = check::DEPTH_MAX)]
    TooDeep,
}

impl CompatError {
    /// Stable label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge => "compat_too_large",
            Self::TooDeep => "compat_too_deep",
        }
    }
}

/// All the reasons why `reader` cannot read everything that `writer` writes; none: it can.
///
/// # Errors
/// The pair is too large or too deep to judge.
pub fn check(reader: &Schema, writer: &Schema) -> Result<Vec<Incompatibility>, CompatError> {
    Ok(Checked::new(reader, writer)?.incompatibilities())
}

#[cfg(test)]
mod tests;
