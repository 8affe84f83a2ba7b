//! One segment: consecutive record batches of a partition in a file, and a sparse index into it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::super::Offset;
use super::super::batch::{self, Batches, HEADER_BYTES};
use super::super::storage::{OpenMode, Storage, StorageError, StorageFile};
use super::lock;

/// Bytes read at once when an index is built.
const SCAN_BYTES: usize = 256 << 10;

/// A segment that is in use by writer, readers and checkpoint alike.
pub(super) struct Segment {
    /// Offset of its first record; also its file's name, as in Kafka.
    pub base: Offset,
    pub name: String,
    /// How often it was written anew by compaction. From the first time on its offsets have gaps.
    pub generation: u32,
    /// Written since its last sync.
    dirty: AtomicBool,
    state: Mutex<State>,
    /// Open while it is written or not synced; readers of older segments open their own.
    file: Mutex<Option<Arc<dyn StorageFile>>>,
}

struct State {
    bytes: u64,
    next: Offset,
    first_timestamp_ms: Option<i64>,
    max_timestamp_ms: i64,
    sealed: bool,
    cleaned: Option<Cleaned>,
    index: Vec<IndexEntry>,
    /// The index covers the bytes below this.
    indexed_bytes: u64,
}

/// Where a batch starts.
#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    offset: Offset,
    position: u64,
    /// Greatest timestamp of the batch.
    timestamp_ms: i64,
}

/// How much of a segment there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    pub bytes: u64,
    pub next: Offset,
    pub max_timestamp_ms: i64,
}

/// What is known of a segment that compaction has seen whole, with all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    /// When it was seen for the first time (wall clock).
    pub at_ms: i64,
    /// Tombstones in it.
    pub tombstones: u64,
}

impl Cleaned {
    /// Whether it has tombstones that readers may not have met yet.
    pub(super) fn keeps_tombstones(&self, now_ms: i64, tombstone_ms: i64) -> bool {
        self.tombstones > 0 && now_ms.saturating_sub(self.at_ms) < tombstone_ms
    }
}

impl Segment {
    /// The name of the file of the segment that starts at `base`, below its partition's directory.
    pub(super) fn file_name(directory: &str, base: Offset, generation: u32) -> String {
        match generation {
            0 => format!("{directory}/{base:020}.log"),
            _ => format!("{directory}/{base:020}.{generation}.log"),
        }
    }

    pub(super) fn new(directory: &str, base: Offset, generation: u32, filled: Filled) -> Self {
        Self {
            base,
            name: Self::file_name(directory, base, generation),
            generation,
            dirty: AtomicBool::new(false),
            state: Mutex::new(State {
                bytes: filled.bytes,
                next: filled.next,
                first_timestamp_ms: None,
                max_timestamp_ms: filled.max_timestamp_ms,
                sealed: false,
                cleaned: None,
                index: Vec::new(),
                indexed_bytes: 0,
            }),
            file: Mutex::new(None),
        }
    }

    pub(super) fn filled(&self) -> Filled {
        let state = lock(&self.state);
        Filled { bytes: state.bytes, next: state.next, max_timestamp_ms: state.max_timestamp_ms }
    }

    /// What a pass of compaction that saw all of it has left.
    pub(super) fn cleaned(&self) -> Option<Cleaned> {
        lock(&self.state).cleaned
    }

    pub(super) fn set_cleaned(&self, cleaned: Option<Cleaned>) {
        lock(&self.state).cleaned = cleaned;
    }

    /// Whether all of it is synced.
    pub(super) fn is_clean(&self) -> bool {
        !self.dirty.load(Ordering::Acquire)
    }

    /// Timestamp of the first record that this process wrote into it.
    pub(super) fn first_timestamp_ms(&self) -> Option<i64> {
        lock(&self.state).first_timestamp_ms
    }

    /// The open file, or a new handle.
    pub(super) fn file(&self, storage: &dyn Storage) -> Result<Arc<dyn StorageFile>, StorageError> {
        match &*lock(&self.file) {
            Some(file) => Ok(file.clone()),
            None => storage.open(&self.name, OpenMode::Read),
        }
    }

    /// The file for writing, made if it is the first write.
    pub(super) fn file_to_write(&self, storage: &dyn Storage) -> Result<Arc<dyn StorageFile>, StorageError> {
        let mut file = lock(&self.file);
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let opened = storage.open(&self.name, OpenMode::Create)?;
        // Left over from a life before the last recovery: never trusted.
        let bytes = lock(&self.state).bytes;
        if opened.byte_len()? > bytes {
            opened.set_len(bytes)?;
        }
        *file = Some(opened.clone());
        Ok(opened)
    }

