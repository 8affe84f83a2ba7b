//! The door for what comes from outside: size, time, and ids that were taken (rule P11).

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::datum::Datum;
use super::replay::{Ending, Event};

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// Longest event from outside, with its frame.
const BYTES_MAX: usize = 16 << 10;
const SKEW_TOLERATED_MS: i64 = 5 * MINUTE_MS;
const FUTURE_MAX_MS: i64 = 23 * HOUR_MS;
/// Ids forgotten with each new one.
const FORGOTTEN_A_TAKE: usize = 2;
/// Limits of every event: bytes of one text, entries of one map.
const TEXT_BYTES_MAX: usize = 4 << 10;
const MAP_ENTRIES_MAX: usize = 64;

/// An id in 16 bytes: 32 lower-case hexadecimal digits as they are, everything else hashed.
pub type Id = [u8; 16];

pub fn id_of(text: &str) -> Id {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut id = Id::default();
    if is_hex {
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_default();
        }
    } else {
        id.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
    }
    id
}

/// An event from outside: its value, or how it ends without one.
///
/// # Errors
/// The ending of an event that is too large, or whose bytes do not follow its schema.
pub fn arrived<'a>(event: &'a Event<'_>) -> Result<&'a Datum, Ending> {
    if event.bytes > BYTES_MAX { Err(Ending::Dead("SIZE_VIOLATION")) } else { event.value() }
}

/// Whether readers take a value.
pub fn fits(value: &Datum) -> bool {
    match value {
        Datum::Text(text) => text.len() <= TEXT_BYTES_MAX,
        Datum::List(values) => values.iter().all(fits),
        Datum::Map(entries) => {
            entries.len() <= MAP_ENTRIES_MAX
                && entries.iter().all(|(key, value)| key.len() <= TEXT_BYTES_MAX && fits(value))
        }
        _ => true,
    }
}

/// When something happened as far as it is believed, and by how much its clock was ahead.
///
/// # Errors
/// The ending of a time that is none.
pub fn event_time(reported_ms: i64, now_ms: i64) -> Result<(i64, i64), Ending> {
    let ahead_ms = reported_ms.saturating_sub(now_ms);
    if reported_ms <= 0 || ahead_ms > FUTURE_MAX_MS {
        return Err(Ending::Dead("TIMESTAMP_RANGE"));
    }
    Ok(if ahead_ms > SKEW_TOLERATED_MS { (now_ms, ahead_ms) } else { (reported_ms, 0) })
}

/// # Errors
/// The ending of an event without one of these.
pub fn required(event: &Datum, fields: &[&str]) -> Result<(), Ending> {
    if fields.iter().any(|field| event.text(field).is_empty()) {
        Err(Ending::Dead("SEMANTIC_VIOLATION"))
    } else {
        Ok(())
    }
}

/// Greatest event time taken from a topic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock(Option<i64>);

impl Clock {
    pub fn ms(self) -> i64 {
        self.0.unwrap_or(i64::MIN)
    }

    pub fn advance(&mut self, at_ms: i64) {
        self.0 = Some(self.ms().max(at_ms));
    }
}

/// Things by key that leave in order of time, then key.
#[derive(Debug)]
pub struct Timed<K, V> {
    rows: HashMap<K, (i64, V)>,
    by_time: BTreeSet<(i64, K)>,
}

