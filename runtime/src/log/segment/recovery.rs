//! Opening a data directory: what the checkpoint says, and behind it what the journal holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::super::batch::Batches;
use super::super::storage::{self, OpenMode, Storage, StorageError};
use super::super::{Offset, TopicConfig, TopicId, TopicPartition};
use super::checkpoint::{self, Checkpoint, PartitionPoint};
use super::core::Core;
use super::error::OpenError;
use super::file::Segment;
use super::frame::{self, Row};
use super::journal::{self, Journal};
use super::partition::TailRun;
use super::writer::Writer;
use super::{SegmentLogConfig, lock};
use crate::env::Clock;

pub(super) const VERSION_FILE: &str = "VERSION";
pub(super) const VERSION: &str = "bulkhead data 1";
/// The first group under a new nonce.
const FIRST_SEQUENCE: u64 = 1;

/// Takes the directory's lock, recovers, and leaves an empty journal and a checkpoint of what there is.
pub(super) fn open(
    clock: Clock,
    storage: Arc<dyn Storage>,
    config: SegmentLogConfig,
) -> Result<(Arc<Core>, Writer), OpenError> {
    config.check()?;
    let held = storage.lock()?;
    check_version(&*storage)?;
    let point = read_checkpoint(&*storage)?;
    let core = Core::new(config, storage.clone(), clock);
    restore(&core, &point)?;
    let groups = live_groups(&*storage, &point)?;
    for group in &groups {
        replay(&core, group)?;
    }
    remove_strays(&core)?;
    {
        let mut queue = lock(&core.queue);
        for topic in core.topics.load().iter() {
            topic.partitions.iter().for_each(|partition| queue.add_lane(partition.clone()));
        }
    }
    // Unlike any group that is in the journal now: they end with this checkpoint.
    let nonce = point.nonce + 1;
    core.begin(nonce, FIRST_SEQUENCE);
    core.checkpoint()?;
    let (files, file_bytes) = (core.config.journal_files, core.config.journal_file_bytes);
    let journal = Journal::create(&*storage, files, file_bytes, nonce, FIRST_SEQUENCE)?;
    *lock(&core.directory_lock) = Some(held);
    let core = Arc::new(core);
    Ok((core.clone(), Writer::new(core, journal)))
}

