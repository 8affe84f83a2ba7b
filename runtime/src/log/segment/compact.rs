//! Compaction: of the closed segments of a compacted topic, the last record of each key stays. Offsets stay as they were,
//! with gaps; so do the records of no key. A tombstone stays for a while, so that readers that are on their way hear of it.
//!
//! A pass first maps the keys of what no pass has seen to their last offsets, within a budget of memory, and then writes
//! segments anew, from the oldest on. A new file has a name of its own and is synced before it takes the place of the old
//! ones in memory; the next checkpoint names it, and only then the old ones are removed. So a crash leaves the old files or
//! the new one, and what no checkpoint names is removed at the next start.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::storage::{OpenMode, StorageError};
use super::super::{FetchError, Offset};
use super::core::Core;
use super::file::{Cleaned, Filled, Segment};
use super::lock;
use super::partition::Partition;
use super::rewrite::{Kept, Rewrite};
use super::scan::Scan;

/// What an entry of the map costs beside its key.
const ENTRY_BYTES: usize = 96;
/// A new file is written in pieces of about this size.
const WRITE_BYTES: usize = 256 << 10;

/// One pass at a time, one group of segments a step.
#[derive(Default)]
pub(super) struct Compactor {
    pass: Option<Pass>,
    /// Partitions are looked at in turn; the next one.
    next_slot: usize,
}

/// What a step did.
pub(super) struct Stepped {
    /// Read and written.
    pub bytes: u64,
    pub removed: u64,
}

struct Pass {
    partition: Arc<Partition>,
    /// The last offset of each key below `upto` that no earlier pass has seen.
    last: BTreeMap<Box<[u8]>, Offset>,
    upto: Offset,
    /// Groups of neighbours; each becomes one segment. The next one last.
    groups: Vec<Vec<Arc<Segment>>>,
}

/// Segments become one with neighbours of their kind only, so that tombstones keep their time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Not seen by a pass before, or not whole.
    Fresh,
    /// The keys of its end did not fit the budget: it is looked at again.
    Partial,
    /// Its tombstones have to stay.
    Young,
    /// Its tombstones may go.
    Old,
}

enum Failed {
    Read(FetchError),
    Write(StorageError),
}

impl From<FetchError> for Failed {
    fn from(error: FetchError) -> Self {
        Self::Read(error)
    }
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Self {
        Self::Write(error)
    }
}

impl Compactor {
    /// Does one piece of work; `None` when there is none. What fails is given up until the next look: nothing refers to a
    /// file that is not whole.
    pub(super) fn step(&mut self, core: &Core, now_ms: i64) -> Option<Stepped> {
        if core.is_read_only() {
            self.pass = None;
            return None;
        }
        let Some(mut pass) = self.pass.take() else {
            let partition = self.due(core, now_ms)?;
            return match begin(core, &partition, now_ms) {
                Ok((pass, bytes)) => {
                    self.pass = Some(pass);
                    Some(Stepped { bytes, removed: 0 })
                }
                Err(error) => {
                    give_up(&partition, &Failed::Read(error));
                    None
                }
            };
        };
        let Some(group) = pass.groups.pop() else {
            pass.partition.cleaned_to(pass.upto);
            return Some(Stepped { bytes: 0, removed: 0 });
        };
        match replace(core, &pass, &group, now_ms) {
            Ok(Some(stepped)) => {
                self.pass = Some(pass);
                Some(stepped)
            }
            // Trimmed meanwhile: the next look sees what is left.
            Ok(None) => None,
            Err(failed) => {
                give_up(&pass.partition, &failed);
                None
            }
        }
    }

