//! The platform: services in their bulkheads over one log, started, watched and drained.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use ractor::{Actor, ActorRef};

use crate::commit::provenance::service_id;
use crate::env::{BulkheadRuntime, Env};
use crate::fault::FaultSwitch;
use crate::log::{AppendError, Durability, FetchError, Log, TopicConfig, TopicId, TopicPartition};
use crate::service::ServiceDef;
use crate::shard::{AllGuards, Guards, Input, Observer, ShardContext, ShardLimits, ShardMessage};
use crate::stats::{Phase, ServiceStats};
use crate::supervisor::bulkhead::MakeRuntime;
use crate::supervisor::{BulkheadSupervisor, Policy, ShardSlot, Supervised, SupervisorMessage, watchdog};
use crate::topology::{self, ServiceSpec, TopicKind, TopologyError, dead_letter_topic};
use crate::view::{self, View, ViewAge};
use crate::writers::{NoWriters, Writers};

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
    /// Worker threads of each bulkhead.
    pub threads: usize,
    /// Journal bytes in flight a service.
    pub budget_bytes: usize,
    /// Who this process is, for operators.
    pub instance: Arc<str>,
    pub guards: Arc<dyn Guards>,
    pub observer: Option<Arc<dyn Observer>>,
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
            threads: 2,
            budget_bytes: 8 << 20,
            instance: "local".into(),
            guards: Arc::new(AllGuards),
            observer: None,
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
    #[error("no threads for {bulkhead}: {error}")]
    Threads { bulkhead: String, error: std::io::Error },
    #[error("supervisor of {bulkhead}: {reason}")]
    Supervisor { bulkhead: &'static str, reason: String },
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
            Self::Threads { .. } => "THREADS",
            Self::Supervisor { .. } => "SUPERVISOR",
        }
    }
}

/// One service's compartment.
pub struct Bulkhead {
    pub spec: ServiceSpec,
    pub stats: Arc<ServiceStats>,
    pub faults: Arc<FaultSwitch>,
    pub shards: Vec<Arc<ShardSlot>>,
    degraded: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
    supervisor: ActorRef<SupervisorMessage>,
    /// Ends with the bulkhead.
    _runtime: Arc<ArcSwap<BulkheadRuntime>>,
}

impl Bulkhead {
    /// Records readable and not settled.
    pub fn lag(&self) -> u64 {
        self.shards.iter().map(|shard| shard.ctx.lag()).sum()
    }

    /// Events waiting as rows until they are due.
    pub fn parked(&self) -> u64 {
        self.shards.iter().map(|shard| shard.ctx.parked.load(Ordering::Relaxed)).sum()
    }

    /// Its partitions pause: too much failing.
    pub fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Acquire)
    }

    /// Shards whose outputs are not all acknowledged.
    pub fn publishing(&self) -> usize {
        self.shards.iter().filter(|shard| shard.ctx.publishing.load(Ordering::Acquire)).count()
    }

    /// Its supervisor is there to start again what fails.
    pub fn is_supervised(&self) -> bool {
        self.supervisor.get_status() < ractor::ActorStatus::Stopping
    }

    /// Shards that are up.
    pub fn running(&self) -> usize {
        self.shards.iter().filter(|shard| shard.actor().is_some()).count()
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
        let mut bulkheads = Vec::new();
        for name in order.into_iter().filter(|name| wanted(name)) {
            let Some(service) = services.iter().find(|service| service.spec.name == name) else { continue };
            let parts =
                Parts { env: &env, log: &log, config: &config, ids: &ids, topics: &topics, phase: &phase, gate: &gate };
            bulkheads.push(parts.bulkhead(service, &control).await?);
        }
        let views_runtime = runtime("views", 1, 0)?;
        let (partitions, stop) = (config.partitions, Arc::new(AtomicBool::new(false)));
        let watched =
            bulkheads.iter().map(|b| watchdog::Watched { supervisor: b.supervisor.clone(), slots: b.shards.clone() });
        watchdog::start(&env, watched.collect(), config.stuck_after, stop.clone())
            .map_err(|error| StartError::Threads { bulkhead: "watchdog".into(), error })?;
        Ok(Self { env, log, bulkheads, partitions, phase, stop, views_runtime, _control: control })
    }

    /// Starts a view of this platform's topics.
    pub fn view(&self, view: Box<dyn View>) -> Result<ViewAge, FetchError> {
        view::start(&self.env, &self.log, &self.views_runtime, self.partitions, view, self.stop.clone())
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
            calm = if self.lag() == 0 && self.parked() == 0 && publishing == 0 { calm + 1 } else { 0 };
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
            bulkhead.supervisor.stop(None);
            let took = Duration::from_micros(self.env.clock.mono_us() - started_us);
            let (service, lag, shards) = (bulkhead.spec.name, bulkhead.lag(), bulkhead.shards.len());
            stage(DrainStage { service, lag, shards, late, took });
        }
        self.stop.store(true, Ordering::Release);
        self.log.close().await;
    }

    /// Drops everything at once, as a crash does; the log is not closed.
    pub fn kill(&self) {
        self.stop.store(true, Ordering::Release);
        for bulkhead in &self.bulkheads {
            bulkhead.draining.store(true, Ordering::Release);
            bulkhead.supervisor.kill();
            bulkhead.shards.iter().filter_map(|shard| shard.actor()).for_each(|actor| actor.kill());
        }
    }
}

