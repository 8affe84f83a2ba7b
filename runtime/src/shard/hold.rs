//! What holds a service back: faults made on purpose, waits for a retry, a full disk.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Shard, ShardContext, ShardError};
use crate::fault::{EventPosition, FaultKind, FaultSwitch};
use crate::outcome::{Failure, Reason};

/// How long a full disk is left alone.
const ROOM_PROBE: Duration = Duration::from_millis(200);
/// What `slow` adds to an event: a fold takes about 5 us, a thousand times that.
pub(super) const SLOW_EVENT: Duration = Duration::from_millis(5);
/// What `leak` grows by a batch, and where the cap ends it.
const LEAK_STEP_BYTES: usize = 1 << 20;
const LEAK_CAP_BYTES: usize = 64 << 20;

impl Shard {
    /// Faults that hold a whole service back.
    pub(super) async fn hold_back(&mut self) -> Result<(), ShardError> {
        let Some(kind) = self.ctx.faults.active() else {
            self.leak.clear();
            return Ok(());
        };
        match kind {
            FaultKind::Stall => {
                self.ctx.faults.fire();
                self.ctx.faults.over(FaultKind::Stall).await;
            }
            FaultKind::Spin if self.ctx.env.is_simulation() => {
                self.ctx.faults.fire();
                self.ctx.faults.over(FaultKind::Spin).await;
            }
            FaultKind::Spin => {
                self.ctx.faults.fire();
                while self.ctx.faults.is(FaultKind::Spin) {
                    std::hint::spin_loop();
                }
            }
            FaultKind::Leak => {
                self.ctx.faults.fire();
                self.leak.push(vec![1; LEAK_STEP_BYTES]);
                if self.leak.len() * LEAK_STEP_BYTES > LEAK_CAP_BYTES {
                    return Err(ShardError::MemoryCap);
                }
            }
            FaultKind::Slow | FaultKind::Error | FaultKind::Panic | FaultKind::Poison | FaultKind::Down => {}
        }
        Ok(())
    }
}

impl ShardContext {
    /// Waits in place: the partition keeps its order. Draining ends the wait; the event stays uncommitted.
    pub(super) async fn wait(&self, duration: Duration) -> Result<(), ShardError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = duration;
        loop {
            if self.draining.load(Ordering::Acquire) {
                return Err(ShardError::Draining);
            }
            if left.is_zero() {
                return Ok(());
            }
            let step = left.min(STEP);
            self.env.clock.sleep(step).await;
            self.progress.beat(self.env.clock.mono_us());
            left -= step;
        }
    }

    /// A full disk is waited out before a sequence is taken (rule P21).
    pub(super) async fn wait_for_room(&self) -> Result<(), ShardError> {
        while let Err(error) = self.log.room() {
            self.stats.fail(error.to_string());
            if self.draining.load(Ordering::Acquire) {
                return Err(error.into());
            }
            self.env.clock.sleep(ROOM_PROBE).await;
            self.progress.beat(self.env.clock.mono_us());
        }
        Ok(())
    }
}

/// What a fault does to one event.
pub(super) enum Injected {
    Fail(Failure),
    Panic,
}

pub(super) fn injected(faults: &FaultSwitch, active: Option<FaultKind>, position: EventPosition) -> Option<Injected> {
    let injected = match active {
        Some(FaultKind::Error) => {
            Injected::Fail(Failure::Transient(Reason::new("INJECTED", "injected: transient error")))
        }
        Some(FaultKind::Down) => Injected::Fail(Failure::DependencyDown(Reason::new("INJECTED", "injected: down"))),
        Some(FaultKind::Panic) => Injected::Panic,
        _ if faults.poisons(position) => Injected::Panic,
        _ => return None,
    };
    faults.fire();
    Some(injected)
}
