//! One world: a disk, a log, the platform as one process or more, the outside, faults by schedule, and a judge.

mod fatal;
mod faults;
mod judge;
mod process;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::MemoryStorage;
use runtime::log::{Log, TopicPartition};
use runtime::service::ServiceDef;
use runtime::stats::Phase;
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::fault::Kind;
use crate::mutant::Mutant;
use crate::network::Network;
use crate::oracle::audit::Auditor;
use crate::oracle::flow::Conserved;
use crate::oracle::published::Published;
use crate::oracle::{Findings, Violation};
use crate::scenario::Scenario;
use crate::source::Source;
use crate::trace::Trace;
use crate::traffic::Traffic;

pub use process::Process;

/// 2023-11-14T22:13:20Z: where every world begins.
pub const EPOCH_MS: i64 = 1_700_000_000_000;
/// How often the outside sends.
const PUMP_MS: u64 = 200;
/// How often the judge looks.
const AUDIT_MS: u64 = 1_000;
/// With all faults over, everything must have ended by then: 15 s for an unanswered append, twice, 10 s of back-off, the
/// retries of the run (2.6 s), a dependency's probe, and room for a backlog of two minutes.
const CONVERGE_MS: u64 = 120_000;

/// What to watch while a world runs.
#[derive(Default)]
pub struct Watch {
    pub trace_file: Option<std::fs::File>,
    /// Lines of the trace kept for the story.
    pub recent_lines: usize,
    /// The process dies in this write or sync, counted from 1 (crash points); 0: never.
    pub dies_in: u64,
    /// The process dies at this step of a shard (claim, delivery, commit, publication), counted from 1; 0: never.
    pub dies_at_step: u64,
    /// Watches whether ad serving is late.
    pub ads: bool,
    /// Samples how far behind every service is.
    pub lags: bool,
    /// The record of this many-th parcel is changed by one micro, for the test of the trace itself.
    pub changed_parcel: Option<u64>,
}

/// What a run came to.
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub checked: BTreeMap<&'static str, u64>,
    pub fired: BTreeMap<Kind, u64>,
    pub sha256: String,
    pub virtual_ms: u64,
    /// Events that services ended, over all processes.
    pub handled: u64,
    pub impressions: u64,
    pub records: u64,
    pub commits: u64,
    pub voids: u64,
    pub claims: u64,
    pub published: Published,
    pub dead_letters: u64,
    pub converged_ms: u64,
    /// Writes and syncs made: the points at which a process can die.
    pub points: u64,
    /// Steps of shards.
    pub observations: u64,
    /// Longest run of seconds in which an impression waited for more than a tenth of a second, if that was watched.
    pub ads_late_s: u64,
    pub recent: Vec<String>,
    pub lags: Lags,
    pub conserved: Vec<Conserved>,
}

/// How far behind and how slow every service was, second by second, if that was watched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lags {
    pub services: Vec<String>,
    pub samples: Vec<Sample>,
}

/// One look at all services.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Since the start of the world.
    pub at_ms: u64,
    /// Records that each service had waiting.
    pub waiting: Vec<u64>,
    /// 99th percentile from readable to settled of what each settled since the last look; none where nothing was.
    pub p99_us: Vec<Option<u64>>,
}

/// Why a world could not be made: a mistake of the simulation, never a finding about the platform.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    #[error("the simulated log does not open: {0}")]
    Open(String),
    #[error("the platform does not start: {0}")]
    Start(String),
    #[error("writing the trace: {0}")]
    Trace(String),
}

impl WorldError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Open(_) => "OPEN",
            Self::Start(_) => "START",
            Self::Trace(_) => "TRACE",
        }
    }
}

/// The services that run: all of the catalogue whose inputs somebody writes.
pub fn services() -> Vec<ServiceDef> {
    let mut services = actors::catalogue::services(&actors::catalogue::Config::default());
    loop {
        let specs: Vec<_> = services.iter().map(|service| service.spec.clone()).collect();
        match runtime::topology::check(&specs) {
            Err(runtime::topology::TopologyError::NoWriter { service, .. }) => {
                services.retain(|known| known.spec.name != service);
            }
            _ => return services,
        }
    }
}

/// Names of `services`.
pub fn service_names() -> Vec<&'static str> {
    services().iter().map(|service| service.spec.name).collect()
}

struct World {
    scenario: Scenario,
    env: Env,
    trace: Trace,
    storage: MemoryStorage,
    disk: Disk,
    network: Network,
    /// The log itself, behind whatever network.
    log: Arc<dyn Log>,
    services: Vec<ServiceDef>,
    processes: Vec<Process>,
    started: u32,
    /// When the next process starts, ms.
    restart_at_ms: Option<u64>,
    source: Source,
    traffic: Traffic,
    books: Arc<Mutex<Books>>,
    fired: BTreeMap<Kind, u64>,
    faults: faults::Active,
    fatal: fatal::Fatal,
    /// Parcels that must be set aside, by topic.
    bad: Vec<crate::traffic::Parcel>,
    handled: u64,
    parcels: u64,
    changed_parcel: Option<u64>,
    /// Steps of all shards so far, and the one that is the last of its process.
    steps: Arc<AtomicU64>,
    dies_at_step: u64,
    ads_watched: bool,
    lags: Option<Lags>,
    /// Seconds in which ad serving was late.
    ads_late: std::collections::BTreeSet<u64>,
}

