//! OpenTelemetry: what the runtime tells becomes spans, metrics and logs, and goes to a collector by OTLP. Nothing waits for
//! it: facts go into a bounded queue with one look at its room, everything else happens in a bulkhead of its own, and what a
//! collector does not take in time is dropped and counted.
//!
//! `names` has every name, `sampling` decides what is traced, `spans` builds, `logs` listens, `metrics` reads the counters,
//! `export` sends.

mod export;
mod logs;
mod metrics;
pub mod names;
pub mod sampling;
pub mod spans;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::deadletter::plain::plain;
use runtime::env::{BulkheadRuntime, Env};
use runtime::platform::Bulkhead;
use runtime::telemetry::{Batch, Telemetry};
use runtime::trace::{TraceId, TraceParent};
use tokio::sync::mpsc;

use crate::operate::values::{self, Values};
use sampling::Sampling;
use spans::{Request, Restart};

/// Facts that may wait for the exporter.
const QUEUE: usize = 4_096;
/// Of these, kept free for what is always kept: failures and restarts.
const RESERVED: usize = QUEUE / 4;
/// Spans that may wait, in all facts: about 3 MiB.
const SPANS_WAITING_MAX: usize = 16_384;

/// What is sent, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConfig {
    /// `http://HOST:PORT` of a collector; `None`: nothing is sent.
    pub endpoint: Option<String>,
    /// gRPC instead of HTTP with protobuf.
    pub grpc: bool,
    /// One auction in so many is traced; 0: none.
    pub one_in: u64,
    /// How often metrics go out.
    pub metrics_interval: Duration,
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("no threads for telemetry: {0}")]
    Threads(std::io::Error),
    #[error("telemetry.endpoint: {0}; name a collector such as http://127.0.0.1:4318")]
    Endpoint(String),
}

impl TelemetryError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Threads(_) => "THREADS",
            Self::Endpoint(_) => "ENDPOINT",
        }
    }
}

/// What waits to be sent.
#[derive(Debug)]
enum Fact {
    Batch(Batch),
    Request(Request),
    Restart(Restart),
    Log(logs::Line),
}

impl Fact {
    fn spans(&self) -> usize {
        match self {
            Self::Batch(batch) => 1 + batch.spans.len(),
            Self::Request(_) | Self::Restart(_) => 1,
            Self::Log(_) => 0,
        }
    }

    /// Kept where others are dropped.
    fn is_kept(&self) -> bool {
        match self {
            Self::Batch(batch) => batch.dead_lettered > 0 || batch.spans.iter().any(|span| span.failed.is_some()),
            Self::Request(_) => false,
            Self::Restart(_) | Self::Log(_) => true,
        }
    }
}

/// What became of facts.
#[derive(Debug, Default)]
pub struct Counters {
    pub spans: AtomicU64,
    pub logs: AtomicU64,
    /// Facts for which there was no room.
    pub dropped: AtomicU64,
    /// Exports that the collector did not take.
    pub failures: AtomicU64,
    /// Facts taken and not sent yet.
    waiting: AtomicUsize,
    spans_waiting: AtomicUsize,
}

/// Where facts come in.
#[derive(Clone)]
struct Inlet {
    facts: mpsc::Sender<Fact>,
    counters: Arc<Counters>,
}

