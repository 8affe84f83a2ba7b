//! The contiguous settled prefix of a partition: how far everything has ended.
//!
//! An offset may be committed only when all before it have ended. Ranges may settle in any order; the position moves
//! only over what is whole.

use std::collections::BTreeMap;

use crate::log::Offset;

/// Why a range cannot settle: it would make an event end twice, or from nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    #[error("offsets {from} to {to} overlap what is settled")]
    Twice { from: Offset, to: Offset },
    #[error("offsets {from} to {to} are no range")]
    Empty { from: Offset, to: Offset },
}

impl SettleError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Twice { .. } => "SETTLED_TWICE",
            Self::Empty { .. } => "EMPTY_RANGE",
        }
    }
}

/// Settled ranges of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledPrefix {
    next: Offset,
    /// Settled ranges beyond `next`: from -> to, never adjacent.
    beyond: BTreeMap<Offset, Offset>,
}

impl SettledPrefix {
    /// Everything before `next` has ended.
    pub fn at(next: Offset) -> Self {
        Self { next, beyond: BTreeMap::new() }
    }

    /// First offset that has not ended: the position to commit.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Everything from `from` up to, not including, `to` has ended. Each offset settles once.
    pub fn settle(&mut self, from: Offset, to: Offset) -> Result<Offset, SettleError> {
        if from >= to {
            return Err(SettleError::Empty { from, to });
        }
        let before = self.beyond.range(..=from).next_back().map(|(f, t)| (*f, *t));
        let after = self.beyond.range(from..).next().map(|(f, t)| (*f, *t));
        let overlaps = before.is_some_and(|(_, t)| t > from) || after.is_some_and(|(f, _)| f < to);
        if from < self.next || overlaps {
            return Err(SettleError::Twice { from, to });
        }
        let (mut from, mut to) = (from, to);
        if let Some((f, t)) = before.filter(|(_, t)| *t == from) {
            self.beyond.remove(&f);
            (from, _) = (f, t);
        }
        if let Some((f, t)) = after.filter(|(f, _)| *f == to) {
            self.beyond.remove(&f);
            to = t;
        }
        if from == self.next {
            self.next = to;
        } else {
            self.beyond.insert(from, to);
        }
        Ok(self.next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain set of offsets: the prefix is contiguous, each offset settles once.
        #[test]
        fn prefix_is_contiguous(ranges in proptest::collection::vec((0i64..60, 0i64..8), 0..60)) {
            let mut subject = SettledPrefix::at(0);
            let mut settled = [false; 80];
            for (from, len) in ranges {
                let to = from + len;
                let free = len > 0 && (from..to).all(|offset| !settled[offset as usize]);
                prop_assert_eq!(subject.settle(from, to).is_ok(), free);
                if free {
                    (from..to).for_each(|offset| settled[offset as usize] = true);
                }
                let prefix = settled.iter().take_while(|ended| **ended).count() as i64;
                prop_assert_eq!(subject.next(), prefix);
            }
        }
    }
}
