//! The owner of one (service, partition): its state, its order, its commits.
//!
//! `recover` claims and rebuilds, `process` folds batches, `publish` commits, reads back and publishes, `snapshot`
//! bounds the restore; `actor` puts it behind ractor, `fetch` feeds it.

mod actor;
mod check;
mod event;
mod fetch;
mod hold;
mod preview;
mod process;
mod publish;
mod recover;
mod restate;
mod set_aside;
mod snapshot;
mod traced;
mod trial;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

pub use actor::{ShardActor, ShardMessage};
pub use preview::{Preview, Previewed};

use crate::alloc::Owner;
use crate::breaker::Breaker;
use crate::commit::CommitError;
use crate::commit::marks::Marks;
use crate::commit::staging::{Counters, Staging};
use crate::commit::standing::{Epoch, Standing};
use crate::credit::CreditLimit;
use crate::deadletter::Replays;
use crate::env::Env;
use crate::fault::FaultSwitch;
use crate::flood::FloodGuard;
use crate::log::{AppendError, FetchError, Log, Offset, PartitionReader, ProducerGroup, TopicPartition};
use crate::offsets::SettledPrefix;
use crate::park::Parking;
use crate::platform::MemoryCaps;
use crate::service::{Fold, OutputBuffer, ServiceDef};
use crate::state::AnyTable;
use crate::stats::{ServiceStats, Tally};
use crate::telemetry::Telemetry;
use crate::topology::Topic;

/// What the runtime may decide about a shard. Limits have their arithmetic in docs/ARCHITECTURE.md.
#[derive(Clone, Debug)]
pub struct ShardLimits {
    pub credit: CreditLimit,
    /// Read from a partition at once.
    pub fetch_bytes: usize,
    /// Outputs staged before a commit is cut.
    pub commit_output_bytes: usize,
    /// Rows changed before a commit is cut.
    pub commit_rows: usize,
    pub commit_events: u64,
    /// Events that did not end Done before a commit is cut: each is named in the record.
    pub commit_exceptions: usize,
    /// Without an answer by then an append is unknown and the ownership ends (rule P5).
    pub append_deadline: Duration,
    /// Delays before the second, third, ... attempt of an event; then it is a dead letter.
    pub retry_delays: Vec<Duration>,
    pub tick: Duration,
    /// Trim the commit topic behind a snapshot. Off where a recount from the start is wanted.
    pub trim: bool,
    /// A snapshot starts when the commits behind the last one exceed this and its size.
    pub snapshot_bytes: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            credit: CreditLimit { events: 16_384, bytes: 2 << 20 },
            fetch_bytes: 256 << 10,
            commit_output_bytes: 320 << 10,
            commit_rows: 1_500,
            commit_events: 8_192,
            commit_exceptions: 4_096,
            append_deadline: Duration::from_secs(15),
            retry_delays: [5, 60, 600].map(Duration::from_secs).to_vec(),
            tick: Duration::from_secs(1),
            trim: true,
            snapshot_bytes: 16 << 20,
        }
    }
}

/// The real guards of the protocol, one method each, so that the simulation can show what each of them is worth by
/// putting a weakened one in its place. Production never does.
pub trait Guards: Send + Sync {
    /// Rule P3: outputs wait for the read-back of their commit.
    fn reads_back(&self) -> bool {
        true
    }
    /// Rule P3: only a record with one's own epoch, nonce included, is accepted at the offset.
    fn own_epoch(&self, own: Epoch, found: Epoch) -> bool {
        own == found
    }
    /// Rule P8: a new owner publishes again all behind the published mark.
    fn publishes_again(&self) -> bool {
        true
    }
    /// Rule P8: nothing new before everything older is acknowledged.
    fn publishes_in_order(&self) -> bool {
        true
    }
    /// Rule P7: repetitions are dropped.
    fn drops_repetitions(&self) -> bool {
        true
    }
    /// Rule P12: a failed event leaves nothing behind.
    fn rolls_back(&self) -> bool {
        true
    }
    /// Rule P1: a new owner draws a fresh nonce.
    fn nonce(&self, drawn: i64) -> i64 {
        drawn
    }
    /// Position to restart from, given the folded one.
    fn restored_position(&self, position: Offset) -> Offset {
        position
    }
    /// Rule P3: the second defence, in the embedded log.
    fn fences(&self) -> bool {
        true
    }
    /// Rule P6: the next number of an output, given the folded one.
    fn restored_counter(&self, next: i64) -> i64 {
        next
    }
    /// Rule P8: the published mark that a commit of `sequence` records: definite acknowledgements only.
    fn published_mark(&self, acknowledged: i64, _sequence: i64) -> i64 {
        acknowledged
    }
    /// Rule P18: trimmed only when a published mark in the log covers what goes.
    fn may_trim(&self, is_covered: bool) -> bool {
        is_covered
    }
}