    /// Nothing more is written to it; its file closes with the next sync.
    pub(super) fn seal(&self) {
        lock(&self.state).sealed = true;
    }

    /// Writes whole batches at the end. True if it was clean before: it has to be synced.
    pub(super) fn append(
        &self,
        storage: &dyn Storage,
        bytes: &[u8],
        index_interval_bytes: u64,
    ) -> Result<bool, StorageError> {
        let file = self.file_to_write(storage)?;
        let position = lock(&self.state).bytes;
        // Dirty even if the write fails half way.
        let was_clean = !self.dirty.swap(true, Ordering::AcqRel);
        file.write_at(bytes, position)?;
        let mut state = lock(&self.state);
        let complete = state.indexed_bytes == position;
        let mut at = position;
        for batch in Batches::new(bytes) {
            let batch = batch.expect("INVARIANT batches_are_whole: what is appended was checked before");
            let timestamp_ms = batch.max_timestamp_ms();
            state.max_timestamp_ms = state.max_timestamp_ms.max(timestamp_ms);
            state.first_timestamp_ms.get_or_insert(batch.base_timestamp_ms());
            state.next = batch.next_offset();
            if complete {
                state.index_batch(batch.base_offset(), at, timestamp_ms, index_interval_bytes);
            }
            at += batch.bytes().len() as u64;
        }
        state.bytes = at;
        if complete {
            state.indexed_bytes = at;
        }
        Ok(was_clean)
    }

    /// Marks it clean: the caller syncs it now, with no write between.
    pub(super) fn take_dirty(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    /// Its file was synced; that of a sealed segment closes.
    pub(super) fn synced(&self) {
        if lock(&self.state).sealed && !self.dirty.load(Ordering::Acquire) {
            *lock(&self.file) = None;
        }
    }

    /// Position of a batch at or before the one that holds `offset`.
    pub(super) fn locate(
        &self,
        storage: &dyn Storage,
        offset: Offset,
        index_interval_bytes: u64,
    ) -> Result<u64, StorageError> {
        if offset <= self.base {
            return Ok(0);
        }
        let (mut at, end) = {
            let state = lock(&self.state);
            (state.indexed_bytes, state.bytes)
        };
        if at < end {
            let file = self.file(storage)?;
            let mut entries = Vec::new();
            while at < end
                && let Some(reached) = scan(&*file, at, end, &mut entries)?
            {
                at = reached;
            }
            let mut state = lock(&self.state);
            for entry in
                entries.iter().filter(|entry| entry.position >= state.indexed_bytes).copied().collect::<Vec<_>>()
            {
                state.index_batch(entry.offset, entry.position, entry.timestamp_ms, index_interval_bytes);
            }
            state.indexed_bytes = state.indexed_bytes.max(at);
        }
        let state = lock(&self.state);
        let after = state.index.partition_point(|entry| entry.offset <= offset);
        Ok(after.checked_sub(1).map_or(0, |found| state.index[found].position))
    }

    /// Timestamp near `offset`, if the index knows one.
    pub(super) fn timestamp_near(&self, offset: Offset) -> Option<i64> {
        let state = lock(&self.state);
        let after = state.index.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map(|found| state.index[found].timestamp_ms)
    }
}

impl State {
    fn index_batch(&mut self, offset: Offset, position: u64, timestamp_ms: i64, interval_bytes: u64) {
        let due = self.index.last().is_none_or(|last| position >= last.position + interval_bytes);
        if due {
            self.index.push(IndexEntry { offset, position, timestamp_ms });
        }
    }
}

/// Walks the headers of one chunk; the position behind the last whole header's batch, or `None` where the bytes do not
/// read (whoever reads the batch itself reports it).
fn scan(
    file: &dyn StorageFile,
    from: u64,
    end: u64,
    entries: &mut Vec<IndexEntry>,
) -> Result<Option<u64>, StorageError> {
    let mut chunk = vec![0; SCAN_BYTES.min((end - from) as usize)];
    let found = file.read_at(&mut chunk, from)?;
    let mut at = 0;
    while at + HEADER_BYTES <= found {
        let Ok(peek) = batch::peek(&chunk[at..found]) else { return Ok(None) };
        let position = from + at as u64;
        entries.push(IndexEntry { offset: peek.base_offset, position, timestamp_ms: peek.max_timestamp_ms });
        at += peek.size;
    }
    Ok((at > 0).then_some(from + at as u64))
}
