//! A thread that burns a core and shows no progress gives way to all others until it moves again.
//!
//! Niceness between bulkheads is mild, and a service that spins would be felt by everybody else long before the watchdog
//! may call it stuck. Putting its thread last costs it nothing that it could use.

use std::time::Duration;

use super::watchdog::{LOOK, NONE};
use crate::env::sched::{Class, cpu_us, set_class, thread_id};
use crate::log::Offset;

/// When a thread is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// How often threads are looked at.
    pub(super) look: Duration,
    /// Silence before the first look that counts.
    silent: Duration,
    /// One and the same thing must be in hand at both looks.
    in_hand: bool,
}

impl Suspicion {
    /// Where a class can be taken back, who has one event in hand for two looks gives way at once: a fold takes
    /// microseconds, and a wrong suspicion costs nothing. Elsewhere it costs the bulkhead its threads, so that nothing but
    /// several times the work of the longest commit is enough.
    pub(super) fn of_process() -> Self {
        let own = thread_id();
        if set_class(own, Class::Idle) && set_class(own, Class::Normal) { Self::quick() } else { Self::slow() }
    }

    fn quick() -> Self {
        let look = Duration::from_millis(2);
        Self { look, silent: look, in_hand: true }
    }

    fn slow() -> Self {
        Self { look: LOOK, silent: Duration::from_millis(400), in_hand: false }
    }
}

/// What a shard shows of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    /// How long there was none; zero at rest.
    pub(super) silent: Duration,
    /// When there was one, microseconds.
    pub(super) since_us: u64,
    pub(super) thread: i32,
    pub(super) in_hand: Offset,
    /// How often it was moved to other threads.
    pub(super) moved: u32,
}

/// What is known of the thread of one shard.
#[derive(Debug, Default)]
pub(super) struct Spinner {
    /// The suspect, what it had in hand, and the CPU time it had used when it was last looked at.
    suspect: Option<(i32, Offset, u64)>,
    /// Who was put last, as it was then.
    held: Option<Sign>,
}

impl Spinner {
    /// Looks at the thread that gave the last sign. `true` if a thread that moves again could not be given its class back.
    pub(super) fn look(&mut self, sign: Sign, suspicion: Suspicion) -> bool {
        if let Some(held) = self.held.take_if(|held| held.since_us != sign.since_us || held.in_hand != sign.in_hand) {
            self.suspect = None;
            // At once, and not with the next sign: what comes after a fold takes locks that others wait for. Where the shard
            // was moved away, the thread is lost, and stays where it is.
            return held.moved == sign.moved && !set_class(held.thread, Class::Normal);
        }
        if sign.silent < suspicion.silent || (suspicion.in_hand && sign.in_hand == NONE) {
            self.suspect = None;
            return false;
        }
        if self.held.is_none()
            && let Some(used_us) = cpu_us(sign.thread)
        {
            let burns = |(thread, in_hand, before_us): (i32, Offset, u64)| {
                thread == sign.thread
                    && (in_hand == sign.in_hand || !suspicion.in_hand)
                    && used_us.saturating_sub(before_us) >= suspicion.look.as_micros() as u64 / 4
            };
            if self.suspect.is_some_and(burns) && set_class(sign.thread, Class::Idle) {
                self.held = Some(sign);
            }
            self.suspect = Some((sign.thread, sign.in_hand, used_us));
        }
        false
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // threads of a test
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

    use super::*;
    use crate::env::sched::class;

    fn sign(thread: i32, since_us: u64) -> Sign {
        Sign { silent: Duration::from_secs(1), since_us, thread, in_hand: 7, moved: 0 }
    }

    #[test]
    fn who_has_another_event_in_hand_at_each_look_is_at_work() {
        let (mut spinner, own) = (Spinner::default(), thread_id());
        for in_hand in (0..20).chain([NONE; 3]) {
            let before_us = cpu_us(own).expect("told");
            while cpu_us(own).expect("told") - before_us < 3_000 {
                std::hint::spin_loop();
            }
            spinner.look(Sign { in_hand, ..sign(own, 1) }, Suspicion::quick());
            assert!(spinner.held.is_none(), "{in_hand}");
        }
    }

    #[test]
    fn a_thread_that_burns_without_progress_is_put_last_and_one_that_waits_is_not() {
        let (stop, spinning, waiting) = (AtomicBool::new(false), AtomicI32::new(0), AtomicI32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                spinning.store(thread_id(), Ordering::Release);
                while !stop.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            });
            scope.spawn(|| {
                waiting.store(thread_id(), Ordering::Release);
                while !stop.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let (mut spinner, mut waiter) = (Spinner::default(), Spinner::default());
            let at = |thread: &AtomicI32| thread.load(Ordering::Acquire);
            while at(&spinning) == 0 || at(&waiting) == 0 {
                std::thread::yield_now();
            }
            // However busy the machine: it is seen some time.
            while spinner.held.is_none() {
                std::thread::sleep(LOOK);
                spinner.look(sign(at(&spinning), 1), Suspicion::slow());
                waiter.look(sign(at(&waiting), 1), Suspicion::slow());
            }
            assert!(class(at(&spinning)) == Some(Class::Idle) && waiter.held.is_none());
            // With the next event, however long ago the last sign was. Who may not raise it has to say so.
            let is_lost = spinner.look(Sign { in_hand: NONE, ..sign(at(&spinning), 1) }, Suspicion::slow());
            assert_eq!(is_lost, class(at(&spinning)) == Some(Class::Idle));
            stop.store(true, Ordering::Release);
        });
    }
}
