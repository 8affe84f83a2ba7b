//! A thread that burns a core and shows no progress gives way to all others until it moves again.
//!
//! Niceness between bulkheads is mild, and a service that spins would be felt by everybody else long before the watchdog
//! may call it stuck. Putting its thread last costs it nothing that it could use.

use std::time::Duration;

use super::watchdog::LOOK;
use crate::env::{cpu_ms, renice};

/// Silence that makes a thread suspect: several times the work of the longest commit.
const SILENT: Duration = Duration::from_millis(400);
/// The last in line.
const LAST: i32 = 19;

/// What is known of the thread of one shard.
#[derive(Debug, Default)]
pub(super) struct Spinner {
    /// The suspect, and the CPU time it had used when it was last looked at.
    suspect: Option<(i32, u64)>,
    /// The thread that was put last.
    held: Option<i32>,
}

impl Spinner {
    /// Looks at the thread that gave the last sign, `silent` ago. `true` if a thread that moves again could not be given its
    /// niceness back.
    pub(super) fn look(&mut self, silent: Duration, thread: i32, nice: i32) -> bool {
        if silent < SILENT {
            self.suspect = None;
            // Where another thread moves, the one that was held down is lost for good.
            return self.held.take().is_some_and(|held| held == thread && !renice(thread, nice));
        }
        if self.held.is_none()
            && let Some(used) = cpu_ms(thread)
        {
            let burns = |(suspect, before): (i32, u64)| {
                suspect == thread && used.saturating_sub(before) >= LOOK.as_millis() as u64 / 4
            };
            if self.suspect.is_some_and(burns) && renice(thread, LAST) {
                self.held = Some(thread);
            }
            self.suspect = Some((thread, used));
        }
        false
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // threads of a test
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

    use super::*;
    use crate::env::thread_id;

    fn nice_of(thread: i32) -> i32 {
        rustix::process::getpriority_process(rustix::process::Pid::from_raw(thread)).unwrap()
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
                spinner.look(SILENT, at(&spinning), 0);
                waiter.look(SILENT, at(&waiting), 0);
            }
            assert_eq!((nice_of(at(&spinning)), waiter.held), (LAST, None));
            // Who may not raise it has to say so.
            let is_lost = spinner.look(Duration::ZERO, at(&spinning), 0);
            assert_eq!(is_lost, nice_of(at(&spinning)) == LAST);
            stop.store(true, Ordering::Release);
        });
    }
}
