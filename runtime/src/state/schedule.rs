//! Which rows come due, in order of time, then key.
//!
//! Almost every entry is written once, near the newest, and looked at once, when its time comes. So entries are only
//! thrown into buckets of about a second; a bucket is put in order when it is the next one. An entry whose row has moved
//! on stays where it is until its time comes, or until such entries are more than the others.

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

    /// `key` comes due at `at_ms`. An entry that it had before is known by the row to be out of date.
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

    /// The next entry that is due at `now_ms`, with its time; it stays. `is_current` knows what the row itself says.
    pub(super) fn first(&mut self, now_ms: i64, is_current: impl Fn(i64, &K) -> bool) -> Option<(i64, K)> {
        while let Some(mut first) = self.buckets.first_entry() {
            if *first.key() > now_ms >> BUCKET_BITS {
                return None;
            }
            let bucket = first.get_mut();
            if !bucket.is_sorted {
                bucket.entries.sort_unstable_by(|a, b| b.cmp(a));
                bucket.is_sorted = true;
            }
            while let Some((at_ms, key)) = bucket.entries.last() {
                if *at_ms > now_ms {
                    return None;
                }
                if is_current(*at_ms, key) {
                    return Some((*at_ms, key.clone()));
                }
                bucket.entries.pop();
                self.entries -= 1;
            }
            first.remove();
        }
        None
    }

    /// Entries that are out of date are most of all: the rows are to be added anew to an empty schedule.
    pub(super) fn is_stale(&self, rows: usize) -> bool {
        self.entries > 2 * rows + STALE_MAX
    }
}
