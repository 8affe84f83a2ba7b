//! The supervisor of one bulkhead: starts its shards, starts failed ones again from their last commit, ends stuck ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus, SupervisionEvent};

use super::plan::{Action, Exit, Plan, Policy};
use super::root::SupervisorSlot;
use super::watchdog::NONE;
use crate::env::{BulkheadRuntime, Env};
use crate::shard::{ShardActor, ShardContext, ShardError, ShardMessage};

/// How long an ended shard may take to be gone, before its threads are given up.
const GRACE: Duration = Duration::from_secs(1);
/// How often a shard that only waits is asked again whether it is gone: its thread is late, and not lost.
const LATE_MAX: u32 = 10;
/// Threads given up before the bulkhead stays as it is: each of them still burns or holds something.
pub const ABANDONED_MAX: u64 = 3;

/// Where a shard can be reached; stays the same over restarts.
pub struct ShardSlot {
    pub ctx: Arc<ShardContext>,
    current: ArcSwapOption<ActorRef<ShardMessage>>,
    /// Counts the starts: what is said of an earlier one is void.
    starts: AtomicU64,
}

impl ShardSlot {
    pub fn new(ctx: Arc<ShardContext>) -> Arc<Self> {
        Arc::new(Self { ctx, current: ArcSwapOption::empty(), starts: AtomicU64::new(0) })
    }

    pub fn actor(&self) -> Option<ActorRef<ShardMessage>> {
        self.current.load_full().map(|actor| (*actor).clone())
    }

    fn is_start(&self, number: u64) -> bool {
        self.starts.load(Ordering::Acquire) == number
    }
}

/// What a supervisor is told.
pub enum SupervisorMessage {
    /// Start the shard of this slot, if `generation` is still the last word on it.
    Start { slot: usize, generation: u64 },
    /// The group has given this shard to the process.
    Assigned { slot: usize },
    /// The watchdog saw no sign of progress of the shard since then, `Env` clock.
    Stuck { slot: usize, since_us: u64 },
    /// A thread of the bulkhead has lost its place and cannot have it back: all shards move to new ones.
    Renew,
    /// A shard had ended before it was known where to find it: what was said of its end met nobody.
    EndedEarly { slot: usize },
    /// The shard of that start was ended and should be gone by now; asked for the `late`th time.
    GoneYet { slot: usize, start: u64, late: u32 },
}

/// Makes the runtime of the bulkhead anew, when the old one holds a thread that never yields.
pub type MakeRuntime = Arc<dyn Fn() -> std::io::Result<BulkheadRuntime> + Send + Sync>;

/// What a supervisor is made from, each time.
#[derive(Clone)]
pub struct Supervised {
    pub env: Env,
    pub name: &'static str,
    pub runtime: Arc<ArcSwap<BulkheadRuntime>>,
    pub make_runtime: MakeRuntime,
    pub slots: Vec<Arc<ShardSlot>>,
    pub policy: Policy,
    /// Partitions are paused: too much failing.
    pub degraded: Arc<AtomicBool>,
    /// Restarts under way in the whole process are bounded by this.
    pub gate: Arc<tokio::sync::Semaphore>,
    /// Runtimes given up, over all lives of the supervisor.
    pub abandoned: Arc<AtomicU64>,
    /// Where the supervisor can be reached.
    pub slot: SupervisorSlot,
}

/// The ractor handler.
pub struct BulkheadSupervisor;

