//! What holds a service back: faults made on purpose, waits for a retry, a full disk.

use std::time::Duration;

use super::event::Waits;
use super::{Shard, ShardContext, ShardError};
use crate::breaker::Pass;
use crate::fault::{EventPosition, FaultKind, FaultSwitch};
use crate::outcome::{Failure, Reason};
use crate::platform::MemoryCaps;
use crate::stats::Tally;
use crate::supervisor::watchdog::{NONE, UNNAMED};
use crate::topology::Topic;

/// How long a full disk, and full rows of waiting events, are left alone.
const ROOM_PROBE: Duration = Duration::from_millis(200);
/// How often a service that rests because too much failed tries again.
pub(super) const FLOOD_PROBE: Duration = Duration::from_secs(1);
/// What `slow` adds to an event: a fold takes about 5 us, a thousand times that.
const SLOW_EVENT: Duration = Duration::from_millis(5);
/// What `leak` grows by a batch, and where the cap ends it.
const LEAK_STEP_BYTES: usize = 4 << 20;
const LEAK_CAP_BYTES: u64 = 64 << 20;

impl Shard {
    /// Waits before anything more is taken: what the service needs is away, too much of a topic fails, or it holds too much
    /// memory. What waits as rows is tried meanwhile, one a second.
    pub(super) async fn pause(&mut self) -> Result<(), ShardError> {
        if self.ctx.owner.bytes() > self.ctx.memory.soft_bytes {
            self.stay_below(self.ctx.memory).await?;
        }
        if !self.ctx.breaker.is_closed() {
            self.wait_out(Waits::Down, Duration::ZERO).await?;
        }
        while self.ctx.flood.is_resting(self.ctx.env.clock.mono_us()) {
            self.wait_out(Waits::Flood, FLOOD_PROBE).await?;
            self.open_batch();
            self.retry_parked().await?;
            self.commit(false).await?;
        }
        while self.parking.is_full() {
            self.wait_out(Waits::Partition, ROOM_PROBE).await?;
            self.open_batch();
            self.retry_parked().await?;
            self.commit(false).await?;
        }
        Ok(())
    }

    /// Takes nothing in until the service holds less than the soft cap; time passes, so that what has expired goes.
    async fn stay_below(&mut self, caps: MemoryCaps) -> Result<(), ShardError> {
        let (service, owner) = (self.ctx.def.spec.name, self.ctx.owner);
        tracing::error!(service, bytes = owner.bytes(), caps.soft_bytes, "over the soft memory cap: takes nothing in");
        self.ctx.stats.fail(format!("over the soft memory cap of {} bytes", caps.soft_bytes));
        while owner.bytes() > caps.soft_bytes {
            if owner.bytes() > caps.hard_bytes {
                return Err(ShardError::MemoryCap);
            }
            self.wait_out(Waits::Partition, self.ctx.limits.tick).await?;
            self.open_batch();
            self.commit_with_tick().await?;
        }
        Ok(())
    }

    /// Waits in place for another attempt.
    pub(super) async fn wait_out(&mut self, waits: Waits, after: Duration) -> Result<(), ShardError> {
        if waits == Waits::Down {
            loop {
                match self.ctx.breaker.pass(self.ctx.env.clock.mono_us()) {
                    Pass::Go => break,
                    Pass::Probe => {
                        self.is_probing = true;
                        break;
                    }
                    Pass::Wait(wait) => self.ctx.wait(wait).await?,
                }
            }
        } else {
            self.ctx.wait(after).await?;
        }
        // Time has passed for what follows, if nothing of this commit has seen the old time.
        if self.tally == Tally::default() && self.staging.ranges.is_empty() && self.outputs.is_empty() {
            self.batch_open = false;
            self.open_batch();
        }
        Ok(())
    }

    /// The service got an answer out of an event: what it needs is there.
    #[inline]
    pub(super) fn answered(&mut self) {
        if self.is_probing {
            self.is_probing = false;
            if self.ctx.breaker.succeed() {
                tracing::info!(service = self.ctx.def.spec.name, "breaker closed: partitions go on");
            }
        }
    }

    /// Asks the flood guard before an event is set aside.
    pub(super) fn admits_dead_letter(&self, topic: &'static Topic, now_us: u64) -> bool {
        let input = self.ctx.inputs.iter().position(|input| input.topic == topic).unwrap_or_default();
        let was_resting = self.ctx.flood.is_resting(now_us);
        let admits = self.ctx.flood.admits(input, self.tally.total(), now_us);
        if !admits && !was_resting {
            let (service, topic) = (self.ctx.def.spec.name, topic.name);
            tracing::error!(
                service,
                topic,
                "too much of a topic fails: the service pauses instead of setting it all aside"
            );
        }
        admits
    }

    /// Faults that hold a whole service back.
    pub(super) async fn hold_back(&mut self) -> Result<(), ShardError> {
        let Some(kind) = self.ctx.faults.active() else {
            self.leak.clear();
            return Ok(());
        };
        match kind {
            FaultKind::Stall if !self.ctx.env.has_bulkheads() => {
                self.ctx.faults.fire();
                while self.ctx.faults.is(FaultKind::Stall) {
                    std::thread::sleep(SLOW_EVENT);
                }
            }
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
                self.ctx.progress.in_hand(UNNAMED);
                while self.ctx.faults.is(FaultKind::Spin) {
                    std::hint::spin_loop();
                }
                self.ctx.progress.in_hand(NONE);
            }
            FaultKind::Leak => {
                self.ctx.faults.fire();
                if self.leak.is_empty() {
                    self.leak_from = self.ctx.owner.bytes();
                }
                self.leak.push(vec![1; LEAK_STEP_BYTES]);
                let grown = match crate::alloc::is_counted() {
                    true => self.ctx.owner.bytes().saturating_sub(self.leak_from),
                    false => (self.leak.len() * LEAK_STEP_BYTES) as u64,
                };
                if grown > LEAK_CAP_BYTES {
                    return Err(ShardError::MemoryCap);
                }
            }
            FaultKind::Slow | FaultKind::Error | FaultKind::Panic | FaultKind::Poison | FaultKind::Down => {}
        }
        Ok(())
    }
}

impl ShardContext {
    /// What `slow` does to an event. In the control, without bulkheads, it is what it would be in a naive process: a fold that
    /// keeps its worker, as `stall` does there.
    pub(super) async fn slow_down(&self) {
        self.faults.fire();
        if self.env.has_bulkheads() {
            self.env.clock.sleep(SLOW_EVENT).await;
        } else {
            std::thread::sleep(SLOW_EVENT);
        }
        self.progress.beat(self.env.clock.mono_us());
    }

    /// Waits in place: the partition keeps its order. Draining ends the wait; the event stays uncommitted.
    pub(super) async fn wait(&self, duration: Duration) -> Result<(), ShardError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = duration;
        loop {
            if self.is_ending() {
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
            if self.is_ending() {
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
