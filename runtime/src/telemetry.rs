//! The seam to telemetry: plain facts, told when a commit stands. What becomes of them (spans, links, metrics) is the
//! business of whoever listens; nothing here waits, and nothing is told by whom nobody listens to.

use crate::commit::staging::Range;
use crate::trace::{self, TraceId, TraceParent};

/// Spans of one commit, at most; more are counted. As many links as a span keeps by the SDKs' defaults.
pub const SPANS_MAX: usize = 128;

/// One attempt of a service at one event, worth a span: its context is sampled, somebody follows the service, or it failed.
#[derive(Clone, Debug)]
pub struct EventSpan {
    /// The context that came with the event, or the one that follows from it.
    pub parent: TraceParent,
    pub span: u64,
    pub topic: &'static str,
    pub partition: u32,
    pub offset: i64,
    pub started_us: u64,
    pub ended_us: u64,
    /// Class and code of the failure; `None`: it was taken.
    pub failed: Option<(&'static str, &'static str)>,
}

/// Topic, partition and offset of an event.
pub type At = (&'static str, u32, i64);

/// An attempt that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    parent: TraceParent,
    span: u64,
    at: At,
    started_us: u64,
}

impl Span {
    /// `None`: the context is none.
    pub fn new(service: &str, parent: TraceParent, at: At, started_us: u64) -> Option<Self> {
        let (trace, _) = trace::parse(&parent)?;
        Some(Self { parent, span: trace::span_of(trace, service, at.0, at.1, at.2), at, started_us })
    }

    /// The context that goes out with what the event leads to.
    pub fn carried(&self) -> TraceParent {
        trace::below(&self.parent, self.span)
    }

    /// The attempt has ended; with class and code, if it failed.
    pub fn ended(self, failed: Option<(&'static str, &'static str)>, ended_us: u64) -> EventSpan {
        let Self { parent, span, at: (topic, partition, offset), started_us } = self;
        EventSpan { parent, span, topic, partition, offset, started_us, ended_us, failed }
    }
}

/// One commit that stands.
#[derive(Clone, Debug)]
pub struct Batch {
    pub service: &'static str,
    pub shard: u32,
    pub sequence: i64,
    pub inputs: Vec<Range>,
    pub events: u64,
    pub dead_lettered: u64,
    pub parked: u64,
    pub spans: Vec<EventSpan>,
    /// Beyond [`SPANS_MAX`].
    pub spans_dropped: u32,
    /// Monotonic, as the spans' times are.
    pub started_us: u64,
    pub ended_us: u64,
    /// The wall clock at `ended_us`, ms since the epoch.
    pub ended_ms: i64,
}

/// Who listens. Every method returns at once: what cannot be taken is dropped and counted by the listener.
pub trait Telemetry: Send + Sync {
    fn batch(&self, batch: Batch);

    /// A shard ended and starts again.
    fn restarted(&self, service: &'static str, shard: u32, why: &str, at_ms: i64);

    /// Every event of this service gets a span, until that is changed back.
    fn follows(&self, service: &str) -> bool;

    /// The trace that an event belongs to by what is in it; asked only where a span is wanted and no context came along.
    fn trace_of(&self, topic: &str, value: &[u8]) -> Option<TraceId>;
}