impl<K, V> Default for Timed<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + std::hash::Hash, V> Timed<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|(_, value)| value)
    }

    /// When a thing is due.
    pub fn at_ms(&self, key: &K) -> Option<i64> {
        self.rows.get(key).map(|(at_ms, _)| *at_ms)
    }

    /// The first `count` that are due.
    pub fn first_due(&self, until_ms: i64, count: usize) -> Vec<K> {
        let due = self.by_time.iter().take_while(|(at_ms, _)| *at_ms <= until_ms);
        due.take(count).map(|(_, key)| key.clone()).collect()
    }

    pub fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub fn put(&mut self, key: K, at_ms: i64, value: V) {
        self.remove(&key);
        self.by_time.insert((at_ms, key.clone()));
        self.rows.insert(key, (at_ms, value));
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (at_ms, value) = self.rows.remove(key)?;
        self.by_time.remove(&(at_ms, key.clone()));
        Some(value)
    }

    /// Takes the first that is due.
    pub fn pop(&mut self, until_ms: i64) -> Option<(K, V)> {
        let key = self.by_time.first().filter(|(at_ms, _)| *at_ms <= until_ms).map(|(_, key)| key.clone())?;
        let value = self.remove(&key)?;
        Some((key, value))
    }

    /// Forgets at most `limit` that are due.
    pub fn forget(&mut self, until_ms: i64, limit: usize) {
        for _ in 0..limit {
            if self.pop(until_ms).is_none() {
                return;
            }
        }
    }
}

/// Ids of one topic with what a repetition must repeat.
#[derive(Debug, Default)]
pub struct Door {
    taken: Timed<Id, String>,
}

impl Door {
    pub fn knows(&self, id: &Id) -> bool {
        self.taken.contains(id)
    }

    /// # Errors
    /// The ending of what is not new.
    pub fn judge(&self, clock: Clock, horizon_ms: i64, id: &Id, content: &str, at_ms: i64) -> Result<(), Ending> {
        if at_ms < clock.ms().saturating_sub(horizon_ms) {
            return Err(Ending::Dead("BEYOND_HORIZON"));
        }
        match self.taken.get(id) {
            Some(known) if known == content => Err(Ending::Duplicate),
            Some(_) => Err(Ending::Dead("ID_CONFLICT")),
            None => Ok(()),
        }
    }

    /// Takes a new id and lets old ones go.
    pub fn take(&mut self, clock: &mut Clock, horizon_ms: i64, id: Id, content: String, at_ms: i64) {
        self.taken.put(id, at_ms, content);
        clock.advance(at_ms);
        self.sweep(*clock, horizon_ms, FORGOTTEN_A_TAKE);
    }

    pub fn sweep(&mut self, clock: Clock, horizon_ms: i64, limit: usize) {
        self.taken.forget(clock.ms().saturating_sub(horizon_ms).saturating_sub(1), limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once_within_the_horizon() {
        let (mut door, mut clock) = (Door::default(), Clock::default());
        let id = id_of("a");
        assert_eq!(door.judge(clock, 100, &id, "x", 1_000), Ok(()));
        door.take(&mut clock, 100, id, "x".into(), 1_000);
        assert_eq!(door.judge(clock, 100, &id, "x", 1_001), Err(Ending::Duplicate));
        assert_eq!(door.judge(clock, 100, &id, "y", 1_001), Err(Ending::Dead("ID_CONFLICT")));
        assert_eq!(door.judge(clock, 100, &id_of("b"), "y", 899), Err(Ending::Dead("BEYOND_HORIZON")));
        door.take(&mut clock, 100, id_of("c"), "y".into(), 1_101);
        assert!(!door.knows(&id));
    }

    #[test]
    fn hexadecimal_ids_are_taken_as_they_are() {
        assert_eq!(id_of("000102030405060708090a0b0c0d0e0f"), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_ne!(id_of("000102030405060708090A0b0c0d0e0f")[0], 0);
    }

    #[test]
    fn clocks_far_ahead_are_not_believed() {
        let now_ms = 1_000_000_000;
        assert_eq!(event_time(now_ms + SKEW_TOLERATED_MS, now_ms), Ok((now_ms + SKEW_TOLERATED_MS, 0)));
        assert_eq!(event_time(now_ms + HOUR_MS, now_ms), Ok((now_ms, HOUR_MS)));
        assert_eq!(event_time(now_ms + DAY_MS, now_ms), Err(Ending::Dead("TIMESTAMP_RANGE")));
        assert_eq!(event_time(0, now_ms), Err(Ending::Dead("TIMESTAMP_RANGE")));
    }
}