/// The guards as they are.
pub struct AllGuards;
impl Guards for AllGuards {}

/// Something that a shard did; the simulation's trace is made of it.
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    Claimed { epoch: Epoch },
    Restored { sequence: i64, rows: usize },
    Delivered { topic: &'static str, partition: u32, from: Offset, to: Offset },
    Committed { sequence: i64, offset: Offset, record: &'a [u8] },
    Published { sequence: i64, topic: &'a str, partition: u32, first_n: i64, batch: &'a [u8] },
    Stopped { reason: &'a str },
}

/// Who watches shards; nobody in production.
pub trait Observer: Send + Sync {
    fn observe(&self, service: &'static str, partition: u32, what: Observation<'_>);
}

/// What a shard is made from; the same after each restart.
pub struct ShardContext {
    pub env: Env,
    pub log: Arc<dyn Log>,
    pub def: ServiceDef,
    pub partition: u32,
    /// Partitions of every topic.
    pub partitions: u32,
    pub group: ProducerGroup,
    pub commits: TopicPartition,
    /// One reader each, in the order of the service's inputs, then its replay topic.
    pub inputs: Vec<Input>,
    pub limits: ShardLimits,
    pub stats: Arc<ServiceStats>,
    pub faults: Arc<FaultSwitch>,
    pub guards: Arc<dyn Guards>,
    pub observer: Option<Arc<dyn Observer>>,
    pub telemetry: Option<Arc<dyn Telemetry>>,
    /// Where latencies are filed (`stats::Phase`).
    pub phase: Arc<std::sync::atomic::AtomicU8>,
    /// Who this process is, for operators.
    pub instance: Arc<str>,
    /// Names of all services by id, for messages.
    pub services: Arc<BTreeMap<u32, &'static str>>,
    /// Output topics by name: interned name and id.
    pub outputs: Arc<BTreeMap<Arc<str>, crate::log::TopicId>>,
    /// First sequence whose events are not in `stats` yet; -1 before the first ownership in this process. A commit that
    /// stands though its answer was lost is counted by the next recovery.
    pub count_from: AtomicI64,
    /// Schemas of writers that are not of this binary.
    pub writers: Arc<crate::writers::Writers>,
    /// What is in flight of its credits; `None` before its first start.
    pub credits: arc_swap::ArcSwapOption<crate::credit::CreditPool>,
    /// Events waiting as rows of this shard's state.
    pub parked: AtomicU64,
    /// Trials of the whole process: those of one event exclude all others.
    pub trials: Arc<tokio::sync::RwLock<()>>,
    /// Offset of the first claim in this process; -1 before it. What was noted after it is no earlier process's.
    pub first_claim: AtomicI64,
    /// What an earlier process may have died over is behind this shard.
    pub is_calm: std::sync::atomic::AtomicBool,
    pub memory: MemoryCaps,
    /// For whom the service's threads allocate.
    pub owner: Owner,
    /// Pauses the service's partitions while something that it needs is away.
    pub breaker: Arc<Breaker>,
    /// Pauses the service when a large share of a topic fails.
    pub flood: Arc<FloodGuard>,
    /// Looked at by the watchdog.
    pub progress: crate::supervisor::watchdog::Progress,
    /// Outputs are on their way and not acknowledged.
    pub publishing: std::sync::atomic::AtomicBool,
    /// Set while draining: waits end, what is in hand is finished.
    pub draining: Arc<std::sync::atomic::AtomicBool>,
    /// The shard is this process's: always, where no group shares them out (rule P20).
    pub owned: AtomicBool,
}

/// One input of a shard.
pub struct Input {
    pub topic: &'static Topic,
    pub at: TopicPartition,
    /// Next offset to settle, for lag; survives restarts of the shard.
    pub position: AtomicI64,
}

impl ShardContext {
    fn observe(&self, what: Observation<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(self.def.spec.name, self.partition, what);
        }
    }

    /// Whether the shard is this process's.
    pub fn is_owned(&self) -> bool {
        self.owned.load(Ordering::SeqCst)
    }

    /// What is in hand is to be finished, nothing new begun.
    fn is_ending(&self) -> bool {
        self.draining.load(Ordering::Acquire) || !self.is_owned()
    }

    /// The group gives the shard to this process.
    pub(crate) fn take_on(&self) {
        self.owned.store(true, Ordering::SeqCst);
    }

    /// The group takes the shard away.
    pub(crate) fn let_go(&self) {
        self.owned.store(false, Ordering::SeqCst);
    }

    /// The shard has ended and belongs to somebody else: what was known of it is old, and nothing that happens to it now
    /// is ours to count.
    pub(crate) fn forget(&self) {
        self.count_from.store(-1, Ordering::Release);
        self.first_claim.store(-1, Ordering::Release);
        self.is_calm.store(false, Ordering::Release);
        self.parked.store(0, Ordering::Relaxed);
        self.publishing.store(false, Ordering::Release);
        self.inputs.iter().for_each(|input| input.position.store(0, Ordering::Relaxed));
    }

    /// Records readable and not settled, over all inputs; none of a shard that is somebody else's.
    pub fn lag(&self) -> u64 {
        if !self.is_owned() {
            return 0;
        }
        let lag = |input: &Input| {
            let position = input.position.load(Ordering::Relaxed);
            self.log.extent(input.at).map_or(0, |extent| (extent.high_watermark - position.max(extent.start)).max(0))
        };
        self.inputs.iter().map(lag).sum::<i64>() as u64
    }
}

/// Why a shard stopped. Its supervisor starts it again from the last commit.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("fenced by another owner")]
    Fenced,
    #[error("the group has given the partition to another process")]
    Revoked,
    #[error("commit at offset {0} is void")]
    Void(Offset),
    #[error("no answer from the log within {0:?}")]
    Unanswered(Duration),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("{file} holds a batch that cannot be read: {reason}")]
    Batch { file: String, reason: String },
    #[error("invariant {0} does not hold")]
    Invariant(&'static str),
    #[error("memory cap reached")]
    MemoryCap,
    /// Draining: what was waiting stays uncommitted and comes again.
    #[error("stopped while waiting")]
    Draining,
}

