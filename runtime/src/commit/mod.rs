//! Commit, then publish: the heart.
//!
//! A batch's inputs, state change and outputs are one record of the service's commit topic, so they can never disagree.
//! `standing` decides which records count (rules P1, P2, P4), `provenance` and `marks` make our own repetitions cheap
//! (P6, P7), `staging` builds the record. `shard` drives them.

pub mod marks;
pub mod provenance;
pub mod staging;
pub mod standing;

use crate::log::Offset;
use crate::state::RowError;

/// A commit topic's record, still encoded.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Claim(schemas::events::Claim<'a>),
    Commit(schemas::events::Commit<'a>),
    Chunk(schemas::events::SnapshotChunk<'a>),
    End(schemas::events::SnapshotEnd<'a>),
    Attempt(schemas::events::Attempt<'a>),
}

/// What must not be in a commit topic. Each stops the shard: going on would be a guess about money.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    #[error("offset {offset} of the commit topic is not a commit record: {reason}")]
    Foreign { offset: Offset, reason: String },
    #[error("table {table}: {error}")]
    Row { table: String, error: RowError },
    #[error("the commit topic holds table {0}, which this program does not know; start the program that wrote it")]
    UnknownTable(String),
    #[error(
        "the commit topic starts at offset {start} with a record that is not the first chunk of a complete snapshot; \
             it was trimmed by something else than this program"
    )]
    TrimmedWrongly { start: Offset },
    #[error(
        "{topic}: commit topic of the producer recreated or reset (lineage {found:016x}, known {known:016x}); reset its readers knowingly"
    )]
    OtherLineage { topic: String, found: i64, known: i64 },
    #[error("{topic}-{partition}: output {found} of {producer} after {mark}: events are missing; the partition stops")]
    Gap { topic: String, partition: u32, producer: String, found: i64, mark: i64 },
    #[error("a commit of {bytes} bytes is over the limit of {limit_bytes}")]
    TooLarge { bytes: usize, limit_bytes: usize },
}

impl CommitError {
    /// Stable name: metric label and alarm.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "FOREIGN_RECORD",
            Self::Row { .. } => "ROW",
            Self::UnknownTable(_) => "UNKNOWN_TABLE",
            Self::TrimmedWrongly { .. } => "TRIMMED_WRONGLY",
            Self::OtherLineage { .. } => "OTHER_LINEAGE",
            Self::Gap { .. } => "GAP",
            Self::TooLarge { .. } => "TOO_LARGE",
        }
    }
}

impl<'a> Entry<'a> {
    /// Reads a record's value by the schema id in its frame.
    pub fn parse(offset: Offset, value: Option<&'a [u8]>) -> Result<Self, CommitError> {
        use schemas::codec::Decode as _;
        use schemas::events as e;
        let foreign = |reason: String| CommitError::Foreign { offset, reason };
        let value = value.ok_or_else(|| foreign("a tombstone".into()))?;
        let (id, datum) = schemas::frame::split(value).map_err(|error| foreign(error.to_string()))?;
        let decode = |error: schemas::codec::DecodeError| foreign(error.to_string());
        Ok(match id {
            <e::Claim as schemas::codec::Decode>::SCHEMA_ID => Self::Claim(e::Claim::decode(datum).map_err(decode)?),
            <e::Commit as schemas::codec::Decode>::SCHEMA_ID => Self::Commit(e::Commit::decode(datum).map_err(decode)?),
            <e::SnapshotChunk as schemas::codec::Decode>::SCHEMA_ID => {
                Self::Chunk(e::SnapshotChunk::decode(datum).map_err(decode)?)
            }
            <e::SnapshotEnd as schemas::codec::Decode>::SCHEMA_ID => {
                Self::End(e::SnapshotEnd::decode(datum).map_err(decode)?)
            }
            <e::Attempt as schemas::codec::Decode>::SCHEMA_ID => {
                Self::Attempt(e::Attempt::decode(datum).map_err(decode)?)
            }
            other => return Err(foreign(format!("schema id {other}"))),
        })
    }
}
