//! Asks the invariants of a commit before it is appended.

use super::{Shard, ShardError};
use crate::commit::staging::{Header, Publication};
use crate::invariant::{self, Checks};

impl Shard {
    /// Everything that must hold of the commit and of the state that it makes.
    ///
    /// # Errors
    /// [`ShardError::Invariant`] with the first that does not: nothing is appended, and the shard is rebuilt from its last
    /// commit.
    pub(super) fn check(&mut self, header: &Header, publications: &[Publication]) -> Result<(), ShardError> {
        let mut checks = Checks::default();
        self.fold.invariants(&mut checks);
        checks.expect(
            invariant::SEQUENCES_DENSE,
            invariant::sequences_dense(self.standing.next_sequence, header.sequence),
        );
        checks.expect(invariant::MARK_BEHIND_COMMIT, invariant::mark_behind_commit(header.published, header.sequence));
        for (index, input) in self.ctx.inputs.iter().enumerate() {
            let mut next = self.positions[index].next();
            let of_input = |range: &&crate::commit::staging::Range| {
                range.topic == input.topic.name && range.partition == input.at.partition
            };
            for range in self.staging.ranges.iter().filter(of_input) {
                checks.expect(invariant::OFFSETS_CONTIGUOUS, invariant::offsets_contiguous(next, range.from, range.to));
                next = range.to;
            }
        }
        for publication in publications {
            checks
                .expect(invariant::OUTPUTS_DENSE, invariant::outputs_dense(publication.first_n, publication.staged_n));
        }
        let parked = self.parking.len() as u64;
        checks.expect(
            invariant::EVERY_EVENT_ENDED,
            invariant::every_event_ended(self.taken, self.tally.total(), self.parked_before, parked),
        );
        let queued = self.ctx.stats.queue_bytes.load(std::sync::atomic::Ordering::Relaxed);
        checks.expect(invariant::QUEUE_BOUNDED, invariant::queue_bounded(queued));
        self.ctx.stats.asked(&checks);
        match checks.broken() {
            Some(name) => Err(ShardError::Invariant(name)),
            None => Ok(()),
        }
    }
}
