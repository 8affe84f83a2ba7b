//! The platform: services in their bulkheads over one log, started, watched and drained.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorRef};

use crate::bulkhead::Parts;
pub use crate::bulkhead::{Bulkhead, MemoryCaps};
use crate::commit::provenance::service_id;
use crate::env::{BulkheadRuntime, Env};
use crate::flood::FloodLimits;
use crate::log::{AppendError, Durability, FetchError, JoinError, Log, TopicConfig, TopicId};
use crate::ownership::Steward;
use crate::service::ServiceDef;
use crate::shard::{AllGuards, Guards, Observer, ShardLimits, ShardMessage};
use crate::stats::Phase;
use crate::supervisor::root::{RootArguments, RootMessage, RootSupervisor};
use crate::supervisor::{Policy, watchdog};
use crate::telemetry::Telemetry;
use crate::topology::{self, ServiceSpec, TopicKind, TopologyError, dead_letter_topic};
use crate::view::{self, View, ViewAge};
use crate::writers::{NoWriters, Writers};

/// How long a coordinator is waited for when groups are left.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// How a platform is run.
#[derive(Clone)]
pub struct PlatformConfig {
    /// Of every topic: what is joined must lie in the same partition.
    pub partitions: u32,
    pub limits: ShardLimits,
    pub policy: Policy,
    /// Without a sign of progress for this long a shard is stuck.
    pub stuck_after: Duration,
    /// Restarts under way in the process at once.
    pub restarts_max: usize,
    /// What share of a topic may fail before its service pauses.
    pub flood: FloodLimits,
    /// How much one service may take of the process's memory.
    pub memory: MemoryCaps,
    /// Worker threads of each bulkhead.
    pub threads: usize,
    /// Journal bytes in flight a service.
    pub budget_bytes: usize,
    /// Who this process is, for operators.
    pub instance: Arc<str>,
    pub guards: Arc<dyn Guards>,
    pub observer: Option<Arc<dyn Observer>>,
    /// Where facts go that spans are made of.
    pub telemetry: Option<Arc<dyn Telemetry>>,
    /// Schemas of writers that are not of this binary.
    pub writers: Arc<Writers>,
    /// Run these services only.
    pub only: Option<Vec<String>>,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            partitions: 4,
            limits: ShardLimits::default(),
            policy: Policy::default(),
            stuck_after: Duration::from_secs(30),
            restarts_max: 16,
            flood: FloodLimits::default(),
            memory: MemoryCaps::default(),
            threads: 2,
            budget_bytes: 8 << 20,
            instance: "local".into(),
            guards: Arc::new(AllGuards),
            observer: None,
            telemetry: None,
            writers: Arc::new(Writers::new(Arc::new(NoWriters))),
            only: None,
        }
    }
}

/// Why a platform did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("{first} and {second} have the same short id; rename one")]
    IdClash { first: &'static str, second: &'static str },
    #[error("no service is named {name}; there are {known}")]
    UnknownService { name: String, known: String },
    #[error("topic {topic}: {error}")]
    Topic { topic: String, error: AppendError },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("no threads for {bulkhead}: {error}")]
    Threads { bulkhead: String, error: std::io::Error },
    #[error("supervisors do not start: {reason}")]
    Supervisor { reason: String },
}

impl StartError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Topology(error) => error.kind(),
            Self::IdClash { .. } => "ID_CLASH",
            Self::UnknownService { .. } => "UNKNOWN_SERVICE",
            Self::Topic { error, .. } => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Join(error) => error.kind(),
            Self::Threads { .. } => "THREADS",
            Self::Supervisor { .. } => "SUPERVISOR",
        }
    }
}

/// What one stage of a drain did.
#[derive(Clone, Debug)]
pub struct DrainStage {
    pub service: &'static str,
    pub lag: u64,
    pub shards: usize,
    /// Shards that did not answer in time; their events come again at the next start.
    pub late: usize,
    pub took: Duration,
}

/// Services, views, and the log below them.
pub struct Platform {
    pub env: Env,
    pub log: Arc<dyn Log>,
    /// In topological order, upstream first.
    pub bulkheads: Vec<Bulkhead>,
    pub partitions: u32,
    phase: Arc<AtomicU8>,
    stop: Arc<AtomicBool>,
    views_runtime: BulkheadRuntime,
    writers: Arc<Writers>,
    root: ActorRef<RootMessage>,
    _control: Arc<BulkheadRuntime>,
}

