//! Which records of a commit topic stand: one function for recovery, read-back, standby and operators (rule P2).

use super::Entry;
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
        match entry {
            Entry::Claim(claim) => {
                self.epoch = Some(Epoch { offset, nonce: claim.nonce });
                self.lineage.get_or_insert(claim.nonce);
                Verdict::Stands
            }
            Entry::Commit(c) => self.in_line(Epoch { offset: c.epoch_offset, nonce: c.epoch_nonce }, c.sequence),
            Entry::Chunk(c) => self.in_line(Epoch { offset: c.epoch_offset, nonce: c.epoch_nonce }, c.sequence),
            Entry::End(c) => self.in_line(Epoch { offset: c.epoch_offset, nonce: c.epoch_nonce }, c.sequence),
            Entry::Attempt(a) => self.current(Epoch { offset: a.epoch_offset, nonce: a.epoch_nonce }),
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
