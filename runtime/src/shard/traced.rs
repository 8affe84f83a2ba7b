//! Which events of a batch get a span, decided before anything is built: almost all cost a look at their headers.

use crate::commit::staging::Range;
use crate::log::Record;
use crate::outcome::Failure;
use crate::service::Event;
use crate::telemetry::{At, Batch, EventSpan, SPANS_MAX, Span};
use crate::topology::Topic;
use crate::trace::{self, TRACEPARENT, TraceId, TraceParent};

use super::{Shard, ShardContext};

/// What is traced of the batch in hand.
#[derive(Default)]
pub(super) struct Traced {
    spans: Vec<EventSpan>,
    dropped: u32,
    started_us: u64,
    /// Every event of this service gets a span.
    follows: bool,
}

fn span(ctx: &ShardContext, parent: TraceParent, at: At) -> Option<Span> {
    // The clock is read for those who listen only.
    let started_us = ctx.telemetry.as_ref().map_or(0, |_| ctx.env.clock.mono_us());
    Span::new(ctx.def.spec.name, parent, at, started_us)
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
        match event.trace() {
            Some(parent) => span(ctx, parent, at),
            None if self.follows => self.after_the_fact(ctx, event, at),
            None => None,
        }
    }

    /// For an event that turned out to be of interest, or is followed: its trace is what it is about.
    #[cold]
    pub(super) fn after_the_fact(&self, ctx: &ShardContext, event: &Event<'_>, at: At) -> Option<Span> {
        let telemetry = ctx.telemetry.as_ref()?;
        let trace = telemetry.trace_of(at.0, event.value).unwrap_or_else(|| own_trace(at));
        span(ctx, trace.traceparent(), at)
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
        let failed = failure.map(|failure| (failure.kind(), failure.reason().code));
        self.spans.push(span.ended(failed, ctx.env.clock.mono_us()));
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