/// The topics that services need, by name.
pub fn topics_of(services: &[ServiceDef], partitions: u32) -> Vec<TopicConfig> {
    let mut configs: BTreeMap<String, TopicConfig> = BTreeMap::new();
    let mut add = |name: String, retention_ms, compacted| {
        let config = TopicConfig {
            name: name.as_str().into(),
            partitions,
            durability: Durability::Synced,
            retention_ms,
            compacted,
        };
        configs.insert(name, config);
    };
    for service in services {
        for topic in service.spec.reads().chain(service.spec.outputs.iter().copied()) {
            add(topic.name.to_string(), topic.retention_ms, topic.kind == TopicKind::Compacted);
        }
        for topic in &service.spec.inputs {
            add(dead_letter_topic(topic.name), topology::days(30), false);
        }
        add(service.spec.commit_topic(), None, false);
    }
    configs.into_values().collect()
}

/// Creates what the services need, or checks that it is there.
fn ensure_topics(
    log: &dyn Log,
    services: &[ServiceDef],
    partitions: u32,
) -> Result<BTreeMap<Arc<str>, TopicId>, StartError> {
    let ensure = |config: TopicConfig| {
        let topic = config.name.to_string();
        let id = log.ensure_topic(&config).map_err(|error| StartError::Topic { topic, error })?;
        Ok((config.name, id))
    };
    topics_of(services, partitions).into_iter().map(ensure).collect()
}

fn service_ids(services: &[ServiceDef]) -> Result<BTreeMap<u32, &'static str>, StartError> {
    let mut ids = BTreeMap::new();
    for service in services {
        if let Some(first) = ids.insert(service_id(service.spec.name), service.spec.name) {
            return Err(StartError::IdClash { first, second: service.spec.name });
        }
    }
    Ok(ids)
}

impl Platform {
    /// Checks the topology, creates topics, starts every bulkhead. Shards claim and restore in the background.
    pub async fn start(
        env: Env,
        log: Arc<dyn Log>,
        services: Vec<ServiceDef>,
        config: PlatformConfig,
    ) -> Result<Self, StartError> {
        let specs: Vec<ServiceSpec> = services.iter().map(|service| service.spec.clone()).collect();
        let order = topology::check(&specs)?;
        let ids = Arc::new(service_ids(&services)?);
        let topics = Arc::new(ensure_topics(log.as_ref(), &services, config.partitions)?);
        let wanted = |name: &str| config.only.as_ref().is_none_or(|only| only.iter().any(|o| o == name));
        for name in config.only.iter().flatten() {
            if !order.contains(&name.as_str()) {
                return Err(StartError::UnknownService { name: name.clone(), known: order.join(", ") });
            }
        }
        let runtime = |name: &str, threads, nice| {
            BulkheadRuntime::new(&env, name, threads, nice)
                .map_err(|error| StartError::Threads { bulkhead: name.to_string(), error })
        };
        let control = Arc::new(runtime("control", 1, 0)?);
        let phase = Arc::new(AtomicU8::new(Phase::Before as u8));
        let gate = Arc::new(tokio::sync::Semaphore::new(config.restarts_max));
        let trials = Arc::new(tokio::sync::RwLock::new(()));
        let (mut bulkheads, mut children, mut memberships) = (Vec::new(), Vec::new(), Vec::new());
        for name in order.into_iter().filter(|name| wanted(name)) {
            let Some(service) = services.iter().find(|service| service.spec.name == name) else { continue };
            let (env, log, config) = (&env, &log, &config);
            let (ids, topics, phase, gate, trials) = (&ids, &topics, &phase, &gate, &trials);
            let parts = Parts { env, log, config, ids, topics, phase, gate, trials };
            let (bulkhead, child, membership) = parts.bulkhead(service)?;
            bulkheads.push(bulkhead);
            children.push(child);
            memberships.push(membership);
        }
        let failed = |reason: String| StartError::Supervisor { reason };
        let children = RootArguments { env: env.clone(), policy: config.policy, children };
        let spawned = control.spawn(Actor::spawn(None, RootSupervisor, children)).await;
        let (root, _) = spawned.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        for (bulkhead, membership) in bulkheads.iter_mut().zip(memberships) {
            let (slots, supervisor) = (bulkhead.shards.clone(), bulkhead.supervisor.clone());
            let follow = |group| Steward::start(&control, env.clock.clone(), slots, supervisor, group);
            bulkhead.steward = membership.map(follow);
        }
        let views_runtime = runtime("views", 1, 0)?;
        let (partitions, stop) = (config.partitions, Arc::new(AtomicBool::new(false)));
        let watched = bulkheads.iter().map(|b| watchdog::Watched::new(b.supervisor.clone(), b.shards.clone()));
        watchdog::start(&env, watched.collect(), config.stuck_after, stop.clone())
            .map_err(|error| StartError::Threads { bulkhead: "watchdog".into(), error })?;
        let writers = config.writers.clone();
        Ok(Self { env, log, bulkheads, partitions, phase, stop, views_runtime, writers, root, _control: control })
    }

