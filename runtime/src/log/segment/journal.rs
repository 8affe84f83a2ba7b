//! The journal's files: groups are written one behind the other, and a file is used again only when its groups are in
//! synced segments.

use std::sync::Arc;

use super::super::storage::{OpenMode, Storage, StorageError, StorageFile};
use super::frame;

const PREFIX: &str = "journal.";

/// Names of all journal files that are there, in order.
pub(super) fn file_names(storage: &dyn Storage) -> Result<Vec<String>, StorageError> {
    let is_journal = |name: &String| {
        name.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 2 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    Ok(storage.list("")?.into_iter().filter(is_journal).collect())
}

pub(super) struct Journal {
    files: Vec<JournalFile>,
    current: usize,
    position: u64,
    file_bytes: u64,
    nonce: u64,
    next_sequence: u64,
}

struct JournalFile {
    file: Arc<dyn StorageFile>,
    /// Greatest sequence in it; 0 when it holds none that counts.
    last_sequence: u64,
}

impl Journal {
    /// Preallocates the files. Nothing in them counts any more: a new nonce is in force.
    pub(super) fn create(
        storage: &dyn Storage,
        files: usize,
        file_bytes: u64,
        nonce: u64,
        next_sequence: u64,
    ) -> Result<Self, StorageError> {
        let present = file_names(storage)?;
        let mut opened = Vec::with_capacity(files);
        let mut changed = false;
        for number in 0..files {
            let name = format!("{PREFIX}{number:02}");
            let file = storage.open(&name, OpenMode::Create)?;
            if file.byte_len()? != file_bytes {
                file.set_len(0)?;
                file.preallocate(file_bytes)?;
                file.sync()?;
                changed = true;
            }
            opened.push(JournalFile { file, last_sequence: 0 });
        }
        // Fewer files are wanted than there were.
        for name in present.iter().skip(files) {
            storage.remove(name)?;
            changed = true;
        }
        if changed {
            storage.sync_dir("")?;
        }
        Ok(Self { files: opened, current: 0, position: 0, file_bytes, nonce, next_sequence })
    }

    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Finds the place of a frame, in the next file if this one is full. True if a file was left behind: its segments
    /// want syncing soon.
    ///
    /// # Errors
    /// The sequence that must be in synced segments before the next file may be written over.
    pub(super) fn place(&mut self, frame_bytes: usize, retired_below: u64) -> Result<bool, u64> {
        if self.position + frame_bytes as u64 <= self.file_bytes {
            return Ok(false);
        }
        let next = (self.current + 1) % self.files.len();
        let last_sequence = self.files[next].last_sequence;
        if last_sequence >= retired_below {
            return Err(last_sequence);
        }
        self.current = next;
        self.position = 0;
        self.files[next].last_sequence = 0;
        Ok(true)
    }

    /// Writes and syncs a sealed frame that was given a place.
    pub(super) fn write(&mut self, frame: &[u8]) -> Result<(), StorageError> {
        assert_eq!(frame.len() % frame::ALIGN, 0, "INVARIANT groups_are_aligned");
        let file = &mut self.files[self.current];
        file.last_sequence = self.next_sequence;
        file.file.write_at(frame, self.position)?;
        file.file.sync()?;
        self.position += frame.len() as u64;
        self.next_sequence += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::storage::MemoryStorage;
    use super::*;

    #[test]
    fn a_file_is_used_again_only_when_its_groups_are_retired() {
        let storage = MemoryStorage::new();
        let frame = vec![1; frame::ALIGN];
        let mut journal = Journal::create(&storage, 2, 3 * frame::ALIGN as u64, 1, 1).unwrap();
        for sequence in 1..=6 {
            assert_eq!(journal.place(frame.len(), 1), Ok(sequence == 4), "the fourth goes into the second file");
            journal.write(&frame).unwrap();
        }
        for retired_below in 1..=3 {
            assert_eq!(journal.place(frame.len(), retired_below), Err(3));
        }
        assert_eq!(journal.place(frame.len(), 4), Ok(true));
        journal.write(&frame).unwrap();
        assert_eq!(journal.place(2 * frame.len(), 4), Ok(false));
        assert_eq!(journal.place(3 * frame.len(), 4), Err(6));
    }

    #[test]
    fn files_too_many_are_removed() {
        let storage = MemoryStorage::new();
        Journal::create(&storage, 4, 1 << 16, 1, 1).unwrap();
        Journal::create(&storage, 2, 1 << 16, 2, 1).unwrap();
        assert_eq!(file_names(&storage).unwrap(), ["journal.00", "journal.01"]);
    }
}
