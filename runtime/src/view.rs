//! Views: read-only state that others read without asking an actor, folded from topics, once in each process.
//!
//! They have a bulkhead of their own. A view keeps the greatest version of a value, not the last (rule P10), and is
//! rebuilt from the log at start: nothing of it is stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::commit::provenance::{BOUNDARY, HEADER, Provenance};
use crate::env::{BulkheadRuntime, Env};
use crate::log::{Batches, FetchError, Log, PartitionReader, TopicPartition};
use crate::outcome::Failure;
use crate::service::Event;
use crate::state::table::Hasher;
use crate::topology::{Topic, TopicKind};
use crate::writers::Writers;

/// What takes longer to be seen is counted as this: ten minutes.
const FRESHNESS_MAX_US: u64 = 600_000_000;
/// Batches whose time is remembered until readers see them; while a view is rebuilt there are more.
const UNSEEN_MAX: usize = 4_096;

/// A fold of topics for readers in this process.
pub trait View: Send + 'static {
    fn name(&self) -> &'static str;
    fn topics(&self) -> Vec<&'static Topic>;
    /// Takes one event; what cannot be decoded is counted by the host and left out.
    fn apply(&mut self, event: &Event<'_>) -> Result<(), Failure>;
    /// The key is gone: its producer has restated all it has without it (rule P10). Views of events have no keys.
    fn remove(&mut self, _topic: &'static Topic, _key: &[u8]) {}
    /// Called after each run of events: swap what readers see.
    fn publish(&mut self);
}

/// How fresh a view is.
#[derive(Clone)]
pub struct ViewAge {
    env: Env,
    caught_up_us: Arc<AtomicU64>,
    /// Events that a view could not take.
    pub rejected: Arc<AtomicU64>,
    /// Time of an event -> seen by readers, microseconds.
    freshness_us: Arc<Mutex<Histogram<u64>>>,
}

impl ViewAge {
    fn new(env: &Env) -> Self {
        let histogram = Histogram::new_with_bounds(1, FRESHNESS_MAX_US, 2).expect("constant bounds are valid");
        Self {
            env: env.clone(),
            caught_up_us: Arc::default(),
            rejected: Arc::default(),
            freshness_us: Arc::new(Mutex::new(histogram)),
        }
    }

    /// Time of an event to what it changes being seen by readers, microseconds; what was read before the view had caught up
    /// for the first time does not count.
    pub fn freshness(&self) -> Histogram<u64> {
        self.freshness_us.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Readers see what came of these events: the oldest time of each batch, milliseconds, and how many it had.
    fn seen(&self, batches: &mut Vec<(i64, u64)>) {
        let is_rebuilt = self.caught_up_us.load(Ordering::Relaxed) > 0;
        if is_rebuilt && !batches.is_empty() {
            let now_ms = self.env.clock.wall_ms();
            let mut histogram = self.freshness_us.lock().unwrap_or_else(PoisonError::into_inner);
            for (oldest_ms, events) in batches.iter() {
                let us = now_ms.saturating_sub(*oldest_ms).max(0) as u64 * 1_000;
                histogram.saturating_record_n(us.clamp(1, FRESHNESS_MAX_US), *events);
            }
        }
        batches.clear();
    }

    /// Milliseconds since the view had seen everything readable.
    pub fn ms(&self) -> i64 {
        (self.env.clock.mono_us().saturating_sub(self.caught_up_us.load(Ordering::Relaxed)) / 1_000) as i64
    }
}

struct Reader {
    topic: &'static Topic,
    at: TopicPartition,
    log: Box<dyn PartitionReader>,
    /// Greatest `n` seen of each producer (events) ...
    marks: HashMap<(u32, u16), i64, Hasher>,
    /// ... or of each key (compacted), with its producer.
    versions: HashMap<Box<[u8]>, (u16, i64), Hasher>,
}

/// Starts one view on the views' runtime; it ends when `stop` is set.
pub fn start(
    env: &Env,
    log: &Arc<dyn Log>,
    runtime: &BulkheadRuntime,
    partitions: u32,
    mut view: Box<dyn View>,
    writers: Arc<Writers>,
    stop: Arc<AtomicBool>,
) -> Result<ViewAge, FetchError> {
    let readable = Arc::new(Notify::new());
    let mut readers = Vec::new();
    for topic in view.topics() {
        let unknown = || FetchError::Unknown { what: format!("topic {}", topic.name) };
        let id = log.topic(topic.name).ok_or_else(unknown)?;
        for partition in 0..partitions {
            let at = TopicPartition { topic: id, partition };
            let log = log.reader(at, log.extent(at)?.start, readable.clone())?;
            readers.push(Reader { topic, at, log, marks: HashMap::default(), versions: HashMap::default() });
        }
    }
    let age = ViewAge::new(env);
    let shared = age.clone();
    runtime.spawn(async move {
        let (mut scratch, mut unseen) = (Vec::new(), Vec::new());
        while !stop.load(Ordering::Acquire) {
            let (mut idle, mut seen_all) = (true, true);
            for reader in &mut readers {
                match reader.advance(view.as_mut(), &writers, (&mut scratch, &mut unseen), &shared.rejected) {
                    Ok(Advance::Moved) => idle = false,
                    Ok(Advance::AtEnd) => {}
                    Ok(Advance::Waits) => seen_all = false,
                    Err(error) => {
                        // An old view is still a view: its age says how old.
                        tracing::error!(view = view.name(), partition = reader.at.partition, %error, "view stopped");
                        return;
                    }
                }
            }
            if idle {
                view.publish();
                shared.seen(&mut unseen);
                if seen_all {
                    shared.caught_up_us.store(shared.env.clock.mono_us(), Ordering::Relaxed);
                }
                let second = std::time::Duration::from_secs(1);
                let _ = shared.env.clock.timeout(second, readable.notified()).await;
            }
            tokio::task::yield_now().await;
        }
    });
    Ok(age)
}

/// What came of a look at the log.
enum Advance {
    Moved,
    AtEnd,
    /// The registry that knows the next record's schema is away: the view grows old until it answers.
    Waits,
}

impl Reader {
    fn advance(
        &mut self,
        view: &mut dyn View,
        writers: &Writers,
        (scratch, unseen): (&mut Vec<u8>, &mut Vec<(i64, u64)>),
        rejected: &AtomicU64,
    ) -> Result<Advance, FetchError> {
        let Some(fetched) = self.log.try_next(256 << 10)? else { return Ok(Advance::AtEnd) };
        let corrupt = |error: crate::log::CorruptBatch| FetchError::Corrupt {
            file: self.topic.name.to_string(),
            offset: fetched.from,
            byte: 0,
            reason: error.to_string(),
        };
        for batch in Batches::new(&fetched.bytes) {
            let batch = batch.map_err(corrupt)?;
            let (mut oldest_ms, mut events) = (i64::MAX, 0);
            for record in batch.records(scratch).map_err(corrupt)? {
                let record = record.map_err(corrupt)?;
                if record.offset < fetched.from {
                    continue;
                }
                let key = record.key.unwrap_or_default();
                let from = record.headers.get(HEADER).and_then(Provenance::decode);
                let boundary = record.headers.get(BOUNDARY).and_then(|n| Some(i64::from_be_bytes(n.try_into().ok()?)));
                if let (Some(from), Some(first_n)) = (&from, boundary) {
                    for key in self.below(from.partition, first_n) {
                        view.remove(self.topic, &key);
                    }
                    continue;
                }
                let mut translated = Vec::new();
                let value = record.value.unwrap_or_default();
                let value = writers.own(self.topic.schema_id, value, &record.headers, &mut translated);
                // Before anything is remembered of it: it comes again.
                if let Err(Failure::DependencyDown(reason)) = &value {
                    tracing::warn!(view = view.name(), offset = record.offset, why = %reason.message, "view waits");
                    self.log.seek(record.offset);
                    return Ok(Advance::Waits);
                }
                if from.is_some_and(|from| !is_newer(self.topic, &mut self.marks, &mut self.versions, key, &from)) {
                    continue;
                }
                let taken = value.and_then(|value| {
                    let (topic, timestamp_ms, headers) = (self.topic, record.timestamp_ms, record.headers);
                    (oldest_ms, events) = (timestamp_ms.min(oldest_ms), events + 1);
                    view.apply(&Event { topic, key, timestamp_ms, value, headers })
                });
                if taken.is_err() {
                    rejected.fetch_add(1, Ordering::Relaxed);
                }
            }
            if events > 0 && unseen.len() < UNSEEN_MAX {
                unseen.push((oldest_ms, events));
            }
        }
        Ok(Advance::Moved)
    }

    /// Takes out the keys of a producer with a version below `first_n`, in order.
    fn below(&mut self, producer: u16, first_n: i64) -> Vec<Box<[u8]>> {
        let gone = |(from, n): &(u16, i64)| *from == producer && *n < first_n;
        let mut keys: Vec<_> =
            self.versions.iter().filter(|(_, version)| gone(version)).map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys.iter().for_each(|key| {
            self.versions.remove(key);
        });
        keys
    }
}

fn is_newer(
    topic: &Topic,
    marks: &mut HashMap<(u32, u16), i64, Hasher>,
    versions: &mut HashMap<Box<[u8]>, (u16, i64), Hasher>,
    key: &[u8],
    from: &Provenance,
) -> bool {
    let known = if topic.kind == TopicKind::Compacted {
        if !versions.contains_key(key) {
            versions.insert(key.into(), (from.partition, -1));
        }
        let Some((producer, known)) = versions.get_mut(key) else { return true };
        *producer = from.partition;
        known
    } else {
        marks.entry((from.service, from.partition)).or_insert(-1)
    };
    let newer = from.n > *known;
    *known = from.n.max(*known);
    newer
}
