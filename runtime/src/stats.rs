//! What a service has done: the runtime's own counters, kept outside of what can crash.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::credit::SERVICE_QUEUE_BYTES;
use crate::invariant::Checks;

/// Before, during and after a fault: latencies are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Before = 0,
    InFault = 1,
    After = 2,
}

/// Events by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub done: u64,
    /// Absorbed: repetitions of ours and of the outside.
    pub duplicates: u64,
    pub dead_lettered: u64,
    /// Set aside as a row until due: not ended yet, and not part of the total.
    pub parked: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
        self.parked += other.parked;
    }

    #[inline]
    pub fn total(&self) -> u64 {
        self.done + self.duplicates + self.dead_lettered
    }
}

/// Counters of one service over all its shards.
pub struct ServiceStats {
    pub done: AtomicU64,
    pub duplicates: AtomicU64,
    pub dead_lettered: AtomicU64,
    /// Times that an event was set aside until due.
    pub parked: AtomicU64,
    /// Attempts after the first.
    pub retried: AtomicU64,
    pub restarts: AtomicU64,
    pub panics: AtomicU64,
    /// Shards found without progress.
    pub stuck: AtomicU64,
    /// Threads that never yielded and were given up.
    pub lost_threads: AtomicU64,
    pub commits: AtomicU64,
    pub commit_bytes: AtomicU64,
    pub published: AtomicU64,
    /// What was asked of its shards, by name.
    invariants: Mutex<Checks>,
    /// Records readable and not settled, greatest value sampled.
    pub lag_max: AtomicU64,
    pub queue_bytes: AtomicI64,
    pub queue_bytes_max: AtomicU64,
    /// Events read and not handled yet.
    pub queue_events: AtomicI64,
    /// Events read.
    pub read: AtomicU64,
    /// What of `SERVICE_QUEUE_BYTES` nobody has claimed.
    queue_room: AtomicI64,
    /// Record readable in the input -> settled, microseconds, by phase at settling.
    latency_us: [Mutex<Histogram<u64>>; 3],
    /// Append of a commit asked for -> durable, microseconds.
    commit_us: Mutex<Histogram<u64>>,
    last_error: Mutex<String>,
}

/// Latencies above are counted as this: ten minutes.
const LATENCY_MAX_US: u64 = 600_000_000;

impl Default for ServiceStats {
    fn default() -> Self {
        let histogram =
            || Mutex::new(Histogram::new_with_bounds(1, LATENCY_MAX_US, 2).expect("constant bounds are valid"));
        Self {
            done: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            lost_threads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            commit_bytes: AtomicU64::new(0),
            published: AtomicU64::new(0),
            invariants: Mutex::default(),
            lag_max: AtomicU64::new(0),
            queue_bytes: AtomicI64::new(0),
            queue_bytes_max: AtomicU64::new(0),
            queue_events: AtomicI64::new(0),
            read: AtomicU64::new(0),
            queue_room: AtomicI64::new(SERVICE_QUEUE_BYTES),
            latency_us: [histogram(), histogram(), histogram()],
            commit_us: histogram(),
            last_error: Mutex::default(),
        }
    }
}

impl ServiceStats {
    pub fn add(&self, tally: Tally) {
        self.done.fetch_add(tally.done, Ordering::Relaxed);
        self.duplicates.fetch_add(tally.duplicates, Ordering::Relaxed);
        self.dead_lettered.fetch_add(tally.dead_lettered, Ordering::Relaxed);
        self.parked.fetch_add(tally.parked, Ordering::Relaxed);
    }

    pub fn tally(&self) -> Tally {
        Tally {
            done: self.done.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
        }
    }

    /// Adds answers to those of before.
    pub fn asked(&self, checks: &Checks) {
        self.invariants.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(checks);
    }

    /// What was asked so far, by name.
    pub fn invariants(&self) -> Checks {
        self.invariants.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub fn latency(&self, phase: Phase, us: u64, events: u64) {
        let mut histogram = self.latency_us[phase as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        histogram.saturating_record_n(us.clamp(1, LATENCY_MAX_US), events);
    }

    /// Latencies over the given phases, microseconds.
    pub fn latencies(&self, phases: &[Phase]) -> Histogram<u64> {
        let mut sum = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 2).expect("constant bounds are valid");
        for phase in phases {
            let histogram = self.latency_us[*phase as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            sum.add(&*histogram).expect("same bounds");
        }
        sum
    }

    /// Latency at a quantile over the given phases, microseconds; `None` where nothing was measured.
    pub fn latency_us(&self, quantile: f64, phases: &[Phase]) -> Option<u64> {
        let sum = self.latencies(phases);
        (!sum.is_empty()).then(|| sum.value_at_quantile(quantile))
    }

    /// A commit was durable after this.
    pub fn committed(&self, bytes: usize, us: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut histogram = self.commit_us.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        histogram.saturating_record(us.clamp(1, LATENCY_MAX_US));
    }

    /// Latencies of commits, microseconds.
    pub fn commit_latencies(&self) -> Histogram<u64> {
        self.commit_us.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Forgets all latencies: a new measurement begins.
    pub fn reset_latency(&self) {
        for histogram in &self.latency_us {
            histogram.lock().unwrap_or_else(std::sync::PoisonError::into_inner).reset();
        }
    }

    pub fn sample_lag(&self, records: u64) {
        self.lag_max.fetch_max(records, Ordering::Relaxed);
    }

    /// Claims room for a fetch of at most `bytes`; `false`: the service has enough in its queues.
    pub fn claim_room(&self, bytes: i64) -> bool {
        let is_room = self.queue_room.fetch_sub(bytes, Ordering::AcqRel) >= bytes;
        if !is_room {
            self.give_room(bytes);
        }
        is_room
    }

    /// Gives back what was claimed and is not, or no longer, in a queue.
    pub fn give_room(&self, bytes: i64) {
        self.queue_room.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Events of that many bytes, whose room was claimed before, are in a queue now.
    pub fn queued(&self, events: u32, bytes: i64) {
        self.read.fetch_add(u64::from(events), Ordering::Relaxed);
        self.queue_events.fetch_add(i64::from(events), Ordering::Relaxed);
        let now = self.queue_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        assert!(crate::invariant::queue_bounded(now), "queue_bounded: {now} bytes wait in the queues of one service");
        self.queue_bytes_max.fetch_max(now.max(0) as u64, Ordering::Relaxed);
    }

    /// They are handled, or thrown away with their shard.
    pub fn unqueued(&self, events: u32, bytes: i64) {
        self.queue_events.fetch_sub(i64::from(events), Ordering::Relaxed);
        self.queue_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.give_room(bytes);
    }

    pub fn fail(&self, error: String) {
        *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = error;
    }

    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
