//! One run: the platform with its bill over virtual cores, the same traffic, with a fault or without.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use runtime::env::Env;
use runtime::fault::FaultKind;
use runtime::log::Log;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::MemoryStorage;
use runtime::platform::{Bulkhead, Platform, PlatformConfig};
use runtime::producer::Producer;
use runtime::stats::Phase;
use serde::{Deserialize, Serialize};

use super::charged::{Account, ChargedDisk, ChargedLog, counted};
use super::cores::Cores;
use super::costs;
use super::shares::{CORES, What, weight};
use crate::traffic::{Parcel, Traffic};
use crate::world::{self, EPOCH_MS, WorldError};

/// How often the outside sends.
const PUMP_US: u64 = 2_000;
/// How often somebody edits a campaign: often, so that its service is busy too.
const CHANGES_MS: u64 = 4;
/// Threads of a bulkhead on a machine of two cores, as the binary chooses them.
const THREADS: usize = 1;
/// Workers of the one executor of the control.
const WORKERS: usize = 2;
const PARTITIONS: u32 = 2;
const BUDGET_BYTES: usize = 8 << 20;

/// What a run is made from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    /// Mean impressions a second, thousandths.
    pub rate_milli: u64,
    /// The fault begins; latencies count from here to the end.
    pub from_ms: u64,
    pub for_ms: u64,
    /// Traffic ends.
    pub until_ms: u64,
    /// What is still unsettled then has not caught up.
    pub end_ms: u64,
    /// All services on one executor, as in one naive runtime: a fold that stalls, spins or is slow keeps its worker.
    pub shared: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            rate_milli: 1_000_000,
            from_ms: 3_000,
            for_ms: 5_000,
            until_ms: 13_000,
            end_ms: 16_000,
            shared: false,
        }
    }
}

/// A service in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    pub service: String,
    /// Record readable in the input -> settled, of what was settled since the fault began.
    pub p50_us: u64,
    pub p99_us: u64,
    /// Events settled, of those readable.
    pub settled: u64,
    pub readable: u64,
    pub dead_lettered: u64,
    pub restarts: u64,
    pub lag_max: u64,
    /// Times that the fault took hold of it.
    pub fired: u64,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Twin {
    pub services: Vec<Seen>,
    /// Share of the virtual cores in use between the fault's begin and the end of the traffic.
    pub utilisation: f64,
}

impl Twin {
    pub fn of(&self, service: &str) -> Option<&Seen> {
        self.services.iter().find(|seen| seen.service == service)
    }
}

/// As in production, where a group closes as soon as the one before it is on the disk.
fn log_config() -> SegmentLogConfig {
    SegmentLogConfig { grid_us: 100, ..SegmentLogConfig::default() }
}

struct World {
    plan: Plan,
    env: Env,
    cores: Cores,
    platform: Platform,
    accounts: BTreeMap<&'static str, Arc<Account>>,
    outside: Producer,
    traffic: Traffic,
}

/// Runs a plan, with a fault in one service or without. Inside a paused `current_thread` runtime.
///
/// # Errors
/// The world itself cannot be made.
pub async fn run(plan: Plan, fault: Option<(&str, FaultKind)>) -> Result<Twin, WorldError> {
    let mut world = World::new(plan).await?;
    world.live(0, plan.from_ms).await?;
    world.platform.set_phase(Phase::InFault);
    let busy_us = world.cores.busy_us();
    let mut broken = fault.and_then(|(service, kind)| Broken::begin(&world, service, kind));
    world.live(plan.from_ms, plan.from_ms + plan.for_ms).await?;
    if let Some(broken) = broken.take() {
        broken.end(&world);
    }
    world.live(plan.from_ms + plan.for_ms, plan.until_ms).await?;
    let busy_us = world.cores.busy_us() - busy_us;
    world.live(plan.until_ms, plan.end_ms).await?;
    let window_us = 1e3 * (plan.until_ms - plan.from_ms) as f64;
    let services = world.platform.bulkheads.iter().map(|bulkhead| world.seen(bulkhead)).collect();
    world.platform.kill();
    Ok(Twin { services, utilisation: busy_us / window_us / CORES })
}

/// Sends and does not wait for the answer: those outside do not know each other.
fn send(outside: &mut Producer, parcels: &[Parcel]) -> Result<(), WorldError> {
    for parcel in parcels {
        outside
            .add_bytes(parcel.topic, parcel.key.as_bytes(), parcel.timestamp_ms, &parcel.value, &[])
            .map_err(|error| WorldError::Start(error.to_string()))?;
    }
    if !parcels.is_empty() {
        #[allow(clippy::disallowed_methods)] // the simulation's one thread
        tokio::spawn(outside.flush());
    }
    Ok(())
}

