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

/// What of a record decides whether it stands: the first fields of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    Claim { nonce: i64 },
    InLine { epoch: standing::Epoch, sequence: i64 },
    Attempt { epoch: standing::Epoch },
}

impl Head {
    /// Reads no further than the head: what a commit holds was encoded by its owner a moment ago, and the batch's
    /// checksum says that it is still the same.
    pub fn parse(offset: Offset, value: Option<&[u8]>) -> Result<Self, CommitError> {
        use schemas::codec::{Decode, Limits, Reader};
        use schemas::events as e;
        let foreign = |reason: String| CommitError::Foreign { offset, reason };
        let value = value.ok_or_else(|| foreign("a tombstone".into()))?;
        let (id, datum) = schemas::frame::split(value).map_err(|error| foreign(error.to_string()))?;
        let decode = |error: schemas::codec::DecodeError| foreign(error.to_string());
        let mut reader = Reader::new(datum, &Limits::COMMIT).map_err(decode)?;
        let first = reader.read_long().map_err(decode)?;
        if id == <e::Claim<'_> as Decode<'_>>::SCHEMA_ID {
            return Ok(Self::Claim { nonce: first });
        }
        let epoch = standing::Epoch { offset: first, nonce: reader.read_long().map_err(decode)? };
        match id {
            <e::Attempt<'_> as Decode<'_>>::SCHEMA_ID => Ok(Self::Attempt { epoch }),
            <e::Commit<'_> as Decode<'_>>::SCHEMA_ID
            | <e::SnapshotChunk<'_> as Decode<'_>>::SCHEMA_ID
            | <e::SnapshotEnd<'_> as Decode<'_>>::SCHEMA_ID => {
                Ok(Self::InLine { epoch, sequence: reader.read_long().map_err(decode)? })
            }
            other => Err(foreign(format!("schema id {other}"))),
        }
    }

    /// Ownership that the record claims to be of; a claim makes its own.
    pub fn epoch(&self) -> Option<standing::Epoch> {
        match self {
            Self::Claim { .. } => None,
            Self::InLine { epoch, .. } | Self::Attempt { epoch } => Some(*epoch),
        }
    }
}

impl<'a> Entry<'a> {
    /// What decides whether it stands.
    pub fn head(&self) -> Head {
        let epoch = |offset, nonce| standing::Epoch { offset, nonce };
        match self {
            Self::Claim(c) => Head::Claim { nonce: c.nonce },
            Self::Commit(c) => Head::InLine { epoch: epoch(c.epoch_offset, c.epoch_nonce), sequence: c.sequence },
            Self::Chunk(c) => Head::InLine { epoch: epoch(c.epoch_offset, c.epoch_nonce), sequence: c.sequence },
            Self::End(c) => Head::InLine { epoch: epoch(c.epoch_offset, c.epoch_nonce), sequence: c.sequence },
            Self::Attempt(a) => Head::Attempt { epoch: epoch(a.epoch_offset, a.epoch_nonce) },
        }
    }

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

#[cfg(test)]
mod tests {
    use schemas::codec::{Array, Encode};
    use schemas::events::{Attempt, Claim, Commit, SnapshotChunk, SnapshotEnd};

    use super::*;

    fn heads_agree(record: &impl Encode) -> Head {
        let mut value = Vec::new();
        schemas::frame::encode(record, &mut value);
        let head = Head::parse(7, Some(&value)).unwrap();
        assert_eq!(head, Entry::parse(7, Some(&value)).unwrap().head());
        // The frame's five bytes alone are no record.
        assert!(Head::parse(7, Some(&value[..5])).is_err());
        head
    }

    /// The head is read by position: a field put before it would be taken for it.
    #[test]
    fn heads_are_the_first_fields_of_every_record() {
        let (epoch_offset, epoch_nonce, sequence, published) = (41, -1_000_000_007, 300, 2);
        let epoch = standing::Epoch { offset: epoch_offset, nonce: epoch_nonce };
        let claim = Claim { nonce: 5, instance: "i", service: "s", partition: 0 };
        assert_eq!(heads_agree(&claim), Head::Claim { nonce: 5 });
        let commit = Commit {
            epoch_offset,
            epoch_nonce,
            sequence,
            now: 9,
            tick: true,
            inputs: Array::from_slice(&[]),
            outcomes: Array::from_slice(&[]),
            delta: Array::from_slice(&[]),
            outputs: Array::from_slice(&[]),
            published,
        };
        assert_eq!(heads_agree(&commit), Head::InLine { epoch, sequence });
        let chunk = SnapshotChunk {
            epoch_offset,
            epoch_nonce,
            sequence,
            lineage: 3,
            index: 0,
            published,
            delta: Array::from_slice(&[]),
        };
        assert_eq!(heads_agree(&chunk), Head::InLine { epoch, sequence });
        let end = SnapshotEnd {
            epoch_offset,
            epoch_nonce,
            sequence,
            lineage: 3,
            first_chunk_offset: 1,
            positions: Array::from_slice(&[]),
            counters: Array::from_slice(&[]),
            published,
        };
        assert_eq!(heads_agree(&end), Head::InLine { epoch, sequence });
        let attempt = Attempt { epoch_offset, epoch_nonce, topic: "t", partition: 0, offset: 1, n: 1, events: 0 };
        assert_eq!(heads_agree(&attempt), Head::Attempt { epoch });
        assert!(Head::parse(0, None).is_err());
    }
}
