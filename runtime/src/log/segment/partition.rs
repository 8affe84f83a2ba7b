//! One partition: what readers may see, the recent part of it in memory, the rest in segments.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::storage::{Storage, StorageError};
use super::super::times::{Mark, Times};
use super::super::{Extent, Offset, TopicPartition};
use super::checkpoint::{PartitionPoint, SegmentPoint};
use super::file::{Filled, Segment};
use super::lock;
use super::seek::View;

/// Stands for "no retention".
const KEEP_ALL: i64 = -1;

pub(super) struct Partition {
    pub of: TopicPartition,
    pub topic: Arc<str>,
    /// Dense over all partitions of the log.
    pub slot: usize,
    pub directory: String,
    retention_ms: AtomicI64,
    pub(super) state: Mutex<PartitionState>,
}

pub(super) struct PartitionState {
    pub start: Offset,
    pub high_watermark: Offset,
    /// Recent runs, oldest first, without gaps, up to the high watermark.
    pub tail: VecDeque<TailRun>,
    /// In order; the last one is written.
    pub segments: Vec<Arc<Segment>>,
    pub times: Times,
    /// Compaction has seen everything below.
    cleaned_to: Offset,
    readers: Arc<Readers>,
    next_reader: u64,
}

/// Whom to wake when there is something new, by the reader's id.
pub(super) type Readers = Vec<(u64, Arc<Notify>)>;

/// The batches of this partition in one journal group.
#[derive(Clone, Debug)]
pub(super) struct TailRun {
    pub base: Offset,
    pub next: Offset,
    pub bytes: Bytes,
    /// Size of the group that the bytes are a slice of: whoever holds them holds all of it.
    pub frame_bytes: usize,
}

impl Partition {
    pub(super) fn new(of: TopicPartition, topic: Arc<str>, slot: usize, retention_ms: Option<i64>) -> Self {
        let directory = format!("{topic}-{}", of.partition);
        Self {
            of,
            topic,
            slot,
            directory,
            retention_ms: AtomicI64::new(retention_ms.unwrap_or(KEEP_ALL)),
            state: Mutex::new(PartitionState {
                start: 0,
                high_watermark: 0,
                tail: VecDeque::new(),
                segments: Vec::new(),
                times: Times::default(),
                cleaned_to: 0,
                readers: Arc::default(),
                next_reader: 0,
            }),
        }
    }

    pub(super) fn set_retention(&self, retention_ms: Option<i64>) {
        self.retention_ms.store(retention_ms.unwrap_or(KEEP_ALL), Ordering::Relaxed);
    }

    pub(super) fn retention_ms(&self) -> Option<i64> {
        Some(self.retention_ms.load(Ordering::Relaxed)).filter(|ms| *ms != KEEP_ALL)
    }

    pub(super) fn extent(&self) -> Extent {
        let state = lock(&self.state);
        Extent { start: state.start, high_watermark: state.high_watermark }
    }

    /// Shows a synced run to readers. The caller wakes them when the whole group is shown: woken now they would find the
    /// lock taken, and would be woken again for the next partition that they read.
    #[must_use]
    pub(super) fn publish(&self, run: TailRun, mark: Mark) -> Arc<Readers> {
        let mut state = lock(&self.state);
        assert_eq!(run.base, state.high_watermark, "INVARIANT offsets_are_dense in {}", self.directory);
        state.high_watermark = run.next;
        state.tail.push_back(run);
        state.times.push(mark);
        state.readers.clone()
    }

    /// Drops the oldest run from memory; segments hold it.
    pub(super) fn evict(&self) {
        lock(&self.state).tail.pop_front();
    }

    /// What is readable now, to be looked through without the lock.
    pub(super) fn view(&self) -> View {
        let state = lock(&self.state);
        View {
            start: state.start,
            high_watermark: state.high_watermark,
            segments: state.segments.clone(),
            tail: state.tail.iter().cloned().collect(),
        }
    }

    /// Where compaction goes on, and the segments that it may write anew: closed, synced, and readable to their ends.
    pub(super) fn closed(&self) -> (Offset, Vec<Arc<Segment>>) {
        let state = lock(&self.state);
        (state.cleaned_to, state.closed().cloned().collect())
    }

