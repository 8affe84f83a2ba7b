//! The seam to telemetry: plain facts, told when a commit stands. What becomes of them (spans, links, metrics) is the
//! business of whoever listens; nothing here waits, and nothing is told by whom nobody listens to.

use crate::commit::staging::Range;
use crate::trace::{TraceId, TraceParent};

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

    /// Every event of this service gets a span for now.
    fn follows(&self, service: &str) -> bool;

    /// The trace that an event belongs to by what is in it; asked only where a span is wanted and no context came along.
    fn trace_of(&self, topic: &str, value: &[u8]) -> Option<TraceId>;
}
