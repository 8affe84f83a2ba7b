//! Builds a commit: the inputs taken, the state change, the outputs with their provenance, in one record.

use std::collections::BTreeMap;

use bytes::Bytes;
use schemas::codec::Array;
use schemas::events::{Commit, InputRange, NotDone, OutcomeKind, OutputBatch, Row, TableDelta};

use super::CommitError;
use super::provenance::{self, Provenance};
use super::standing::Epoch;
use crate::log::batch::Compression;
use crate::log::{BatchBuilder, Offset};
use crate::state::AnyTable;
use crate::trace::{TRACEPARENT, TraceParent};

/// A commit record stays below this, as Kafka's default message limit is 1 MiB.
pub const COMMIT_BYTES_MAX: usize = 768 * 1024;

/// An output topic's partition. Names are interned by the topology, so a comparison is short.
pub type Destination = (std::sync::Arc<str>, u32);

/// Outputs of one commit to one partition, as they will be published.
#[derive(Clone, Debug)]
pub struct Publication {
    pub to: Destination,
    /// Number of the first, as the counters of the ownership say.
    pub first_n: i64,
    /// Number of the first, as the records carry it.
    pub staged_n: i64,
    pub count: i32,
    pub batch: Bytes,
}

/// Inputs taken in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub topic: &'static str,
    pub partition: u32,
    pub from: Offset,
    pub to: Offset,
}

/// An event that did not end Done.
#[derive(Clone, Debug)]
pub struct Exception {
    pub topic: &'static str,
    pub partition: u32,
    pub offset: Offset,
    pub kind: OutcomeKind,
    pub code: &'static str,
}

/// What a commit says beside its delta and outputs.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub epoch: Epoch,
    pub sequence: i64,
    pub now_ms: i64,
    pub tick: bool,
    /// Rule P8; -1: none.
    pub published: i64,
}

/// Dense output counters of a shard (rule P6), by destination: the next `n`.
pub type Counters = BTreeMap<Destination, i64>;

/// Collects a commit. Reused from batch to batch.
pub struct Staging {
    service: u32,
    partition: u16,
    slots: Vec<Slot>,
    /// In the order in which a commit names its outputs.
    by_destination: BTreeMap<Destination, usize>,
    pub ranges: Vec<Range>,
    pub exceptions: Vec<Exception>,
    rows: Vec<u8>,
}

/// Outputs staged for one destination.
struct Slot {
    to: Destination,
    builder: BatchBuilder,
    /// Of the first output in the builder (rule P6).
    first_n: i64,
}

/// Rows of one table inside the arena: key start, key end, value end (or none).
type RowSpan = (usize, usize, Option<usize>);

