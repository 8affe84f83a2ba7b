//! The journal as a state machine: close a group, write and sync it, show it, fill segments. Threads drive it in
//! production, one task on a fixed grid in the simulation; what it does is the same.

use std::sync::Arc;

use bytes::BytesMut;

use super::super::storage::StorageError;
use super::core::{Core, Group};
use super::frame::{self, Row};
use super::journal::Journal;
use super::lock;
use super::queue::Meta;

pub(super) struct Writer {
    pub core: Arc<Core>,
    journal: Journal,
    table: Vec<u8>,
}

/// A closed group, ready to be written.
pub(super) struct Closed {
    group: Group,
    frame: BytesMut,
}

impl Writer {
    pub(super) fn new(core: Arc<Core>, journal: Journal) -> Self {
        Self { core, journal, table: Vec::new() }
    }

    /// Closes the next group, if anything waits.
    pub(super) fn close_group(&mut self) -> Option<Closed> {
        let (meta, runs) = lock(&self.core.queue).take_group(self.core.config.group_bytes);
        if meta.is_empty() && runs.is_empty() {
            return None;
        }
        self.table.clear();
        for entry in &meta {
            let row = match entry {
                Meta::Topic { id, config } => Row::Topic { id: *id, config: config.clone() },
                Meta::Trim { partition, to, .. } => Row::Trim { of: partition.of, to: *to },
            };
            frame::put_row(&mut self.table, &row);
        }
        let mut batch_bytes = 0;
        for run in &runs {
            let Some((base, _, bytes)) = run.extent() else { continue };
            frame::put_row(&mut self.table, &Row::Run { of: run.partition.of, base, bytes: bytes as u32 });
            batch_bytes += bytes;
        }
        let mut bytes = self.core.buffer(frame::padded_bytes(self.table.len(), batch_bytes));
        frame::start(&mut bytes, &self.table);
        let batches_at = bytes.len();
        for batch in runs.iter().flat_map(|run| &run.batches) {
            frame::put_batch(&mut bytes, &batch.bytes, batch.base);
        }
        frame::seal(&mut bytes, self.table.len(), self.journal.nonce(), self.journal.next_sequence());
        Some(Closed { group: Group { meta, runs, batches_at }, frame: bytes })
    }

    /// Finds the group's place in the journal.
    ///
    /// # Errors
    /// The sequence that a checkpoint has to pass first.
    pub(super) fn place(&mut self, closed: &Closed) -> Result<(), u64> {
        if self.journal.place(closed.frame.len(), self.core.retired_below())? {
            self.core.ask_checkpoint();
        }
        Ok(())
    }

    /// Writes and syncs a group that has its place. On failure everything waiting is answered and the log is read-only.
    pub(super) fn write(&mut self, closed: Closed) -> Option<Closed> {
        match self.journal.write(&closed.frame) {
            Ok(()) => Some(closed),
            Err(error) => {
                let reason = error.to_string();
                self.core.fail(&reason);
                self.core.give_up(closed.group, &reason);
                None
            }
        }
    }

    /// Ends a group that will not be written: the log is read-only.
    pub(super) fn give_up(&self, closed: Closed) {
        self.core.give_up(closed.group, "the log turned read-only before the group was written");
    }

    /// Shows a synced group.
    pub(super) fn publish(&mut self, closed: Closed) {
        let sequence = self.journal.next_sequence() - 1;
        self.core.publish(closed.group, closed.frame, sequence);
    }

    /// Fills the segments. False while the disk is full: to be tried again.
    pub(super) fn fill(&mut self) -> bool {
        match self.core.fill() {
            Ok(()) => true,
            Err(StorageError::Full { .. }) => false,
            Err(error) => {
                self.core.fail(&error.to_string());
                true
            }
        }
    }
}
