//! The flood guard of one bulkhead: when a large share of a topic fails, something is wrong with the service or with who
//! writes the topic, not with single events. The service then pauses with an alarm instead of filling the dead letters.
//!
//! How it goes on: the event in hand is tried again each second, so a cause that goes away (or a program that is
//! replaced: the guard starts afresh with the process) ends the pause at once; an operator can let everything pass for ten
//! minutes; and left alone it goes on after a rest, which doubles with each flood, so that a bad block of events is worked
//! off at a bounded rate instead of standing for ever.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What is too much. The defaults stand in docs/ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// Share of a topic's events that may fail within the window, percent.
    pub share_percent: u64,
    /// Fewer failures than this are no flood, whatever their share.
    pub failures_min: u64,
    /// First rest, and the longest.
    pub rest: Duration,
    pub rest_max: Duration,
}

impl Default for FloodLimits {
    fn default() -> Self {
        let (rest, rest_max) = (Duration::from_secs(60), Duration::from_secs(600));
        Self { share_percent: 20, failures_min: 100, rest, rest_max }
    }
}

/// The window: a minute in twelve parts.
const SLICES: usize = 12;
const SLICE_US: u64 = 5_000_000;
/// How long an operator's word counts; a flood after as long a calm rests as briefly as the first.
const RELEASE_US: u64 = 600_000_000;

/// Events and failures of one topic within the last minute.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Number of the newest slice.
    slice: u64,
    events: [u64; SLICES],
    failures: [u64; SLICES],
}

impl Window {
    fn turn(&mut self, now_us: u64) -> usize {
        let slice = now_us / SLICE_US;
        let passed = slice.saturating_sub(self.slice).min(SLICES as u64);
        for n in 0..passed {
            let at = ((slice - n) % SLICES as u64) as usize;
            (self.events[at], self.failures[at]) = (0, 0);
        }
        self.slice = self.slice.max(slice);
        (self.slice % SLICES as u64) as usize
    }

    fn sums(&self) -> (u64, u64) {
        (self.events.iter().sum(), self.failures.iter().sum())
    }
}

#[derive(Debug)]
struct Inner {
    /// By the service's inputs.
    windows: Vec<Window>,
    resting_until_us: u64,
    released_until_us: u64,
    rest: Duration,
    last_flood_us: u64,
}

/// Shared by the shards of a bulkhead. Times are those of the `Env` clock.
#[derive(Debug)]
pub struct FloodGuard {
    limits: FloodLimits,
    /// Asked for every batch.
    is_resting: AtomicBool,
    floods: AtomicU64,
    inner: Mutex<Inner>,
}

impl FloodGuard {
    pub fn new(limits: FloodLimits, inputs: usize) -> Self {
        let windows = vec![Window::default(); inputs];
        let inner = Inner { windows, resting_until_us: 0, released_until_us: 0, rest: limits.rest, last_flood_us: 0 };
        Self { limits, is_resting: AtomicBool::new(false), floods: AtomicU64::new(0), inner: Mutex::new(inner) }
    }

    /// Events of an input that were taken, however they ended.
    pub fn took(&self, input: usize, events: u64, now_us: u64) {
        let mut inner = self.lock();
        if let Some(window) = inner.windows.get_mut(input) {
            let slice = window.turn(now_us);
            window.events[slice] += events;
        }
    }

    /// An event is about to be set aside; `in_hand` are those taken with it and not counted yet. `false`: the service rests
    /// instead.
    pub fn admits(&self, input: usize, in_hand: u64, now_us: u64) -> bool {
        let mut inner = self.lock();
        if now_us < inner.resting_until_us {
            return false;
        }
        self.is_resting.store(false, Ordering::Release);
        if now_us < inner.released_until_us {
            return true;
        }
        let Some(window) = inner.windows.get_mut(input) else { return true };
        let slice = window.turn(now_us);
        window.failures[slice] += 1;
        let (events, failures) = window.sums();
        let is_flood = failures > self.limits.failures_min
            && failures * 100 > (events + in_hand).max(failures) * self.limits.share_percent;
        if is_flood {
            let calm = now_us.saturating_sub(inner.last_flood_us) >= RELEASE_US;
            inner.rest = if calm { self.limits.rest } else { (inner.rest * 2).min(self.limits.rest_max) };
            if inner.last_flood_us == 0 {
                inner.rest = self.limits.rest;
            }
            inner.last_flood_us = now_us;
            inner.resting_until_us = now_us + inner.rest.as_micros() as u64;
            inner.windows.fill(Window::default());
            self.is_resting.store(true, Ordering::Release);
            self.floods.fetch_add(1, Ordering::Relaxed);
        }
        !is_flood
    }

