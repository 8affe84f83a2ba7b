//! The breaker of one bulkhead. While something that the service needs is away, its partitions pause: nothing is set
//! aside, no attempt is used up, and one shard at a time asks whether it is back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// First pause, and the longest: doubled by every probe that fails.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A probe without an answer for this long is given to another shard.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// How often the others look while one probes.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Everybody waits until then.
    Open {
        until_us: u64,
    },
    /// One probes, the others wait.
    HalfOpen {
        since_us: u64,
    },
}

/// What a shard may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Go,
    /// Try one event, and tell how it went.
    Probe,
    Wait(Duration),
}

#[derive(Debug)]
struct Inner {
    state: State,
    pause: Duration,
}

/// Shared by the shards of a bulkhead. Times are those of the `Env` clock.
#[derive(Debug)]
pub struct Breaker {
    /// Asked for every batch.
    is_closed: AtomicBool,
    opened: AtomicU64,
    inner: Mutex<Inner>,
}

impl Default for Breaker {
    fn default() -> Self {
        let inner = Mutex::new(Inner { state: State::Closed, pause: PAUSE_FIRST });
        Self { is_closed: AtomicBool::new(true), opened: AtomicU64::new(0), inner }
    }
}

impl Breaker {
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Times that it opened; probes that failed are not counted.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Something that the service needs is away. `true` if that is news.
    pub fn fail(&self, now_us: u64) -> bool {
        let mut inner = self.lock();
        let is_news = inner.state == State::Closed;
        if is_news {
            inner.pause = PAUSE_FIRST;
            self.opened.fetch_add(1, Ordering::Relaxed);
        } else if matches!(inner.state, State::HalfOpen { .. }) {
            inner.pause = (inner.pause * 2).min(PAUSE_MAX);
        } else {
            // Others fail for the same reason meanwhile.
            return false;
        }
        inner.state = State::Open { until_us: now_us + inner.pause.as_micros() as u64 };
        self.is_closed.store(false, Ordering::Release);
        is_news
    }

    /// A probe went well. `true` if that ended the pause.
    pub fn succeed(&self) -> bool {
        let mut inner = self.lock();
        let was_probing = matches!(inner.state, State::HalfOpen { .. });
        if was_probing {
            inner.state = State::Closed;
            self.is_closed.store(true, Ordering::Release);
        }
        was_probing
    }

    pub fn pass(&self, now_us: u64) -> Pass {
        if self.is_closed() {
            return Pass::Go;
        }
        let mut inner = self.lock();
        match inner.state {
            State::Closed => Pass::Go,
            State::Open { until_us } if now_us < until_us => Pass::Wait(Duration::from_micros(until_us - now_us)),
            State::HalfOpen { since_us } if now_us < since_us + PROBE_MAX.as_micros() as u64 => Pass::Wait(LOOK),
            State::Open { .. } | State::HalfOpen { .. } => {
                inner.state = State::HalfOpen { since_us: now_us };
                Pass::Probe
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    #[test]
    fn it_opens_probes_one_by_one_and_closes() {
        let breaker = Breaker::default();
        assert_eq!(breaker.pass(0), Pass::Go);
        assert!(breaker.fail(0) && !breaker.fail(MS), "the second shard says nothing new");
        assert_eq!(breaker.pass(100 * MS), Pass::Wait(Duration::from_millis(100)));
        assert_eq!(breaker.pass(200 * MS), Pass::Probe);
        assert_eq!(breaker.pass(201 * MS), Pass::Wait(LOOK), "one probes, the others wait");
        assert!(!breaker.fail(210 * MS));
        assert_eq!(
            breaker.pass(210 * MS),
            Pass::Wait(Duration::from_millis(400)),
            "each failed probe doubles the pause"
        );
        assert_eq!(breaker.pass(610 * MS), Pass::Probe);
        assert!(breaker.succeed() && !breaker.succeed());
        assert_eq!((breaker.pass(611 * MS), breaker.opened()), (Pass::Go, 1));
        assert!(breaker.fail(700 * MS));
        assert_eq!(breaker.pass(700 * MS), Pass::Wait(PAUSE_FIRST), "after a success the pause is short again");
    }

    #[test]
    fn a_lost_probe_is_given_to_another() {
        let breaker = Breaker::default();
        breaker.fail(0);
        assert_eq!(breaker.pass(200 * MS), Pass::Probe);
        assert_eq!(breaker.pass(10_199 * MS), Pass::Wait(LOOK));
        assert_eq!(breaker.pass(10_200 * MS), Pass::Probe);
    }

    #[test]
    fn the_pause_has_a_bound() {
        let (breaker, mut now) = (Breaker::default(), 0);
        for _ in 0..20 {
            breaker.fail(now);
            while let Pass::Wait(wait) = breaker.pass(now) {
                assert!(wait <= PAUSE_MAX);
                now += wait.as_micros() as u64;
            }
        }
        assert_eq!(breaker.opened(), 1);
    }
}
