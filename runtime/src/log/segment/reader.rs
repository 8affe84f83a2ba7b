//! Reads one partition: recent batches from memory, older ones from segments.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::super::batch::{Batch, CorruptBatch, HEADER_BYTES};
use super::super::storage::{StorageError, StorageFile};
use super::super::{FetchError, Fetched, Offset, PartitionReader};
use super::core::Core;
use super::file::Segment;
use super::lock;
use super::partition::{Partition, PartitionState};

/// A small slice of a larger group than this is copied: a stalled reader that holds it would hold the whole group, beyond
/// what its credits count.
const MAX_PINNED_BYTES: usize = 1 << 20;

pub(super) struct SegmentReader {
    core: Arc<Core>,
    partition: Arc<Partition>,
    id: u64,
    position: Offset,
    /// Where the next batch is, when the last one came from there too.
    cursor: Option<Cursor>,
    hint: Option<TailHint>,
    /// The last chunk: written over when nobody holds it any more.
    chunk: Option<Bytes>,
}

struct Cursor {
    offset: Offset,
    segment: Arc<Segment>,
    file: Arc<dyn StorageFile>,
    at: u64,
}

/// Where `offset` starts inside the run that begins at `base`.
struct TailHint {
    base: Offset,
    offset: Offset,
    at: usize,
}

/// Some whole batches.
struct Piece {
    bytes: Bytes,
    next: Offset,
    events: u32,
}

impl SegmentReader {
    pub(super) fn new(core: Arc<Core>, partition: Arc<Partition>, position: Offset, wake: Arc<Notify>) -> Self {
        let id = partition.add_reader(wake);
        Self { core, partition, id, position, cursor: None, hint: None, chunk: None }
    }

    /// Recent batches. Small runs are put together, because what handles a batch has a cost for each.
    fn recent(&mut self, state: &PartitionState, max_bytes: usize) -> Option<Piece> {
        let tail = &state.tail;
        if tail.front().is_none_or(|first| first.base > self.position) {
            return None;
        }
        let mut index = tail.partition_point(|run| run.next <= self.position);
        let run = tail.get(index)?;
        let hinted = self.hint.take().filter(|hint| hint.base == run.base && hint.offset == self.position);
        let first = cut(&run.bytes, hinted.map_or(0, |hint| hint.at), self.position, max_bytes);
        if first.end < run.bytes.len() {
            self.hint = Some(TailHint { base: run.base, offset: first.next, at: first.end });
        }
        let bytes = run.bytes.slice(first.start..first.end);
        let (mut next, mut events) = (first.next, first.events);
        let more = tail.get(index + 1).is_some_and(|after| bytes.len() + after.bytes.len() <= max_bytes);
        if first.end < run.bytes.len() || !more || bytes.len() > max_bytes / 2 {
            let pins_much = run.frame_bytes > MAX_PINNED_BYTES && bytes.len() < run.frame_bytes / 8;
            let bytes = if pins_much { Bytes::copy_from_slice(&bytes) } else { bytes };
            return Some(Piece { bytes, next, events });
        }
        let mut joined = BytesMut::with_capacity(max_bytes.min(64 << 10));
        joined.extend_from_slice(&bytes);
        while let Some(run) = tail.get(index + 1)
            && joined.len() + run.bytes.len() <= max_bytes
        {
            joined.extend_from_slice(&run.bytes);
            events += cut(&run.bytes, 0, run.base, usize::MAX).events;
            next = run.next;
            index += 1;
        }
        Some(Piece { bytes: joined.freeze(), next, events })
    }

    fn older(&mut self, segment: Arc<Segment>, max_bytes: usize) -> Result<Piece, FetchError> {
        let filled = segment.filled();
        let (file, mut at) = self.find(&segment)?;
        let mut wanted = max_bytes.max(HEADER_BYTES);
        loop {
            let left = filled.bytes.saturating_sub(at);
            if left == 0 && segment.generation > 0 {
                // Compaction has removed what was to come: the next segment goes on.
                return Ok(Piece { bytes: Bytes::new(), next: filled.next, events: 0 });
            }
            let chunk = self.read(&segment, &*file, at, wanted.min(left as usize))?;
            let found = self.check(&segment, &chunk, at, left)?;
            match found {
                Checked::Piece { start, end, next, events } => {
                    let bytes = chunk.slice(start..end);
                    self.chunk = Some(chunk);
                    self.cursor =
                        (next < filled.next).then(|| Cursor { offset: next, segment, file, at: at + end as u64 });
                    return Ok(Piece { bytes, next, events });
                }
                // Index entries lie some batches apart, and a batch may be larger than what was asked for.
                Checked::Skipped { bytes } => at += bytes as u64,
                Checked::Needs { bytes } => wanted = bytes,
            }
            self.chunk = Some(chunk);
        }
    }