    /// The service rests.
    pub fn is_resting(&self, now_us: u64) -> bool {
        self.is_resting.load(Ordering::Acquire) && now_us < self.lock().resting_until_us
    }

    /// What failed goes well again.
    pub fn healed(&self) {
        if self.is_resting.swap(false, Ordering::AcqRel) {
            self.lock().resting_until_us = 0;
        }
    }

    /// An operator's word: for ten minutes everything that fails is set aside.
    pub fn release(&self, now_us: u64) {
        let mut inner = self.lock();
        inner.resting_until_us = 0;
        inner.released_until_us = now_us + RELEASE_US;
        self.is_resting.store(false, Ordering::Release);
    }

    /// Times that it paused the service.
    pub fn floods(&self) -> u64 {
        self.floods.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn guard() -> FloodGuard {
        FloodGuard::new(FloodLimits::default(), 2)
    }

    /// Sets `n` events aside, as far as that is admitted.
    fn set_aside(guard: &FloodGuard, n: u64, now_us: u64) -> u64 {
        (0..n).take_while(|_| guard.admits(0, 0, now_us)).count() as u64
    }

    #[test]
    fn a_few_failures_are_no_flood_and_neither_is_a_small_share() {
        let few = guard();
        assert_eq!(set_aside(&few, 100, SECOND), 100);
        let small = guard();
        small.took(0, 10_000, SECOND);
        assert_eq!(set_aside(&small, 2_000, SECOND), 2_000);
        assert_eq!(set_aside(&small, 10, SECOND), 0, "more than a fifth");
        assert_eq!((few.floods(), small.floods()), (0, 1));
    }

    #[test]
    fn a_flood_pauses_rests_and_lets_a_little_more_pass() {
        let guard = guard();
        assert_eq!(set_aside(&guard, 1_000, SECOND), 100);
        assert!(guard.is_resting(60 * SECOND) && !guard.admits(0, 0, 60 * SECOND));
        assert!(!guard.is_resting(61 * SECOND));
        assert_eq!(set_aside(&guard, 1_000, 61 * SECOND), 100, "a bounded rate");
        assert!(guard.is_resting(180 * SECOND) && !guard.is_resting(181 * SECOND), "the second rest is twice as long");
        assert_eq!(guard.floods(), 2);
    }

    #[test]
    fn what_heals_goes_on_at_once_and_an_operator_decides() {
        let guard = guard();
        set_aside(&guard, 1_000, SECOND);
        guard.healed();
        assert!(!guard.is_resting(2 * SECOND));
        assert_eq!(set_aside(&guard, 1_000, 2 * SECOND), 100);
        guard.release(3 * SECOND);
        assert_eq!(set_aside(&guard, 1_000, 3 * SECOND), 1_000);
        assert_eq!(set_aside(&guard, 1_000, 604 * SECOND), 100, "for ten minutes");
    }

    #[test]
    fn the_window_forgets() {
        let guard = guard();
        for minute in 0..10 {
            assert_eq!(set_aside(&guard, 90, (minute * 61 + 1) * SECOND), 90);
        }
        assert_eq!(guard.floods(), 0);
    }

    #[test]
    fn topics_are_judged_apart() {
        let guard = guard();
        guard.took(1, 1_000_000, SECOND);
        assert_eq!(set_aside(&guard, 1_000, SECOND), 100);
    }
}
