//! What the edge has done, for `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

/// Answers slower than this are counted as this, microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What is asked of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Bid,
    Impression,
    Win,
    Loss,
    Click,
    Conversion,
    /// Anything else.
    Unknown,
}

impl Route {
    pub const ALL: [Self; 7] =
        [Self::Bid, Self::Impression, Self::Win, Self::Loss, Self::Click, Self::Conversion, Self::Unknown];

    /// Stable name: a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::Impression => "imp",
            Self::Win => "win",
            Self::Loss => "loss",
            Self::Click => "click",
            Self::Conversion => "conv",
            Self::Unknown => "unknown",
        }
    }
}

/// Every status that the edge answers.
pub const STATUSES: [u16; 6] = [200, 204, 302, 400, 413, 429];

/// Counters of one edge.
pub struct EdgeStats {
    answers: [[AtomicU64; STATUSES.len()]; Route::ALL.len()],
    /// Why requests were not bid on, refused, or turned away, by name.
    reasons: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    pub connections: AtomicU64,
    pub connections_refused: AtomicU64,
    /// Head received -> answer made, by route.
    latency_us: Mutex<[Histogram<u64>; Route::ALL.len()]>,
}

impl Default for EdgeStats {
    fn default() -> Self {
        let histogram = |_| Histogram::new_with_bounds(1, LATENCY_MAX_US, 2).expect("constant bounds are valid");
        Self {
            answers: Default::default(),
            reasons: Mutex::default(),
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            latency_us: Mutex::new(Route::ALL.map(histogram)),
        }
    }
}

impl EdgeStats {
    pub fn answered(&self, route: Route, status: u16, us: u64) {
        if let Some(place) = STATUSES.iter().position(|known| *known == status) {
            self.answers[route as usize][place].fetch_add(1, Ordering::Relaxed);
        }
        lock(&self.latency_us)[route as usize].saturating_record(us.clamp(1, LATENCY_MAX_US));
    }

    /// `class` is `no_bid`, `refused`, `shed` or `repeated`.
    pub fn reason(&self, class: &'static str, reason: &'static str) {
        *lock(&self.reasons).entry((class, reason)).or_default() += 1;
    }

    /// Answers by route and status, those that were given.
    pub fn answers(&self) -> Vec<(Route, u16, u64)> {
        let of = |route: Route| {
            let counts = STATUSES.iter().zip(&self.answers[route as usize]);
            counts.map(move |(status, count)| (route, *status, count.load(Ordering::Relaxed)))
        };
        Route::ALL.into_iter().flat_map(of).filter(|(_, _, count)| *count > 0).collect()
    }

    pub fn reasons(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        lock(&self.reasons).clone()
    }

    /// The times that answers took, microseconds.
    pub fn latencies(&self, route: Route) -> Histogram<u64> {
        lock(&self.latency_us)[route as usize].clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