/// What all bulkheads are made from.
struct Parts<'a> {
    env: &'a Env,
    log: &'a Arc<dyn Log>,
    config: &'a PlatformConfig,
    ids: &'a Arc<BTreeMap<u32, &'static str>>,
    topics: &'a Arc<BTreeMap<Arc<str>, TopicId>>,
    phase: &'a Arc<AtomicU8>,
    gate: &'a Arc<tokio::sync::Semaphore>,
}

impl Parts<'_> {
    async fn bulkhead(&self, service: &ServiceDef, control: &BulkheadRuntime) -> Result<Bulkhead, StartError> {
        let (env, name, threads) = (self.env.clone(), service.spec.name, self.config.threads);
        let nice = service.spec.class.nice();
        let make_runtime: MakeRuntime = Arc::new(move || BulkheadRuntime::new(&env, name, threads, nice));
        let runtime = make_runtime().map_err(|error| StartError::Threads { bulkhead: name.into(), error })?;
        let runtime = Arc::new(ArcSwap::from_pointee(runtime));
        let degraded = Arc::new(AtomicBool::new(false));
        let (stats, faults) = (Arc::new(ServiceStats::default()), FaultSwitch::new());
        let draining = Arc::new(AtomicBool::new(false));
        let shards: Vec<_> = (0..self.config.partitions)
            .map(|partition| ShardSlot::new(Arc::new(self.shard(service, partition, &stats, &faults, &draining))))
            .collect();
        let supervised = Supervised {
            env: self.env.clone(),
            name,
            runtime: runtime.clone(),
            make_runtime,
            slots: shards.clone(),
            policy: self.config.policy,
            degraded: degraded.clone(),
            gate: self.gate.clone(),
        };
        let failed = |reason: String| StartError::Supervisor { bulkhead: name, reason };
        let spawned = control.spawn(Actor::spawn(None, BulkheadSupervisor, supervised)).await;
        let (supervisor, _) = spawned.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        let spec = service.spec.clone();
        Ok(Bulkhead { spec, stats, faults, shards, degraded, draining, supervisor, _runtime: runtime })
    }

    fn shard(
        &self,
        service: &ServiceDef,
        partition: u32,
        stats: &Arc<ServiceStats>,
        faults: &Arc<FaultSwitch>,
        draining: &Arc<AtomicBool>,
    ) -> ShardContext {
        let at = |name: &str| TopicPartition { topic: self.topics[name], partition };
        let input = |topic: &'static topology::Topic| Input { topic, at: at(topic.name), position: AtomicI64::new(0) };
        ShardContext {
            env: self.env.clone(),
            log: self.log.clone(),
            def: service.clone(),
            partition,
            partitions: self.config.partitions,
            group: self.log.producer_group(service.spec.name, self.config.budget_bytes),
            commits: at(&service.spec.commit_topic()),
            inputs: service.spec.reads().map(input).collect(),
            limits: self.config.limits.clone(),
            stats: stats.clone(),
            faults: faults.clone(),
            guards: self.config.guards.clone(),
            observer: self.config.observer.clone(),
            writers: self.config.writers.clone(),
            phase: self.phase.clone(),
            instance: self.config.instance.clone(),
            services: self.ids.clone(),
            outputs: self.topics.clone(),
            count_from: AtomicI64::new(-1),
            parked: AtomicU64::new(0),
            progress: watchdog::Progress::default(),
            publishing: AtomicBool::new(false),
            draining: draining.clone(),
        }
    }
}