    /// Whether a pass is worth its cost: half of what is closed was not seen yet, or tombstones have stayed long enough.
    pub(super) fn is_due(&self, now_ms: i64, tombstone_ms: i64) -> bool {
        let state = lock(&self.state);
        let (mut new_bytes, mut seen_bytes, mut tombstones) = (0, 0, false);
        for segment in state.closed() {
            let filled = segment.filled();
            let bytes = if filled.next > state.cleaned_to { &mut new_bytes } else { &mut seen_bytes };
            *bytes += filled.bytes;
            tombstones |= segment
                .cleaned()
                .is_some_and(|cleaned| cleaned.tombstones > 0 && !cleaned.keeps_tombstones(now_ms, tombstone_ms));
        }
        tombstones || (new_bytes > 0 && new_bytes >= seen_bytes)
    }

    /// Compaction has seen everything below `to`.
    pub(super) fn cleaned_to(&self, to: Offset) {
        let mut state = lock(&self.state);
        state.cleaned_to = state.cleaned_to.max(to);
    }

    /// Puts a segment in the place of its `originals`. False if they are not all there any more.
    pub(super) fn replace(&self, originals: &[Arc<Segment>], by: Arc<Segment>) -> bool {
        let mut state = lock(&self.state);
        let Some(first) = originals.first() else { return false };
        let Some(at) = state.segments.iter().position(|own| Arc::ptr_eq(own, first)) else { return false };
        let end = at + originals.len();
        // The last one is being written.
        let are_there = end < state.segments.len()
            && state.segments[at..end].iter().zip(originals).all(|(own, original)| Arc::ptr_eq(own, original));
        if are_there {
            state.segments.splice(at..end, [by]);
        }
        are_there
    }

    /// Whether this segment is still one of its own: neither trimmed nor replaced.
    pub(super) fn holds(&self, segment: &Arc<Segment>) -> bool {
        lock(&self.state).segments.iter().any(|own| Arc::ptr_eq(own, segment))
    }

    /// One past the last record in segments.
    pub(super) fn filled_to(&self) -> Offset {
        lock(&self.state).segments.last().map_or(0, |segment| segment.filled().next)
    }

    pub(super) fn add_reader(&self, wake: Arc<Notify>) -> u64 {
        let mut state = lock(&self.state);
        let id = state.next_reader;
        state.next_reader += 1;
        Arc::make_mut(&mut state.readers).push((id, wake));
        id
    }

    pub(super) fn remove_reader(&self, id: u64) {
        Arc::make_mut(&mut lock(&self.state).readers).retain(|(found, _)| *found != id);
    }

    /// Moves the start. Gives the segments that nobody reads any more; their files may go when no checkpoint names them.
    pub(super) fn trim(&self, to: Offset) -> Vec<String> {
        let mut state = lock(&self.state);
        state.start = state.start.max(to);
        let start = state.start;
        let last = state.segments.len().saturating_sub(1);
        let gone = state.segments[..last].iter().take_while(|segment| segment.filled().next <= start).count();
        state.segments.drain(..gone).map(|segment| segment.name.clone()).collect()
    }

    /// The last segment that is older than its retention allows ends here: everything below may go.
    pub(super) fn expired_below(&self, now_ms: i64) -> Option<Offset> {
        let oldest_ms = now_ms.checked_sub(self.retention_ms()?)?;
        let state = lock(&self.state);
        let last = state.segments.len().saturating_sub(1);
        let expired = state.segments[..last].iter().take_while(|segment| {
            let filled = segment.filled();
            filled.max_timestamp_ms < oldest_ms && filled.next <= state.high_watermark
        });
        expired.last().map(|segment| segment.filled().next).filter(|to| *to > state.start)
    }

    /// The segment that a run of `bytes` goes into, and whether it is a new one.
    pub(super) fn segment_for(
        &self,
        base: Offset,
        bytes: usize,
        segment_bytes: u64,
        now_ms: i64,
    ) -> (Arc<Segment>, bool) {
        let mut state = lock(&self.state);
        if let Some(last) = state.segments.last() {
            let filled = last.filled();
            let full = filled.bytes + bytes as u64 > segment_bytes;
            // Retention works on whole segments: one must not stay open much longer than it may be kept.
            let old = match (self.retention_ms(), last.first_timestamp_ms()) {
                (Some(retention_ms), Some(first_ms)) => now_ms.saturating_sub(first_ms) > retention_ms / 4,
                _ => false,
            };
            if filled.bytes == 0 || !(full || old) {
                return (last.clone(), false);
            }
            last.seal();
        }
        let filled = Filled { bytes: 0, next: base, max_timestamp_ms: i64::MIN };
        let segment = Arc::new(Segment::new(&self.directory, base, 0, filled));
        state.segments.push(segment.clone());
        (segment, true)
    }

