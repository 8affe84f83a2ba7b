//! One supervisor a bulkhead: starts its shards, and starts a failed one again from its last commit, after a back-off.
//!
//! It lives on the control runtime, outside whatever may be stuck. A failed shard is never a reason to end the process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::env::BulkheadRuntime;
use crate::shard::{ShardActor, ShardContext, ShardMessage};

/// When a failed shard starts again: exponential with jitter, back to the start after a calm while.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub max: Duration,
    /// A shard that has run this long starts from `first` again.
    pub calm: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(10), calm: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// Delay before restart number `failures` (from 1), with up to a quarter more by chance.
    pub fn delay(&self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max);
        doubled.mul_f64(1.0 + random.f64() / 4.0)
    }
}

/// Where a shard can be reached; stays the same over restarts.
pub struct ShardSlot {
    pub ctx: Arc<ShardContext>,
    current: ArcSwapOption<ActorRef<ShardMessage>>,
}

impl ShardSlot {
    pub fn new(ctx: Arc<ShardContext>) -> Arc<Self> {
        Arc::new(Self { ctx, current: ArcSwapOption::empty() })
    }

    pub fn actor(&self) -> Option<ActorRef<ShardMessage>> {
        self.current.load_full().map(|actor| (*actor).clone())
    }
}

/// What a supervisor is told.
pub enum SupervisorMessage {
    /// Start the shard of this slot, if `generation` is still the last word on it: a late timer restarts nobody.
    Start { slot: usize, generation: u64 },
}

/// The ractor handler.
pub struct BulkheadSupervisor;

/// What a supervisor is made from.
pub struct Supervised {
    pub runtime: Arc<BulkheadRuntime>,
    pub slots: Vec<Arc<ShardSlot>>,
    pub backoff: Backoff,
}

/// The supervisor's own account of its shards.
pub struct SupervisorState {
    supervised: Supervised,
    generation: Vec<u64>,
    failures: Vec<u32>,
    started_us: Vec<u64>,
    random: fastrand::Rng,
}

impl Actor for BulkheadSupervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = Supervised;

    async fn pre_start(
        &self,
        _: ActorRef<SupervisorMessage>,
        supervised: Supervised,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let shards = supervised.slots.len();
        let ctx = &supervised.slots[0].ctx;
        let random = ctx.env.random.stream(&format!("supervisor/{}", ctx.def.spec.name));
        let (generation, failures, started_us) = (vec![0; shards], vec![0; shards], vec![0; shards]);
        Ok(SupervisorState { supervised, generation, failures, started_us, random })
    }

    async fn post_start(
        &self,
        myself: ActorRef<SupervisorMessage>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        for slot in 0..state.supervised.slots.len() {
            state.start(&myself, slot);
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let SupervisorMessage::Start { slot, generation } = message;
        if state.generation[slot] == generation {
            state.start(&myself, slot);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (gone, why) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => (actor, reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        let of = |slot: &Arc<ShardSlot>| slot.actor().is_some_and(|actor| actor.get_id() == gone.get_id());
        if let Some(slot) = state.supervised.slots.iter().position(of) {
            state.failed(&myself, slot, &why);
        }
        Ok(())
    }
}

impl SupervisorState {
    fn start(&mut self, myself: &ActorRef<SupervisorMessage>, slot: usize) {
        self.generation[slot] += 1;
        let shard = self.supervised.slots[slot].clone();
        self.started_us[slot] = shard.ctx.env.clock.mono_us();
        let supervisor = myself.get_cell();
        // The shard's tasks belong to its bulkhead's runtime; the supervisor does not wait for it.
        self.supervised.runtime.spawn(async move {
            let spawned = Actor::spawn_linked(None, ShardActor, shard.ctx.clone(), supervisor).await;
            match spawned {
                Ok((actor, _)) => shard.current.store(Some(Arc::new(actor))),
                Err(error) => shard.ctx.stats.fail(format!("shard did not start: {error}")),
            }
        });
    }

    fn failed(&mut self, myself: &ActorRef<SupervisorMessage>, slot: usize, why: &str) {
        let shard = &self.supervised.slots[slot];
        shard.current.store(None);
        let ctx = &shard.ctx;
        if ctx.draining.load(Ordering::Acquire) {
            return;
        }
        let ran = Duration::from_micros(ctx.env.clock.mono_us().saturating_sub(self.started_us[slot]));
        self.failures[slot] = if ran >= self.supervised.backoff.calm { 1 } else { self.failures[slot] + 1 };
        ctx.stats.restarts.fetch_add(1, Ordering::Relaxed);
        let delay = self.supervised.backoff.delay(self.failures[slot], &mut self.random);
        tracing::warn!(
            service = ctx.def.spec.name,
            shard = ctx.partition,
            delay_ms = delay.as_millis() as u64,
            why,
            "shard failed; it starts again from its last commit"
        );
        self.generation[slot] += 1;
        let generation = self.generation[slot];
        myself.send_after(delay, move || SupervisorMessage::Start { slot, generation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_bound() {
        let (backoff, mut random) = (Backoff::default(), fastrand::Rng::with_seed(1));
        let delays: Vec<_> = (1..40).map(|n| backoff.delay(n, &mut random)).collect();
        assert!(delays[0] >= backoff.first && delays[0] <= backoff.first.mul_f64(1.25));
        assert!(delays[3] >= backoff.first * 8);
        assert!(delays.iter().all(|delay| *delay <= backoff.max.mul_f64(1.25)));
    }
}
