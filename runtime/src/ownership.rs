//! Which shards this process owns, where a group of processes shares them out (rule P20): what the group gives is started,
//! what it takes is finished, committed and let go before the group hears the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use ractor::rpc::CallResult;
use tokio::task::JoinHandle;

use crate::env::{BulkheadRuntime, Clock};
use crate::log::membership::{Change, Membership};
use crate::shard::ShardMessage;
use crate::supervisor::root::SupervisorSlot;
use crate::supervisor::{ShardSlot, SupervisorMessage};

/// What is in hand is finished within this, or comes again at the next owner.
const FINISH_LIMIT: Duration = Duration::from_secs(3);
/// An ended shard is gone within this, unless its thread never yields; then its next commit is void.
const GONE_LIMIT: Duration = Duration::from_secs(1);

/// Follows the decisions of one service's group.
pub(crate) struct Steward {
    leaving: Arc<AtomicBool>,
    settled: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// What a steward looks after.
struct Estate {
    clock: Clock,
    slots: Vec<Arc<ShardSlot>>,
    supervisor: SupervisorSlot,
}

impl Steward {
    /// Starts to follow; none of the shards is owned before the group says so.
    pub(crate) fn start(
        runtime: &BulkheadRuntime,
        clock: Clock,
        slots: Vec<Arc<ShardSlot>>,
        supervisor: SupervisorSlot,
        mut membership: Membership,
    ) -> Self {
        let (leaving, settled) = (membership.leaving(), Arc::new(AtomicBool::new(false)));
        let (estate, heard) = (Estate { clock, slots, supervisor }, settled.clone());
        let task = runtime.spawn(async move {
            while let Some(message) = membership.next().await {
                match &message.change {
                    Change::Assigned(partitions) => estate.take_on(partitions),
                    Change::Revoked { partitions, is_lost } => estate.let_go(partitions, *is_lost).await,
                }
                heard.store(true, Ordering::Release);
                message.answer();
            }
        });
        Self { leaving, settled, task }
    }

    /// The group has said at least once what is ours.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Leaves the group, so that others need not wait for the end of a session; see [`Self::has_left`].
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// The group knows that we are gone.
    pub(crate) fn has_left(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.leave();
        self.task.abort();
    }
}

impl Estate {
    fn chosen(&self, partitions: &[u32]) -> impl Iterator<Item = (usize, &Arc<ShardSlot>)> {
        self.slots.iter().enumerate().filter(|(_, slot)| partitions.contains(&slot.ctx.partition))
    }

    fn take_on(&self, partitions: &[u32]) {
        for (slot, shard) in self.chosen(partitions) {
            shard.ctx.take_on();
            // A supervisor that is being started again starts all that is owned by itself.
            if let Some(supervisor) = self.supervisor.load_full() {
                let _ = supervisor.cast(SupervisorMessage::Assigned { slot });
            }
        }
    }

    async fn let_go(&self, partitions: &[u32], is_lost: bool) {
        join_all(self.chosen(partitions).map(|(_, shard)| self.end(shard, is_lost))).await;
    }

    /// From here on no restart is due. Lost means that somebody else claims already: nothing of ours would stand.
    async fn end(&self, shard: &ShardSlot, is_lost: bool) {
        shard.ctx.let_go();
        if let Some(actor) = shard.actor() {
            let is_finished = !is_lost && {
                let limit = Some(self.clock.timer(FINISH_LIMIT));
                matches!(actor.call(ShardMessage::Drain, limit).await, Ok(CallResult::Success(())))
            };
            if is_finished {
                actor.stop(None);
            } else {
                actor.kill();
            }
            let _ = actor.wait(Some(self.clock.timer(GONE_LIMIT))).await;
        }
        shard.ctx.forget();
    }
}
