//! A consistent copy of a log, taken while it is being written: a checkpoint, and exactly the bytes that it vouches for. The
//! copy opens as after a crash at that moment, with everything in it that a segment held then.

use std::sync::Arc;

use super::super::storage::{self, OpenMode, Storage, StorageError, StorageFile};
use super::checkpoint::{self, Checkpoint};
use super::core::Core;
use super::error::OpenError;
use super::file::Segment;
use super::journal;
use super::recovery::{VERSION, VERSION_FILE, check_version};

/// Copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    pub topics: usize,
    pub partitions: usize,
    /// Segment files, and what they hold.
    pub files: usize,
    pub bytes: u64,
}

/// Segments with the length that counts. They are open, so that whoever trims them takes nothing away.
type Segments = Vec<(String, u64, Arc<dyn StorageFile>)>;

pub(super) fn copy_live(core: &Core, to: &dyn Storage) -> Result<Copied, StorageError> {
    // What was acknowledged last may wait to be filled in.
    core.fill()?;
    let (point, segments) = core.checkpoint_and(|point| open_segments(core, point))?;
    copy(&point, &segments?, to)
}

fn open_segments(core: &Core, point: &Checkpoint) -> Result<Segments, StorageError> {
    segments_of(point).into_iter().map(|(name, bytes)| open_segment(&*core.storage, name, bytes)).collect()
}

fn open_segment(
    from: &dyn Storage,
    name: String,
    bytes: u64,
) -> Result<(String, u64, Arc<dyn StorageFile>), StorageError> {
    let file = from.open(&name, OpenMode::Read)?;
    Ok((name, bytes, file))
}

fn segments_of(point: &Checkpoint) -> Vec<(String, u64)> {
    let name = |partition: &checkpoint::PartitionPoint| {
        let topic = point.topics.iter().find(|(id, _)| *id == partition.topic);
        topic.map(|(_, config)| format!("{}-{}", config.name, partition.partition))
    };
    let mut segments = Vec::new();
    for partition in &point.partitions {
        let Some(directory) = name(partition) else { continue };
        let files = partition.segments.iter();
        segments.extend(
            files.map(|segment| (Segment::file_name(&directory, segment.base, segment.generation), segment.bytes)),
        );
    }
    segments
}

/// Writes a copy into an empty directory; the checkpoint comes last, so that half a copy is known as such.
fn copy(point: &Checkpoint, segments: &Segments, to: &dyn Storage) -> Result<Copied, StorageError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut written, mut directories) = (Vec::with_capacity(segments.len()), Vec::new());
    storage::replace_whole(to, VERSION_FILE, format!("{VERSION}\n").as_bytes())?;
    for (name, bytes, from) in segments {
        let directory = name.split_once('/').map_or("", |(directory, _)| directory);
        if directories.last().is_none_or(|last| last != directory) {
            to.create_dir(directory)?;
            directories.push(directory.to_owned());
        }
        let file = to.open(name, OpenMode::Create)?;
        let mut at = 0;
        while at < *bytes {
            let wanted = chunk.len().min((bytes - at) as usize);
            let found = from.read_at(&mut chunk[..wanted], at)?;
            if found < wanted {
                let reason = format!("ends at byte {}, {bytes} were synced", at + found as u64);
                return Err(StorageError::Io { file: name.clone(), reason });
            }
            file.write_at(&chunk[..found], at)?;
            at += found as u64;
        }
        written.push(file);
    }
    to.sync_many(&written, &directories)?;
    storage::replace_whole(to, checkpoint::FILE, point.to_text().as_bytes())?;
    Ok(Copied {
        topics: point.topics.len(),
        partitions: point.partitions.len(),
        files: segments.len(),
        bytes: segments.iter().map(|(_, bytes, _)| bytes).sum(),
    })
}

/// Copies a copy back into an empty directory.
///
/// # Errors
/// `from` is none: of another version, cut off, or the directory of a log, which may know more than its checkpoint says.
pub fn restore(from: &dyn Storage, to: &dyn Storage) -> Result<Copied, OpenError> {
    let corrupt = |file: &str, reason: &str| OpenError::Corrupt { file: file.into(), byte: 0, reason: reason.into() };
    let text = match storage::read_whole(from, checkpoint::FILE, checkpoint::MAX_BYTES) {
        Ok(text) => text,
        Err(StorageError::NotFound { .. }) => {
            return Err(corrupt(checkpoint::FILE, "missing: this is no backup, or one that was cut off"));
        }
        Err(error) => return Err(error.into()),
    };
    check_version(from)?;
    if let Some(name) = journal::file_names(from)?.first() {
        return Err(corrupt(name, "a backup has no journal: this is a data directory, which `bulkhead backup` copies"));
    }
    let point = Checkpoint::from_text(&text)?;
    let opened = segments_of(&point).into_iter().map(|(name, bytes)| open_segment(from, name, bytes));
    Ok(copy(&point, &opened.collect::<Result<Segments, _>>()?, to)?)
}
