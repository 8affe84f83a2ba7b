//! The compartment around one service's shards: its threads, counters, switches and what holds it back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::alloc::Owner;
use crate::breaker::Breaker;
use crate::env::{BulkheadRuntime, Env};
use crate::fault::FaultSwitch;
use crate::flood::FloodGuard;
use crate::log::{Log, Membership, TopicId, TopicPartition};
use crate::ownership::Steward;
use crate::platform::{PlatformConfig, StartError};
use crate::service::ServiceDef;
use crate::shard::{Input, ShardContext};
use crate::stats::ServiceStats;
use crate::supervisor::bulkhead::MakeRuntime;
use crate::supervisor::root::SupervisorSlot;
use crate::supervisor::{ShardSlot, Supervised, watchdog};
use crate::topology::{self, ServiceSpec};

/// Bytes that a service may hold, tables and all, as the accounting allocator counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryCaps {
    /// Beyond this it takes nothing in.
    pub soft_bytes: u64,
    /// Beyond this a shard that works is started again from its last commit.
    pub hard_bytes: u64,
}

impl Default for MemoryCaps {
    fn default() -> Self {
        Self { soft_bytes: u64::MAX, hard_bytes: u64::MAX }
    }
}

impl MemoryCaps {
    /// Half and three fifths of what the machine has: one service alone never brings it to its end.
    pub fn of_machine() -> Self {
        let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of_total = |line: &str| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok();
        let total_kib: Option<u64> = told.lines().find_map(of_total);
        total_kib.map_or_else(Self::default, |kib| Self { soft_bytes: kib * 1024 / 2, hard_bytes: kib * 1024 / 5 * 3 })
    }
}

/// One service's compartment.
pub struct Bulkhead {
    pub spec: ServiceSpec,
    pub stats: Arc<ServiceStats>,
    pub faults: Arc<FaultSwitch>,
    pub breaker: Arc<Breaker>,
    pub flood: Arc<FloodGuard>,
    pub shards: Vec<Arc<ShardSlot>>,
    degraded: Arc<AtomicBool>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) supervisor: SupervisorSlot,
    /// Who follows the service's group; none where all shards are this process's.
    pub(crate) steward: Option<Steward>,
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

    /// Bytes that it holds, tables and all; 0 where the process does not count.
    pub fn memory_bytes(&self) -> u64 {
        self.shards.first().map_or(0, |shard| shard.ctx.owner.bytes())
    }

    /// Why it takes nothing in: something that it needs is away, or too much of a topic fails.
    pub fn paused(&self) -> Option<&'static str> {
        let clock = &self.shards.first()?.ctx.env.clock;
        match () {
            () if self.flood.is_resting(clock.mono_us()) => Some("flood"),
            () if !self.breaker.is_closed() => Some("dependency down"),
            () => None,
        }
    }

    /// Shards whose outputs are not all acknowledged.
    pub fn publishing(&self) -> usize {
        self.shards.iter().filter(|shard| shard.ctx.publishing.load(Ordering::Acquire)).count()
    }

    /// Its supervisor is there to start again what fails.
    pub fn is_supervised(&self) -> bool {
        self.supervisor.load().as_ref().is_some_and(|actor| actor.get_status() < ractor::ActorStatus::Stopping)
    }

    /// Shards that are this process's.
    pub fn owned(&self) -> usize {
        self.shards.iter().filter(|shard| shard.ctx.is_owned()).count()
    }

    /// It is known which shards are this process's.
    pub fn is_settled(&self) -> bool {
        self.steward.as_ref().is_none_or(Steward::is_settled)
    }

    /// Shards that are up.
    pub fn running(&self) -> usize {
        self.shards.iter().filter(|shard| shard.actor().is_some()).count()
    }
}

/// What the shards of a bulkhead share.
struct Shared<'a> {
    stats: &'a Arc<ServiceStats>,
    faults: &'a Arc<FaultSwitch>,
    draining: &'a Arc<AtomicBool>,
    breaker: &'a Arc<Breaker>,
    flood: &'a Arc<FloodGuard>,
    owned: bool,
}