/// The supervisor's own account of its shards.
pub struct SupervisorState {
    supervised: Supervised,
    plan: Plan,
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
        let random = supervised.env.random.stream(&format!("supervisor/{}", supervised.name));
        let plan = Plan::new(supervised.policy, supervised.slots.len());
        Ok(SupervisorState { supervised, plan, random })
    }

    async fn post_start(
        &self,
        myself: ActorRef<SupervisorMessage>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let actions = state.plan.begin();
        state.act(&myself, actions);
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Start { slot, generation } => {
                // What is somebody else's is started when the group says so.
                let is_ours = !state.draining(slot) && state.owned(slot);
                if is_ours && state.plan.due(slot, generation, state.now()) {
                    state.supervised.degraded.store(state.plan.is_degraded(), Ordering::Release);
                    state.start(&myself, slot);
                }
            }
            SupervisorMessage::Assigned { slot } => {
                let actions = state.plan.assigned(slot, state.now());
                state.act(&myself, actions);
            }
            SupervisorMessage::Stuck { slot, since_us } => state.end_stuck(&myself, slot, since_us),
            SupervisorMessage::Renew => {
                if state.renew() {
                    state.move_all(&myself, "its threads were made anew");
                }
            }
            SupervisorMessage::EndedEarly { slot } => {
                let is_over = |actor: ActorRef<ShardMessage>| actor.get_status() >= ActorStatus::Stopping;
                if state.supervised.slots[slot].actor().is_some_and(is_over) {
                    state.ended(&myself, slot, Exit::Ownership, "ended as it started");
                }
            }
            SupervisorMessage::GoneYet { slot, start, late } => state.give_up(&myself, slot, start, late),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (gone, why, exit) = match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                let lost = error.downcast_ref::<ShardError>().is_some_and(ShardError::is_lost_ownership);
                (actor, error.to_string(), if lost { Exit::Ownership } else { Exit::Failure })
            }
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                (actor, reason.unwrap_or_else(|| "ended".into()), Exit::Failure)
            }
            _ => return Ok(()),
        };
        let of = |slot: &Arc<ShardSlot>| slot.actor().is_some_and(|actor| actor.get_id() == gone.get_id());
        if let Some(slot) = state.supervised.slots.iter().position(of) {
            state.ended(&myself, slot, exit, &why);
        }
        Ok(())
    }
}

impl SupervisorState {
    fn now(&self) -> Duration {
        Duration::from_micros(self.supervised.env.clock.mono_us())
    }

    fn draining(&self, slot: usize) -> bool {
        self.supervised.slots[slot].ctx.draining.load(Ordering::Acquire)
    }

    fn owned(&self, slot: usize) -> bool {
        self.supervised.slots[slot].ctx.is_owned()
    }