    /// The next partition, in turn, that is worth a pass.
    fn due(&mut self, core: &Core, now_ms: i64) -> Option<Arc<Partition>> {
        let topics = core.topics.load();
        let count = topics.iter().map(|topic| topic.partitions.len()).sum::<usize>();
        let tombstone_ms = core.config.tombstone_ms;
        let compacted = topics.iter().filter(|topic| topic.config.compacted).flat_map(|topic| &topic.partitions);
        let turn = |slot: usize| (slot + count - self.next_slot % count.max(1)) % count.max(1);
        let due = compacted.filter(|partition| partition.is_due(now_ms, tombstone_ms));
        let found = due.min_by_key(|partition| turn(partition.slot))?.clone();
        self.next_slot = found.slot + 1;
        Some(found)
    }
}

fn give_up(partition: &Partition, failed: &Failed) {
    let reason = match failed {
        Failed::Read(error) => error.to_string(),
        Failed::Write(error) => error.to_string(),
    };
    tracing::warn!(partition = partition.directory, reason, "compaction is given up, to be tried again");
}

/// Maps the keys and plans the groups; and the bytes that were read.
fn begin(core: &Core, partition: &Arc<Partition>, now_ms: i64) -> Result<(Pass, u64), FetchError> {
    let (from, closed) = partition.closed();
    let mut last = BTreeMap::new();
    let (mut key_bytes, mut read_bytes, mut scratch) = (0, 0, Vec::new());
    let mut upto = from;
    'map: for segment in closed.iter().filter(|segment| segment.filled().next > from) {
        let mut scan = Scan::new(&*core.storage, segment)?;
        while let Some(batch) = scan.next()? {
            read_bytes += batch.bytes().len() as u64;
            let mapped = batch.check_crc().and_then(|()| {
                for record in batch.records(&mut scratch)? {
                    let record = record?;
                    let Some(key) = record.key.filter(|_| record.offset >= from) else { continue };
                    match last.get_mut(key) {
                        Some(offset) => *offset = record.offset,
                        None => {
                            key_bytes += key.len() + ENTRY_BYTES;
                            last.insert(Box::from(key), record.offset);
                        }
                    }
                }
                Ok(batch.next_offset())
            });
            upto = upto.max(mapped.map_err(|error| scan.corrupt_here(&error))?);
            if key_bytes > core.config.compaction_key_bytes {
                break 'map;
            }
        }
        // Its end may have been removed by an earlier pass.
        upto = upto.max(segment.filled().next);
    }
    let tombstone_ms = core.config.tombstone_ms;
    let kind = |segment: &Segment| match segment.cleaned() {
        None if segment.filled().next > upto => Kind::Partial,
        None => Kind::Fresh,
        Some(cleaned) if cleaned.keeps_tombstones(now_ms, tombstone_ms) => Kind::Young,
        Some(_) => Kind::Old,
    };
    let mut groups: Vec<(Kind, u64, Vec<Arc<Segment>>)> = Vec::new();
    for segment in closed.into_iter().filter(|segment| segment.base < upto) {
        let (kind, bytes) = (kind(&segment), segment.filled().bytes);
        match groups.last_mut() {
            Some((with, sum, group))
                if *with == kind
                    && matches!(kind, Kind::Fresh | Kind::Old)
                    && *sum + bytes <= core.config.segment_bytes =>
            {
                *sum += bytes;
                group.push(segment);
            }
            _ => groups.push((kind, bytes, vec![segment])),
        }
    }
    let groups = groups.into_iter().rev().map(|(_, _, group)| group).collect();
    Ok((Pass { partition: partition.clone(), last, upto, groups }, read_bytes))
}

