//! Replays: records of a service's replay topic, each standing for an event that the service once gave up.
//!
//! Its first header says which event (input topic, partition, offset) and the how many-eth replay it is. The numbers
//! of one event only rise, so one row an event is enough to take each replay once, whatever is moved twice.

use smol_str::SmolStr;

use super::Letter;
use crate::log::{Headers, Offset, Record};
use crate::state::Table;

/// First header of a record of a replay topic.
pub const REPLAY: &[u8] = b"bh-replay";
/// Code of a record there that names no event of this shard.
pub const MALFORMED: &str = "REPLAY_MALFORMED";
/// Longest name of a job, bytes.
pub const JOB_BYTES_MAX: usize = 64;
/// Dead letters live 30 days and replays of them 7: after that nobody can move one again.
pub const HORIZON_MS: i64 = 40 * 24 * 60 * 60 * 1_000;

/// Which event a replay stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayOf<'a> {
    /// Where the event came from at first.
    pub topic: &'a str,
    pub partition: u32,
    pub offset: Offset,
    /// First replay of the event: 1.
    pub n: u32,
    /// When it failed for the first time.
    pub first_failed_ms: i64,
    /// Who moved it.
    pub job: &'a str,
}

impl<'a> ReplayOf<'a> {
    /// Value of the header.
    pub fn encode(&self) -> String {
        let Self { topic, partition, offset, n, first_failed_ms, job } = self;
        format!("{topic}/{partition}/{offset}/{n}/{first_failed_ms}/{job}")
    }

    /// The next replay of the event of a dead letter.
    pub fn next_of(letter: &Letter<'a>, job: &'a str) -> Self {
        let Letter { topic, partition, offset, first_failed_ms, .. } = *letter;
        Self { topic, partition, offset, n: letter.replays + 1, first_failed_ms, job }
    }

    fn decode(value: &'a [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(value).ok()?.split('/');
        let replay = Self {
            topic: parts.next()?,
            partition: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
            n: parts.next()?.parse().ok()?,
            first_failed_ms: parts.next()?.parse().ok()?,
            job: parts.next()?,
        };
        let fits = replay.offset >= 0 && replay.n > 0 && replay.job.len() <= JOB_BYTES_MAX && parts.next().is_none();
        fits.then_some(replay)
    }

    /// Which event a record stands for, and the headers of that event; `None` if it does not say.
    pub fn of(record: &Record<'a>) -> Option<(Self, Headers<'a>)> {
        let mut headers = record.headers;
        match headers.next() {
            Some(Ok((REPLAY, Some(value)))) => Some((Self::decode(value)?, headers)),
            _ => None,
        }
    }
}

crate::row! {
    /// The last replay taken of one event.
    pub struct Replayed version 1 {
        pub n: u32,
        pub at_ms: i64,
    }
}

/// Input topic, partition, offset of the event.
pub type ReplayKey = (SmolStr, u32, Offset);

/// Which replays a shard has taken; rows of its own state, about 70 bytes each for 40 days.
pub struct Replays {
    pub table: Table<ReplayKey, Replayed>,
}

impl Default for Replays {
    fn default() -> Self {
        Self { table: Table::scheduled("~replays", |row: &Replayed| Some(row.at_ms.saturating_add(HORIZON_MS))) }
    }
}

impl Replays {
    /// Takes a replay; `false` if it, or a later one of the same event, was taken before.
    pub fn take(&mut self, replay: &ReplayOf<'_>, now_ms: i64) -> bool {
        let key = (SmolStr::new(replay.topic), replay.partition, replay.offset);
        if self.table.get(&key).is_some_and(|known| replay.n <= known.n) {
            return false;
        }
        self.table.insert(key, Replayed { n: replay.n, at_ms: now_ms });
        // As many as come, at most: the table never grows by forgetting too slowly.
        for _ in 0..2 {
            if self.table.pop_due(now_ms).is_none() {
                break;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replay(offset: Offset, n: u32) -> ReplayOf<'static> {
        ReplayOf { topic: "clicks", partition: 1, offset, n, first_failed_ms: 7, job: "j" }
    }

    #[test]
    fn what_is_written_is_read() {
        let one = replay(5, 2);
        assert_eq!(ReplayOf::decode(one.encode().as_bytes()), Some(one));
        for wrong in
            ["", "clicks/1/5/2/7", "clicks/1/5/0/7/j", "clicks/1/-5/1/7/j", "clicks/1/5/2/7/j/k", "a/b/c/d/e/f"]
        {
            assert_eq!(ReplayOf::decode(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(ReplayOf::decode(&[0xff, b'/']), None);
    }

    #[test]
    fn what_is_forgotten_is_beyond_the_horizon() {
        let mut replays = Replays::default();
        assert!(replays.take(&replay(1, 1), 0));
        assert!(!replays.take(&replay(1, 1), HORIZON_MS - 1));
        assert!(replays.take(&replay(2, 1), HORIZON_MS) && replays.table.len() == 1);
    }

    proptest! {
        /// However often and in whatever order jobs move letters, each replay of an event is taken at most once, and never
        /// after a later one.
        #[test]
        fn each_is_taken_once(moved in proptest::collection::vec((0i64..4, 1u32..4), 0..60)) {
            let mut replays = Replays::default();
            let mut model = std::collections::BTreeMap::new();
            for (offset, n) in moved {
                let known = model.entry(offset).or_insert(0);
                let is_new = n > *known;
                *known = n.max(*known);
                prop_assert_eq!(replays.take(&replay(offset, n), 10), is_new);
            }
        }
    }
}
