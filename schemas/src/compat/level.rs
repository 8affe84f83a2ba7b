//! The seven compatibility levels of a subject: which pairs of versions they compare.

use super::{CompatError, Incompatibility, check};
use crate::model::Schema;
use std::{fmt, str::FromStr};

/// A compatibility level, as schema registries name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing is compared.
    None,
    /// The new schema reads what the latest version wrote.
    Backward,
    /// The new schema reads what every version wrote.
    BackwardTransitive,
    /// The latest version reads what the new schema writes.
    Forward,
    /// Every version reads what the new schema writes.
    ForwardTransitive,
    /// Both ways with the latest version.
    Full,
    /// Both ways with every version.
    FullTransitive,
}

/// A word that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no compatibility level: NONE, BACKWARD, BACKWARD_TRANSITIVE, FORWARD, FORWARD_TRANSITIVE, FULL, FULL_TRANSITIVE"
)]
pub struct UnknownLevel(pub String);

impl UnknownLevel {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        "UNKNOWN_LEVEL"
    }
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// The registries' word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// What the level promises, for people who mix the words up.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::None => "nothing is promised",
            Self::Backward => "consumers with the new schema can read records written with the latest version",
            Self::BackwardTransitive => "consumers with the new schema can read records written with any version",
            Self::Forward => "consumers with the latest version can read records written with the new schema",
            Self::ForwardTransitive => "consumers with any version can read records written with the new schema",
            Self::Full => "new and latest version can read each other's records",
            Self::FullTransitive => "new and every old version can read each other's records",
        }
    }

    /// Whether it lets the new schema read old records.
    pub const fn backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether it lets old versions read new records.
    pub const fn forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    /// Whether it compares with every version.
    pub const fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;
    fn from_str(word: &str) -> Result<Self, UnknownLevel> {
        let found = Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(word));
        found.ok_or_else(|| UnknownLevel(word.to_owned()))
    }
}

/// Who reads whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The new schema reads old records.
    Backward,
    /// An old version reads new records.
    Forward,
}

/// What a level found between the candidate and one version of the history.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Index in the history, oldest first.
    pub version: usize,
    /// Who reads.
    pub direction: Direction,
    /// What is wrong; never empty.
    pub incompatibilities: Vec<Incompatibility>,
}

/// Compares a candidate with a history (oldest first), newest version first; returns only what does not fit.
///
/// # Errors
/// A pair is too large to judge.
pub fn check_level(level: Level, candidate: &Schema, history: &[Schema]) -> Result<Vec<Comparison>, CompatError> {
    let mut found = Vec::new();
    let versions = if level.transitive() { history.len() } else { 1 };
    for (version, old) in history.iter().enumerate().rev().take(versions) {
        let mut compare = |direction, reader, writer| -> Result<(), CompatError> {
            let incompatibilities = check(reader, writer)?;
            if !incompatibilities.is_empty() {
                found.push(Comparison { version, direction, incompatibilities });
            }
            Ok(())
        };
        if level.backward() {
            compare(Direction::Backward, candidate, old)?;
        }
        if level.forward() {
            compare(Direction::Forward, old, candidate)?;
        }
    }
    Ok(found)
}

/// Who must be deployed first when a new schema replaces an old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeployOrder {
    /// Both read each other.
    Any,
    /// Only the new one reads the other's records: consumers take it up before any producer does.
    ConsumersFirst,
    /// Only the old one reads the other's records: producers first, and consumers once the old records are gone.
    ProducersFirst,
    /// Neither reads the other: a new topic or a new field is needed.
    None,
}

impl DeployOrder {
    /// From what each direction allows.
    pub const fn new(new_reads_old: bool, old_reads_new: bool) -> Self {
        match (new_reads_old, old_reads_new) {
            (true, true) => Self::Any,
            (true, false) => Self::ConsumersFirst,
            (false, true) => Self::ProducersFirst,
            (false, false) => Self::None,
        }
    }

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ConsumersFirst => "consumers first",
            Self::ProducersFirst => "producers first",
            Self::None => "none",
        }
    }
}