    /// Takes back a new segment whose file could not be made.
    pub(super) fn forget_empty_segment(&self) {
        let mut state = lock(&self.state);
        if state.segments.last().is_some_and(|last| last.filled().bytes == 0) {
            state.segments.pop();
        }
    }

    /// What a checkpoint says about it; `None` while it is untouched.
    pub(super) fn point(&self) -> Option<PartitionPoint> {
        let state = lock(&self.state);
        let next = state.segments.last().map_or(state.start, |segment| segment.filled().next);
        if next == 0 && state.start == 0 {
            return None;
        }
        let segments = state.segments.iter().map(|segment| {
            let filled = segment.filled();
            SegmentPoint {
                base: segment.base,
                bytes: filled.bytes,
                max_timestamp_ms: filled.max_timestamp_ms,
                generation: segment.generation,
                cleaned: segment.cleaned(),
            }
        });
        Some(PartitionPoint {
            topic: self.of.topic,
            partition: self.of.partition,
            start: state.start,
            next,
            segments: segments.collect(),
        })
    }

    /// Files of its segments.
    pub(super) fn segment_names(&self) -> Vec<String> {
        lock(&self.state).segments.iter().map(|segment| segment.name.clone()).collect()
    }

    /// Takes over what a checkpoint says, at open.
    pub(super) fn restore(&self, point: &PartitionPoint) {
        let mut state = lock(&self.state);
        state.start = point.start;
        state.high_watermark = point.next;
        let ends = point.segments.iter().skip(1).map(|segment| segment.base).chain([point.next]);
        let segments = point.segments.iter().zip(ends).map(|(segment, next)| {
            let filled = Filled { bytes: segment.bytes, next, max_timestamp_ms: segment.max_timestamp_ms };
            let restored = Segment::new(&self.directory, segment.base, segment.generation, filled);
            restored.set_cleaned(segment.cleaned);
            Arc::new(restored)
        });
        state.segments = segments.collect();
        let cleaned = state.segments.iter().filter(|segment| segment.cleaned().is_some());
        state.cleaned_to = cleaned.map(|segment| segment.filled().next).max().unwrap_or(0);
        let last = state.segments.len().saturating_sub(1);
        state.segments[..last].iter().for_each(|segment| segment.seal());
    }

    /// Writes a run that recovery found in the journal; what segments hold already is skipped by the caller.
    pub(super) fn advance(&self, next: Offset) {
        lock(&self.state).high_watermark = next;
    }

    /// Event time at `offset`, if memory knows it.
    pub(super) fn timestamp_at(&self, offset: Offset) -> Option<i64> {
        let state = lock(&self.state);
        if offset < state.start || offset >= state.high_watermark {
            return None;
        }
        if let Some(mark) = state.times.at(offset) {
            return Some(mark.timestamp_ms);
        }
        state.find_segment(offset)?.timestamp_near(offset)
    }

    /// Writes one run at the end of the segments. The new segment, if one was begun, and the one to sync, if it was clean.
    pub(super) fn fill(
        &self,
        storage: &dyn Storage,
        run: &TailRun,
        config: &super::SegmentLogConfig,
        now_ms: i64,
    ) -> Result<Filling, StorageError> {
        let (segment, new) = self.segment_for(run.base, run.bytes.len(), config.segment_bytes, now_ms);
        assert_eq!(segment.filled().next, run.base, "INVARIANT segments_are_dense in {}", self.directory);
        let made = if new { storage.create_dir(&self.directory) } else { Ok(()) };
        let written = made.and_then(|()| segment.append(storage, &run.bytes, config.index_interval_bytes));
        match written {
            Ok(was_clean) => Ok(Filling { new, dirtied: was_clean.then_some(segment) }),
            Err(error) => {
                if new {
                    self.forget_empty_segment();
                }
                Err(error)
            }
        }
    }
}

/// What writing a run changed.
pub(super) struct Filling {
    pub new: bool,
    pub dirtied: Option<Arc<Segment>>,
}

impl PartitionState {
    fn closed(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let last = self.segments.len().saturating_sub(1);
        let readable = self.high_watermark;
        self.segments[..last].iter().take_while(move |segment| segment.is_clean() && segment.filled().next <= readable)
    }

    /// The segment that holds `offset`.
    pub(super) fn find_segment(&self, offset: Offset) -> Option<&Arc<Segment>> {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        self.segments.get(after.checked_sub(1)?)
    }
}
