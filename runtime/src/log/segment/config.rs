//! Limits of the embedded log, in one place, with their arithmetic.

use super::super::batch::{HEADER_BYTES, MAX_BATCH_BYTES};
use super::error::OpenError;

/// Sizes and times of an embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentLogConfig {
    /// Length of one journal file. A file is used again only when its groups are in synced segments, so all of them
    /// together bound what recovery has to replay.
    pub journal_file_bytes: u64,
    /// At least 2: one is written while the segments of the other are synced.
    pub journal_files: usize,
    /// A group closes at about this size; what is waiting beyond it goes into the next one. Bounds how long an
    /// acknowledgement can wait behind a flood: 4 MiB are about 14 ms on a disk of 300 MB/s.
    pub group_bytes: usize,
    /// Largest batch that is accepted.
    pub max_batch_bytes: usize,
    /// A segment file is closed at about this size.
    pub segment_bytes: u64,
    /// Recent groups kept in memory, so that readers that keep up cost no system call.
    pub tail_bytes: usize,
    /// One entry of the offset index for this many bytes of a segment.
    pub index_interval_bytes: u64,
    /// Free space that is never taken: what is admitted must find room in the segments.
    pub reserve_bytes: u64,
    /// How often whole segments are looked at for their age.
    pub retention_tick_ms: u64,
    /// How long compaction leaves a tombstone, so that readers on their way hear of it.
    pub tombstone_ms: i64,
    /// Memory for the keys of one pass of compaction; what does not fit waits for the next one.
    pub compaction_key_bytes: usize,
    /// What compaction reads and writes in a second at most, on the average of its steps.
    pub compaction_bytes_per_s: u64,
    /// Simulation only: groups close on this grid.
    pub grid_us: u64,
}

impl Default for SegmentLogConfig {
    fn default() -> Self {
        Self {
            journal_file_bytes: 64 << 20,
            journal_files: 2,
            group_bytes: 4 << 20,
            max_batch_bytes: MAX_BATCH_BYTES,
            segment_bytes: 64 << 20,
            tail_bytes: 16 << 20,
            index_interval_bytes: 16 << 10,
            reserve_bytes: 64 << 20,
            retention_tick_ms: 30_000,
            tombstone_ms: 24 * 60 * 60 * 1000,
            compaction_key_bytes: 16 << 20,
            compaction_bytes_per_s: 32 << 20,
            grid_us: 2_000,
        }
    }
}

impl SegmentLogConfig {
    /// Small files and little memory, for simulation and tests: everything rotates, rolls and is evicted often.
    pub fn small() -> Self {
        Self {
            journal_file_bytes: 4 << 20,
            journal_files: 2,
            group_bytes: 512 << 10,
            max_batch_bytes: 1 << 20,
            segment_bytes: 1 << 20,
            tail_bytes: 1 << 20,
            index_interval_bytes: 4 << 10,
            reserve_bytes: 1 << 20,
            ..Self::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), OpenError> {
        let wrong = |reason: &str| Err(OpenError::Config { reason: reason.to_owned() });
        // A group may pass its size by one batch, and its table takes less than the batches that it lists.
        let largest_group = 2 * (self.group_bytes + self.max_batch_bytes) as u64;
        if self.journal_files < 2 || self.journal_files > 64 {
            return wrong("journal_files must be 2 to 64");
        }
        if largest_group > self.journal_file_bytes || self.journal_file_bytes > 1 << 30 {
            return wrong("journal_file_bytes must hold 2 x (group_bytes + max_batch_bytes) and be at most 1 GiB");
        }
        if self.max_batch_bytes < HEADER_BYTES || self.max_batch_bytes > MAX_BATCH_BYTES {
            return wrong("max_batch_bytes must be at most 8 MiB");
        }
        if self.segment_bytes == 0 || self.segment_bytes > 1 << 30 {
            return wrong("segment_bytes must be 1 B to 1 GiB");
        }
        if self.tombstone_ms < 0 || self.compaction_bytes_per_s == 0 {
            return wrong("tombstone_ms must be at least 0, compaction_bytes_per_s above 0");
        }
        if self.group_bytes == 0 || self.index_interval_bytes == 0 || self.grid_us == 0 || self.retention_tick_ms == 0 {
            return wrong("group_bytes, index_interval_bytes, grid_us and retention_tick_ms must be above 0");
        }
        Ok(())
    }
}