pub(super) fn check_version(storage: &dyn Storage) -> Result<(), OpenError> {
    let wanted = VERSION.to_owned();
    let dir = storage.describe();
    match storage::read_whole(storage, VERSION_FILE, 4096) {
        Ok(found) if found.trim_ascii_end() == VERSION.as_bytes() => Ok(()),
        Ok(found) => {
            let found = String::from_utf8_lossy(&found).trim_end().chars().take(80).collect();
            Err(OpenError::Version { dir, found, wanted })
        }
        Err(StorageError::NotFound { .. }) => {
            if storage.list("")?.iter().any(|name| name == checkpoint::FILE) {
                let found = format!("a log without {VERSION_FILE}");
                return Err(OpenError::Version { dir, found, wanted });
            }
            storage::replace_whole(storage, VERSION_FILE, format!("{VERSION}\n").as_bytes())?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn read_checkpoint(storage: &dyn Storage) -> Result<Checkpoint, OpenError> {
    match storage::read_whole(storage, checkpoint::FILE, checkpoint::MAX_BYTES) {
        Ok(text) => Checkpoint::from_text(&text),
        Err(StorageError::NotFound { .. }) => {
            // The first checkpoint is written before the first segment.
            for name in storage.list("")? {
                if storage.list(&name)?.iter().any(|file| file.ends_with(".log")) {
                    let reason = format!("missing, although there are segments in {name}");
                    return Err(OpenError::Corrupt { file: checkpoint::FILE.to_owned(), byte: 0, reason });
                }
            }
            Ok(Checkpoint { journal_from: FIRST_SEQUENCE, ..Checkpoint::default() })
        }
        Err(error) => Err(error.into()),
    }
}

fn restore(core: &Core, point: &Checkpoint) -> Result<(), OpenError> {
    let corrupt = |reason: String| OpenError::Corrupt { file: checkpoint::FILE.to_owned(), byte: 0, reason };
    for (id, config) in &point.topics {
        put_topic(core, *id, config)
            .map_err(|reason| corrupt(format!("topic {} ({}): {reason}", id.0, config.name)))?;
    }
    for found in &point.partitions {
        let of = TopicPartition { topic: found.topic, partition: found.partition };
        let partition = core
            .partition(of)
            .ok_or_else(|| corrupt(format!("partition {} of topic {} is unknown", of.partition, of.topic.0)))?;
        check_segments(core, &partition.directory, found)?;
        partition.restore(found);
    }
    Ok(())
}

fn put_topic(core: &Core, id: TopicId, config: &TopicConfig) -> Result<(), &'static str> {
    let topics = core.topics.load();
    match topics.get(id.0 as usize) {
        Some(present) if present.config.partitions != config.partitions || present.config.name != config.name => {
            return Err("two topics with one number");
        }
        None if id.0 as usize != topics.len() => return Err("numbers are missing before it"),
        _ => {}
    }
    drop(topics);
    core.put_topic(id, config.clone());
    Ok(())
}

/// Synced bytes must be there; what is behind them is cut, the journal has it.
fn check_segments(core: &Core, directory: &str, point: &PartitionPoint) -> Result<(), OpenError> {
    for segment in &point.segments {
        let name = Segment::file_name(directory, segment.base, segment.generation);
        let corrupt = |byte: u64, reason: String| OpenError::Corrupt { file: name.clone(), byte, reason };
        let file = match core.storage.open(&name, OpenMode::Write) {
            Ok(file) => file,
            Err(StorageError::NotFound { .. }) => {
                return Err(corrupt(0, format!("the file is missing, {} bytes were synced", segment.bytes)));
            }
            Err(error) => return Err(error.into()),
        };
        let len = file.byte_len()?;
        if len < segment.bytes {
            return Err(corrupt(len, format!("the file ends here, {} bytes were synced", segment.bytes)));
        }
        if len > segment.bytes {
            file.set_len(segment.bytes)?;
        }
    }
    Ok(())
}

/// Bytes of a journal that are looked through with one read.
const SCAN_BYTES: usize = 256 << 10;

/// A group that was read back from a journal file.
struct Found {
    file: String,
    position: u64,
    sequence: u64,
    bytes: Bytes,
    /// Where bytes in front of it began that are no group.
    damage_at: Option<u64>,
}

/// The groups that segments may lack, in order, without a hole. A damaged last group is a torn tail: it was never
/// acknowledged. A damaged group with a later one behind it was synced once, for groups are written one at a time.
fn live_groups(storage: &dyn Storage, point: &Checkpoint) -> Result<Vec<Found>, OpenError> {
    let mut groups = Vec::new();
    for name in journal::file_names(storage)? {
        scan(storage, &name, point, &mut groups)?;
    }
    groups.sort_by_key(|group| group.sequence);
    for (expected, group) in (point.journal_from..).zip(&groups) {
        if group.sequence != expected {
            return Err(OpenError::Corrupt {
                file: group.file.clone(),
                byte: group.damage_at.unwrap_or(group.position),
                reason: format!("group {expected} does not read, but group {} behind it does", group.sequence),
            });
        }
    }
    Ok(groups)
}

fn scan(storage: &dyn Storage, name: &str, point: &Checkpoint, groups: &mut Vec<Found>) -> Result<(), OpenError> {
    let file = storage.open(name, OpenMode::Read)?;
    let len = file.byte_len()?;
    let mut position = 0;
    let mut damage_at = None;
    // Most of a journal is of groups that do not count any more: many headers are looked at with one call.
    let mut window = vec![0; SCAN_BYTES];
    let mut window_at = 0..0;
    while position + frame::ALIGN as u64 <= len {
        if !window_at.contains(&position) {
            let read = file.read_at(&mut window, position)?;
            window[read..].fill(0);
            // Groups are aligned, and so are the ends of windows: a header is never cut.
            window_at = position..position + (read - read % frame::ALIGN).max(frame::ALIGN) as u64;
        }
        let at = (position - window_at.start) as usize;
        let header = window[at..].first_chunk::<{ frame::HEADER_BYTES }>();
        let claimed = header.and_then(|header| frame::claimed_bytes(header, point.nonce));
        let Some(size) = claimed.filter(|size| *size as u64 <= len - position) else {
            damage_at.get_or_insert(position);
            position += frame::ALIGN as u64;
            continue;
        };
        // What is whole in the window is not read again, and copied only if it counts.
        let in_window = (position + size as u64 <= window_at.end).then(|| &window[at..at + size]);
        let mut own = Vec::new();
        if in_window.is_none() {
            own.resize(size, 0);
            file.read_at(&mut own, position)?;
        }
        let bytes = in_window.unwrap_or(&own);
        let Some((sequence, padded_bytes)) = frame::parse(bytes).map(|found| (found.sequence, found.padded_bytes))
        else {
            damage_at.get_or_insert(position);
            position += frame::ALIGN as u64;
            continue;
        };
        if sequence >= point.journal_from {
            let bytes = in_window.map_or_else(|| Bytes::from(own), Bytes::copy_from_slice);
            groups.push(Found { file: name.to_owned(), position, sequence, bytes, damage_at });
        }
        damage_at = None;
        position += padded_bytes as u64;
    }
    Ok(())
}

fn replay(core: &Core, group: &Found) -> Result<(), OpenError> {
    let corrupt = |reason: String| OpenError::Corrupt { file: group.file.clone(), byte: group.position, reason };
    let unreadable = || corrupt("the group's table does not read although its checksum holds".to_owned());
    let found = frame::parse(&group.bytes).ok_or_else(unreadable)?;
    let mut at = found.batches_at();
    for row in found.rows().ok_or_else(unreadable)? {
        match row {
            Row::Topic { id, config } => put_topic(core, id, &config)
                .map_err(|reason| corrupt(format!("topic {} ({}): {reason}", id.0, config.name)))?,
            Row::Trim { of, to } => {
                let partition = core.partition(of).ok_or_else(unreadable)?;
                core.doom(partition.trim(to));
            }
            Row::Run { of, base, bytes } => {
                let end = at + bytes as usize;
                if end > group.bytes.len() {
                    return Err(unreadable());
                }
                replay_run(core, of, base, group.bytes.slice(at..end)).map_err(|error| match error {
                    ReplayError::Storage(error) => error.into(),
                    ReplayError::Corrupt(reason) => corrupt(reason),
                })?;
                at = end;
            }
        }
    }
    Ok(())
}

enum ReplayError {
    Storage(StorageError),
    Corrupt(String),
}

/// Writes what the segments do not hold yet.
fn replay_run(core: &Core, of: TopicPartition, base: Offset, bytes: Bytes) -> Result<(), ReplayError> {
    let corrupt =
        |reason: &str| ReplayError::Corrupt(format!("partition {} of topic {}: {reason}", of.partition, of.topic.0));
    let partition = core.partition(of).ok_or_else(|| corrupt("unknown"))?;
    let filled_to = partition.filled_to();
    if base > filled_to {
        return Err(corrupt(&format!("records {filled_to} to {} are missing", base - 1)));
    }
    let mut skipped = 0;
    let mut next = base;
    for batch in Batches::new(&bytes) {
        let batch = batch.map_err(|error| corrupt(&error.to_string()))?;
        if batch.base_offset() != next {
            return Err(corrupt("batches do not follow each other"));
        }
        next = batch.next_offset();
        if next <= filled_to {
            skipped += batch.bytes().len();
        }
    }
    if next > filled_to {
        let run = TailRun { base: filled_to, next, bytes: bytes.slice(skipped..), frame_bytes: bytes.len() };
        core.write_run(&mut lock(&core.filling), &partition, &run).map_err(ReplayError::Storage)?;
    }
    partition.advance(next.max(filled_to));
    Ok(())
}

/// Files that belong to no segment: begun after the last checkpoint and written again under another name, or trimmed.
fn remove_strays(core: &Core) -> Result<(), OpenError> {
    let doomed: BTreeSet<String> = core.doomed().into_iter().collect();
    for topic in core.topics.load().iter() {
        for partition in &topic.partitions {
            let known = partition.segment_names();
            for file in core.storage.list(&partition.directory)? {
                let name = format!("{}/{file}", partition.directory);
                // Doomed ones go with the checkpoint: until then the old one names them.
                if file.ends_with(".log") && !known.contains(&name) && !doomed.contains(&name) {
                    core.storage.remove(&name)?;
                }
            }
        }
    }
    Ok(())
}
