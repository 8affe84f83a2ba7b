//! A record batch without some of its records. What stays keeps its bytes: offsets and times are told from the batch's
//! own, which do not change.

use super::super::Offset;
use super::super::batch::{Batch, Compression, CorruptBatch, HEADER_BYTES, rewrite_header};
use super::super::lz4::Compressor;

/// Whether a record stays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    No,
    Yes,
    Tombstone,
}

/// What happened to the batches so far, and the buffers for the next.
pub(super) struct Rewrite {
    pub removed: u64,
    pub tombstones: u64,
    pub max_timestamp_ms: i64,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    compressor: Option<Compressor>,
}

impl Default for Rewrite {
    fn default() -> Self {
        Self {
            removed: 0,
            tombstones: 0,
            max_timestamp_ms: i64::MIN,
            scratch: Vec::new(),
            plain: Vec::new(),
            compressor: None,
        }
    }
}

impl Rewrite {
    /// Puts what stays of a batch behind `out`; nothing, if nothing does. `keep` is asked with key, offset, and whether
    /// there is no value.
    pub(super) fn batch(
        &mut self,
        batch: &Batch<'_>,
        keep: impl Fn(Option<&[u8]>, Offset, bool) -> Kept,
        out: &mut Vec<u8>,
    ) -> Result<(), CorruptBatch> {
        let compression = batch.compression()?;
        let (plain, max_timestamp_ms) = (&mut self.plain, &mut self.max_timestamp_ms);
        plain.clear();
        let (mut count, mut latest_ms, mut tombstones) = (0, i64::MIN, 0);
        let mut records = batch.records(&mut self.scratch)?;
        loop {
            let from = records.taken_bytes();
            let Some(record) = records.next() else { break };
            let record = record?;
            let kept = keep(record.key, record.offset, record.value.is_none());
            if kept == Kept::No {
                continue;
            }
            tombstones += u64::from(kept == Kept::Tombstone);
            count += 1;
            latest_ms = latest_ms.max(record.timestamp_ms);
            plain.extend_from_slice(records.bytes_since(from));
        }
        self.removed += u64::from(batch.count() - count);
        self.tombstones += tombstones;
        if count == 0 {
            return Ok(());
        }
        *max_timestamp_ms = (*max_timestamp_ms).max(latest_ms);
        if count == batch.count() {
            out.extend_from_slice(batch.bytes());
            return Ok(());
        }
        let at = out.len();
        out.extend_from_slice(&batch.bytes()[..HEADER_BYTES]);
        match compression {
            Compression::None => out.extend_from_slice(plain),
            Compression::Lz4 => self.compressor.get_or_insert_with(Compressor::new).frame(plain, out),
        }
        rewrite_header(&mut out[at..], count, latest_ms);
        Ok(())
    }
}