impl ShardError {
    /// The log or another owner ended the ownership: nothing is wrong with the shard itself (rule P5).
    pub fn is_lost_ownership(&self) -> bool {
        let lost = matches!(self, Self::Fenced | Self::Revoked | Self::Void(_) | Self::Unanswered(_));
        lost || matches!(self, Self::Append(_) | Self::Draining)
    }

    /// Stable name: metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fenced => "FENCED",
            Self::Revoked => "REVOKED",
            Self::Void(_) => "VOID",
            Self::Unanswered(_) => "UNANSWERED",
            Self::Append(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Commit(error) => error.kind(),
            Self::Batch { .. } => "CORRUPT",
            Self::Invariant(_) => "INVARIANT",
            Self::MemoryCap => "MEMORY_CAP",
            Self::Draining => "DRAINING",
        }
    }
}

/// A shard that owns its partition.
pub struct Shard {
    ctx: Arc<ShardContext>,
    fold: Box<dyn Fold>,
    marks: Marks,
    parking: Parking,
    replays: Replays,
    /// What stands, read back from the commit topic.
    standing: Standing,
    epoch: Epoch,
    lineage: i64,
    reader: Box<dyn PartitionReader>,
    readable: Arc<tokio::sync::Notify>,
    positions: Vec<SettledPrefix>,
    /// Next offset of each input to fold; ahead of `positions` by what is staged.
    taken_to: Vec<Offset>,
    /// When what is staged became readable, and how many events that were.
    unfiled: Vec<(Option<u64>, u64)>,
    counters: Counters,
    /// Slot of the staging by output topic and partition, once it is known.
    slots: Vec<Option<usize>>,
    staging: Staging,
    outputs: OutputBuffer,
    /// Bytes of events set aside or parked in this commit: they are in the record beside the outputs of the folds.
    set_aside_bytes: usize,
    tally: Tally,
    /// Events taken in since the last commit.
    taken: u64,
    /// Events that waited as rows at the last commit.
    parked_before: u64,
    next_sequence: i64,
    /// All outputs up to this sequence are acknowledged.
    published: i64,
    /// The published mark that stands in the log.
    published_in_log: i64,
    publishing: Option<publish::Publishing>,
    /// Processing time of the batch in hand, ms; never goes back within an ownership.
    now_ms: i64,
    batch_open: bool,
    traced: traced::Traced,
    /// The next event tells whether what was away is back.
    is_probing: bool,
    last_tick_us: u64,
    snapshot: snapshot::Snapshots,
    restating: restate::Restating,
    trials: trial::Trials,
    /// A commit is cut at so many events.
    events_max: u64,
    scratch: Vec<u8>,
    encoded: Vec<u8>,
    leak: Vec<Vec<u8>>,
    /// What the service held when the leak began.
    leak_from: u64,
}

impl Shard {
    /// Visits the runtime's own tables, then the service's.
    fn tables(&mut self, visit: &mut dyn FnMut(&mut dyn AnyTable)) {
        visit(&mut self.marks.table);
        visit(&mut self.parking.table);
        visit(&mut self.replays.table);
        self.fold.tables(visit);
    }

    /// Rows and bytes of each table, for operators.
    pub fn inspect(&mut self) -> Vec<(&'static str, usize, usize)> {
        let mut tables = Vec::new();
        self.tables(&mut |table| tables.push((table.name(), table.rows(), table.bytes())));
        tables
    }
}
