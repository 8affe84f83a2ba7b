//! The batches of a segment's file, one after the other, in bounded memory.

use std::sync::Arc;

use super::super::FetchError;
use super::super::batch::{Batch, CorruptBatch, HEADER_BYTES};
use super::super::storage::{Storage, StorageError, StorageFile};
use super::file::Segment;

/// Bytes read at once; a larger batch is read whole.
const CHUNK_BYTES: usize = 256 << 10;

/// Walks what a segment held when the walk began.
pub(super) struct Scan {
    name: String,
    file: Arc<dyn StorageFile>,
    /// Where `chunk` begins in the file, and where the walk ends.
    at: u64,
    end: u64,
    chunk: Vec<u8>,
    /// Bytes of `chunk` that were handed out.
    taken: usize,
}

impl Scan {
    pub(super) fn new(storage: &dyn Storage, segment: &Segment) -> Result<Self, FetchError> {
        let file = segment.file(storage).map_err(|error| io(&segment.name, &error))?;
        let end = segment.filled().bytes;
        Ok(Self { name: segment.name.clone(), file, at: 0, end, chunk: Vec::new(), taken: 0 })
    }

    /// The next whole batch; its CRC is the caller's to check.
    pub(super) fn next(&mut self) -> Result<Option<Batch<'_>>, FetchError> {
        let position = self.at + self.taken as u64;
        let left = self.end - position;
        if left == 0 {
            return Ok(None);
        }
        let size = loop {
            match Batch::parse(&self.chunk[self.taken..]) {
                Ok((batch, _)) => break batch.bytes().len(),
                Err(CorruptBatch::Truncated { needed_bytes, .. })
                    if needed_bytes as u64 <= left && self.chunk.len() - self.taken < needed_bytes =>
                {
                    self.read(position, needed_bytes, left)?;
                }
                Err(error) => return Err(self.corrupt(position, &error)),
            }
        };
        let from = self.taken;
        self.taken += size;
        match Batch::parse(&self.chunk[from..]) {
            Ok((batch, _)) => Ok(Some(batch)),
            Err(error) => Err(corrupt(&self.name, position, &error)),
        }
    }

    fn read(&mut self, position: u64, needed_bytes: usize, left: u64) -> Result<(), FetchError> {
        let wanted = needed_bytes.max(CHUNK_BYTES).max(HEADER_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
        self.chunk.resize(wanted, 0);
        let found = self.file.read_at(&mut self.chunk, position).map_err(|error| io(&self.name, &error))?;
        self.chunk.truncate(found);
        (self.at, self.taken) = (position, 0);
        if found < needed_bytes {
            return Err(self.corrupt(position, &CorruptBatch::Truncated { needed_bytes, found_bytes: found }));
        }
        Ok(())
    }

    fn corrupt(&self, position: u64, error: &CorruptBatch) -> FetchError {
        corrupt(&self.name, position, error)
    }

    /// What `error` says of the batch that was handed out last.
    pub(super) fn corrupt_here(&self, error: &CorruptBatch) -> FetchError {
        corrupt(&self.name, self.at + self.taken as u64, error)
    }
}

fn io(name: &str, error: &StorageError) -> FetchError {
    FetchError::Io { file: name.to_owned(), reason: error.to_string() }
}

fn corrupt(name: &str, byte: u64, error: &CorruptBatch) -> FetchError {
    FetchError::Corrupt { file: name.to_owned(), offset: 0, byte, reason: error.to_string() }
}