impl Staging {
    pub fn new(service: &str, partition: u32) -> Self {
        Self {
            service: provenance::service_id(service),
            partition: partition as u16,
            slots: Vec::new(),
            by_destination: BTreeMap::new(),
            ranges: Vec::new(),
            exceptions: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds one output. `n` follows from the counters of the fold and what is already staged for this destination.
    #[allow(clippy::too_many_arguments)] // the parts of a record
    pub fn output(
        &mut self,
        to: &Destination,
        counters: &Counters,
        lineage: i64,
        timestamp_ms: i64,
        key: &[u8],
        value: Option<&[u8]>,
        trace: Option<&TraceParent>,
        extra: &[(&[u8], &[u8])],
    ) -> Result<(), CommitError> {
        let slot = self.slot(to);
        self.put(slot, counters, lineage, timestamp_ms, key, value, trace, extra)
    }

    /// Where outputs to `to` are staged; stays the same for the life of the staging.
    pub fn slot(&mut self, to: &Destination) -> usize {
        if let Some(slot) = self.by_destination.get(to) {
            return *slot;
        }
        self.slots.push(Slot { to: to.clone(), builder: BatchBuilder::new(Compression::None), first_n: 0 });
        self.by_destination.insert(to.clone(), self.slots.len() - 1);
        self.slots.len() - 1
    }

    /// As `output`, for who knows the slot.
    #[allow(clippy::too_many_arguments)] // the parts of a record
    pub fn put(
        &mut self,
        slot: usize,
        counters: &Counters,
        lineage: i64,
        timestamp_ms: i64,
        key: &[u8],
        value: Option<&[u8]>,
        trace: Option<&TraceParent>,
        extra: &[(&[u8], &[u8])],
    ) -> Result<(), CommitError> {
        let Slot { to, builder, first_n } = &mut self.slots[slot];
        if builder.is_empty() {
            *first_n = counters.get(to).copied().unwrap_or(0);
        }
        let n = *first_n + builder.len() as i64;
        let from = Provenance { service: self.service, partition: self.partition, lineage, n }.encode();
        let pushed = if trace.is_none() && extra.is_empty() {
            builder.push(timestamp_ms, Some(key), value, &[(provenance::HEADER, &from)])
        } else {
            let mut headers: Vec<(&[u8], &[u8])> = vec![(provenance::HEADER, &from)];
            headers.extend(trace.map(|t| (TRACEPARENT, t.as_slice())));
            headers.extend_from_slice(extra);
            builder.push(timestamp_ms, Some(key), value, &headers)
        };
        pushed.map_err(|full| CommitError::TooLarge { bytes: full.record_bytes, limit_bytes: full.limit_bytes })
    }

    pub fn has_outputs(&self) -> bool {
        self.slots.iter().any(|slot| !slot.builder.is_empty())
    }

    /// Inputs taken from `from` to `to`; joins the range before where it can.
    pub fn took(&mut self, topic: &'static str, partition: u32, from: Offset, to: Offset) {
        if let Some(last) = self.ranges.last_mut()
            && last.topic == topic
            && last.partition == partition
            && last.to == from
        {
            last.to = to;
            return;
        }
        self.ranges.push(Range { topic, partition, from, to });
    }

    /// Encodes the commit into `out` and returns what is to be published once it stands. Counters move here: the
    /// caller owns them and drops them with the ownership if the commit turns out void.
    pub fn commit(
        &mut self,
        header: Header,
        tables: &mut dyn FnMut(&mut dyn FnMut(&mut dyn AnyTable)),
        counters: &mut Counters,
        out: &mut Vec<u8>,
    ) -> Result<Vec<Publication>, CommitError> {
        let publications = self.publications(counters);
        let spans = self.delta(tables);
        let rows: Vec<Vec<Row<'_>>> = spans
            .iter()
            .map(|(_, _, spans)| {
                let row = |&(start, key, value): &RowSpan| Row {
                    key: &self.rows[start..key],
                    value: value.map(|value| &self.rows[key..value]),
                };
                spans.iter().map(row).collect()
            })
            .collect();
        let delta: Vec<TableDelta<'_>> = spans
            .iter()
            .zip(&rows)
            .map(|((table, version, _), rows)| TableDelta {
                table,
                version: (*version).into(),
                rows: Array::from_slice(rows),
            })
            .collect();
        let inputs: Vec<InputRange<'_>> = self
            .ranges
            .iter()
            .map(|r| InputRange { topic: r.topic, partition: r.partition as i32, from: r.from, to: r.to })
            .collect();
        let outcomes: Vec<NotDone<'_>> = self
            .exceptions
            .iter()
            .map(|e| NotDone {
                topic: e.topic,
                partition: e.partition as i32,
                offset: e.offset,
                kind: e.kind,
                code: e.code,
            })
            .collect();
        let outputs: Vec<OutputBatch<'_>> = publications
            .iter()
            .map(|p| OutputBatch {
                topic: &p.to.0,
                partition: p.to.1 as i32,
                first_n: p.first_n,
                count: p.count,
                batch: &p.batch,
            })
            .collect();
        out.clear();
        schemas::frame::encode(
            &Commit {
                epoch_offset: header.epoch.offset,
                epoch_nonce: header.epoch.nonce,
                sequence: header.sequence,
                now: header.now_ms,
                tick: header.tick,
                inputs: Array::from_slice(&inputs),
                outcomes: Array::from_slice(&outcomes),
                delta: Array::from_slice(&delta),
                outputs: Array::from_slice(&outputs),
                published: header.published,
            },
            out,
        );
        self.ranges.clear();
        self.exceptions.clear();
        if out.len() > COMMIT_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes: out.len(), limit_bytes: COMMIT_BYTES_MAX });
        }
        Ok(publications)
    }

    fn publications(&mut self, counters: &mut Counters) -> Vec<Publication> {
        let mut publications = Vec::new();
        for (to, slot) in &self.by_destination {
            let builder = &self.slots[*slot].builder;
            if builder.is_empty() {
                continue;
            }
            let count = builder.len() as i32;
            let next = counters.entry(to.clone()).or_insert(0);
            let staged_n = self.slots[*slot].first_n;
            let batch = self.slots[*slot].builder.finish();
            publications.push(Publication { to: to.clone(), first_n: *next, staged_n, count, batch });
            *next += i64::from(count);
        }
        publications
    }

    /// Rows changed, in the arena; tables without a change are left out.
    fn delta(
        &mut self,
        tables: &mut dyn FnMut(&mut dyn FnMut(&mut dyn AnyTable)),
    ) -> Vec<(&'static str, u16, Vec<RowSpan>)> {
        let arena = &mut self.rows;
        arena.clear();
        let mut changed = Vec::new();
        tables(&mut |table| {
            if table.changed() == 0 {
                table.take_delta(&mut |_, _| {});
                return;
            }
            let (name, version) = (table.name(), table.version());
            let mut spans = Vec::with_capacity(table.changed());
            table.take_delta(&mut |key, value| {
                let start = arena.len();
                arena.extend_from_slice(key);
                let key_end = arena.len();
                let value_end = value.map(|value| {
                    arena.extend_from_slice(value);
                    arena.len()
                });
                spans.push((start, key_end, value_end));
            });
            changed.push((name, version, spans));
        });
        changed
    }
}