    /// Starts a view of this platform's topics.
    pub fn view(&self, view: Box<dyn View>) -> Result<ViewAge, FetchError> {
        let (writers, stop) = (self.writers.clone(), self.stop.clone());
        view::start(&self.env, &self.log, &self.views_runtime, self.partitions, view, writers, stop)
    }

    pub fn bulkhead(&self, service: &str) -> Option<&Bulkhead> {
        self.bulkheads.iter().find(|bulkhead| bulkhead.spec.name == service)
    }

    /// From now on latencies are filed under `phase`.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Records readable and not settled, over all services.
    pub fn lag(&self) -> u64 {
        self.bulkheads.iter().map(Bulkhead::lag).sum()
    }

    /// Events waiting as rows, over all services.
    pub fn parked(&self) -> u64 {
        self.bulkheads.iter().map(Bulkhead::parked).sum()
    }

    /// Waits until nothing is left to do, at most for `limit`; `true` when idle. What is emitted by the last commit is
    /// itself input, so it must stay idle for a while.
    pub async fn idle(&self, limit: Duration) -> bool {
        const STEP: Duration = Duration::from_millis(20);
        const CALM_STEPS: u32 = 10;
        let until_us = self.env.clock.mono_us() + limit.as_micros() as u64;
        let mut calm = 0;
        while calm < CALM_STEPS {
            if self.env.clock.mono_us() > until_us {
                return false;
            }
            let publishing: usize = self.bulkheads.iter().map(Bulkhead::publishing).sum();
            let settled = self.bulkheads.iter().all(Bulkhead::is_settled);
            let is_calm = settled && self.lag() == 0 && self.parked() == 0 && publishing == 0;
            calm = if is_calm { calm + 1 } else { 0 };
            self.env.clock.sleep(STEP).await;
        }
        true
    }

    /// Stops in topological order: each service works off what is upstream of it, at most for `limit`, then finishes.
    pub async fn drain(&self, limit: Duration, mut stage: impl FnMut(DrainStage)) {
        for bulkhead in &self.bulkheads {
            let started_us = self.env.clock.mono_us();
            let until_us = started_us + limit.as_micros() as u64;
            while bulkhead.lag() > 0 && self.env.clock.mono_us() < until_us {
                self.env.clock.sleep(Duration::from_millis(10)).await;
            }
            bulkhead.draining.store(true, Ordering::Release);
            let mut late = 0;
            for shard in &bulkhead.shards {
                let Some(actor) = shard.actor() else { continue };
                let wait = Some(ractor::concurrency::Duration::from_millis(2_000));
                late += usize::from(!matches!(
                    actor.call(ShardMessage::Drain, wait).await,
                    Ok(ractor::rpc::CallResult::Success(()))
                ));
                actor.stop(None);
            }
            if let Some(supervisor) = bulkhead.supervisor.load_full() {
                supervisor.stop(None);
            }
            let took = Duration::from_micros(self.env.clock.mono_us() - started_us);
            // Others take over from here on.
            bulkhead.steward.iter().for_each(Steward::leave);
            let (service, lag, shards) = (bulkhead.spec.name, bulkhead.lag(), bulkhead.owned());
            stage(DrainStage { service, lag, shards, late, took });
        }
        self.root.stop(None);
        self.stop.store(true, Ordering::Release);
        self.leave_groups().await;
        self.log.close().await;
    }

    /// Waits until all groups know, so that nobody waits for the end of a session.
    async fn leave_groups(&self) {
        const STEP: Duration = Duration::from_millis(10);
        let until_us = self.env.clock.mono_us() + LEAVE_LIMIT.as_micros() as u64;
        let is_in = |bulkhead: &Bulkhead| bulkhead.steward.as_ref().is_some_and(|steward| !steward.has_left());
        while self.bulkheads.iter().any(is_in) {
            if self.env.clock.mono_us() > until_us {
                tracing::warn!("groups not left within {LEAVE_LIMIT:?}: others wait for the end of the session");
                return;
            }
            self.env.clock.sleep(STEP).await;
        }
    }

    /// Drops everything at once, as a crash does; the log is not closed.
    pub fn kill(&self) {
        self.stop.store(true, Ordering::Release);
        self.root.kill();
        for bulkhead in &self.bulkheads {
            bulkhead.draining.store(true, Ordering::Release);
            bulkhead.steward.iter().for_each(Steward::leave);
            if let Some(supervisor) = bulkhead.supervisor.load_full() {
                supervisor.kill();
            }
            bulkhead.shards.iter().filter_map(|shard| shard.actor()).for_each(|actor| actor.kill());
        }
    }
}