    /// The file and where to begin in it.
    fn find(&mut self, segment: &Arc<Segment>) -> Result<(Arc<dyn StorageFile>, u64), FetchError> {
        if let Some(cursor) = self.cursor.take()
            && cursor.offset == self.position
            && Arc::ptr_eq(&cursor.segment, segment)
        {
            return Ok((cursor.file, cursor.at));
        }
        let io = |error: StorageError| self.io(segment, &error);
        let storage = &*self.core.storage;
        let file = segment.file(storage).map_err(io)?;
        let at = segment.locate(storage, self.position, self.core.config.index_interval_bytes).map_err(io)?;
        Ok((file, at))
    }

    fn read(&mut self, segment: &Segment, file: &dyn StorageFile, at: u64, bytes: usize) -> Result<Bytes, FetchError> {
        let reused = self.chunk.take().and_then(|chunk| chunk.try_into_mut().ok());
        let mut buffer = reused.unwrap_or_default();
        // Growing zeroes only what is new.
        buffer.resize(bytes, 0);
        let found = file.read_at(&mut buffer, at).map_err(|error| self.io(segment, &error))?;
        buffer.truncate(found);
        Ok(buffer.freeze())
    }

    /// Takes the whole batches of a chunk from the position on, each with its CRC.
    fn check(&self, segment: &Segment, chunk: &[u8], at: u64, left: u64) -> Result<Checked, FetchError> {
        let corrupt = |byte: usize, reason: String| FetchError::Corrupt {
            file: segment.name.clone(),
            offset: self.position,
            byte: at + byte as u64,
            reason,
        };
        let is_dense = segment.generation == 0;
        let (mut start, mut end, mut next, mut events) = (0, 0, self.position, 0);
        while end < chunk.len() || end == 0 {
            let batch = match Batch::parse(&chunk[end..]) {
                Ok((batch, _)) => batch,
                Err(CorruptBatch::Truncated { needed_bytes, .. }) if (end + needed_bytes) as u64 <= left => {
                    return Ok(match (events, end) {
                        (0, 0) => Checked::Needs { bytes: needed_bytes },
                        (0, bytes) => Checked::Skipped { bytes },
                        _ => Checked::Piece { start, end, next, events },
                    });
                }
                Err(error) => return Err(corrupt(end, error.to_string())),
            };
            batch.check_crc().map_err(|error| corrupt(end, error.to_string()))?;
            let size = batch.bytes().len();
            if batch.next_offset() <= self.position {
                start = end + size;
            } else if events > 0 && (batch.base_offset() < next || (batch.base_offset() > next && is_dense)) {
                return Err(corrupt(end, format!("offset {} follows {}", batch.base_offset(), next - 1)));
            } else if events == 0 && batch.base_offset() > self.position && is_dense {
                return Err(corrupt(
                    end,
                    format!("offset {} where {} was to come", batch.base_offset(), self.position),
                ));
            } else {
                events += if is_dense {
                    events_from(&batch, self.position)
                } else {
                    kept_from(&batch, self.position).map_err(|error| corrupt(end, error.to_string()))?
                };
                next = batch.next_offset();
                if events == 0 {
                    // Only what compaction has removed was still to come in it.
                    start = end + size;
                }
            }
            end += size;
        }
        Ok(if events == 0 { Checked::Skipped { bytes: end } } else { Checked::Piece { start, end, next, events } })
    }

    fn below(&self, start: Offset) -> FetchError {
        FetchError::BelowStart {
            topic: self.partition.topic.clone(),
            partition: self.partition.of.partition,
            offset: self.position,
            start,
        }
    }

