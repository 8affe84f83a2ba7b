//! The root: it starts the supervisor of each bulkhead, and starts one again that ended, under the same rules as any child.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::bulkhead::{BulkheadSupervisor, Supervised, SupervisorMessage};
use super::plan::{Action, Exit, Plan, Policy};
use crate::env::Env;

/// Where the supervisor of a bulkhead can be reached; stays the same over its restarts.
pub type SupervisorSlot = Arc<ArcSwapOption<ActorRef<SupervisorMessage>>>;

/// What the root is told.
pub enum RootMessage {
    /// Start this supervisor, if `generation` is still the last word on it.
    Start { child: usize, generation: u64 },
}

/// What the root is made from.
pub struct RootArguments {
    pub env: Env,
    pub policy: Policy,
    pub children: Vec<Supervised>,
}

/// The ractor handler.
pub struct RootSupervisor;

/// The root's account of its children.
pub struct RootState {
    env: Env,
    children: Vec<Supervised>,
    /// One each: a supervisor that ends again and again rests alone, the others are not its siblings in that.
    plans: Vec<Plan>,
    random: fastrand::Rng,
}

impl Actor for RootSupervisor {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = RootArguments;

    /// All supervisors run when the root does.
    async fn pre_start(
        &self,
        myself: ActorRef<RootMessage>,
        RootArguments { env, policy, children }: RootArguments,
    ) -> Result<RootState, ActorProcessingErr> {
        let plans = children.iter().map(|_| Plan::new(policy, 1)).collect();
        let random = env.random.stream("supervisor/root");
        let mut state = RootState { env, children, plans, random };
        for child in 0..state.children.len() {
            for action in state.plans[child].begin() {
                if let Action::Start { generation, .. } = action {
                    state.start(&myself, child, generation).await;
                }
            }
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMessage>,
        RootMessage::Start { child, generation }: RootMessage,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        state.start(&myself, child, generation).await;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMessage>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let (gone, why) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor, error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => (actor, reason.unwrap_or_else(|| "ended".into())),
            _ => return Ok(()),
        };
        let of = |child: &Supervised| child.slot.load_full().is_some_and(|actor| actor.get_id() == gone.get_id());
        if let Some(child) = state.children.iter().position(of) {
            state.ended(&myself, child, &why);
        }
        Ok(())
    }
}

impl RootState {
    fn now(&self) -> Duration {
        Duration::from_micros(self.env.clock.mono_us())
    }

    fn is_draining(&self, child: usize) -> bool {
        self.children[child].slots.first().is_some_and(|shard| shard.ctx.draining.load(Ordering::Acquire))
    }

    async fn start(&mut self, myself: &ActorRef<RootMessage>, child: usize, generation: u64) {
        let now = self.now();
        if self.is_draining(child) || !self.plans[child].due(0, generation, now) {
            return;
        }
        let supervised = self.children[child].clone();
        let (slot, name) = (supervised.slot.clone(), supervised.name);
        match Actor::spawn_linked(None, BulkheadSupervisor, supervised, myself.get_cell()).await {
            Ok((actor, _)) => slot.store(Some(Arc::new(actor))),
            Err(error) => {
                tracing::error!(service = name, %error, "its supervisor does not start");
                self.ended(myself, child, "did not start");
            }
        }
    }

    /// With their supervisor its shards have ended; the next one starts them from their last commits.
    fn ended(&mut self, myself: &ActorRef<RootMessage>, child: usize, why: &str) {
        self.children[child].slot.store(None);
        if self.is_draining(child) {
            return;
        }
        tracing::error!(service = self.children[child].name, why, "its supervisor ended; it starts again");
        let now = self.now();
        for action in self.plans[child].ended(0, Exit::Failure, now, &mut self.random) {
            match action {
                Action::Start { after, generation, .. } => {
                    myself.send_after(after, move || RootMessage::Start { child, generation });
                }
                Action::Degrade { .. } => self.children[child].degraded.store(true, Ordering::Release),
                // It is the only one.
                Action::Stop { .. } => {}
            }
        }
    }
}
