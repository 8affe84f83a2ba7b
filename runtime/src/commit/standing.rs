//! Which records of a commit topic stand: one function for recovery, read-back, standby and operators (rule P2).

use super::{Entry, Head};
use crate::log::Offset;

/// The current ownership of a shard: where its claim lies and the nonce it drew. Never a counter: two readers of a
/// counter claim the same number (rule P1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub offset: Offset,
    pub nonce: i64,
}

/// What one record is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stands,
    /// Of an owner that had been fenced, or out of line.
    Void,
}

/// The fold over a commit topic that decides what stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub epoch: Option<Epoch>,
    /// Nonce of the first claim ever (rule P4).
    pub lineage: Option<i64>,
    pub next_sequence: i64,
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

impl Standing {
    /// Before the first record of a topic that was never trimmed.
    pub fn new() -> Self {
        Self { epoch: None, lineage: None, next_sequence: 0 }
    }

    /// The fold of a trimmed topic takes epoch, sequence and lineage from its first record, the first chunk of a
    /// complete standing snapshot (rule P18).
    pub fn at_snapshot(chunk: &schemas::events::SnapshotChunk<'_>) -> Self {
        Self {
            epoch: Some(Epoch { offset: chunk.epoch_offset, nonce: chunk.epoch_nonce }),
            lineage: Some(chunk.lineage),
            next_sequence: chunk.sequence,
        }
    }

    /// Takes the record at `offset` and says whether it stands.
    pub fn admit(&mut self, offset: Offset, entry: &Entry<'_>) -> Verdict {
        self.admit_head(offset, &entry.head())
    }

    /// As `admit`: nothing but the head decides.
    pub fn admit_head(&mut self, offset: Offset, head: &Head) -> Verdict {
        match *head {
            Head::Claim { nonce } => {
                self.epoch = Some(Epoch { offset, nonce });
                self.lineage.get_or_insert(nonce);
                Verdict::Stands
            }
            Head::InLine { epoch, sequence } => self.in_line(epoch, sequence),
            Head::Attempt { epoch } => self.current(epoch),
        }
    }

    fn current(&self, epoch: Epoch) -> Verdict {
        if self.epoch == Some(epoch) { Verdict::Stands } else { Verdict::Void }
    }

    fn in_line(&mut self, epoch: Epoch, sequence: i64) -> Verdict {
        if self.current(epoch) == Verdict::Void || sequence != self.next_sequence {
            return Verdict::Void;
        }
        self.next_sequence += 1;
        Verdict::Stands
    }
}
