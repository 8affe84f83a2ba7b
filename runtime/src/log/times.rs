//! When records of a partition became readable, bounded in memory.

use std::collections::VecDeque;

use super::Offset;

/// 24 bytes each: at most 48 KiB a partition.
const MAX_ENTRIES: usize = 2048;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::log) struct Mark {
    /// Records from here on, to the next mark.
    pub from: Offset,
    pub readable_at_us: u64,
    /// Event time of the first of them.
    pub timestamp_ms: i64,
}

/// Marks in order of offset. When it is full, every second mark is dropped: records of a dropped one then seem readable
/// a little earlier than they were, so latencies are never understated, and the oldest lag stays known.
#[derive(Debug, Default)]
pub(in crate::log) struct Times {
    marks: VecDeque<Mark>,
}

impl Times {
    /// Adds the newest mark; one that is no newer than the last says nothing new.
    pub(in crate::log) fn push(&mut self, mark: Mark) {
        if self.marks.back().is_some_and(|last| mark.from <= last.from) {
            return;
        }
        if self.marks.len() >= MAX_ENTRIES {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back(mark);
    }

    /// The mark that covers `offset`; `None` for records of an earlier process.
    pub(in crate::log) fn at(&self, offset: Offset) -> Option<Mark> {
        let after = self.marks.partition_point(|mark| mark.from <= offset);
        after.checked_sub(1).map(|found| self.marks[found])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_never_later_than_the_truth() {
        let mut times = Times::default();
        assert_eq!(times.at(5), None);
        for n in 0..20_000u64 {
            times.push(Mark { from: 10 + n as i64 * 3, readable_at_us: n, timestamp_ms: 0 });
        }
        assert!(times.marks.len() <= MAX_ENTRIES);
        assert_eq!(times.at(9), None);
        for n in 0..20_000u64 {
            let found = times.at(10 + n as i64 * 3 + 2).unwrap();
            assert!(found.readable_at_us <= n);
        }
        assert_eq!(times.at(i64::MAX).unwrap().readable_at_us, 19_999);
    }
}
