//! Seek by time: segments are passed over by their greatest timestamp, batches by that of their header, and only the
//! records of a batch that may hold the time are looked at.

use std::sync::Arc;

use super::super::batch::{Batch, Batches, CorruptBatch};
use super::super::{FetchError, Offset};
use super::core::Core;
use super::file::Segment;
use super::partition::{Partition, TailRun};
use super::scan::Scan;

/// What of a partition is readable at one moment: segments, and behind them what is in memory.
pub(super) struct View {
    pub start: Offset,
    pub high_watermark: Offset,
    pub segments: Vec<Arc<Segment>>,
    pub tail: Vec<TailRun>,
}

/// Offset of the first record with this time or a later one; the high watermark if there is none.
pub(super) fn offset_at(core: &Core, partition: &Partition, timestamp_ms: i64) -> Result<Offset, FetchError> {
    loop {
        let view = partition.view();
        match find(core, &view, timestamp_ms) {
            Ok(found) => return Ok(found.unwrap_or(view.high_watermark)),
            // Its file may have gone while it was to be read: what is there now is looked at.
            Err((segment, _)) if !partition.holds(&segment) => {}
            Err((_, error)) => return Err(error),
        }
    }
}

fn find(core: &Core, view: &View, timestamp_ms: i64) -> Result<Option<Offset>, (Arc<Segment>, FetchError)> {
    let mut scratch = Vec::new();
    let in_memory = view.tail.first().map_or(view.high_watermark, |run| run.base);
    for segment in &view.segments {
        let filled = segment.filled();
        if segment.base >= in_memory {
            break;
        }
        if filled.next <= view.start || filled.max_timestamp_ms < timestamp_ms {
            continue;
        }
        let found = in_segment(core, segment, view.start..in_memory, timestamp_ms, &mut scratch);
        match found.map_err(|error| (segment.clone(), error))? {
            Some(offset) => return Ok(Some(offset)),
            None => continue,
        }
    }
    for run in &view.tail {
        for batch in Batches::new(&run.bytes) {
            let found =
                batch.and_then(|batch| first_at(&batch, view.start..view.high_watermark, timestamp_ms, &mut scratch));
            if let Some(offset) = found.expect("INVARIANT batches_are_whole: what is in memory was checked before") {
                return Ok(Some(offset));
            }
        }
    }
    Ok(None)
}

fn in_segment(
    core: &Core,
    segment: &Segment,
    within: std::ops::Range<Offset>,
    timestamp_ms: i64,
    scratch: &mut Vec<u8>,
) -> Result<Option<Offset>, FetchError> {
    let mut scan = Scan::new(&*core.storage, segment)?;
    loop {
        let found = match scan.next()? {
            Some(batch) if batch.base_offset() >= within.end => return Ok(None),
            Some(batch) => first_at(&batch, within.clone(), timestamp_ms, scratch),
            None => return Ok(None),
        };
        if let Some(offset) = found.map_err(|error| scan.corrupt_here(&error))? {
            return Ok(Some(offset));
        }
    }
}

/// The first record of a batch that is late enough.
fn first_at(
    batch: &Batch<'_>,
    within: std::ops::Range<Offset>,
    timestamp_ms: i64,
    scratch: &mut Vec<u8>,
) -> Result<Option<Offset>, CorruptBatch> {
    if batch.max_timestamp_ms() < timestamp_ms || batch.next_offset() <= within.start {
        return Ok(None);
    }
    for record in batch.records(scratch)? {
        let record = record?;
        if record.timestamp_ms >= timestamp_ms && within.contains(&record.offset) {
            return Ok(Some(record.offset));
        }
    }
    Ok(None)
}
