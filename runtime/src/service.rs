//! What every service implements: a pure fold.
//!
//! The author writes no I/O, no clock, no randomness, no threads, and sees neither offsets nor credits nor Kafka. That
//! makes a service testable in a line, replayable, and simulable.

use schemas::codec::{Decode, Encode};

pub use crate::invariant::Checks;
use crate::log::Headers;
use crate::outcome::{Failure, Handled, Reason};
use crate::state::Tables;
use crate::topology::{ServiceSpec, Topic};
use crate::trace::{self, TRACEPARENT, TraceParent, is_sampled};

/// One event as a fold sees it: borrowed from the batch that brought it.
#[derive(Clone)]
pub struct Event<'a> {
    pub topic: &'static Topic,
    pub key: &'a [u8],
    /// Event time, ms since the epoch, as the producer set it on the record.
    pub timestamp_ms: i64,
    /// The value with its Confluent frame.
    pub value: &'a [u8],
    pub headers: Headers<'a>,
}

impl<'a> Event<'a> {
    /// Decodes the value; bytes that do not follow the schema are a permanent failure.
    pub fn decode<T: Decode<'a>>(&self) -> Result<T, Failure> {
        Ok(schemas::frame::decode(self.value)?)
    }

    pub fn key_str(&self) -> Result<&'a str, Failure> {
        std::str::from_utf8(self.key)
            .map_err(|_| Failure::Permanent(Reason::new("SCHEMA_VIOLATION", "the record's key is not UTF-8")))
    }

    /// Context of a sampled event: the gate before everything that tracing costs.
    #[inline]
    pub fn trace(&self) -> Option<TraceParent> {
        if self.headers.is_empty() { None } else { self.carried() }
    }

    fn carried(&self) -> Option<TraceParent> {
        let header = self.headers.get(TRACEPARENT).filter(|header| is_sampled(header))?;
        trace::parse(header)?;
        header.try_into().ok()
    }
}

/// One output of a fold, before it has a partition.
#[derive(Clone, Debug)]
pub struct Output {
    pub topic: &'static Topic,
    /// Key and value stand in the arena.
    key: (usize, usize),
    value: (usize, usize),
    pub timestamp_ms: i64,
    pub trace: Option<TraceParent>,
}

/// Outputs of a batch, in one arena: no allocation an event.
#[derive(Default)]
pub struct OutputBuffer {
    arena: Vec<u8>,
    outputs: Vec<Output>,
}

impl OutputBuffer {
    pub fn iter(&self) -> impl Iterator<Item = (&Output, &[u8], &[u8])> {
        self.outputs.iter().map(|output| {
            (output, &self.arena[output.key.0..output.key.1], &self.arena[output.value.0..output.value.1])
        })
    }
    pub fn len(&self) -> usize {
        self.outputs.len()
    }
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }
    #[inline]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }
    /// A point to roll back to when an event fails.
    #[inline]
    pub fn mark(&self) -> (usize, usize) {
        (self.outputs.len(), self.arena.len())
    }
    pub fn rollback(&mut self, (outputs, bytes): (usize, usize)) {
        self.outputs.truncate(outputs);
        self.arena.truncate(bytes);
    }
    pub fn clear(&mut self) {
        self.rollback((0, 0));
    }
}

/// Through which a fold acts on the world: events out, nothing else.
pub struct Effects<'a> {
    out: &'a mut OutputBuffer,
    spec: &'a ServiceSpec,
    now_ms: i64,
    shard: u32,
    trace: Option<TraceParent>,
}

impl<'a> Effects<'a> {
    #[inline]
    pub fn new(
        out: &'a mut OutputBuffer,
        spec: &'a ServiceSpec,
        now_ms: i64,
        shard: u32,
        trace: Option<TraceParent>,
    ) -> Self {
        Self { out, spec, now_ms, shard, trace }
    }

    /// Processing time of this batch, ms; recorded in the commit (rule P14). Rules leases, reservations, retries.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Emits an event with the event time it has. Panics if the topic was not declared as an output or has another
    /// schema: a mistake of the author, found by the first test.
    pub fn emit<E: Encode>(&mut self, topic: &'static Topic, key: &str, timestamp_ms: i64, event: &E) {
        self.put(topic, timestamp_ms, event, |arena| arena.extend_from_slice(key.as_bytes()));
    }

    /// Emits what is only this shard's part of a total, under a key of its own: parts of different shards must not
    /// replace each other in a compacted topic. Readers add them up.
    pub fn emit_partial<E: Encode>(&mut self, topic: &'static Topic, key: &str, timestamp_ms: i64, event: &E) {
        let shard = self.shard;
        self.put(topic, timestamp_ms, event, |arena| {
            arena.extend_from_slice(key.as_bytes());
            arena.push(b'@');
            arena.extend_from_slice(shard.to_string().as_bytes());
        });
    }

