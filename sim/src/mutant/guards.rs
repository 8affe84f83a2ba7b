//! The guards of the protocol, one weakened at a time.

use std::sync::Arc;

use runtime::commit::standing::Epoch;
use runtime::log::Offset;
use runtime::shard::Guards;

use super::Mutant;

/// The guards as they are, or with one weakened.
pub fn guards(mutant: Option<Mutant>) -> Arc<dyn Guards> {
    match mutant {
        None => Arc::new(runtime::shard::AllGuards),
        Some(mutant) => Arc::new(Weakened(mutant)),
    }
}

struct Weakened(Mutant);

impl Guards for Weakened {
    fn reads_back(&self) -> bool {
        !matches!(self.0, Mutant::NoReadBack | Mutant::NoReadBackNoFence | Mutant::NoMarksNoReadBack)
    }
    fn own_epoch(&self, own: Epoch, found: Epoch) -> bool {
        self.0 == Mutant::AnyEpoch || own == found
    }
    fn publishes_again(&self) -> bool {
        self.0 != Mutant::NoRepublication
    }
    fn publishes_in_order(&self) -> bool {
        self.0 != Mutant::NoOrder
    }
    fn drops_repetitions(&self) -> bool {
        !matches!(self.0, Mutant::NoMarks | Mutant::NoMarksNoReadBack)
    }
    fn rolls_back(&self) -> bool {
        self.0 != Mutant::NoRollback
    }
    fn nonce(&self, drawn: i64) -> i64 {
        if self.0 == Mutant::ConstantNonce { 7 } else { drawn }
    }
    fn restored_position(&self, position: Offset) -> Offset {
        match self.0 {
            Mutant::OffsetBackOne => (position - 1).max(0),
            Mutant::OffsetAheadOne => position + 1,
            _ => position,
        }
    }
    fn fences(&self) -> bool {
        !matches!(self.0, Mutant::NoFence | Mutant::NoReadBackNoFence)
    }
    fn restored_counter(&self, next: i64) -> i64 {
        match self.0 {
            Mutant::CountersReset => 0,
            Mutant::CounterBackOne => (next - 1).max(0),
            _ => next,
        }
    }
    fn published_mark(&self, acknowledged: i64, sequence: i64) -> i64 {
        if self.0 == Mutant::MarkAhead { sequence } else { acknowledged }
    }
    fn may_trim(&self, is_covered: bool) -> bool {
        self.0 == Mutant::TrimUncovered || is_covered
    }
}
