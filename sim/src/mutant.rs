//! Planted bugs: the real guards, each weakened in place through a seam that only this program instantiates.

use std::sync::Arc;

use runtime::commit::standing::Epoch;
use runtime::log::Offset;
use runtime::shard::Guards;
use serde::{Deserialize, Serialize};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mutant {
    /// Publishes before the commit is known to stand.
    NoReadBack,
    /// Takes any epoch at its offset for its own.
    AnyEpoch,
    /// Forgets to publish again after a crash.
    NoRepublication,
    /// New outputs overtake older ones.
    NoOrder,
    /// Takes repetitions as new.
    NoMarks,
    /// A failed event leaves its traces.
    NoRollback,
    /// All owners draw the same nonce.
    ConstantNonce,
    /// Restarts one event too early.
    OffsetBackOne,
    /// Restarts one event too late.
    OffsetAheadOne,
    /// The log refuses no stale epoch: a second defence, so this alone must hold.
    NoFence,
    /// Neither read-back nor refusal: the pair.
    NoReadBackNoFence,
    /// Syncs are claimed, not made.
    NoSync,
}

impl Mutant {
    pub const ALL: [Self; 12] = [
        Self::NoReadBack,
        Self::AnyEpoch,
        Self::NoRepublication,
        Self::NoOrder,
        Self::NoMarks,
        Self::NoRollback,
        Self::ConstantNonce,
        Self::OffsetBackOne,
        Self::OffsetAheadOne,
        Self::NoFence,
        Self::NoReadBackNoFence,
        Self::NoSync,
    ];

    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| mutant.name() == name)
    }

    /// Which world shows it, if only one can.
    pub fn kafka(self) -> Option<bool> {
        match self {
            Self::NoReadBack | Self::AnyEpoch => Some(true),
            Self::NoSync => Some(false),
            _ => None,
        }
    }

    /// Why it need not be found, where another guard covers for it.
    pub fn covered_by(self) -> Option<&'static str> {
        match self {
            Self::NoFence => Some("the protocol holds alone; the log's refusal is a second defence"),
            _ => None,
        }
    }
}

/// The guards with one weakened.
pub fn guards(mutant: Option<Mutant>) -> Arc<dyn Guards> {
    match mutant {
        None => Arc::new(runtime::shard::AllGuards),
        Some(mutant) => Arc::new(Weakened(mutant)),
    }
}

struct Weakened(Mutant);

impl Guards for Weakened {
    fn reads_back(&self) -> bool {
        !matches!(self.0, Mutant::NoReadBack | Mutant::NoReadBackNoFence)
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
        self.0 != Mutant::NoMarks
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
}
