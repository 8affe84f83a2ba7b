//! What has become of dead letters: still open, moved back, failed again, put away.

use std::collections::{BTreeMap, BTreeSet};

use runtime::deadletter::ReplayOf;
use runtime::log::{Log, Offset, Record};
use serde::Serialize;

use super::audit::{self, Action};
use super::letters::{self, EventId, OwnedLetter};
use super::{DlqError, walk};

/// Ends the name of a replay topic.
const SUFFIX: &str = "-replay";

/// What has become of one letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has done anything about it.
    Open,
    /// Moved to its service's replay topic.
    Replayed,
    /// Replayed, and the event is a later dead letter now.
    FailedAgain,
    Discarded,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::FailedAgain => "failed_again",
            Self::Discarded => "discarded",
        }
    }
}

/// A replay as it lies in its topic.
struct Moved {
    topic: String,
    partition: u32,
    offset: Offset,
    n: u32,
    job: String,
}

fn moved(_: &std::sync::Arc<str>, _: u32, record: &Record<'_>) -> Option<Moved> {
    let (of, _) = ReplayOf::of(record)?;
    let ReplayOf { topic, partition, offset, n, job, .. } = of;
    Some(Moved { topic: topic.to_owned(), partition, offset, n, job: job.to_owned() })
}

/// What is known of all events that were ever set aside.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The number of the last letter of an event.
    last: BTreeMap<EventId, u32>,
    /// The last replay of an event and its job.
    replays: BTreeMap<EventId, (u32, String)>,
    discarded: BTreeSet<(EventId, u32)>,
    /// Letters that failed again, by the job that had moved them.
    failed_again: BTreeMap<String, u64>,
}

impl Shelf {
    /// Reads all dead letter, replay and audit topics.
    ///
    /// # Errors
    /// A topic cannot be read.
    pub fn read(log: &dyn Log) -> Result<Self, DlqError> {
        let mut shelf = Self::default();
        letters::each(log, |letter| {
            if let Some(job) = letter.job {
                *shelf.failed_again.entry(job).or_default() += 1;
            }
            let last = shelf.last.entry(letter.event).or_default();
            *last = letter.replays.max(*last);
            Ok(())
        })?;
        for (_, config) in log.topics() {
            let Some(service) = config.name.strip_suffix(SUFFIX) else { continue };
            walk::each(log, &config.name, moved, |moved| {
                let Moved { topic, partition, offset, n, job } = moved;
                shelf.note(EventId { service: service.to_owned(), topic, partition, offset }, n, job);
                Ok(())
            })?;
        }
        audit::each(log, |row| {
            if row.action == Action::Discarded {
                shelf.discarded.insert((row.event, row.replays));
            }
            Ok(())
        })?;
        Ok(shelf)
    }

    /// A replay was moved: of those with one number the first counts, as in the shard.
    pub fn note(&mut self, event: EventId, n: u32, job: String) {
        match self.replays.get_mut(&event) {
            Some(known) if n > known.0 => *known = (n, job),
            Some(_) => {}
            None => {
                self.replays.insert(event, (n, job));
            }
        }
    }

    /// A letter was put away.
    pub fn discard(&mut self, event: EventId, replays: u32) {
        self.discarded.insert((event, replays));
    }

    pub fn state(&self, letter: &OwnedLetter) -> State {
        if self.last.get(&letter.event).is_some_and(|last| *last > letter.replays) {
            State::FailedAgain
        } else if self.mover(letter).is_some() {
            State::Replayed
        } else if self.discarded.contains(&(letter.event.clone(), letter.replays)) {
            State::Discarded
        } else {
            State::Open
        }
    }

    /// The job that has moved this letter.
    pub fn mover(&self, letter: &OwnedLetter) -> Option<&str> {
        let (n, job) = self.replays.get(&letter.event)?;
        (*n > letter.replays).then_some(job)
    }

    /// Letters moved by `job` whose events are dead letters again.
    pub fn failed_again(&self, job: &str) -> u64 {
        self.failed_again.get(job).copied().unwrap_or(0)
    }
}
