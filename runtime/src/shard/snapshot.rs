//! Snapshots and trimming (rules P17, P18): they bound how long a restore takes.
//!
//! A snapshot is a run of chunks in the commit topic, each in line like a commit, so that it never stops the shard:
//! one chunk between two batches. The log is trimmed to the first chunk once the end and a published mark that covers
//! everything before that chunk stand in the log.

use schemas::codec::Array;
use schemas::events::{OutputCounter, Position, Row, SnapshotChunk, SnapshotEnd, TableDelta};

use super::{Shard, ShardError};
use crate::commit::CommitError;
use crate::commit::staging::COMMIT_BYTES_MAX;
use crate::invariant::{self, Checks};
use crate::log::Offset;

/// Rows a chunk holds, bytes; leaves room for the frame below the limit of a commit record.
const CHUNK_BYTES: usize = COMMIT_BYTES_MAX / 3;

/// Where the shard is with its snapshots.
pub(super) struct Snapshots {
    /// Commit bytes since the last complete snapshot.
    behind_bytes: u64,
    /// Bytes of the last snapshot.
    size_bytes: u64,
    running: Option<Running>,
    /// Complete, waiting for a published mark to stand: first chunk's offset and sequence.
    trimmable: Option<(Offset, i64)>,
}

struct Running {
    first: Option<(Offset, i64)>,
    index: i32,
    /// Tables done.
    table: usize,
    bytes: u64,
}

impl Snapshots {
    pub(super) fn after(behind_bytes: u64) -> Self {
        Self { behind_bytes, size_bytes: 0, running: None, trimmable: None }
    }

    pub(super) fn committed(&mut self, bytes: usize) {
        self.behind_bytes += bytes as u64;
    }
}

impl Shard {
    /// One step: a chunk, the end, or the trimming.
    pub(super) async fn advance_snapshot(&mut self) -> Result<(), ShardError> {
        if !self.ctx.limits.trim {
            return Ok(());
        }
        if let Some((offset, sequence)) = self.snapshot.trimmable
            && self.ctx.guards.may_trim(self.published_in_log >= sequence - 1)
        {
            self.snapshot.trimmable = None;
            let mut checks = Checks::default();
            checks.expect(invariant::TRIMS_COVERED, invariant::trims_covered(self.published_in_log, sequence));
            self.ctx.stats.asked(&checks);
            if let Some(name) = checks.broken() {
                return Err(ShardError::Invariant(name));
            }
            self.ctx.log.trim(self.ctx.commits, offset).await?;
        }
        let due = self.ctx.limits.snapshot_bytes.max(self.snapshot.size_bytes);
        if self.snapshot.running.is_none() && self.snapshot.trimmable.is_none() && self.snapshot.behind_bytes >= due {
            self.tables(&mut |table| table.snapshot_begin());
            self.snapshot.running = Some(Running { first: None, index: 0, table: 0, bytes: 0 });
        }
        match self.snapshot.running.take() {
            Some(running) => self.snapshot_step(running).await,
            None => Ok(()),
        }
    }

    async fn snapshot_step(&mut self, mut running: Running) -> Result<(), ShardError> {
        let (mut arena, mut spans, mut name, mut version, mut tables) = (Vec::new(), Vec::new(), "", 0, 0);
        let wanted = running.table;
        let mut finished = false;
        self.tables(&mut |table| {
            if tables == wanted {
                (name, version) = (table.name(), table.version());
                finished = table.snapshot_next(CHUNK_BYTES, &mut |key: &[u8], value: &[u8]| {
                    let start = arena.len();
                    arena.extend_from_slice(key);
                    let middle = arena.len();
                    arena.extend_from_slice(value);
                    spans.push((start, middle, arena.len()));
                });
            }
            tables += 1;
        });
        if wanted >= tables {
            return self.snapshot_end(running).await;
        }
        running.table += usize::from(finished);
        running.bytes += arena.len() as u64;
        // The first chunk stands even when it is empty: the trimmed log starts with it.
        if !spans.is_empty() || running.index == 0 {
            let rows: Vec<Row<'_>> =
                spans.iter().map(|&(s, m, e)| Row { key: &arena[s..m], value: Some(&arena[m..e]) }).collect();
            let delta = [TableDelta { table: name, version: i32::from(version), rows: Array::from_slice(&rows) }];
            let sequence = self.next_sequence;
            let chunk = SnapshotChunk {
                epoch_offset: self.epoch.offset,
                epoch_nonce: self.epoch.nonce,
                sequence,
                lineage: self.lineage,
                index: running.index,
                published: self.published,
                delta: Array::from_slice(&delta),
            };
            let offset = self.append_snapshot(&chunk).await?;
            running.first.get_or_insert((offset, sequence));
            running.index += 1;
        }
        self.snapshot.running = Some(running);
        Ok(())
    }

    async fn snapshot_end(&mut self, running: Running) -> Result<(), ShardError> {
        let Some(first) = running.first else { return Ok(()) };
        let ctx = self.ctx.clone();
        let positions: Vec<Position<'_>> = ctx
            .inputs
            .iter()
            .zip(&self.positions)
            .map(|(input, at)| Position {
                topic: input.topic.name,
                partition: input.at.partition as i32,
                next: at.next(),
            })
            .collect();
        let counters = self.counters.clone();
        let counters: Vec<OutputCounter<'_>> = counters
            .iter()
            .map(|((topic, partition), next)| OutputCounter { topic, partition: *partition as i32, next_n: *next })
            .collect();
        let end = SnapshotEnd {
            epoch_offset: self.epoch.offset,
            epoch_nonce: self.epoch.nonce,
            sequence: self.next_sequence,
            lineage: self.lineage,
            first_chunk_offset: first.0,
            positions: Array::from_slice(&positions),
            counters: Array::from_slice(&counters),
            published: self.published,
        };
        self.append_snapshot(&end).await?;
        self.snapshot.size_bytes = running.bytes;
        self.snapshot.behind_bytes = 0;
        self.snapshot.trimmable = Some(first);
        Ok(())
    }

    async fn append_snapshot<E: schemas::codec::Encode>(&mut self, record: &E) -> Result<Offset, ShardError> {
        let mut value = Vec::new();
        schemas::frame::encode(record, &mut value);
        if value.len() > COMMIT_BYTES_MAX {
            return Err(CommitError::TooLarge { bytes: value.len(), limit_bytes: COMMIT_BYTES_MAX }.into());
        }
        self.ctx.wait_for_room().await?;
        let offset = self.append_record(&value).await?;
        if self.publishing.is_none() {
            self.published = self.next_sequence - 1;
        }
        Ok(offset)
    }
}