impl World {
    async fn new(plan: Plan) -> Result<Self, WorldError> {
        let env = Env::fine_simulation(plan.seed, EPOCH_MS);
        let storage = MemoryStorage::new();
        storage.set_hook(Some(Box::new(ChargedDisk { seed: plan.seed, clock: env.clock.clone() })));
        let log = EmbeddedLog::open(&env, Arc::new(storage), log_config())
            .map_err(|error| WorldError::Open(error.to_string()))?;
        let cores = Cores::start(&env.clock);
        let threads = [cores.pool(1, weight(0)), cores.pool(1, weight(0))];
        let shared = plan.shared.then(|| cores.pool(WORKERS, weight(0)));
        let (mut accounts, mut by_topic, mut services) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for service in world::services() {
            let (name, nice) = (service.spec.name, service.spec.class.nice());
            let pool = shared.unwrap_or_else(|| cores.pool(THREADS, weight(nice)));
            let account = Arc::new(Account::new(pool, costs::event_us(name)));
            by_topic.insert(service.spec.commit_topic(), account.clone());
            services.push(counted(service, &account));
            accounts.insert(name, account);
        }
        let log: Arc<dyn Log> = Arc::new(ChargedLog::new(log, env.clock.clone(), cores.clone(), threads, by_topic));
        let mut config = PlatformConfig { partitions: PARTITIONS, threads: THREADS, ..PlatformConfig::default() };
        config.limits.retry_delays = [100, 500, 2_000].map(Duration::from_millis).to_vec();
        let platform = Platform::start(env.clone(), log.clone(), services, config)
            .await
            .map_err(|error| WorldError::Start(error.to_string()))?;
        for bulkhead in &platform.bulkheads {
            if let Some(account) = accounts.get(bulkhead.spec.name) {
                *account.stats.lock().unwrap_or_else(PoisonError::into_inner) = Some(bulkhead.stats.clone());
            }
        }
        let mut outside = Producer::new(log, "outside", BUDGET_BYTES, PARTITIONS);
        let traffic = Traffic::new(plan.seed, EPOCH_MS, plan.rate_milli, plan.until_ms, None);
        send(&mut outside, &traffic.opening())?;
        Ok(Self { plan, env, cores, platform, accounts, outside, traffic })
    }

    /// Lets the outside send from one time to another.
    async fn live(&mut self, from_ms: u64, to_ms: u64) -> Result<(), WorldError> {
        let mut parcels = Vec::new();
        let mut next_us = from_ms * 1_000;
        while next_us < to_ms * 1_000 {
            next_us += PUMP_US;
            let wait_us = next_us.saturating_sub(self.env.clock.mono_us());
            self.env.clock.sleep(Duration::from_micros(wait_us)).await;
            if next_us <= self.plan.until_ms * 1_000 {
                let now_ms = next_us / 1_000;
                self.traffic.due(now_ms, &mut parcels);
                if now_ms.is_multiple_of(CHANGES_MS) {
                    parcels.push(self.traffic.campaign_change(now_ms / CHANGES_MS, now_ms));
                }
            }
            send(&mut self.outside, &parcels)?;
            parcels.clear();
            if next_us.is_multiple_of(100_000) {
                self.platform.bulkheads.iter().for_each(|bulkhead| bulkhead.stats.sample_lag(bulkhead.lag()));
            }
        }
        Ok(())
    }

    fn seen(&self, bulkhead: &Bulkhead) -> Seen {
        let stats = &bulkhead.stats;
        let tally = stats.tally();
        // Who has settled nothing has waited as long as was watched.
        let watched_us = 1_000 * (self.plan.end_ms - self.plan.from_ms);
        let at = |quantile| stats.latency_us(quantile, &[Phase::InFault]).unwrap_or(watched_us);
        Seen {
            service: bulkhead.spec.name.to_owned(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            settled: tally.total(),
            readable: tally.total() + bulkhead.lag(),
            dead_lettered: tally.dead_lettered,
            restarts: stats.restarts.load(Ordering::Relaxed),
            lag_max: stats.lag_max.load(Ordering::Relaxed),
            fired: bulkhead.faults.fired(),
        }
    }
}

/// A fault that is going on.
struct Broken<'a> {
    service: &'a str,
    /// Threads that it keeps.
    kept: Vec<u64>,
}

impl<'a> Broken<'a> {
    fn begin(world: &World, service: &'a str, kind: FaultKind) -> Option<Self> {
        let (bulkhead, account) = (world.platform.bulkhead(service)?, world.accounts.get(service)?);
        let shared = world.plan.shared;
        let what = match kind {
            // A spinning fold keeps its thread wherever it runs, a stalled one where nobody has given it one of its own.
            FaultKind::Spin => Some(What::Burn),
            FaultKind::Stall if shared => Some(What::Hold),
            _ => None,
        };
        if kind == FaultKind::Slow && shared {
            account.slow_until_us.store(world.env.clock.mono_us() + 1_000 * world.plan.for_ms, Ordering::Relaxed);
            bulkhead.faults.fire();
        } else {
            bulkhead.faults.start(kind);
        }
        let threads = if shared { WORKERS.min(bulkhead.shards.len()) } else { THREADS };
        let kept = what.map_or(Vec::new(), |what| (0..threads).map(|_| world.cores.take(account.pool, what)).collect());
        Some(Self { service, kept })
    }

    fn end(self, world: &World) {
        if let Some(bulkhead) = world.platform.bulkhead(self.service) {
            bulkhead.faults.end();
        }
        self.kept.into_iter().for_each(|number| world.cores.give_back(number));
    }
}
