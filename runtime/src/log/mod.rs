//! The log: the partitioned, durable, replayable record of events, and the only durable thing there is.
//!
//! Two backends stand behind one trait: segment files in this process (`segment`, the default) and Apache Kafka.
//! What moves is a *record batch* in Kafka's v2 format, as bytes: appended, stored, fetched and walked in place.

pub mod batch;
pub mod builder;
#[cfg(feature = "kafka")]
pub mod kafka;
pub(crate) mod lz4;
pub mod membership;
pub mod partitioner;
pub mod record;
pub mod segment;
pub mod storage;
mod times;
mod varint;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

pub use batch::{Batch, Batches, Compression, CorruptBatch};
pub use builder::{BatchBuilder, BatchFull};
pub use membership::{JoinError, Membership};
pub use record::{Header, Headers, Record, Records};
pub use walk::walk;

/// Position of a record in a partition. Offsets increase; gaps are allowed.
pub type Offset = i64;

/// A topic of an open log, interned by it: cheap to copy, valid only for the log that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u16);

/// One partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: u32,
}

/// Kafka's rule: letters, digits, `.`, `_` and `-`, at most 249, and not `.` or `..`.
fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}

/// When the producer of a record is answered. Readers see synced records only, whatever stands here (rule P19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the sync of its journal group.
    Synced,
    /// As soon as the record has its offset; a crash may lose it.
    Accepted,
}

/// What a topic is, as data; the same for every backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    pub name: Arc<str>,
    pub partitions: u32,
    pub durability: Durability,
    /// Whole segments older than this are removed; `None` keeps everything.
    pub retention_ms: Option<i64>,
    /// Of a compacted topic only the newest record of each key counts (views); its readers compare versions (rule P10). The
    /// older ones are removed some time after.
    pub compacted: bool,
}

/// Who appends: the bytes in flight are counted against this group's budget, and its epoch can be fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerGroup(pub u16);

/// Ownership carried by an append of a shard. The embedded log refuses an epoch older than the greatest it was told
/// for the same (group, shard): a second defence beside the protocol (rule P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub shard: u32,
    /// Offset of the owner's claim in its commit topic.
    pub epoch_offset: Offset,
}

/// Options of one append.
#[derive(Clone, Copy, Debug)]
pub struct AppendOptions {
    pub group: ProducerGroup,
    pub fence: Option<Fence>,
}

/// Why an append did not happen, or may not have happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error(
        "the disk is full: {needed_bytes} bytes are wanted for {topic}-{partition}; free space or lower retention, the log goes on by itself"
    )]
    NoSpace { topic: Arc<str>, partition: u32, needed_bytes: u64 },
    #[error("{topic}-{partition}: epoch {epoch_offset} is stale, {newer_offset} owns the shard")]
    Fenced { topic: Arc<str>, partition: u32, epoch_offset: Offset, newer_offset: Offset },
    #[error("batch of {bytes} bytes for {topic}-{partition} is over the limit of {limit_bytes}")]
    TooLarge { topic: Arc<str>, partition: u32, bytes: usize, limit_bytes: usize },
    #[error("{topic}-{partition}: not allowed to write: {reason}; `bulkhead acl print` tells who needs which rights")]
    Denied { topic: Arc<str>, partition: u32, reason: String },
    #[error("not a record batch: {reason}")]
    Malformed { reason: String },
    #[error("topic or partition unknown or different: {what}")]
    Unknown { what: String },
    /// The answer is unknown: the record may or may not be in the log (rule P5: the ownership ends).
    #[error("append to {topic}-{partition} not confirmed: {reason}")]
    Indefinite { topic: Arc<str>, partition: u32, reason: String },
    /// A sync failed: the log is read-only until it is opened again through recovery (rule P5).
    #[error("the log is read-only after a failed write: {reason}; restart to recover")]
    ReadOnly { reason: String },
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// Stable name: metric label and dead letter header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => "NO_SPACE",
            Self::Fenced { .. } => "FENCED",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::Denied { .. } => "DENIED",
            Self::Malformed { .. } => "MALFORMED",
            Self::Unknown { .. } => "UNKNOWN_TOPIC",
            Self::Indefinite { .. } => "INDEFINITE",
            Self::ReadOnly { .. } => "READ_ONLY",
            Self::Closed => "CLOSED",
        }
    }
}

/// Why a fetch gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    #[error("{topic}-{partition}: offset {offset} is below the log's start {start}")]
    BelowStart { topic: Arc<str>, partition: u32, offset: Offset, start: Offset },
    #[error(
        "{file} is corrupt at offset {offset} (byte {byte}): {reason}; nothing was skipped; restore the file or truncate it knowingly"
    )]
    Corrupt { file: String, offset: Offset, byte: u64, reason: String },
    #[error("reading {file}: {reason}")]
    Io { file: String, reason: String },
    #[error("topic or partition unknown: {what}")]
    Unknown { what: String },
    #[error("the log is closed")]
    Closed,
}

