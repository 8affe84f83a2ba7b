//! Facts become spans, after the fact and on the exporter's thread. A batch is one span that links to its traced events; a
//! traced event is a span of its own trace, so that one auction is followed from the bid to the ledger.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, TraceId};
use opentelemetry_sdk::trace::{SpanData, SpanLinks};
use runtime::telemetry::{Batch, EventSpan};
use runtime::trace::{self, TraceParent};

use super::names;

/// A request that the edge answered, worth a span.
#[derive(Clone, Debug)]
pub struct Request {
    /// The context that went into the record; its span is this request's.
    pub context: TraceParent,
    /// The caller's span, or the auction's root; 0: this is the root.
    pub parent: u64,
    pub route: &'static str,
    pub method: &'static str,
    pub status: u16,
    pub took_us: u64,
    pub ended_ms: i64,
}

/// A shard that ended and starts again.
#[derive(Clone, Debug)]
pub struct Restart {
    pub service: &'static str,
    pub shard: u32,
    pub why: String,
    pub at_ms: i64,
}

fn context(trace: trace::TraceId, span: u64, is_remote: bool) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(trace.0), SpanId::from_bytes(span.to_be_bytes()));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, TraceState::default())
}

/// Microseconds before a moment of the wall clock.
fn before(at_ms: i64, us: u64) -> SystemTime {
    let at_us = u64::try_from(at_ms).unwrap_or_default().saturating_mul(1_000);
    UNIX_EPOCH + Duration::from_micros(at_us.saturating_sub(us))
}

struct Parts {
    context: SpanContext,
    parent: u64,
    kind: SpanKind,
    name: Cow<'static, str>,
    start: SystemTime,
    end: SystemTime,
    attributes: Vec<KeyValue>,
    links: SpanLinks,
    status: Status,
}

impl Parts {
    fn span(self, scope: &InstrumentationScope) -> SpanData {
        SpanData {
            span_context: self.context,
            parent_span_id: SpanId::from_bytes(self.parent.to_be_bytes()),
            parent_span_is_remote: self.parent != 0,
            span_kind: self.kind,
            name: self.name,
            start_time: self.start,
            end_time: self.end,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links: self.links,
            status: self.status,
            instrumentation_scope: scope.clone(),
        }
    }
}

/// The span of a batch, and of each of its traced events.
pub fn of_batch(batch: &Batch, instance: &str, scope: &InstrumentationScope, out: &mut Vec<SpanData>) {
    let seed = format!("{instance}/{}/{}/{}/{}", batch.service, batch.shard, batch.sequence, batch.ended_ms);
    let id = trace::TraceId::of_auction(&seed);
    let own = context(id, id.root(), false);
    out.extend(batch.spans.iter().filter_map(|event| of_event(event, batch, &own, scope)));
    let mut links = SpanLinks::default();
    links.dropped_count = batch.spans_dropped;
    links.links = batch
        .spans
        .iter()
        .filter_map(|event| trace::parse(&event.parent))
        .map(|(trace, span)| Link::with_context(context(trace, span, true)))
        .collect();
    let topic = batch.inputs.first().map_or("", |range| range.topic);
    let mut attributes = process(batch, topic);
    attributes.push(KeyValue::new(names::MESSAGING_BATCH_MESSAGE_COUNT, batch.events as i64));
    for (name, value) in [
        (names::COMMIT_SEQUENCE, batch.sequence),
        (names::DEAD_LETTERED, batch.dead_lettered as i64),
        (names::PARKED, batch.parked as i64),
        (names::SPANS_DROPPED, i64::from(batch.spans_dropped)),
    ] {
        if value != 0 {
            attributes.push(KeyValue::new(name, value));
        }
    }
    let parts = Parts {
        context: own,
        parent: 0,
        kind: SpanKind::Consumer,
        name: name(topic),
        start: before(batch.ended_ms, batch.ended_us.saturating_sub(batch.started_us)),
        end: before(batch.ended_ms, 0),
        attributes,
        links,
        status: Status::Unset,
    };
    out.push(parts.span(scope));
}

