//! The virtual cores in virtual time: whoever works waits until its share has done it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::env::Clock;
use tokio::sync::{Notify, oneshot};

use super::shares::{Shares, What};

#[derive(Default)]
struct State {
    shares: Shares,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A handle on the cores of one world.
#[derive(Clone)]
pub struct Cores {
    clock: Clock,
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Cores {
    /// Starts them; they end with the runtime.
    pub fn start(clock: &Clock) -> Self {
        let cores = Self { clock: clock.clone(), state: Arc::default(), changed: Arc::default() };
        #[allow(clippy::disallowed_methods)] // the simulation's one thread
        tokio::spawn(drive(cores.clone()));
        cores
    }

    /// The state of now.
    fn now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for number in state.shares.advance(self.clock.mono_us()) {
            if let Some(waiting) = state.waiting.remove(&number) {
                // Who was killed meanwhile does not wait any more; its work was done all the same.
                let _ = waiting.send(());
            }
        }
        state
    }

    pub fn pool(&self, threads: usize, weight: f64) -> usize {
        self.now().shares.pool(threads, weight)
    }

    /// Resolves when a thread of `pool` has done so much work.
    pub async fn work(&self, pool: usize, us: f64) {
        let (done, wait) = oneshot::channel();
        {
            let mut state = self.now();
            let number = state.shares.start(pool, What::Work { left_us: us });
            state.waiting.insert(number, done);
        }
        self.changed.notify_one();
        let _ = wait.await;
    }

    /// Takes a thread until `give_back`.
    pub fn take(&self, pool: usize, what: What) -> u64 {
        let number = self.now().shares.start(pool, what);
        self.changed.notify_one();
        number
    }

    pub fn give_back(&self, number: u64) {
        self.now().shares.end(number);
        self.changed.notify_one();
    }

    pub fn renice(&self, number: u64, nice: i32) {
        self.now().shares.renice(number, nice);
        self.changed.notify_one();
    }

    /// Microseconds of cores used so far.
    pub fn busy_us(&self) -> f64 {
        self.now().shares.busy_us()
    }
}

async fn drive(cores: Cores) {
    loop {
        let next_us = cores.now().shares.next_us();
        let changed = cores.changed.notified();
        match next_us {
            None => changed.await,
            Some(us) => {
                let wait = Duration::from_micros((us.ceil() as u64).max(1));
                let _ = cores.clock.timeout(wait, changed).await;
            }
        }
    }
}
