//! What must hold, each named, written apart from the code it judges.
//!
//! `audit` follows the commit topics record by record; `published` compares what was published with what was committed;
//! `money` keeps a ledger of its own; `minutes` counts again.

pub mod audit;
pub mod flow;
pub mod minutes;
pub mod money;
pub mod published;

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::log::{Batches, FetchError, Log, Record, TopicPartition};
use serde::Serialize;
use tokio::sync::Notify;

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Violation {
    pub invariant: String,
    /// Virtual time, ms since the start of the world.
    pub at_ms: u64,
    pub message: String,
}

/// Invariants with how often each was checked, and what broke.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub checked: BTreeMap<&'static str, u64>,
    pub violations: Vec<Violation>,
    pub now_ms: u64,
}

/// More violations than this of one run say nothing new.
const VIOLATIONS_MAX: usize = 50;

impl Findings {
    /// Counts a check.
    pub fn checked(&mut self, invariant: &'static str, times: u64) {
        *self.checked.entry(invariant).or_default() += times;
    }

    /// Counts a check; notes what broke.
    pub fn expect(&mut self, invariant: &'static str, holds: bool, message: impl FnOnce() -> String) {
        self.checked(invariant, 1);
        if !holds {
            self.broken(invariant, message());
        }
    }

    pub fn broken(&mut self, invariant: &'static str, message: String) {
        self.checked.entry(invariant).or_default();
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { invariant: invariant.to_owned(), at_ms: self.now_ms, message });
        }
    }
}

/// Every invariant of a run, so that one that was never checked is seen.
pub const INVARIANTS: [&str; 20] = [
    "offsets_contiguous",
    "sequences_dense",
    "outputs_dense",
    "snapshots_true",
    "trims_covered",
    "acknowledged_survives",
    "published_is_committed",
    "published_in_order",
    "everything_published",
    "every_event_ended",
    "events_once",
    "good_events_kept",
    "ledger_is_the_oracle",
    "balances_are_the_oracle",
    "budget_never_exceeded",
    "budget_is_the_oracle",
    "minutes_recounted",
    "dead_letters_accounted",
    "credits_returned",
    "converges",
];

/// Walks all records of a partition that are readable, from its start.
///
/// # Errors
/// What the log says; a batch that cannot be read.
pub fn each_record(
    log: &Arc<dyn Log>,
    topic: &str,
    partition: u32,
    mut visit: impl FnMut(&Record<'_>),
) -> Result<(), FetchError> {
    let Some(id) = log.topic(topic) else { return Ok(()) };
    let of = TopicPartition { topic: id, partition };
    let start = log.extent(of)?.start;
    each_from(log, of, start, |record| visit(record)).map(|_| ())
}

/// Walks what is readable from `position`; the next position.
///
/// # Errors
/// As `each_record`.
pub fn each_from(
    log: &Arc<dyn Log>,
    of: TopicPartition,
    position: i64,
    mut visit: impl FnMut(&Record<'_>),
) -> Result<i64, FetchError> {
    let mut reader = log.reader(of, position, Arc::new(Notify::new()))?;
    let mut scratch = Vec::new();
    let mut next = position;
    while let Some(fetched) = reader.try_next(1 << 20)? {
        let corrupt =
            |reason: String| FetchError::Corrupt { file: "a topic".into(), offset: fetched.from, byte: 0, reason };
        for batch in Batches::new(&fetched.bytes) {
            let batch = batch.map_err(|error| corrupt(error.to_string()))?;
            for record in batch.records(&mut scratch).map_err(|error| corrupt(error.to_string()))? {
                let record = record.map_err(|error| corrupt(error.to_string()))?;
                if record.offset >= fetched.from {
                    visit(&record);
                }
            }
        }
        next = fetched.next;
    }
    Ok(next)
}

/// Short digest of a record's contents.
pub fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        hash = (hash ^ part.len() as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}
