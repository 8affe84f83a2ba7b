//! What must hold while the platform runs: each a name and one pure predicate.
//!
//! Shards ask as they go, and count by name for `/metrics`; a commit of which something does not hold is never made. The
//! simulation's judges ask the same predicates of what they read back from the log, and tests assert them. Services add
//! their own (`Service::invariants`).

use std::collections::BTreeMap;

use crate::credit::SERVICE_QUEUE_BYTES;
use crate::log::Offset;

pub const OFFSETS_CONTIGUOUS: &str = "offsets_contiguous";
pub const SEQUENCES_DENSE: &str = "sequences_dense";
pub const OUTPUTS_DENSE: &str = "outputs_dense";
pub const MARK_BEHIND_COMMIT: &str = "mark_behind_commit";
pub const TRIMS_COVERED: &str = "trims_covered";
pub const EVERY_EVENT_ENDED: &str = "every_event_ended";
pub const QUEUE_BOUNDED: &str = "queue_bounded";
pub const CREDITS_RETURNED: &str = "credits_returned";

/// Input is taken from where the last commit ended, and forward: no offset is skipped, none is taken twice.
pub fn offsets_contiguous(next: Offset, from: Offset, to: Offset) -> bool {
    from == next && to > from
}

/// A commit carries the sequence after the one that stands (rule P3).
pub fn sequences_dense(next: i64, sequence: i64) -> bool {
    sequence == next
}

/// Outputs to a partition are numbered without a gap over all owners (rule P6).
pub fn outputs_dense(next_n: i64, first_n: i64) -> bool {
    first_n == next_n
}

/// A commit says of earlier ones only that they are published (rule P8).
pub fn mark_behind_commit(published: i64, sequence: i64) -> bool {
    published < sequence
}

/// What is trimmed stands in a snapshot that begins with `sequence`, and the log says that its outputs are published (rule
/// P18).
pub fn trims_covered(published_in_log: i64, sequence: i64) -> bool {
    published_in_log >= sequence - 1
}

/// Conservation: what a shard has taken in has ended, or waits in its own rows until it is due.
pub fn every_event_ended(taken: u64, ended: u64, parked_before: u64, parked_after: u64) -> bool {
    taken + parked_before == ended + parked_after
}

/// What waits in the queues of one service, whatever comes.
pub fn queue_bounded(bytes: i64) -> bool {
    (0..=SERVICE_QUEUE_BYTES).contains(&bytes)
}

/// A drained service holds nothing.
pub fn credits_returned(bytes: i64) -> bool {
    bytes == 0
}

/// How often one invariant was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub checked: u64,
    pub broken: u64,
}

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    counts: BTreeMap<&'static str, Count>,
}

impl Checks {
    /// One answer.
    pub fn expect(&mut self, name: &'static str, holds: bool) {
        let count = self.counts.entry(name).or_default();
        count.checked += 1;
        count.broken += u64::from(!holds);
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            let sum = self.counts.entry(name).or_default();
            sum.checked += count.checked;
            sum.broken += count.broken;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Count)> + '_ {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }

    /// The first that did not hold, by name.
    pub fn broken(&self) -> Option<&'static str> {
        self.iter().find(|(_, count)| count.broken > 0).map(|(name, _)| name)
    }

    /// Answers so far.
    pub fn checked(&self) -> u64 {
        self.counts.values().map(|count| count.checked).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_predicate_tells_the_neighbour_from_the_truth() {
        assert!(offsets_contiguous(5, 5, 6));
        assert!(!offsets_contiguous(5, 4, 6) && !offsets_contiguous(5, 6, 7) && !offsets_contiguous(5, 5, 5));
        assert!(sequences_dense(3, 3) && !sequences_dense(3, 4) && !sequences_dense(3, 2));
        assert!(outputs_dense(9, 9) && !outputs_dense(9, 10));
        assert!(mark_behind_commit(3, 4) && !mark_behind_commit(4, 4));
        assert!(trims_covered(6, 7) && !trims_covered(5, 7));
        assert!(every_event_ended(10, 8, 1, 3) && !every_event_ended(10, 8, 1, 2));
        assert!(queue_bounded(0) && queue_bounded(SERVICE_QUEUE_BYTES));
        assert!(!queue_bounded(-1) && !queue_bounded(SERVICE_QUEUE_BYTES + 1));
        assert!(credits_returned(0) && !credits_returned(1));
    }

    #[test]
    fn counts_add_up_by_name() {
        let mut one = Checks::default();
        one.expect("a", true);
        one.expect("b", false);
        let mut two = one.clone();
        two.add(&one);
        assert_eq!(
            two.iter().collect::<Vec<_>>(),
            [("a", Count { checked: 2, broken: 0 }), ("b", Count { checked: 2, broken: 2 })]
        );
        assert_eq!((two.checked(), two.broken()), (4, Some("b")));
    }
}