impl Inlet {
    fn tell(&self, fact: Fact) {
        let counters = &self.counters;
        let (spans, is_kept) = (fact.spans(), fact.is_kept());
        let has_room = counters.spans_waiting.load(Ordering::Relaxed) + spans <= SPANS_WAITING_MAX
            && (is_kept || self.facts.capacity() > RESERVED);
        counters.waiting.fetch_add(1, Ordering::Relaxed);
        counters.spans_waiting.fetch_add(spans, Ordering::Relaxed);
        if !has_room || self.facts.try_send(fact).is_err() {
            counters.took(spans);
            counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Counters {
    /// A fact with so many spans waits no longer.
    fn took(&self, spans: usize) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.spans_waiting.fetch_sub(spans, Ordering::Relaxed);
    }
}

/// The process's telemetry: it decides what is traced whether or not a collector listens, so that dead letters know their
/// traces and sampled records carry their contexts in any case.
pub struct Hub {
    env: Env,
    pub sampling: Sampling,
    pub counters: Arc<Counters>,
    inlet: Option<Inlet>,
    meters: Option<metrics::Meters>,
    values: Mutex<BTreeMap<String, Option<Arc<Values>>>>,
    _runtime: Option<BulkheadRuntime>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Hub {
    /// Starts to listen, and to send where an endpoint is configured. A collector that is away is no error: it may come.
    ///
    /// # Errors
    /// [`TelemetryError`].
    pub fn start(env: &Env, config: &TelemetryConfig, instance: &str) -> Result<Arc<Self>, TelemetryError> {
        let counters = Arc::<Counters>::default();
        let mut hub = Self {
            env: env.clone(),
            sampling: Sampling::new(env, config.one_in),
            counters: counters.clone(),
            inlet: None,
            meters: None,
            values: Mutex::default(),
            _runtime: None,
        };
        let Some(endpoint) = &config.endpoint else { return Ok(Arc::new(hub)) };
        let runtime = BulkheadRuntime::with_network(env, "telemetry", 1, 10).map_err(TelemetryError::Threads)?;
        let (facts, waiting) = mpsc::channel(QUEUE);
        let inlet = Inlet { facts, counters: counters.clone() };
        let (exporter, meters) = {
            // Clients find their reactor here.
            let _entered = runtime.handle().enter();
            let meters = metrics::Meters::new(endpoint, config, instance, runtime.handle(), &counters)?;
            (export::Exporter::new(env, endpoint, config.grpc, instance, counters)?, meters)
        };
        runtime.spawn(exporter.run(waiting, meters.process_duration()));
        logs::listen(env, inlet.clone());
        (hub.inlet, hub.meters, hub._runtime) = (Some(inlet), Some(meters), Some(runtime));
        Ok(Arc::new(hub))
    }

    /// Whether anything is sent.
    pub fn is_on(&self) -> bool {
        self.inlet.is_some()
    }

    /// Metrics of these services go out from now on.
    pub fn observe(&self, bulkheads: &[Bulkhead]) {
        if let Some(meters) = &self.meters {
            meters.observe(bulkheads);
        }
    }

    /// A request that is traced was answered.
    pub fn request(&self, span: RequestSpan, route: &'static str, method: &'static str, status: u16, since_us: u64) {
        let Some(inlet) = &self.inlet else { return };
        let RequestSpan { context, parent } = span;
        let took_us = self.env.clock.mono_us().saturating_sub(since_us);
        let ended_ms = self.env.clock.wall_ms();
        inlet.tell(Fact::Request(Request { context, parent, route, method, status, took_us, ended_ms }));
    }

    /// Waits until what was told is sent, at most for `limit`.
    pub async fn flush(&self, limit: Duration) {
        const STEP: Duration = Duration::from_millis(20);
        let until_us = self.env.clock.mono_us() + limit.as_micros() as u64;
        while self.counters.waiting.load(Ordering::Relaxed) > 0 && self.env.clock.mono_us() < until_us {
            self.env.clock.sleep(STEP).await;
        }
    }

    fn values(&self, topic: &str) -> Option<Arc<Values>> {
        let mut known = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || values::topic(topic).and_then(Values::of).ok().map(Arc::new);
        known.entry(topic.to_owned()).or_insert_with(make).clone()
    }
}

impl Telemetry for Hub {
    fn batch(&self, batch: Batch) {
        if let Some(inlet) = &self.inlet {
            inlet.tell(Fact::Batch(batch));
        }
    }

    fn restarted(&self, service: &'static str, shard: u32, why: &str, at_ms: i64) {
        if let Some(inlet) = &self.inlet {
            inlet.tell(Fact::Restart(Restart { service, shard, why: plain(why, &[]), at_ms }));
        }
    }

    fn follows(&self, service: &str) -> bool {
        self.inlet.is_some() && self.sampling.follows_service(service)
    }

    /// By the auction's id, where the event has it.
    fn trace_of(&self, topic: &str, value: &[u8]) -> Option<TraceId> {
        let read = self.values(topic)?.read(value).ok()?;
        read["auction_id"].as_str().filter(|id| !id.is_empty()).map(TraceId::of_auction)
    }
}

/// The span of a request that is traced.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpan {
    /// What goes with the record.
    pub context: TraceParent,
    /// 0: this span is the auction's root.
    parent: u64,
}

impl RequestSpan {
    /// Of a bid: the auction's root, or a span below the caller's.
    pub fn of_bid(context: TraceParent, is_callers: bool, now_us: u64) -> Option<Self> {
        if is_callers { Self::below(context, "bid", now_us) } else { Some(Self { context, parent: 0 }) }
    }

    /// Of what follows from a bid: below the auction's root.
    pub fn below(context: TraceParent, route: &str, now_us: u64) -> Option<Self> {
        let (id, parent) = runtime::trace::parse(&context)?;
        let span = runtime::trace::span_of(id, "edge", route, 0, now_us as i64);
        Some(Self { context: runtime::trace::below(&context, span), parent })
    }
}
