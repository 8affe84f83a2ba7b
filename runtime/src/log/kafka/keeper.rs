//! The thread that does what may block: stopping readers, ending producers, asking for offsets.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::producer::ThreadedProducer;
use tokio::sync::Notify;

use super::native::{End, Reading};
use super::produce::Context;
use super::reader::Lent;
use super::{OpenError, Shared};

/// Chores in line; more would mean that the keeper is stuck, and then waiting for it is right.
const CHORES_MAX: usize = 4096;
/// How often offsets are asked for: what others append shows in the lag within this.
const REFRESH: Duration = Duration::from_millis(250);
/// Every so many refreshes the first offsets are asked for too (retention moves them).
const FIRST_EVERY: u32 = 40;
/// A question may take this long.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Something to be done.
pub(super) enum Chore {
    Stop(Lent),
    End(ThreadedProducer<Context>),
    /// Wake a reader that waits above the end, after the next question.
    TellLater(Arc<Notify>),
    /// Ask for all offsets now.
    Refresh,
}

/// Where chores are given.
pub(super) struct Keeper {
    chores: SyncSender<Chore>,
}

impl Keeper {
    pub(super) fn new() -> (Self, Receiver<Chore>) {
        let (chores, todo) = sync_channel(CHORES_MAX);
        (Self { chores }, todo)
    }

    pub(super) fn give(&self, chore: Chore) {
        match self.chores.try_send(chore) {
            Ok(()) => {}
            Err(TrySendError::Full(chore)) => {
                let _ = self.chores.send(chore);
            }
            // The keeper has ended with the log: done here and now.
            Err(TrySendError::Disconnected(chore)) => drop(chore),
        }
    }
}

/// Starts the thread; it ends when the log is dropped.
pub(super) fn start(shared: &Arc<Shared>, todo: Receiver<Chore>, asking: Arc<Reading>) -> Result<(), OpenError> {
    let shared = Arc::downgrade(shared);
    let thread = std::thread::Builder::new().name("log-kafka".to_owned());
    thread
        .spawn(move || keep(&shared, &todo, &asking))
        .map(|_| ())
        .map_err(|error| OpenError::Thread { what: "the log's thread", error })
}

fn keep(shared: &Weak<Shared>, todo: &Receiver<Chore>, asking: &Reading) {
    let mut round = 0u32;
    let mut waiting: Vec<Arc<Notify>> = Vec::new();
    loop {
        let chore = todo.recv_timeout(REFRESH);
        let Some(shared) = shared.upgrade() else { return };
        match chore {
            Ok(Chore::Stop(lent)) => lent.end(&shared.clients),
            // Blocks while it throws away what it has not sent.
            Ok(Chore::End(producer)) => drop(producer),
            Ok(Chore::TellLater(wake)) => waiting.push(wake),
            Ok(Chore::Refresh) => refresh(&shared, asking, true),
            Err(RecvTimeoutError::Timeout) => {
                round = round.wrapping_add(1);
                refresh(&shared, asking, round.is_multiple_of(FIRST_EVERY));
                waiting.drain(..).for_each(|wake| wake.notify_one());
                asking.housekeep();
                shared.clients.housekeep();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Asks for the ends of all partitions in use.
pub(super) fn refresh(shared: &Shared, asking: &Reading, first: bool) {
    let topics = shared.topics.load_full();
    let places: Vec<_> = topics
        .iter()
        .flat_map(|topic| (0..topic.config.partitions).map(move |partition| (topic.c_name.as_c_str(), partition)))
        .collect();
    let partitions = || topics.iter().flat_map(|topic| topic.partitions.iter());
    if first {
        let found = asking.offsets(&places, End::First, ANSWER_LIMIT);
        for (partition, start) in partitions().zip(found) {
            start.into_iter().for_each(|start| partition.starts_at(start));
        }
    }
    let now_us = shared.env.clock.mono_us();
    let found = asking.offsets(&places, End::Next, ANSWER_LIMIT);
    for (partition, next) in partitions().zip(found) {
        next.into_iter().for_each(|next| partition.readable(next, next, now_us, None));
    }
}