fn name(topic: &'static str) -> Cow<'static, str> {
    if topic.is_empty() { names::PROCESS.into() } else { format!("{} {topic}", names::PROCESS).into() }
}

fn process(batch: &Batch, topic: &'static str) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(names::MESSAGING_SYSTEM, names::SYSTEM),
        KeyValue::new(names::MESSAGING_OPERATION_NAME, names::PROCESS),
        KeyValue::new(names::MESSAGING_OPERATION_TYPE, names::PROCESS),
        KeyValue::new(names::MESSAGING_CONSUMER_GROUP_NAME, batch.service),
        KeyValue::new(names::SERVICE, batch.service),
        KeyValue::new(names::SHARD, i64::from(batch.shard)),
    ];
    if !topic.is_empty() {
        attributes.push(KeyValue::new(names::MESSAGING_DESTINATION_NAME, topic));
    }
    attributes
}

fn of_event(
    event: &EventSpan,
    batch: &Batch,
    of_batch: &SpanContext,
    scope: &InstrumentationScope,
) -> Option<SpanData> {
    let (trace, parent) = trace::parse(&event.parent)?;
    let mut attributes = process(batch, event.topic);
    attributes.push(KeyValue::new(names::MESSAGING_DESTINATION_PARTITION_ID, event.partition.to_string()));
    attributes.push(KeyValue::new(names::MESSAGING_KAFKA_OFFSET, event.offset));
    let mut status = Status::Unset;
    if let Some((class, code)) = event.failed {
        attributes.push(KeyValue::new(names::ERROR_TYPE, code));
        attributes.push(KeyValue::new(names::FAILURE_CLASS, class));
        status = Status::error(code);
    }
    let mut links = SpanLinks::default();
    links.links = vec![Link::with_context(of_batch.clone())];
    let parts = Parts {
        context: context(trace, event.span, false),
        parent,
        kind: SpanKind::Consumer,
        name: name(event.topic),
        start: before(batch.ended_ms, batch.ended_us.saturating_sub(event.started_us)),
        end: before(batch.ended_ms, batch.ended_us.saturating_sub(event.ended_us)),
        attributes,
        links,
        status,
    };
    Some(parts.span(scope))
}

/// The span of a request.
pub fn of_request(request: &Request, scope: &InstrumentationScope) -> Option<SpanData> {
    let (trace, span) = trace::parse(&request.context)?;
    let parts = Parts {
        context: context(trace, span, false),
        parent: request.parent,
        kind: SpanKind::Server,
        name: format!("{} {}", request.method, request.route).into(),
        start: before(request.ended_ms, request.took_us),
        end: before(request.ended_ms, 0),
        attributes: vec![
            KeyValue::new(names::HTTP_REQUEST_METHOD, request.method),
            KeyValue::new(names::HTTP_ROUTE, request.route),
            KeyValue::new(names::HTTP_RESPONSE_STATUS_CODE, i64::from(request.status)),
        ],
        links: SpanLinks::default(),
        status: Status::Unset,
    };
    Some(parts.span(scope))
}

/// The span of a restart: a moment, and always an error.
pub fn of_restart(restart: &Restart, scope: &InstrumentationScope) -> SpanData {
    let id = trace::TraceId::of_auction(&format!("restart/{}/{}/{}", restart.service, restart.shard, restart.at_ms));
    let at = before(restart.at_ms, 0);
    let parts = Parts {
        context: context(id, id.root(), false),
        parent: 0,
        kind: SpanKind::Internal,
        name: format!("restart {}", restart.service).into(),
        start: at,
        end: at,
        attributes: vec![
            KeyValue::new(names::SERVICE, restart.service),
            KeyValue::new(names::SHARD, i64::from(restart.shard)),
            KeyValue::new(names::RESTART_REASON, restart.why.clone()),
        ],
        links: SpanLinks::default(),
        status: Status::error("restart"),
    };
    parts.span(scope)
}
