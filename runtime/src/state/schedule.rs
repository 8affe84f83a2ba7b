//! Which rows come due, in order of time, then key.
//!
//! Almost every entry is written once, near the newest, and looked at once, when its time comes. So entries are only
//! thrown into buckets of about a second; a bucket is put in order when it is the next one. An entry whose row comes due
//! later meanwhile stays where it is until its own time comes, and then moves on to the row's: a row that is put off again
//! and again costs nothing here. Entries of rows that are gone, or due earlier, go when their time comes, or when they are
//! more than the others.

use std::collections::BTreeMap;

/// A bucket holds the times that agree above these bits, 1,024 ms.
const BUCKET_BITS: u32 = 10;
/// Entries that may be out of date before all are written anew, beside one for each row.
const STALE_MAX: usize = 1_024;

/// When what comes due; a function of the rows, so that a restore rebuilds it.
pub(super) struct Schedule<K> {
    buckets: BTreeMap<i64, Bucket<K>>,
    entries: usize,
}

struct Bucket<K> {
    entries: Vec<(i64, K)>,
    /// Latest first, so that the next one is the last.
    is_sorted: bool,
}

impl<K: Ord + Clone> Schedule<K> {
    pub(super) fn new() -> Self {
        Self { buckets: BTreeMap::new(), entries: 0 }
    }

    /// `key` comes due at `at_ms`, and has no entry at that time or before. Of a later entry the row knows that it is out of
    /// date.
    pub(super) fn add(&mut self, at_ms: i64, key: K) {
        let new = || Bucket { entries: Vec::new(), is_sorted: false };
        let bucket = self.buckets.entry(at_ms >> BUCKET_BITS).or_insert_with(new);
        let entry = (at_ms, key);
        if bucket.is_sorted {
            let place = bucket.entries.partition_point(|other| *other > entry);
            bucket.entries.insert(place, entry);
        } else {
            bucket.entries.push(entry);
        }
        self.entries += 1;
    }

    /// The next entry that is due at `now_ms`, with its time; it stays. `due_ms` knows what the row itself says.
    pub(super) fn first(&mut self, now_ms: i64, due_ms: impl Fn(&K) -> Option<i64>) -> Option<(i64, K)> {
        while let Some(mut first) = self.buckets.first_entry() {
            if *first.key() > now_ms >> BUCKET_BITS {
                return None;
            }
            let bucket = first.get_mut();
            if !bucket.is_sorted {
                bucket.entries.sort_unstable_by(|a, b| b.cmp(a));
                bucket.is_sorted = true;
            }
            let Some((at_ms, key)) = bucket.entries.last() else {
                first.remove();
                continue;
            };
            if *at_ms > now_ms {
                return None;
            }
            let due_ms = due_ms(key);
            if due_ms == Some(*at_ms) {
                return Some((*at_ms, key.clone()));
            }
            let put_off_to_ms = due_ms.filter(|due_ms| due_ms > at_ms);
            self.entries -= 1;
            if let (Some((_, key)), Some(at_ms)) = (bucket.entries.pop(), put_off_to_ms) {
                self.add(at_ms, key);
            }
        }
        None
    }

    /// Entries that are out of date are most of all: the rows are to be added anew to an empty schedule.
    pub(super) fn is_stale(&self, rows: usize) -> bool {
        self.entries > 2 * rows + STALE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_follows_its_row_when_its_own_time_comes() {
        let mut schedule = Schedule::new();
        schedule.add(1, 'a');
        schedule.add(2, 'b');
        let due_ms = |key: &char| Some(if *key == 'a' { 9_000 } else { 2 });
        assert_eq!(schedule.first(5, due_ms), Some((2, 'b')), "the row of 'a' was put off");
        let due_ms = |key: &char| (*key == 'a').then_some(9_000);
        assert_eq!(schedule.first(8_999, due_ms), None);
        assert_eq!((schedule.first(9_000, due_ms), schedule.entries), (Some((9_000, 'a')), 1));
    }
}
