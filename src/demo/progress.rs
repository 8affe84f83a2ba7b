//! How far a run is: what the sources count, for the screen and the report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters of the sources. A request counts when its decision is acknowledged by the log's queue.
#[derive(Default)]
pub struct Progress {
    pub read: AtomicU64,
    pub valid: AtomicU64,
    pub rejected: AtomicU64,
    pub users_null: AtomicU64,
    pub site_absent: AtomicU64,
    pub bids: AtomicU64,
    /// Messages of the simulated market appended so far.
    pub market: AtomicU64,
    /// Times that a source waited because the disk was full.
    pub pauses: Arc<AtomicU64>,
    /// Monotonic time of the first decision, microseconds; 0 before it.
    first_us: AtomicU64,
    pub input_done: AtomicBool,
    no_bid: Mutex<BTreeMap<&'static str, u64>>,
}

impl Progress {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Notes the first event; later calls change nothing.
    pub fn started(&self, now_us: u64) {
        let _ = self.first_us.compare_exchange(0, now_us.max(1), Ordering::AcqRel, Ordering::Acquire);
    }

    /// Run time zero, `None` before the first event.
    pub fn first_us(&self) -> Option<u64> {
        Some(self.first_us.load(Ordering::Acquire)).filter(|us| *us > 0)
    }

    pub fn no_bid(&self, reason: &'static str) {
        *self.reasons().entry(reason).or_default() += 1;
    }

    pub fn no_bids(&self) -> BTreeMap<String, u64> {
        self.reasons().iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.no_bid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
