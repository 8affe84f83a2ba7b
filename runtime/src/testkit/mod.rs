//! Push events into a service, look at what comes out: part of the product, used by every service's tests.
//!
//! No log, no threads: the fold with the same rollback, deltas and restore that a shard uses.
//! `let mut kit = Kit::of(ServiceDef::new(Billing::default)); kit.push(&IMPRESSIONS, "user-1", 0, &impression).unwrap();`

//!
//! `contract` runs a service as a platform does, on a log of its own in virtual time, through everything that can happen
//! to it: `contract::check(&ServiceDef::new(Billing::default), &inputs)`.

mod audit;
mod before;
pub mod contract;
mod fragile;
mod world;

pub use before::before;
pub use world::{Inputs, World};

use std::panic::{AssertUnwindSafe, catch_unwind};

use schemas::codec::{Decode, Encode};

use crate::invariant::Checks;
use crate::log::Headers;
use crate::outcome::{Failure, Handled};
use crate::service::{Effects, Event, Fold, OutputBuffer, ServiceDef};
use crate::state::AnyTable;
use crate::topology::Topic;

/// An output that a fold made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    pub topic: &'static str,
    pub key: String,
    pub timestamp_ms: i64,
    /// With the Confluent frame.
    pub value: Vec<u8>,
}

impl Emitted {
    /// The value; panics if it is not a `T`.
    pub fn decode<'a, T: Decode<'a>>(&'a self) -> T {
        schemas::frame::decode(&self.value).expect("an output follows its schema")
    }
}

/// A row of a commit: table, version, key, value or tombstone.
type Row = (&'static str, u16, Vec<u8>, Option<Vec<u8>>);

/// One shard's fold under test.
pub struct Kit {
    def: ServiceDef,
    fold: Box<dyn Fold>,
    buffer: OutputBuffer,
    emitted: Vec<Emitted>,
    journal: Vec<Row>,
    /// Processing time given to the fold, ms.
    pub now_ms: i64,
    pub shard: u32,
}

impl Kit {
    pub fn of(def: ServiceDef) -> Self {
        let fold = def.fold();
        Self {
            def,
            fold,
            buffer: OutputBuffer::default(),
            emitted: Vec::new(),
            journal: Vec::new(),
            now_ms: 1_700_000_000_000,
            shard: 0,
        }
    }

    /// One event as a batch of its own. A failure or panic leaves no trace in the state, which is checked.
    pub fn push<E: Encode>(
        &mut self,
        topic: &'static Topic,
        key: &str,
        timestamp_ms: i64,
        event: &E,
    ) -> Result<Handled, Failure> {
        let mut value = Vec::new();
        schemas::frame::encode(event, &mut value);
        self.push_bytes(topic, key, timestamp_ms, &value)
    }

    /// Raw bytes, for bad input.
    pub fn push_bytes(
        &mut self,
        topic: &'static Topic,
        key: &str,
        timestamp_ms: i64,
        value: &[u8],
    ) -> Result<Handled, Failure> {
        assert!(self.def.spec.inputs.contains(&topic), "{} does not read {}", self.def.spec.name, topic.name);
        let event = Event { topic, key: key.as_bytes(), timestamp_ms, value, headers: Headers::empty() };
        self.fold.begin_event();
        let mut effects = Effects::new(&mut self.buffer, &self.def.spec, self.now_ms, self.shard, None);
        let result = catch_unwind(AssertUnwindSafe(|| self.fold.handle(&event, &mut effects)));
        if !matches!(result, Ok(Ok(_))) {
            self.fold.tables(&mut |table| table.rollback());
            self.buffer.clear();
        }
        self.settle();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Lets a second of processing time pass.
    pub fn tick(&mut self) {
        self.advance(1_000);
    }

    /// Lets processing time pass, then ticks once.
    pub fn advance(&mut self, by_ms: i64) {
        self.now_ms += by_ms;
        let mut effects = Effects::new(&mut self.buffer, &self.def.spec, self.now_ms, self.shard, None);
        self.fold.tick(&mut effects);
        self.settle();
    }

    /// What has been emitted since the last call.
    pub fn take(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.emitted)
    }

    /// What has been emitted to one topic since the last call; the rest stays.
    pub fn take_from(&mut self, topic: &Topic) -> Vec<Emitted> {
        let (taken, rest) = std::mem::take(&mut self.emitted).into_iter().partition(|e| e.topic == topic.name);
        self.emitted = rest;
        taken
    }

    /// Emits the live keys of the compacted outputs again, as the owner of a shard does after a claim (rule P10).
    pub fn restate(&mut self) {
        let mut from = Some(0);
        while let Some(row) = from {
            let mut effects = Effects::new(&mut self.buffer, &self.def.spec, self.now_ms, self.shard, None);
            from = self.fold.restate(row, &mut effects);
            assert!(from.is_none_or(|next| next > row), "a restatement goes forward");
            self.settle();
        }
    }

    /// Throws the state away and rebuilds it from the deltas of all batches, as a restart does.
    pub fn restart(&mut self) {
        self.fold = self.def.fold();
        let journal = &self.journal;
        self.fold.tables(&mut |table| restore(table, journal));
    }

    /// All rows of all tables, encoded, in order: equal contents give equal values.
    pub fn contents(&mut self) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        self.fold.tables(&mut |table| {
            let name = table.name();
            table.snapshot_begin();
            while !table.snapshot_next(1 << 20, &mut |key, value| rows.push((name, key.to_vec(), value.to_vec()))) {}
        });
        rows
    }

    /// Rows of one table.
    pub fn rows(&mut self, table: &str) -> usize {
        self.contents().iter().filter(|(name, ..)| *name == table).count()
    }

    fn settle(&mut self) {
        let mut checks = Checks::default();
        self.fold.invariants(&mut checks);
        assert_eq!(checks.broken(), None, "an invariant does not hold");
        let journal = &mut self.journal;
        self.fold.tables(&mut |table| {
            let (name, version) = (table.name(), table.version());
            table.take_delta(&mut |key, value| {
                journal.push((name, version, key.to_vec(), value.map(<[u8]>::to_vec)));
            });
        });
        for (output, key, value) in self.buffer.iter() {
            self.emitted.push(Emitted {
                topic: output.topic.name,
                key: String::from_utf8(key.to_vec()).expect("keys are UTF-8"),
                timestamp_ms: output.timestamp_ms,
                value: value.to_vec(),
            });
        }
        self.buffer.clear();
    }
}

fn restore(table: &mut dyn AnyTable, journal: &[Row]) {
    for (name, version, key, value) in journal {
        if *name == table.name() {
            table.apply(*version, key, value.as_deref()).expect("our own rows are readable");
        }
    }
}
