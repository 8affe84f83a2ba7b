//! A keyed table that records its own changes.
//!
//! One mechanism gives the rollback of an event that failed (undo log), the delta of a commit, the snapshot, the byte
//! count and the operator's view; no service serialises itself.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use super::row::{Key, RowError, Value, decode_exact};
use super::schedule::Schedule;

/// Hashing is seeded once a process, so that nobody outside can choose colliding keys.
pub type Hasher = foldhash::quality::RandomState;

struct Slot<V> {
    value: V,
    /// The batch that changed this row last: a row enters the delta once a batch.
    changed_in: u32,
}

/// `K -> V` with undo, delta and snapshot.
pub struct Table<K: Key, V: Value> {
    name: &'static str,
    rows: HashMap<K, Slot<V>, Hasher>,
    undo: Vec<(K, Option<V>)>,
    changed: Vec<K>,
    batch: u32,
    /// Where rows can come due: their time by the value, and the order of times.
    schedule: Option<(fn(&V) -> Option<i64>, Schedule<K>)>,
    heap_bytes: usize,
    snapshot: Option<std::vec::IntoIter<K>>,
}

impl<K: Key, V: Value> Table<K, V> {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            rows: HashMap::default(),
            undo: Vec::new(),
            changed: Vec::new(),
            batch: 0,
            schedule: None,
            heap_bytes: 0,
            snapshot: None,
        }
    }

    /// A table whose rows can come due: `pop_due` and `due` find them in order of time, then key.
    pub fn scheduled(name: &'static str, due_ms: fn(&V) -> Option<i64>) -> Self {
        Self { schedule: Some((due_ms, Schedule::new())), ..Self::new(name) }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|slot| &slot.value)
    }

    /// By the key, or what it borrows as: a text is looked up without making a key of it.
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.rows.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Sets the row.
    pub fn insert(&mut self, key: K, value: V) {
        let old = self.place(key.clone(), Some(value), true);
        self.undo.push((key, old));
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        if !self.contains(key) {
            return None;
        }
        let old = self.place(key.clone(), None, true);
        self.undo.push((key.clone(), old.clone()));
        old
    }

    /// Changes a row in place; `default` makes it where there is none.
    pub fn update<R>(&mut self, key: &K, default: impl FnOnce() -> V, change: impl FnOnce(&mut V) -> R) -> R {
        self.change(key, |_| true, change).unwrap_or_else(|change| {
            let mut value = default();
            let result = change(&mut value);
            self.insert(key.clone(), value);
            result
        })
    }

    /// Changes a row in place, if there is one and it is as wanted.
    pub fn change_if<R>(
        &mut self,
        key: &K,
        is_wanted: impl FnOnce(&V) -> bool,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        self.change(key, is_wanted, change).ok()
    }

    /// As `change_if`; gives the change back where there was nothing to change.
    fn change<R, C: FnOnce(&mut V) -> R>(
        &mut self,
        key: &K,
        is_wanted: impl FnOnce(&V) -> bool,
        change: C,
    ) -> Result<R, C> {
        let batch = self.batch;
        let Some(slot) = self.rows.get_mut(key).filter(|slot| is_wanted(&slot.value)) else { return Err(change) };
        self.undo.push((key.clone(), Some(slot.value.clone())));
        let before = slot.value.heap_bytes();
        let due_before = self.schedule.as_ref().and_then(|(due_ms, _)| due_ms(&slot.value));
        let result = change(&mut slot.value);
        self.heap_bytes = self.heap_bytes + slot.value.heap_bytes() - before;
        if slot.changed_in != batch {
            slot.changed_in = batch;
            self.changed.push(key.clone());
        }
        if let Some((due_ms, _)) = &self.schedule {
            let due = due_ms(&slot.value);
            self.reschedule(key, due_before, due);
        }
        Ok(result)
    }

    /// The next row that is due at `now_ms`, with its time. It stays; the caller changes or removes it.
    pub fn due(&mut self, now_ms: i64) -> Option<(i64, K)> {
        let (due_ms, schedule) = self.schedule.as_mut()?;
        let rows = &self.rows;
        schedule.first(now_ms, |key| rows.get(key).and_then(|slot| due_ms(&slot.value)))
    }

    /// A row came, changed or left: `before` and `after` are its times.
    fn reschedule(&mut self, key: &K, before: Option<i64>, after: Option<i64>) {
        let Some((due_ms, schedule)) = &mut self.schedule else { return };
        // A row that is put off keeps its entry, which then moves on to the row's time.
        let Some(at_ms) = after.filter(|after| before.is_none_or(|before| *after < before)) else { return };
        schedule.add(at_ms, key.clone());
        if schedule.is_stale(self.rows.len()) {
            *schedule = Schedule::new();
            for (key, slot) in &self.rows {
                if let Some(at_ms) = due_ms(&slot.value) {
                    schedule.add(at_ms, key.clone());
                }
            }
        }
    }

    /// Removes and returns the next row that is due at `now_ms`.
    pub fn pop_due(&mut self, now_ms: i64) -> Option<(K, V)> {
        let (_, key) = self.due(now_ms)?;
        let value = self.remove(&key)?;
        Some((key, value))
    }

    /// Rows in key order: for ticks, operators and tests, not for the hot path.
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, slot)| (key, &slot.value)).collect();
        rows.sort_by(|a, b| a.0.cmp(b.0));
        rows
    }

    /// Up to `rows` rows in key order from row number `from`, and the number to go on with, for restating.
    pub fn page(&self, from: usize, rows: usize) -> (Vec<(&K, &V)>, Option<usize>) {
        let page: Vec<_> = self.sorted().into_iter().skip(from).take(rows).collect();
        let next = from + page.len();
        (page, (next < self.len()).then_some(next))
    }

    /// Rows in no order: only for sums and other things that order cannot change.
    pub fn unordered(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, slot)| (key, &slot.value))
    }

    #[cfg(test)]
    pub(super) fn heap_bytes_for_test(&self) -> usize {
        self.heap_bytes
    }

    /// Sets or removes a row with its indexes and accounts, without undo.
    fn place(&mut self, key: K, value: Option<V>, changes: bool) -> Option<V> {
        let old = match value {
            Some(value) => {
                self.heap_bytes += key.heap_bytes() + value.heap_bytes();
                let due = self.schedule.as_ref().and_then(|(due_ms, _)| due_ms(&value));
                // A restored row has changed in no batch of ours: its first change here must enter the delta.
                let changed_in = if changes { self.batch } else { self.batch.wrapping_sub(1) };
                let slot = Slot { value, changed_in };
                let old = self.rows.insert(key.clone(), slot);
                if let Some((due_ms, _)) = &self.schedule {
                    let before = old.as_ref().and_then(|slot| due_ms(&slot.value));
                    self.reschedule(&key, before, due);
                }
                if changes && old.as_ref().is_none_or(|slot| slot.changed_in != self.batch) {
                    self.changed.push(key.clone());
                }
                old
            }
            None => {
                let old = self.rows.remove(&key);
                if changes {
                    self.changed.push(key.clone());
                }
                old
            }
        };
        let old = old.map(|slot| slot.value);
        if let Some(old) = &old {
            self.heap_bytes -= key.heap_bytes() + old.heap_bytes();
        }
        old
    }
}

