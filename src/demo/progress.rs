//! How far a run is: what the sources count, for the screen and the report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;

/// Longest answer that is told apart, microseconds.
const ANSWER_MAX_US: u64 = 600_000_000;

/// Counters of the sources. A request counts when its decision is acknowledged by the log's queue.
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
    /// Requests that nobody decided on because their turn came too late.
    pub shed_late: AtomicU64,
    /// From when a request was due until its decision was acknowledged, microseconds.
    answers: Mutex<Histogram<u64>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            read: AtomicU64::default(),
            valid: AtomicU64::default(),
            rejected: AtomicU64::default(),
            users_null: AtomicU64::default(),
            site_absent: AtomicU64::default(),
            bids: AtomicU64::default(),
            market: AtomicU64::default(),
            pauses: Arc::default(),
            first_us: AtomicU64::default(),
            input_done: AtomicBool::default(),
            no_bid: Mutex::default(),
            shed_late: AtomicU64::default(),
            answers: Mutex::new(answers()),
        }
    }
}

fn answers() -> Histogram<u64> {
    Histogram::new_with_bounds(1, ANSWER_MAX_US, 2).unwrap_or_else(|_| unreachable!("the bounds are in order"))
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

    /// Requests due at `due_us` were answered at `now_us`, monotonic.
    pub fn answered(&self, due_us: &[u64], now_us: u64) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        due_us.iter().for_each(|due_us| answers.saturating_record(now_us.saturating_sub(*due_us).max(1)));
    }

    /// How long answers have taken since this was last asked.
    pub fn take_answers(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner), answers())
    }

    /// Requests not decided on, by reason.
    pub fn shed(&self) -> BTreeMap<String, u64> {
        let late = Self::get(&self.shed_late);
        (late > 0).then(|| ("late".to_owned(), late)).into_iter().collect()
    }

    fn reasons(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.no_bid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
