//! Who waits in front of the edge's threads, and who joins too late to be worth an answer.
//!
//! A line is known by how long one turn of it takes: a probe stands at its end like any request and says when it was its turn.
//! What is served within [`WAIT_MAX_US`] of that came early enough. What comes after has joined behind more work than its
//! time allows, so the newest are turned away, unread, and those before them are answered in time. Without that rule an
//! overload makes every answer late, and all work is for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::env::Clock;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Work that may stand before a request, microseconds: of the 100 ms that exchanges give, as much again is the way there and
/// back, and the rest a scheduler's bad moment.
pub const WAIT_MAX_US: u64 = 30_000;
/// The probe joins again after this.
const STEP: Duration = Duration::from_millis(2);
/// Without a request for this long the probe rests, and an idle edge costs nothing.
const REST_US: u64 = 1_000_000;

/// The line in front of one edge.
#[derive(Default)]
pub struct Line {
    /// When the probe last had its turn, microseconds; 0 while it rests.
    turn_us: AtomicU64,
    /// When somebody last came, microseconds.
    came_us: AtomicU64,
    woken: Notify,
}

impl Line {
    /// Whether who is served now has joined in time.
    pub fn admits(&self, now_us: u64) -> bool {
        self.came_us.store(now_us, Ordering::Relaxed);
        match self.turn_us.load(Ordering::Relaxed) {
            0 => {
                self.woken.notify_one();
                true
            }
            turn_us => now_us.saturating_sub(turn_us) <= WAIT_MAX_US,
        }
    }

    /// The probe has its turn; `false`: it may rest.
    pub fn turn(&self, now_us: u64) -> bool {
        let is_busy = now_us.saturating_sub(self.came_us.load(Ordering::Relaxed)) < REST_US;
        self.turn_us.store(if is_busy { now_us.max(1) } else { 0 }, Ordering::Relaxed);
        is_busy
    }

    /// Sends probes into the line of `edge`, one after the other, from a runtime of its own. Ends with the edge.
    ///
    /// From outside, because the workers' own queues are short (256 tasks): what they cannot hold waits in the runtime's
    /// common one, and that is where the longest line is.
    pub async fn probe(self: Arc<Self>, clock: Clock, edge: Handle) {
        loop {
            let (line, of) = (self.clone(), clock.clone());
            match edge.spawn(async move { line.turn(of.mono_us()) }).await {
                Ok(true) => clock.sleep(STEP).await,
                Ok(false) => self.woken.notified().await,
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