/// Writes a group anew, as one segment, and puts it in place. `None`: the partition has changed, nothing was done.
fn replace(core: &Core, pass: &Pass, group: &[Arc<Segment>], now_ms: i64) -> Result<Option<Stepped>, Failed> {
    let (Some(first), Some(end)) = (group.first(), group.last()) else { return Ok(None) };
    // Whoever else compacts has not touched the group, and does not: its next name is nobody's.
    let _one = lock(&core.compacting);
    if !group.iter().all(|segment| pass.partition.holds(segment)) {
        return Ok(None);
    }
    let read_bytes: u64 = group.iter().map(|segment| segment.filled().bytes).sum();
    // As much again may be needed for a moment, and what is reserved is not compaction's.
    if core.storage.free_bytes()? < read_bytes.saturating_add(core.config.reserve_bytes) {
        return Err(StorageError::Full { file: first.name.clone() }.into());
    }
    let generation = group.iter().map(|segment| segment.generation).max().unwrap_or(0) + 1;
    let name = Segment::file_name(&pass.partition.directory, first.base, generation);
    let written = write(core, pass, group, &name, now_ms);
    let (removed, filled, tombstones) = match written {
        Ok((rewrite, bytes)) => {
            let next = end.filled().next;
            (rewrite.removed, Filled { bytes, next, max_timestamp_ms: rewrite.max_timestamp_ms }, rewrite.tombstones)
        }
        Err(failed) => {
            // It is nobody's: the next start removes it if this does not.
            let _ = core.storage.remove(&name);
            return Err(failed);
        }
    };
    let at_ms = group.iter().map(|segment| segment.cleaned().map_or(now_ms, |cleaned| cleaned.at_ms)).max();
    let cleaned = at_ms.filter(|_| filled.next <= pass.upto).map(|at_ms| Cleaned { at_ms, tombstones });
    let stepped = Stepped { bytes: read_bytes + filled.bytes, removed };
    if removed == 0 && group.len() == 1 {
        first.set_cleaned(cleaned);
        core.storage.remove(&name)?;
        return Ok(Some(stepped));
    }
    let segment = Segment::new(&pass.partition.directory, first.base, generation, filled);
    segment.set_cleaned(cleaned);
    segment.seal();
    if !pass.partition.replace(group, Arc::new(segment)) {
        core.storage.remove(&name)?;
        return Ok(None);
    }
    core.doom(group.iter().map(|segment| segment.name.clone()).collect());
    core.ask_checkpoint();
    Ok(Some(stepped))
}

/// What stays of a group, in a new file, synced.
fn write(core: &Core, pass: &Pass, group: &[Arc<Segment>], name: &str, now_ms: i64) -> Result<(Rewrite, u64), Failed> {
    let file = core.storage.open(name, OpenMode::Create)?;
    file.set_len(0)?;
    let start = pass.partition.extent().start;
    let mut rewrite = Rewrite::default();
    let (mut out, mut at) = (Vec::new(), 0);
    for segment in group {
        let drops_tombstones =
            segment.cleaned().is_some_and(|cleaned| !cleaned.keeps_tombstones(now_ms, core.config.tombstone_ms));
        let keep = |key: Option<&[u8]>, offset: Offset, is_tombstone: bool| match key {
            _ if offset < start => Kept::No,
            None => Kept::Yes,
            Some(key) if pass.last.get(key).is_some_and(|last| *last > offset && offset < pass.upto) => Kept::No,
            Some(_) if is_tombstone && drops_tombstones => Kept::No,
            Some(_) if is_tombstone => Kept::Tombstone,
            Some(_) => Kept::Yes,
        };
        let mut scan = Scan::new(&*core.storage, segment)?;
        loop {
            let done = match scan.next()? {
                None => ControlFlow::Break(()),
                Some(batch) => {
                    ControlFlow::Continue(batch.check_crc().and_then(|()| rewrite.batch(&batch, keep, &mut out)))
                }
            };
            match done {
                ControlFlow::Break(()) => break,
                ControlFlow::Continue(done) => done.map_err(|error| scan.corrupt_here(&error))?,
            }
            if out.len() >= WRITE_BYTES {
                file.write_at(&out, at)?;
                at += out.len() as u64;
                out.clear();
            }
        }
    }
    if !out.is_empty() {
        file.write_at(&out, at)?;
        at += out.len() as u64;
    }
    core.storage.sync_many(&[file], std::slice::from_ref(&pass.partition.directory))?;
    Ok((rewrite, at))
}