/// A table without its types: what commit, restore and operators see.
pub trait AnyTable: Send {
    fn name(&self) -> &'static str;
    fn version(&self) -> u16;
    fn rows(&self) -> usize;
    /// Memory held, bytes, as counted from the rows.
    fn bytes(&self) -> usize;
    /// An event begins: what changed before it stays, whatever becomes of the event. The undo log so holds one event's
    /// changes, which stay in the cache.
    fn begin_event(&mut self);
    /// Takes back what changed since the event began (rule P12).
    fn rollback(&mut self);
    /// Rows changed since the last delta (an upper bound; for adapting batches).
    fn changed(&self) -> usize;
    /// Hands out the rows changed in this batch, in key order, and starts the next batch.
    fn take_delta(&mut self, row: &mut dyn FnMut(&[u8], Option<&[u8]>));
    /// Applies a row of a commit or chunk.
    fn apply(&mut self, version: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), RowError>;
    /// Starts a snapshot: the keys as they stand now, in order.
    fn snapshot_begin(&mut self);
    /// Hands out the next rows *as they stand at this call*, about `max_bytes` of them; `true` when there are no more.
    fn snapshot_next(&mut self, max_bytes: usize, row: &mut dyn FnMut(&[u8], &[u8])) -> bool;
}

impl<K: Key, V: Value> AnyTable for Table<K, V> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn version(&self) -> u16 {
        V::VERSION
    }
    fn rows(&self) -> usize {
        self.rows.len()
    }
    fn bytes(&self) -> usize {
        // A hash map keeps 8/7 slots a row or more, each with a control byte.
        self.rows.capacity() * (size_of::<(K, Slot<V>)>() + 1) + self.heap_bytes
    }
    fn begin_event(&mut self) {
        self.undo.clear();
    }
    fn rollback(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            self.place(key, old, true);
        }
    }
    fn changed(&self) -> usize {
        self.changed.len()
    }
    fn take_delta(&mut self, row: &mut dyn FnMut(&[u8], Option<&[u8]>)) {
        self.undo.clear();
        self.batch = self.batch.wrapping_add(1);
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        for key in changed.drain(..) {
            key_bytes.clear();
            key.put(&mut key_bytes);
            match self.rows.get(&key) {
                Some(slot) => {
                    value_bytes.clear();
                    slot.value.put(&mut value_bytes);
                    row(&key_bytes, Some(&value_bytes));
                }
                None => row(&key_bytes, None),
            }
        }
        self.changed = changed;
    }
    fn apply(&mut self, version: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), RowError> {
        if version > V::VERSION {
            return Err(RowError::Newer { found: version, known: V::VERSION });
        }
        let key: K = decode_exact(key)?;
        let value = match value {
            None => None,
            Some(bytes) if version == V::VERSION => Some(decode_exact(bytes)?),
            Some(bytes) => Some(V::upgrade(version, bytes)?),
        };
        self.place(key, value, false);
        Ok(())
    }
    fn snapshot_begin(&mut self) {
        let mut keys: Vec<K> = self.rows.keys().cloned().collect();
        keys.sort_unstable();
        self.snapshot = Some(keys.into_iter());
    }
    fn snapshot_next(&mut self, max_bytes: usize, row: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        let (mut key_bytes, mut value_bytes, mut written) = (Vec::new(), Vec::new(), 0);
        let Some(keys) = &mut self.snapshot else { return true };
        for key in keys {
            // A row removed since has its tombstone in a commit after the snapshot's start.
            let Some(slot) = self.rows.get(&key) else { continue };
            key_bytes.clear();
            key.put(&mut key_bytes);
            value_bytes.clear();
            slot.value.put(&mut value_bytes);
            row(&key_bytes, &value_bytes);
            written += key_bytes.len() + value_bytes.len() + 4;
            if written >= max_bytes {
                return false;
            }
        }
        self.snapshot = None;
        true
    }
}
