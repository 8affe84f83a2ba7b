//! Waiting events: rows of the shard's own state (rule P13), atomic with the commit, moving with the partition.
//!
//! There are no retry topics. Where the order is per key, later events of a waiting key queue behind it; where it is
//! strict the partition itself waits and nothing comes here.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::log::{Headers, Offset, Record};
use crate::state::row::decode_exact;
use crate::state::table::Hasher;
use crate::state::{RowError, Table, Value};

/// Beyond this many bytes of waiting events the partition waits instead.
pub const PARKED_BYTES_MAX: usize = 4 << 20;

crate::row! {
    /// One waiting event, as it came.
    pub struct Parked version 2 upgrade older {
        pub key: Box<[u8]>,
        /// Tombstones have none.
        pub value: Option<Box<[u8]>>,
        /// Headers as they stand in a record, and how many they are.
        pub headers: Box<[u8]>,
        pub header_count: u32,
        pub timestamp_ms: i64,
        /// Attempts made.
        pub attempt: u32,
        /// `None`: behind another event of its key.
        pub due_ms: Option<i64>,
        /// Wall time of the first failure; `None`: not tried yet.
        pub first_failed_ms: Option<i64>,
    }
}

/// Version 1 did not know when an event had failed first.
fn older(version: u16, bytes: &[u8]) -> Result<Parked, RowError> {
    match version {
        1 => decode_exact(&[bytes, &[0]].concat()),
        _ => Err(RowError::Older { found: version, known: Parked::VERSION }),
    }
}

/// What is known of an event that has not ended yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Attempts made and used up.
    pub attempts: u32,
    /// Wall time of the first failure.
    pub first_failed_ms: Option<i64>,
}

/// Input topic, partition, offset: in offset order within a key.
pub type ParkedAt = (SmolStr, u32, Offset);

impl Parked {
    pub fn of(record: &Record<'_>, tried: Tried, due_ms: Option<i64>) -> Self {
        let (headers, header_count) = record.headers.raw();
        Self {
            key: record.key.unwrap_or_default().into(),
            value: record.value.map(Box::from),
            headers: headers.into(),
            header_count,
            timestamp_ms: record.timestamp_ms,
            attempt: tried.attempts,
            due_ms,
            first_failed_ms: tried.first_failed_ms,
        }
    }

    /// What was tried before.
    pub fn tried(&self) -> Tried {
        Tried { attempts: self.attempt, first_failed_ms: self.first_failed_ms }
    }

    /// The record as it came.
    pub fn record(&self, offset: Offset) -> Record<'_> {
        Record {
            offset,
            timestamp_ms: self.timestamp_ms,
            key: Some(&self.key),
            value: self.value.as_deref(),
            headers: Headers::from_raw(&self.headers, self.header_count),
        }
    }

    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len()) + self.headers.len() + size_of::<Self>()
    }
}

/// The waiting events of one shard.
pub struct Parking {
    pub table: Table<ParkedAt, Parked>,
    /// Offsets waiting by topic and key, in order; follows from the table.
    queues: HashMap<(SmolStr, Box<[u8]>), Vec<ParkedAt>, Hasher>,
    bytes: usize,
}

impl Default for Parking {
    fn default() -> Self {
        let table = Table::scheduled("~parked", |row: &Parked| row.due_ms);
        Self { table, queues: HashMap::default(), bytes: 0 }
    }
}