/// What all bulkheads are made from.
pub(crate) struct Parts<'a> {
    pub(crate) env: &'a Env,
    pub(crate) log: &'a Arc<dyn Log>,
    pub(crate) config: &'a PlatformConfig,
    pub(crate) ids: &'a Arc<BTreeMap<u32, &'static str>>,
    pub(crate) topics: &'a Arc<BTreeMap<Arc<str>, TopicId>>,
    pub(crate) phase: &'a Arc<AtomicU8>,
    pub(crate) gate: &'a Arc<tokio::sync::Semaphore>,
    pub(crate) trials: &'a Arc<tokio::sync::RwLock<()>>,
}

impl Parts<'_> {
    /// The compartment, and what its supervisor is made from.
    pub(crate) fn bulkhead(
        &self,
        service: &ServiceDef,
    ) -> Result<(Bulkhead, Supervised, Option<Membership>), StartError> {
        let (env, name, threads) = (self.env.clone(), service.spec.name, self.config.threads);
        let nice = service.spec.class.nice();
        let make_runtime: MakeRuntime = Arc::new(move || BulkheadRuntime::new(&env, name, threads, nice));
        let runtime = make_runtime().map_err(|error| StartError::Threads { bulkhead: name.into(), error })?;
        let runtime = Arc::new(ArcSwap::from_pointee(runtime));
        let degraded = Arc::new(AtomicBool::new(false));
        let (stats, faults) = (Arc::new(ServiceStats::default()), FaultSwitch::new());
        let draining = Arc::new(AtomicBool::new(false));
        let breaker = Arc::new(Breaker::default());
        let flood = Arc::new(FloodGuard::new(self.config.flood, service.spec.reads().count()));
        let membership = self.log.join(name, self.topics[&*service.spec.commit_topic()])?;
        let owned = membership.is_none();
        let shared =
            Shared { stats: &stats, faults: &faults, draining: &draining, breaker: &breaker, flood: &flood, owned };
        let shards: Vec<_> = (0..self.config.partitions)
            .map(|partition| ShardSlot::new(Arc::new(self.shard(service, partition, &shared))))
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
            abandoned: Arc::default(),
            slot: SupervisorSlot::default(),
        };
        let supervisor = supervised.slot.clone();
        let spec = service.spec.clone();
        let (steward, _runtime) = (None, runtime);
        let bulkhead =
            Bulkhead { spec, stats, faults, breaker, flood, shards, degraded, draining, supervisor, steward, _runtime };
        Ok((bulkhead, supervised, membership))
    }

    fn shard(&self, service: &ServiceDef, partition: u32, shared: &Shared<'_>) -> ShardContext {
        let at = |name: &str| TopicPartition { topic: self.topics[name], partition };
        let input = |topic: &'static topology::Topic| Input { topic, at: at(topic.name), position: AtomicI64::new(0) };
        ShardContext {
            env: self.env.clone(),
            writers: self.config.writers.clone(),
            log: self.log.clone(),
            def: service.clone(),
            partition,
            partitions: self.config.partitions,
            group: self.log.producer_group(service.spec.name, self.config.budget_bytes),
            commits: at(&service.spec.commit_topic()),
            inputs: service.spec.reads().map(input).collect(),
            limits: self.config.limits.clone(),
            stats: shared.stats.clone(),
            faults: shared.faults.clone(),
            guards: self.config.guards.clone(),
            observer: self.config.observer.clone(),
            telemetry: self.config.telemetry.clone(),
            phase: self.phase.clone(),
            instance: self.config.instance.clone(),
            services: self.ids.clone(),
            outputs: self.topics.clone(),
            count_from: AtomicI64::new(-1),
            credits: arc_swap::ArcSwapOption::empty(),
            parked: AtomicU64::new(0),
            trials: self.trials.clone(),
            first_claim: AtomicI64::new(-1),
            is_calm: AtomicBool::new(false),
            progress: watchdog::Progress::default(),
            publishing: AtomicBool::new(false),
            memory: self.config.memory,
            owner: Owner::named(service.spec.name),
            breaker: shared.breaker.clone(),
            flood: shared.flood.clone(),
            draining: shared.draining.clone(),
            owned: AtomicBool::new(shared.owned),
        }
    }
}
