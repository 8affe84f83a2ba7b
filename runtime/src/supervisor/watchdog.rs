//! Finds what is stuck as well as what is dead: a progress stamp a shard, looked at from a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::bulkhead::{ShardSlot, SupervisorMessage};
use super::root::SupervisorSlot;
use super::spinner::{Sign, Spinner, Suspicion};
use crate::env::{Env, sched::thread_id};
use crate::log::Offset;

/// How often the watchdog looks.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// When a shard last showed that it gets on. Waits that are meant (a retry, a full disk) count as rest.
#[derive(Default)]
pub struct Progress {
    /// `Env` clock, microseconds; 0: at rest.
    busy_since_us: AtomicU64,
    /// Thread that gave the last sign.
    thread: AtomicI32,
    /// How often the shard was moved to other threads.
    moved: AtomicU32,
    /// Input and offset of the event that the fold has in hand, which holds the thread meanwhile; [`NONE`], [`UNNAMED`].
    input: AtomicUsize,
    event: AtomicI64,
    /// The event over which the shard was stuck last, and how often.
    stuck_over: Mutex<Option<((usize, Offset), u32)>>,
}

/// Nothing is in hand: the shard waits for something, or for its turn on a thread.
pub const NONE: Offset = -1;
/// Something holds the thread that is no event of an input.
pub const UNNAMED: Offset = -2;

/// Times that one event may hold its shard up; then it is poison. Each may have cost a thread.
const POISON_STUCK: u32 = 3;

impl Progress {
    pub fn beat(&self, now_us: u64) {
        self.busy_since_us.store(now_us.max(1), Ordering::Relaxed);
        self.thread.store(thread_id(), Ordering::Relaxed);
    }

    /// The fold takes events of this input from now on; the input it took before.
    pub fn takes(&self, input: usize) -> usize {
        self.event.store(NONE, Ordering::Relaxed);
        self.input.swap(input, Ordering::Relaxed)
    }

    /// The fold has this event in hand, until it has [`NONE`].
    #[inline]
    pub fn in_hand(&self, event: Offset) {
        self.event.store(event, Ordering::Relaxed);
    }

    /// The shard is stuck: that is counted against the event in its hands.
    pub fn stuck(&self) {
        let at = (self.input.load(Ordering::Relaxed), self.event.load(Ordering::Relaxed));
        if at.1 >= 0 {
            let mut over = self.stuck_over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let before = over.filter(|(last, _)| *last == at).map_or(0, |(_, times)| times);
            *over = Some((at, before + 1));
        }
    }

    /// The event that has held its shard up too often: input and offset.
    pub fn poison(&self) -> Option<(usize, Offset)> {
        let over = self.stuck_over.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        over.filter(|(_, times)| *times >= POISON_STUCK).map(|(at, _)| at)
    }

    /// It holds its thread: the fold has something in hand and has not come back.
    pub fn is_in_fold(&self) -> bool {
        self.event.load(Ordering::Relaxed) != NONE
    }

    /// Thread that gave the last sign; 0: none yet, or it is lost.
    pub fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }

    pub fn rest(&self) {
        self.busy_since_us.store(0, Ordering::Relaxed);
    }

    /// The shard moves to another thread; whatever it had in hand is left to the old one.
    pub fn moves(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
        self.rest();
        self.thread.store(0, Ordering::Relaxed);
        self.event.store(NONE, Ordering::Relaxed);
    }

    /// When it gave the last sign, `Env` clock, microseconds; 0: at rest.
    pub fn busy_since_us(&self) -> u64 {
        self.busy_since_us.load(Ordering::Relaxed)
    }

    /// How long there was no sign, if it is at work.
    pub fn silent(&self, now_us: u64) -> Option<Duration> {
        let since = self.busy_since_us();
        (since > 0).then(|| Duration::from_micros(now_us.saturating_sub(since)))
    }
}

/// One bulkhead as the watchdog sees it.
pub struct Watched {
    supervisor: SupervisorSlot,
    slots: Vec<Arc<ShardSlot>>,
    spinners: Vec<Spinner>,
    /// The last sign of each shard that the supervisor was told about: once is enough.
    told_us: Vec<u64>,
}

impl Watched {
    pub fn new(supervisor: SupervisorSlot, slots: Vec<Arc<ShardSlot>>) -> Self {
        let spinners = slots.iter().map(|_| Spinner::default()).collect();
        let told_us = vec![0; slots.len()];
        Self { supervisor, slots, spinners, told_us }
    }