    fn act(&mut self, myself: &ActorRef<SupervisorMessage>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { child: slot, after, generation } => {
                    let message = move || SupervisorMessage::Start { slot, generation };
                    if after.is_zero() {
                        let _ = myself.cast(message());
                    } else {
                        myself.send_after(self.supervised.env.clock.timer(after), message);
                    }
                }
                Action::Stop { child } => {
                    if let Some(actor) = self.supervised.slots[child].actor() {
                        actor.kill();
                    }
                }
                Action::Degrade { rest } => {
                    self.supervised.degraded.store(true, Ordering::Release);
                    let rest_s = rest.as_secs();
                    tracing::error!(
                        service = self.supervised.name,
                        rest_s,
                        "degraded: too many failures; partitions pause"
                    );
                }
            }
        }
    }

    fn start(&mut self, myself: &ActorRef<SupervisorMessage>, slot: usize) {
        let shard = self.supervised.slots[slot].clone();
        let start = shard.starts.fetch_add(1, Ordering::AcqRel) + 1;
        let (supervisor, gate) = (myself.clone(), self.supervised.gate.clone());
        shard.ctx.progress.rest();
        // The shard's tasks belong to its bulkhead's runtime; the supervisor does not wait for it.
        self.supervised.runtime.load().spawn(async move {
            let permit = gate.acquire_owned().await.ok();
            // Its thread may have been held so long that it was started anew, elsewhere.
            if !shard.is_start(start) {
                return;
            }
            match Actor::spawn_linked(None, ShardActor, (shard.ctx.clone(), permit), supervisor.get_cell()).await {
                Ok((actor, _)) if shard.is_start(start) => {
                    shard.current.store(Some(Arc::new(actor.clone())));
                    // Taken away while it started, and nobody could end it then.
                    if !shard.ctx.is_owned() {
                        actor.stop(None);
                    }
                    if actor.get_status() >= ActorStatus::Stopping {
                        let _ = supervisor.cast(SupervisorMessage::EndedEarly { slot });
                    }
                }
                Ok((actor, _)) => actor.kill(),
                Err(error) => shard.ctx.stats.fail(format!("shard did not start: {error}")),
            }
        });
    }

    fn ended(&mut self, myself: &ActorRef<SupervisorMessage>, slot: usize, exit: Exit, why: &str) {
        let shard = &self.supervised.slots[slot];
        shard.current.store(None);
        shard.ctx.progress.rest();
        shard.ctx.progress.in_hand(NONE);
        if self.draining(slot) {
            return;
        }
        if !self.owned(slot) {
            self.plan.released(slot);
            return;
        }
        let ctx = &shard.ctx;
        if self.plan.is_running(slot) {
            ctx.stats.restarts.fetch_add(1, Ordering::Relaxed);
            ctx.stats.fail(why.to_string());
            if let Some(telemetry) = &ctx.telemetry {
                telemetry.restarted(ctx.def.spec.name, ctx.partition, why, ctx.env.clock.wall_ms());
            }
            tracing::warn!(
                service = ctx.def.spec.name,
                shard = ctx.partition,
                why,
                "shard ended; it starts again from its last commit"
            );
        }
        let now = self.now();
        let actions = self.plan.ended(slot, exit, now, &mut self.random);
        self.act(myself, actions);
    }

    /// A stuck shard is ended at its await; one that never yields does not hear it.
    fn end_stuck(&mut self, myself: &ActorRef<SupervisorMessage>, slot: usize, since_us: u64) {
        let shard = &self.supervised.slots[slot];
        let Some(actor) = shard.actor().filter(|_| shard.ctx.progress.busy_since_us() == since_us) else { return };
        shard.ctx.stats.stuck.fetch_add(1, Ordering::Relaxed);
        shard.ctx.progress.stuck();
        tracing::warn!(service = self.supervised.name, shard = shard.ctx.partition, "shard is stuck; ending it");
        actor.kill();
        self.ask_later(myself, slot, shard.starts.load(Ordering::Acquire), 0);
    }

    fn ask_later(&self, myself: &ActorRef<SupervisorMessage>, slot: usize, start: u64, late: u32) {
        let grace = self.supervised.env.clock.timer(GRACE);
        myself.send_after(grace, move || SupervisorMessage::GoneYet { slot, start, late });
    }

    /// Rule of last resort: the thread is lost, the bulkhead gets a runtime of its own again.
    fn give_up(&mut self, myself: &ActorRef<SupervisorMessage>, slot: usize, start: u64, late: u32) {
        let shard = &self.supervised.slots[slot];
        if !shard.is_start(start) || shard.actor().is_none() || self.supervised.env.is_simulation() {
            return;
        }
        // Who holds no thread has lost none: it hears the end as soon as the machine gives its thread a turn.
        if !shard.ctx.progress.is_in_fold() && late < LATE_MAX {
            return self.ask_later(myself, slot, start, late + 1);
        }
        shard.ctx.stats.lost_threads.fetch_add(1, Ordering::Relaxed);
        if self.supervised.abandoned.load(Ordering::Acquire) >= ABANDONED_MAX {
            self.supervised.degraded.store(true, Ordering::Release);
            tracing::error!(
                service = self.supervised.name,
                "degraded for good: it has lost too many threads; restart the process"
            );
            return;
        }
        self.supervised.abandoned.fetch_add(1, Ordering::AcqRel);
        if !self.renew() {
            return;
        }
        tracing::error!(
            service = self.supervised.name,
            "a thread never yields; its runtime is abandoned and made anew"
        );
        // Every shard of the old runtime moves: its threads may be the ones that are lost.
        self.move_all(myself, "its runtime was abandoned");
    }

    /// A new runtime for the shards to be started from now on.
    fn renew(&self) -> bool {
        match (self.supervised.make_runtime)() {
            Ok(runtime) => self.supervised.runtime.store(Arc::new(runtime)),
            Err(error) => {
                self.supervised.slots.iter().for_each(|s| s.ctx.stats.fail(format!("no new runtime: {error}")));
                return false;
            }
        }
        true
    }

    /// Ends all shards; each starts again on the runtime as it is then. None of them has failed. One that was on its way up
    /// may be waiting for a thread that is lost, and is started anew as well.
    fn move_all(&mut self, myself: &ActorRef<SupervisorMessage>, why: &str) {
        for slot in 0..self.supervised.slots.len() {
            let shard = self.supervised.slots[slot].clone();
            if self.plan.is_running(slot) {
                if let Some(actor) = shard.actor() {
                    actor.kill();
                }
                self.ended(myself, slot, Exit::Ownership, why);
                shard.ctx.progress.moves();
            }
        }
    }
}