    /// A file may be gone because the partition was trimmed while it was to be read.
    fn trimmed_meanwhile(&self) -> Option<FetchError> {
        let start = self.partition.extent().start;
        (self.position < start).then(|| self.below(start))
    }

    fn io(&self, segment: &Segment, error: &StorageError) -> FetchError {
        FetchError::Io { file: segment.name.clone(), reason: error.to_string() }
    }
}

enum Checked {
    Piece {
        start: usize,
        end: usize,
        next: Offset,
        events: u32,
    },
    /// Everything in the chunk lies before the position.
    Skipped {
        bytes: usize,
    },
    /// The first batch has this size.
    Needs {
        bytes: usize,
    },
}

impl PartitionReader for SegmentReader {
    fn try_next(&mut self, max_bytes: usize) -> Result<Option<Fetched>, FetchError> {
        let from = self.position;
        let partition = self.partition.clone();
        loop {
            let state = lock(&partition.state);
            if self.position < state.start {
                return Err(self.below(state.start));
            }
            if self.position >= state.high_watermark {
                return Ok(None);
            }
            let readable_at_us = state.times.at(self.position).map(|mark| mark.readable_at_us);
            let piece = match self.recent(&state, max_bytes) {
                Some(piece) => piece,
                None => {
                    let segment = state.find_segment(self.position).cloned();
                    drop(state);
                    let segment = segment.ok_or_else(|| FetchError::Corrupt {
                        file: partition.directory.clone(),
                        offset: self.position,
                        byte: 0,
                        reason: "no segment holds this offset".to_owned(),
                    })?;
                    match self.older(segment.clone(), max_bytes) {
                        Ok(piece) => piece,
                        Err(error) => match self.trimmed_meanwhile() {
                            Some(below) => return Err(below),
                            // Compaction has replaced it meanwhile: what took its place is read.
                            None if !partition.holds(&segment) => continue,
                            None => return Err(error),
                        },
                    }
                }
            };
            self.position = piece.next;
            // None: compaction has removed all that was to come in that segment.
            if piece.events > 0 {
                let (bytes, next, events) = (piece.bytes, piece.next, piece.events);
                return Ok(Some(Fetched { bytes, from, next, events, readable_at_us }));
            }
        }
    }

    fn position(&self) -> Offset {
        self.position
    }

    fn seek(&mut self, offset: Offset) {
        self.position = offset;
    }
}

impl Drop for SegmentReader {
    fn drop(&mut self) {
        self.partition.remove_reader(self.id);
    }
}

struct Cut {
    start: usize,
    end: usize,
    next: Offset,
    events: u32,
}

/// The batches of a run from `position` on, at most about `max_bytes` and at least one. The run holds `position`.
fn cut(run: &[u8], from: usize, position: Offset, max_bytes: usize) -> Cut {
    let mut found = Cut { start: from, end: from, next: position, events: 0 };
    while found.end < run.len() {
        let (batch, _) =
            Batch::parse(&run[found.end..]).expect("INVARIANT batches_are_whole: what is in memory was checked before");
        let end = found.end + batch.bytes().len();
        if batch.next_offset() <= position {
            found.start = end;
        } else if found.events > 0 && end - found.start > max_bytes {
            break;
        } else {
            found.events += events_from(&batch, position);
            found.next = batch.next_offset();
        }
        found.end = end;
    }
    found
}

/// The same for a batch that compaction may have taken records out of.
fn kept_from(batch: &Batch<'_>, position: Offset) -> Result<u32, CorruptBatch> {
    let is_whole = batch.count() == batch.last_offset_delta() + 1;
    if is_whole || position <= batch.base_offset() {
        return Ok(events_from(batch, position));
    }
    let (mut scratch, mut events) = (Vec::new(), 0);
    for record in batch.records(&mut scratch)? {
        events += u32::from(record?.offset >= position);
    }
    Ok(events)
}

/// Records of a batch at or after `position`. The log gives offsets without gaps inside a batch.
fn events_from(batch: &Batch<'_>, position: Offset) -> u32 {
    let before = (position - batch.base_offset()).max(0) as u32;
    batch.count().saturating_sub(before)
}