impl Parking {
    /// After a restore: rebuilds what follows from the rows.
    pub fn index(&mut self) {
        self.queues.clear();
        self.bytes = 0;
        let rows: Vec<_> =
            self.table.sorted().into_iter().map(|(at, row)| (at.clone(), row.key.clone(), row.bytes())).collect();
        for (at, key, bytes) in rows {
            self.bytes += bytes;
            self.queues.entry((at.0.clone(), key)).or_default().push(at);
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.bytes >= PARKED_BYTES_MAX
    }

    /// An event of this key is waiting.
    #[inline]
    pub fn holds(&self, topic: &'static str, key: &[u8]) -> bool {
        !self.is_empty() && self.queues.contains_key(&(SmolStr::new_static(topic), Box::from(key)))
    }

    /// Sets an event aside until it is due, or behind what waits of its key.
    pub fn park(&mut self, at: ParkedAt, row: Parked) {
        self.bytes += row.bytes();
        let queue = self.queues.entry((at.0.clone(), row.key.clone())).or_default();
        if !queue.contains(&at) {
            queue.push(at.clone());
        }
        self.table.insert(at, row);
    }

    /// The event that is due first, if one is.
    pub fn first_due(&mut self, now_ms: i64) -> Option<ParkedAt> {
        self.table.due(now_ms).map(|(_, at)| at)
    }

    /// The next event that is due, taken out; `ended` or `park` must follow.
    pub fn take_due(&mut self, now_ms: i64) -> Option<(ParkedAt, Parked)> {
        let (at, row) = self.table.pop_due(now_ms)?;
        self.bytes -= row.bytes();
        Some((at, row))
    }

    /// The event has ended: the next of its key is due at once.
    pub fn ended(&mut self, at: &ParkedAt, key: &[u8], now_ms: i64) {
        let queue_key = (at.0.clone(), Box::from(key));
        let Some(queue) = self.queues.get_mut(&queue_key) else { return };
        queue.retain(|waiting| waiting != at);
        match queue.first() {
            None => {
                self.queues.remove(&queue_key);
            }
            Some(next) => {
                if let Some(row) = self.table.get(next).cloned().filter(|row| row.due_ms.is_none()) {
                    self.table.insert(next.clone(), Parked { due_ms: Some(now_ms), ..row });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: Offset, key: &'static [u8]) -> Record<'static> {
        Record { offset, timestamp_ms: 5, key: Some(key), value: Some(b"value"), headers: Headers::empty() }
    }

    fn at(offset: Offset) -> ParkedAt {
        ("t".into(), 0, offset)
    }

    const ONCE: Tried = Tried { attempts: 1, first_failed_ms: Some(90) };

    /// Rows of directories written before the first failure was kept are read.
    #[test]
    fn older_rows_are_read() {
        use crate::state::Field;
        let row = Parked::of(&record(1, b"a"), Tried { attempts: 2, first_failed_ms: None }, Some(7));
        let mut bytes = Vec::new();
        row.put(&mut bytes);
        assert_eq!(bytes.pop(), Some(0), "the new field is the last");
        assert_eq!(Parked::upgrade(1, &bytes), Ok(row));
        assert!(Parked::upgrade(0, &bytes).is_err());
    }

    #[test]
    fn a_key_keeps_its_order_and_others_do_not_wait() {
        let mut parking = Parking::default();
        parking.park(at(1), Parked::of(&record(1, b"a"), ONCE, Some(100)));
        assert!(parking.holds("t", b"a") && !parking.holds("t", b"b") && !parking.holds("u", b"a"));
        parking.park(at(2), Parked::of(&record(2, b"a"), Tried::default(), None));
        parking.park(at(3), Parked::of(&record(3, b"a"), Tried::default(), None));
        assert!(parking.take_due(99).is_none());
        let (first, row) = parking.take_due(100).unwrap();
        assert_eq!((first.2, row.record(1).value, row.attempt), (1, Some(&b"value"[..]), 1));
        assert!(parking.take_due(100).is_none(), "the second waits for the first");
        parking.index();
        parking.park(at(1), Parked { attempt: 2, due_ms: Some(200), ..row });
        let (first, row) = parking.take_due(200).unwrap();
        parking.ended(&first, &row.key, 200);
        let (second, row) = parking.take_due(200).unwrap();
        assert_eq!(second.2, 2);
        parking.ended(&second, &row.key, 200);
        let (third, row) = parking.take_due(200).unwrap();
        parking.ended(&third, &row.key, 200);
        assert!(parking.is_empty() && !parking.holds("t", b"a"));
        assert_eq!(parking.bytes, 0);
    }
}