impl FetchError {
    /// Stable name: metric label and dead letter header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BelowStart { .. } => "OUT_OF_RANGE",
            Self::Corrupt { .. } => "CORRUPT",
            Self::Io { .. } => "IO",
            Self::Unknown { .. } => "UNKNOWN_TOPIC",
            Self::Closed => "CLOSED",
        }
    }
}

/// Consecutive whole record batches of one partition, as stored.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// One or more v2 batches back to back. The first may start below the position asked for: the reader skips.
    pub bytes: Bytes,
    /// Records below this offset were not asked for.
    pub from: Offset,
    /// One past the last record.
    pub next: Offset,
    /// Records at or after `from`.
    pub events: u32,
    /// `Env` monotonic clock, microseconds, when the oldest record here became readable; `None` if before this process.
    pub readable_at_us: Option<u64>,
}

/// First offset and one past the last synced offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: Offset,
    pub high_watermark: Offset,
}

/// Reads one partition in order. Never blocks: where nothing is readable it says so, and the `Notify` given at
/// creation is told when there is more (wake-on-append; no polling).
pub trait PartitionReader: Send {
    /// The next whole batches, at most about `max_bytes` (at least one batch), or `None` at the high watermark.
    fn try_next(&mut self, max_bytes: usize) -> Result<Option<Fetched>, FetchError>;
    /// Offset of the next record to read.
    fn position(&self) -> Offset;
    /// Moves to `offset`.
    fn seek(&mut self, offset: Offset);

    /// Like `try_next`, and waits for it: for whoever walks a log to a known end, on a thread that may wait.
    fn next_within(&mut self, max_bytes: usize, limit: Duration) -> Result<Option<Fetched>, FetchError> {
        const STEP: Duration = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            let found = self.try_next(max_bytes)?;
            if found.is_some() || waited >= limit {
                return Ok(found);
            }
            std::thread::sleep(STEP);
            waited += STEP;
        }
    }
}

/// Resolves when the batch is settled: the offset of its first record, or why not.
pub type Appending = BoxFuture<'static, Result<Offset, AppendError>>;

/// The seam between everything and the backend that stores events.
pub trait Log: Send + Sync + 'static {
    /// Creates the topic, or checks that it is there with the same partition count (another count is an error).
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError>;
    /// All topics, by name.
    fn topics(&self) -> Vec<(TopicId, TopicConfig)>;
    fn topic(&self, name: &str) -> Option<TopicId>;
    /// Names a producer group and gives it its budget of bytes in flight.
    fn producer_group(&self, name: &str, budget_bytes: usize) -> ProducerGroup;
    /// Takes a v2 record batch (base offset 0), assigns offsets and appends it. Appends of one caller to one partition
    /// keep their order: the place in line is taken when this is called, not when the future is polled. Waits for the
    /// group's byte budget (back-pressure, never a drop).
    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending;
    /// From now on refuses appends of this (group, shard) with an older epoch.
    fn fence(&self, group: ProducerGroup, fence: Fence);
    /// `Err` with the reason while the disk is too full to admit a commit (rule P21: asked before a sequence is taken).
    fn room(&self) -> Result<(), AppendError>;
    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError>;
    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError>;
    /// Offset of the first record whose event time is `timestamp_ms` or later; of the end if there is none. Times need not be
    /// in order: behind that record there may be earlier ones. Reads files or asks a broker: on a thread that may wait.
    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Result<Offset, FetchError>;
    /// Exact and persisted: nobody reads below `to` any more (rule P18).
    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>>;
    /// Event time (ms) of the record at `offset` if it is known cheaply; for lag in seconds.
    fn timestamp_at(&self, of: TopicPartition, offset: Offset) -> Option<i64>;
    /// Settles everything in flight, fills and syncs the segments. Idempotent.
    fn close(&self) -> BoxFuture<'static, ()>;
    /// Joins the group that shares the partitions of `topic` out among processes (rule P20). `None`: there is no group, all
    /// partitions are this process's.
    ///
    /// # Errors
    /// Settings that no group can be joined with.
    fn join(&self, _group: &str, _topic: TopicId) -> Result<Option<Membership>, JoinError> {
        Ok(None)
    }
    /// Writes a consistent copy of everything synced into an empty directory; blocks. `None`: a cluster keeps its own.
    fn copy_to(&self, _to: &dyn storage::Storage) -> Option<Result<segment::Copied, storage::StorageError>> {
        None
    }
}