/// What the judge keeps; shared with the log's clients, because a commit topic is read before it is trimmed.
pub(crate) struct Books {
    pub auditor: Auditor,
    pub findings: Findings,
}

impl Books {
    /// Reads the commit topics on.
    pub fn audit(&mut self, log: &Arc<dyn Log>) {
        self.auditor.advance(log, &mut self.findings);
    }

    /// A commit topic is about to be trimmed.
    pub fn trimmed(&mut self, log: &Arc<dyn Log>, of: TopicPartition, to: i64) {
        self.auditor.trimmed(log, of, to, &mut self.findings);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a scenario to its end. One a process and a thread, inside a paused `current_thread` runtime.
///
/// # Errors
/// The world itself cannot be made.
pub async fn run(scenario: Scenario, watch: Watch) -> Result<Outcome, WorldError> {
    let mut world = World::new(scenario, watch).await?;
    world.live().await?;
    world.converge().await?;
    world.judge().await
}

fn log_config() -> SegmentLogConfig {
    SegmentLogConfig::small()
}

/// Opens the log of an empty disk. A process that dies in that is started again, like any other.
fn first_log(env: &Env, storage: &MemoryStorage, disk: &Disk) -> Result<Arc<dyn Log>, WorldError> {
    loop {
        match EmbeddedLog::open(env, Arc::new(storage.mount()), log_config()) {
            Ok(log) => return Ok(log),
            Err(_) if disk.done().died => {
                storage.crash(&mut env.random.stream("crash/first"));
                disk.buried();
            }
            Err(error) => return Err(WorldError::Open(error.to_string())),
        }
    }
}

impl World {
    async fn new(scenario: Scenario, watch: Watch) -> Result<Self, WorldError> {
        let env = Env::simulation(scenario.seed, EPOCH_MS);
        let trace = Trace::new(env.clock.clone(), watch.trace_file, watch.recent_lines);
        let (storage, disk) = (MemoryStorage::new(), Disk::default());
        storage.set_hook(Some(disk.hook(trace.clone(), env.random.stream("disk"))));
        disk.set(|condition| {
            condition.dies_in = watch.dies_in;
            condition.syncs_skipped = scenario.mutant == Some(Mutant::NoSync);
            condition.directory_syncs_skipped = scenario.mutant == Some(Mutant::NoDirectorySync);
            condition.segment_syncs_skipped = scenario.mutant == Some(Mutant::NoSegmentSync);
        });
        let log = first_log(&env, &storage, &disk)?;
        let fatal = fatal::Fatal::default();
        let services = fatal.within(crate::mutant::planted(services(), scenario.mutant));
        let specs: Vec<_> = services.iter().map(|service| service.spec.clone()).collect();
        let traffic = Traffic::new(scenario.seed, EPOCH_MS, scenario.rate_milli, scenario.until_ms, scenario.bids_max);
        let mut world = Self {
            books: Arc::new(Mutex::new(Books {
                auditor: Auditor::new(&specs, scenario.partitions),
                findings: Findings::default(),
            })),
            faults: faults::Active::new(&scenario.faults),
            fatal,
            source: Source::new(&env),
            env,
            trace,
            storage,
            disk,
            network: Network::default(),
            log,
            services,
            processes: Vec::new(),
            started: 0,
            restart_at_ms: None,
            traffic,
            fired: BTreeMap::new(),
            bad: Vec::new(),
            handled: 0,
            parcels: 0,
            changed_parcel: watch.changed_parcel,
            steps: Arc::default(),
            dies_at_step: watch.dies_at_step,
            ads_watched: watch.ads,
            lags: watch.lags.then(|| Lags {
                services: specs.iter().map(|spec| spec.name.to_owned()).collect(),
                samples: Vec::new(),
            }),
            ads_late: Default::default(),
            scenario,
        };
        match world.start_process().await {
            // Buried and started again by the loop that looks after processes.
            Err(_) if world.disk.done().died => {}
            result => result?,
        }
        let opening = world.traffic.opening();
        world.send(opening);
        Ok(world)
    }

    fn now_ms(&self) -> u64 {
        self.env.clock.mono_us() / 1_000
    }

    async fn sleep_until(&self, at_ms: u64) {
        let now_us = self.env.clock.mono_us();
        self.env.clock.sleep(Duration::from_micros((at_ms * 1_000).saturating_sub(now_us))).await;
    }

    fn send(&mut self, mut parcels: Vec<crate::traffic::Parcel>) {
        for parcel in &mut parcels {
            self.parcels += 1;
            if self.changed_parcel == Some(self.parcels) {
                // One more micro, or one other bit, somewhere in the event.
                parcel.timestamp_ms += 1;
            }
        }
        self.source.push(parcels);
    }

    /// The time of faults and traffic.
    async fn live(&mut self) -> Result<(), WorldError> {
        let until_ms = self.scenario.until_ms;
        let mut parcels = Vec::new();
        let (mut next_pump_ms, mut next_audit_ms) = (0, 0);
        loop {
            let now_ms = self.now_ms();
            lock(&self.books).findings.now_ms = now_ms;
            self.change_faults(now_ms).await?;
            self.look_after_processes(now_ms).await?;
            if now_ms >= next_pump_ms {
                next_pump_ms = now_ms + PUMP_MS;
                self.traffic.due(now_ms, &mut parcels);
                self.misbehave(&mut parcels);
                let due = std::mem::take(&mut parcels);
                self.send(due);
                self.source.pump().await;
            }
            if now_ms >= next_audit_ms {
                next_audit_ms = now_ms + AUDIT_MS;
                self.audit();
                self.sample_lags(now_ms);
            }
            if now_ms >= until_ms {
                return Ok(());
            }
            if self.ads_watched && now_ms + PUMP_MS / 2 >= next_pump_ms {
                self.watch_ads(now_ms);
            }
            let half = if self.ads_watched && now_ms + PUMP_MS / 2 < next_pump_ms { PUMP_MS / 2 } else { 0 };
            let next_ms = (next_pump_ms - half).min(self.faults.next_ms()).min(self.restart_at_ms.unwrap_or(u64::MAX));
            self.sleep_until(next_ms.max(now_ms + 1).min(until_ms)).await;
        }
    }

    /// Half a beat after the outside has sent, it has its answer and ad serving is done with it, or that is late.
    fn watch_ads(&mut self, now_ms: u64) {
        let lag = self.current().and_then(|p| p.platform.bulkhead("ads")).map_or(1, |ads| ads.lag());
        if lag > 0 || self.source.is_waiting() {
            self.ads_late.insert(now_ms / 1_000);
        }
    }

    fn sample_lags(&mut self, now_ms: u64) {
        let Some(mut lags) = self.lags.take() else { return };
        let process = self.current();
        let bulkheads: Vec<_> =
            lags.services.iter().map(|name| process.and_then(|p| p.platform.bulkhead(name))).collect();
        let p99_us = |bulkhead: &runtime::platform::Bulkhead| {
            let p99_us = bulkhead.stats.latency_us(0.99, &[Phase::Before, Phase::InFault, Phase::After]);
            bulkhead.stats.reset_latency();
            p99_us
        };
        lags.samples.push(Sample {
            at_ms: now_ms,
            waiting: bulkheads.iter().map(|found| found.map_or(0, |bulkhead| bulkhead.lag())).collect(),
            p99_us: bulkheads.iter().map(|found| found.and_then(p99_us)).collect(),
        });
        self.lags = Some(lags);
    }

    fn longest_late_s(&self) -> u64 {
        let (mut longest, mut run, mut last) = (0, 0, None);
        for second in &self.ads_late {
            run = if last == Some(second.saturating_sub(1)) { run + 1 } else { 1 };
            longest = longest.max(run);
            last = Some(*second);
        }
        longest
    }

    /// All faults are over: everything must end within a stated time.
    async fn converge(&mut self) -> Result<(), WorldError> {
        self.end_all_faults().await?;
        let started_ms = self.now_ms();
        let mut rest = Vec::new();
        let mut calm = 0;
        // Outputs of the last tick are input of others: calm must last longer than a tick.
        while calm < 15 {
            let now_ms = self.now_ms();
            lock(&self.books).findings.now_ms = now_ms;
            self.look_after_processes(now_ms).await?;
            self.traffic.due(now_ms, &mut rest);
            if now_ms > started_ms + 2_000 {
                self.traffic.hurry(&mut rest);
            }
            let due = std::mem::take(&mut rest);
            self.send(due);
            self.source.pump().await;
            if now_ms % AUDIT_MS < PUMP_MS {
                self.audit();
                self.sample_lags(now_ms);
            }
            let idle = self.source.is_empty() && self.traffic.is_over() && self.is_idle();
            calm = if idle { calm + 1 } else { 0 };
            if now_ms > started_ms + CONVERGE_MS {
                let story = self.backlog();
                lock(&self.books)
                    .findings
                    .broken("converges", format!("not idle after {CONVERGE_MS} ms without faults: {story}"));
                break;
            }
            self.sleep_until(now_ms + PUMP_MS).await;
        }
        lock(&self.books).findings.checked("converges", 1);
        Ok(())
    }
}