    fn put<E: Encode>(&mut self, topic: &'static Topic, timestamp_ms: i64, event: &E, key: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.spec.outputs.contains(&topic), "{} does not declare the output {}", self.spec.name, topic.name);
        assert!(topic.schema_id == E::SCHEMA_ID, "{} does not hold {}", topic.name, E::NAME);
        let arena = &mut self.out.arena;
        let start = arena.len();
        key(arena);
        let key = (start, arena.len());
        schemas::frame::encode(event, arena);
        let value = (key.1, arena.len());
        self.out.outputs.push(Output { topic, key, value, timestamp_ms, trace: self.trace });
    }
}

/// Rows restated in one commit, at most: a few hundred KiB.
pub const RESTATED_ROWS: usize = 1_000;

/// A domain service: a fold over keyed tables.
pub trait Service: Send + 'static {
    type State: Tables;

    fn spec() -> ServiceSpec;

    /// Folds one event into the state and new events. An `Err` or a panic leaves no trace of the event.
    fn handle(
        &mut self,
        state: &mut Self::State,
        event: &Event<'_>,
        effects: &mut Effects<'_>,
    ) -> Result<Handled, Failure>;

    /// Called about once a second, also when nothing comes, so that time passes for the state.
    fn tick(&mut self, _state: &mut Self::State, _effects: &mut Effects<'_>) {}

    /// Emits again the live keys of its compacted outputs, in key order, beginning with row `from`: at most
    /// `RESTATED_ROWS`, and the row to go on with; `None` when that was all (rule P10). Services without compacted outputs have
    /// nothing to say.
    fn restate(&mut self, _state: &Self::State, _from: usize, _effects: &mut Effects<'_>) -> Option<usize> {
        None
    }

    /// Asked before every commit: what must hold of the state, by name. Where something does not, nothing is committed and
    /// the shard is rebuilt.
    fn invariants(&self, _state: &Self::State, _checks: &mut Checks) {}
}

/// A service with its state, without its types: what a shard drives.
pub trait Fold: Send {
    fn handle(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure>;
    fn tick(&mut self, effects: &mut Effects<'_>);
    fn restate(&mut self, from: usize, effects: &mut Effects<'_>) -> Option<usize>;
    /// As `Service::invariants`.
    fn invariants(&self, checks: &mut Checks);
    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn crate::state::AnyTable));
    /// `AnyTable::begin_event` of each table that is visited.
    fn begin_event(&mut self) {
        self.tables(&mut |table| table.begin_event());
    }
}

struct Erased<S: Service> {
    service: S,
    state: S::State,
}

impl<S: Service> Fold for Erased<S> {
    fn handle(&mut self, event: &Event<'_>, effects: &mut Effects<'_>) -> Result<Handled, Failure> {
        self.service.handle(&mut self.state, event, effects)
    }
    fn tick(&mut self, effects: &mut Effects<'_>) {
        self.service.tick(&mut self.state, effects);
    }
    fn restate(&mut self, from: usize, effects: &mut Effects<'_>) -> Option<usize> {
        self.service.restate(&self.state, from, effects)
    }
    fn invariants(&self, checks: &mut Checks) {
        self.service.invariants(&self.state, checks);
    }
    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn crate::state::AnyTable)) {
        self.state.each(visit);
    }
    fn begin_event(&mut self) {
        self.state.begin_event();
    }
}

/// A service as the platform knows it: its data and how to make a fresh fold for a shard.
#[derive(Clone)]
pub struct ServiceDef {
    pub spec: ServiceSpec,
    make: std::sync::Arc<dyn Fn() -> Box<dyn Fold> + Send + Sync>,
}

impl ServiceDef {
    /// `make` gives each shard its own copy of the service (configuration, compiled lists).
    pub fn new<S: Service>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let make = move || Box::new(Erased { service: make(), state: S::State::default() }) as Box<dyn Fold>;
        Self { spec: S::spec(), make: std::sync::Arc::new(make) }
    }

    /// The same service with each of its folds wrapped: tests and the simulation change behaviour here, in no other way.
    pub fn wrapped(self, wrap: impl Fn(Box<dyn Fold>) -> Box<dyn Fold> + Send + Sync + 'static) -> Self {
        let inner = self.make;
        Self { spec: self.spec, make: std::sync::Arc::new(move || wrap(inner())) }
    }

    /// A fold with empty tables.
    pub fn fold(&self) -> Box<dyn Fold> {
        (self.make)()
    }
}