    /// A thread that burns a core without a sign of progress is put behind all others, long before it counts as stuck.
    fn hold_spinners_down(&mut self, now_us: u64, suspicion: Suspicion) {
        for (shard, spinner) in self.slots.iter().zip(&mut self.spinners) {
            let progress = &shard.ctx.progress;
            let sign = Sign {
                silent: progress.silent(now_us).unwrap_or_default(),
                since_us: progress.busy_since_us(),
                thread: progress.thread(),
                in_hand: progress.event.load(Ordering::Relaxed),
                moved: progress.moved.load(Ordering::Relaxed),
            };
            if spinner.look(sign, suspicion) {
                // It may not be raised again: new threads take its place.
                tell(&self.supervisor, SupervisorMessage::Renew);
            }
        }
    }

    /// Tells the supervisor of shards without a sign for longer than `stuck_after`.
    ///
    /// A shard that waits while another one holds a thread of the bulkhead may be waiting for that thread. It is not to blame:
    /// it goes on when the thread comes back, or moves with all others when it is given up.
    fn find_stuck(&mut self, now_us: u64, stuck_after: Duration) {
        let silent = |shard: &ShardSlot| shard.ctx.progress.silent(now_us).filter(|silent| *silent > stuck_after);
        let holds = |shard: &Arc<ShardSlot>| shard.ctx.progress.is_in_fold();
        let is_held = self.slots.iter().any(|shard| holds(shard) && silent(shard).is_some());
        for (slot, (shard, told_us)) in self.slots.iter().zip(&mut self.told_us).enumerate() {
            let since_us = shard.ctx.progress.busy_since_us();
            if silent(shard).is_some() && *told_us != since_us && (holds(shard) || !is_held) {
                *told_us = since_us;
                tell(&self.supervisor, SupervisorMessage::Stuck { slot, since_us });
            }
        }
    }
}

/// A supervisor that is being started again finds its shards dead; it need not hear of them.
fn tell(supervisor: &SupervisorSlot, message: SupervisorMessage) {
    if let Some(supervisor) = supervisor.load_full() {
        let _ = supervisor.cast(message);
    }
}

/// Starts the watchdog: a thread in production, a task in the simulation. It ends when `stop` is set.
pub fn start(env: &Env, watched: Vec<Watched>, stuck_after: Duration, stop: Arc<AtomicBool>) -> std::io::Result<()> {
    let (clock, mut watched) = (env.clock.clone(), watched);
    if env.is_simulation() {
        #[allow(clippy::disallowed_methods)] // the simulation has one runtime
        tokio::spawn(async move {
            while !stop.load(Ordering::Acquire) {
                clock.sleep(LOOK).await;
                watched.iter_mut().for_each(|bulkhead| bulkhead.find_stuck(clock.mono_us(), stuck_after));
            }
        });
        return Ok(());
    }
    let thread = move || {
        let suspicion = Suspicion::of_process();
        let mut next_us = 0;
        while !stop.load(Ordering::Acquire) {
            std::thread::sleep(suspicion.look);
            let now_us = clock.mono_us();
            watched.iter_mut().for_each(|bulkhead| bulkhead.hold_spinners_down(now_us, suspicion));
            if now_us >= next_us {
                next_us = now_us + LOOK.as_micros() as u64;
                watched.iter_mut().for_each(|bulkhead| bulkhead.find_stuck(now_us, stuck_after));
            }
        }
    };
    std::thread::Builder::new().name("watchdog".into()).spawn(thread).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_holds_its_shard_up_three_times_is_poison() {
        let progress = Progress::default();
        progress.takes(1);
        progress.stuck();
        for event in [7, 8, 8, 7] {
            progress.in_hand(event);
            progress.stuck();
            assert_eq!(progress.poison(), None, "twice at most, each");
        }
        progress.stuck();
        progress.stuck();
        assert_eq!(progress.poison(), Some((1, 7)));
    }

    #[test]
    fn rest_is_not_silence() {
        let progress = Progress::default();
        assert_eq!(progress.silent(5), None);
        progress.beat(0);
        assert_eq!(progress.silent(2_000_001), Some(Duration::from_secs(2)));
        progress.rest();
        assert_eq!(progress.silent(9_000_000), None);
    }

    #[test]
    fn only_what_is_in_hand_is_counted() {
        let progress = Progress::default();
        progress.takes(0);
        for in_hand in [7, NONE, 7, UNNAMED] {
            progress.in_hand(in_hand);
            assert_eq!(progress.is_in_fold(), in_hand != NONE);
            progress.stuck();
        }
        assert_eq!(progress.poison(), None, "twice in hand, twice it was something else");
        progress.in_hand(7);
        progress.stuck();
        progress.moves();
        assert_eq!((progress.poison(), progress.is_in_fold(), progress.thread()), (Some((0, 7)), false, 0));
    }
}
