//! Which events of a batch get a span, decided before anything is built: almost all cost a look at their headers.

use crate::commit::staging::Range;
use crate::log::Record;
use crate::outcome::Failure;
use crate::service::Event;
use crate::telemetry::{Batch, EventSpan, SPANS_MAX};
use crate::topology::Topic;
use crate::trace::{self, TRACEPARENT, TraceId, TraceParent};

use super::{Shard, ShardContext};

/// Topic, partition and offset of an event.
type At = (&'static str, u32, i64);

/// What is traced of the batch in hand.
#[derive(Default)]
pub(super) struct Traced {
    spans: Vec<EventSpan>,
    dropped: u32,
    started_us: u64,
    /// Every event of this service gets a span.
    follows: bool,
}

/// An event that gets a span.
pub(super) struct Span {
    parent: TraceParent,
    span: u64,
    at: At,
    started_us: u64,
}

impl Span {
    fn new(ctx: &ShardContext, parent: TraceParent, at: At) -> Option<Self> {
        let (trace, _) = trace::parse(&parent)?;
        let span = trace::span_of(trace, ctx.def.spec.name, at.0, at.1, at.2);
        // The clock is read for those who listen only.
        let started_us = ctx.telemetry.as_ref().map_or(0, |_| ctx.env.clock.mono_us());
        Some(Self { parent, span, at, started_us })
    }

    /// The context that goes out with what the event leads to.
    pub(super) fn carried(&self) -> TraceParent {
        trace::below(&self.parent, self.span)
    }
}

impl Traced {
    pub(super) fn open(&mut self, ctx: &ShardContext) {
        let Some(telemetry) = &ctx.telemetry else { return };
        self.started_us = ctx.env.clock.mono_us();
        self.follows = telemetry.follows(ctx.def.spec.name);
    }

    /// The gate.
    #[inline]
    pub(super) fn begin(&mut self, ctx: &ShardContext, event: &Event<'_>, at: At) -> Option<Span> {
        let sampled = if event.headers.is_empty() { None } else { event.trace() };
        match sampled {
            Some(parent) => Span::new(ctx, parent, at),
            None if self.follows => self.after_the_fact(ctx, event, at),
            None => None,
        }
    }

    /// For an event that turned out to be of interest, or is followed: its trace is what it is about.
    #[cold]
    pub(super) fn after_the_fact(&self, ctx: &ShardContext, event: &Event<'_>, at: At) -> Option<Span> {
        let telemetry = ctx.telemetry.as_ref()?;
        let trace = telemetry.trace_of(at.0, event.value).unwrap_or_else(|| own_trace(at));
        Span::new(ctx, trace.traceparent(), at)
    }

    #[cold]
    pub(super) fn end(&mut self, ctx: &ShardContext, span: Span, failure: Option<&Failure>) {
        if ctx.telemetry.is_none() {
            return;
        }
        if self.spans.len() >= SPANS_MAX {
            self.dropped += 1;
            return;
        }
        let Span { parent, span, at: (topic, partition, offset), started_us } = span;
        let failed = failure.map(|failure| (failure.kind(), failure.reason().code));
        let ended_us = ctx.env.clock.mono_us();
        self.spans.push(EventSpan { parent, span, topic, partition, offset, started_us, ended_us, failed });
    }
}

/// Of an event that names no auction.
fn own_trace((topic, partition, offset): At) -> TraceId {
    TraceId::of_auction(&format!("{topic}/{partition}/{offset}"))
}

impl ShardContext {
    /// The trace of a record: what it carries, else what it is about.
    pub(super) fn trace_of(&self, topic: &Topic, record: &Record<'_>) -> Option<TraceId> {
        let carried = record.headers.get(TRACEPARENT).and_then(trace::parse).map(|(trace, _)| trace);
        carried.or_else(|| self.telemetry.as_ref()?.trace_of(topic.name, record.value?))
    }
}

impl Shard {
    /// The commit stands: tells whoever listens.
    pub(super) fn tell(&mut self, ranges: &[Range]) {
        let Some(telemetry) = &self.ctx.telemetry else { return };
        let events = self.tally.total();
        // Time that passed for an idle shard is no news.
        if events == 0 && self.traced.spans.is_empty() {
            return;
        }
        telemetry.batch(Batch {
            service: self.ctx.def.spec.name,
            shard: self.ctx.partition,
            sequence: self.next_sequence - 1,
            inputs: ranges.to_vec(),
            events,
            dead_lettered: self.tally.dead_lettered,
            parked: self.tally.parked,
            spans: std::mem::take(&mut self.traced.spans),
            spans_dropped: std::mem::take(&mut self.traced.dropped),
            started_us: self.traced.started_us,
            ended_us: self.ctx.env.clock.mono_us(),
            ended_ms: self.ctx.env.clock.wall_ms(),
        });
    }
}
