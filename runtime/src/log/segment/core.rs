//! What all handles of an open log share, and what happens to a group after its sync.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, watch};

use super::super::storage::{Storage, StorageError};
use super::super::times::Mark;
use super::super::{AppendError, Offset, ProducerGroup, TopicConfig, TopicId, TopicPartition};
use super::checkpoint::{self, Checkpoint};
use super::file::Segment;
use super::partition::{Partition, TailRun};
use super::queue::{Meta, Mode, Queue, Run, Settled};
use super::space::Space;
use super::{SegmentLogConfig, lock};
use crate::env::Clock;

/// Buffers kept for the next groups.
const MAX_SPARE_BUFFERS: usize = 2;

pub(super) struct Topic {
    pub id: TopicId,
    pub config: TopicConfig,
    pub partitions: Vec<Arc<Partition>>,
}

pub(super) struct Core {
    pub config: SegmentLogConfig,
    pub storage: Arc<dyn Storage>,
    pub clock: Clock,
    pub topics: ArcSwap<Vec<Arc<Topic>>>,
    /// Held while topics are made, so that ids and slots are given in order.
    pub making_topics: Mutex<()>,
    pub queue: Mutex<Queue>,
    pub space: Space,
    pub filling: Mutex<Filling>,
    /// One checkpoint at a time.
    checkpointing: Mutex<()>,
    /// Segments are replaced by one at a time.
    pub compacting: Mutex<()>,
    /// Groups below this sequence are in synced segments.
    retired_below: AtomicU64,
    nonce: AtomicU64,
    pub signals: Signals,
    /// Turns true when the log is closed and its lock given back.
    pub closed: watch::Sender<bool>,
    pub directory_lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// How drivers are told that there is work: threads wait on condition variables, the simulation's task on a `Notify`.
#[derive(Default)]
pub(super) struct Signals {
    pub work: Condvar,
    pub work_task: Notify,
    pub chores: Mutex<Chores>,
    pub chores_due: Condvar,
    pub retired: Condvar,
}

/// What the segments' thread is asked to do.
#[derive(Default)]
pub(super) struct Chores {
    pub checkpoint: bool,
    pub stop: bool,
}

/// Groups that are synced: the newest ones in memory for readers, the newest of these not in segments yet.
#[derive(Default)]
pub(super) struct Filling {
    tail: VecDeque<TailGroup>,
    tail_bytes: usize,
    /// Groups at the front of `tail` that are in segments.
    filled: usize,
    /// One past the last group in segments.
    filled_below: u64,
    dirty: Vec<Arc<Segment>>,
    new_directories: BTreeSet<String>,
    /// Files of segments that nobody reads any more: removed when no checkpoint names them.
    doomed: Vec<String>,
    spare: Vec<BytesMut>,
}

struct TailGroup {
    sequence: u64,
    frame: Bytes,
    /// Memory that the frame holds.
    capacity_bytes: usize,
    runs: Vec<(Arc<Partition>, TailRun)>,
}

/// A group on its way through the journal.
pub(super) struct Group {
    pub meta: Vec<Meta>,
    pub runs: Vec<Run>,
    /// Where the batches begin in the frame.
    pub batches_at: usize,
}

impl Core {
    pub(super) fn new(config: SegmentLogConfig, storage: Arc<dyn Storage>, clock: Clock) -> Self {
        Self {
            space: Space::new(storage.clone(), clock.clone(), config.reserve_bytes),
            config,
            storage,
            clock,
            topics: ArcSwap::default(),
            making_topics: Mutex::default(),
            queue: Mutex::new(Queue::new()),
            filling: Mutex::default(),
            checkpointing: Mutex::default(),
            compacting: Mutex::default(),
            retired_below: AtomicU64::new(0),
            nonce: AtomicU64::new(0),
            signals: Signals::default(),
            closed: watch::channel(false).0,
            directory_lock: Mutex::default(),
        }
    }

    pub(super) fn partition(&self, of: TopicPartition) -> Option<Arc<Partition>> {
        let topics = self.topics.load();
        topics.get(of.topic.0 as usize)?.partitions.get(of.partition as usize).cloned()
    }

    pub(super) fn begin(&self, nonce: u64, first_sequence: u64) {
        self.nonce.store(nonce, Ordering::Release);
        lock(&self.filling).filled_below = first_sequence;
    }

    pub(super) fn retired_below(&self) -> u64 {
        self.retired_below.load(Ordering::Acquire)
    }

    /// Readers see a synced group, producers are answered, budgets are free again. Segments are filled later (`fill`).
    pub(super) fn publish(&self, group: Group, frame: BytesMut, sequence: u64) {
        let now_us = self.clock.mono_us();
        let capacity_bytes = frame.capacity();
        let frame = frame.freeze();
        let mut at = group.batches_at;
        let mut answers: Vec<Settled> = Vec::new();
        let mut released: Vec<(ProducerGroup, usize)> = Vec::new();
        let mut tail_runs = Vec::with_capacity(group.runs.len());
        let mut woken = Vec::with_capacity(group.runs.len());
        for run in group.runs {
            let Some((base, next, bytes)) = run.extent() else { continue };
            let mark = Mark { from: base, readable_at_us: now_us, timestamp_ms: run.batches[0].timestamp_ms };
            let tail_run = TailRun { base, next, bytes: frame.slice(at..at + bytes), frame_bytes: capacity_bytes };
            at += bytes;
            woken.push(run.partition.publish(tail_run.clone(), mark));
            for batch in run.batches {
                match released.last_mut() {
                    Some((group, sum)) if *group == batch.group => *sum += batch.bytes.len(),
                    _ => released.push((batch.group, batch.bytes.len())),
                }
                answers.extend(batch.answer.map(|answer| (answer, Ok(batch.base))));
            }
            tail_runs.push((run.partition, tail_run));
        }
        let trims = self.apply_trims(group.meta);
        {
            let mut filling = lock(&self.filling);
            filling.tail_bytes += capacity_bytes;
            filling.tail.push_back(TailGroup { sequence, frame, capacity_bytes, runs: tail_runs });
        }
        answers.extend(lock(&self.queue).release(&released, &self.space));
        for (answer, result) in answers {
            // Whoever dropped the future does not want to know.
            let _ = answer.send(result);
        }
        for (_, wake) in woken.iter().flat_map(|readers| readers.iter()) {
            // Leaves a permit when nobody waits: no wake-up is lost.
            wake.notify_one();
        }
        trims.into_iter().for_each(|answer| {
            let _ = answer.send(Ok(()));
        });
    }

    fn apply_trims(&self, meta: Vec<Meta>) -> Vec<super::queue::TrimAnswer> {
        let mut answers = Vec::new();
        for entry in meta {
            let Meta::Trim { partition, to, answer } = entry else { continue };
            let gone = partition.trim(to);
            if !gone.is_empty() {
                self.doom(gone);
                self.ask_checkpoint();
            }
            answers.extend(answer);
        }
        answers
    }

    /// Writes synced groups into their segments and lets old ones go from memory.
    ///
    /// # Errors
    /// `Full` leaves the rest for a later try: the journal and memory hold it.
    pub(super) fn fill(&self) -> Result<(), StorageError> {
        let mut filling = lock(&self.filling);
        while let Some(group) = filling.tail.get(filling.filled) {
            let runs = group.runs.clone();
            let sequence = group.sequence;
            for (partition, run) in &runs {
                // An earlier try may have met a full disk half way through the group.
                if partition.filled_to() < run.next {
                    self.write_run(&mut filling, partition, run)?;
                    self.space.settled(run.bytes.len() as u64);
                }
            }
            filling.filled += 1;
            filling.filled_below = sequence + 1;
        }
        filling.evict(self.config.tail_bytes);
        Ok(())
    }

    /// Writes one run to its segment.
    pub(super) fn write_run(
        &self,
        filling: &mut Filling,
        partition: &Partition,
        run: &TailRun,
    ) -> Result<(), StorageError> {
        let filled = match partition.fill(&*self.storage, run, &self.config, self.clock.wall_ms()) {
            Ok(filled) => filled,
            Err(error) => {
                if matches!(error, StorageError::Full { .. }) {
                    self.space.met_full_disk();
                }
                return Err(error);
            }
        };
        filling.dirty.extend(filled.dirtied);
        if filled.new {
            filling.new_directories.insert(partition.directory.clone());
        }
        Ok(())
    }

    /// Files that go with the next checkpoint.
    pub(super) fn doom(&self, files: Vec<String>) {
        lock(&self.filling).doomed.extend(files);
    }

    /// Files that wait for the next checkpoint to be removed.
    pub(super) fn doomed(&self) -> Vec<String> {
        lock(&self.filling).doomed.clone()
    }

    /// Makes a topic with its partitions, or changes its configuration, here and now; the caller holds `making_topics`.
    pub(super) fn put_topic(&self, id: TopicId, config: TopicConfig) {
        let mut topics: Vec<Arc<Topic>> = self.topics.load().to_vec();
        let partitions = match topics.get(id.0 as usize) {
            Some(present) => present.partitions.clone(),
            None => {
                assert_eq!(id.0 as usize, topics.len(), "INVARIANT topic_ids_are_dense");
                let first_slot: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
                let make = |partition: u32| {
                    let of = TopicPartition { topic: id, partition };
                    let slot = first_slot + partition as usize;
                    Arc::new(Partition::new(of, config.name.clone(), slot, config.retention_ms))
                };
                (0..config.partitions).map(make).collect()
            }
        };
        partitions.iter().for_each(|partition| partition.set_retention(config.retention_ms));
        let topic = Arc::new(Topic { id, config, partitions });
        match topics.get_mut(id.0 as usize) {
            Some(present) => *present = topic,
            None => topics.push(topic),
        }
        self.topics.store(Arc::new(topics));
    }

    /// A buffer for a frame of `bytes`.
    pub(super) fn buffer(&self, bytes: usize) -> BytesMut {
        let mut filling = lock(&self.filling);
        let fits = |buffer: &BytesMut| (bytes..=bytes.saturating_mul(4).max(64 << 10)).contains(&buffer.capacity());
        match filling.spare.iter().position(fits) {
            Some(found) => filling.spare.swap_remove(found),
            None => BytesMut::with_capacity(bytes),
        }
    }

    /// Syncs the segments, writes down how far they are, and with that gives journal files free.
    ///
    /// # Errors
    /// As [`Self::checkpoint_and`].
    pub(super) fn checkpoint(&self) -> Result<(), StorageError> {
        self.checkpoint_and(|_| ()).map(|_| ())
    }

    /// A checkpoint, and something that has to be done before the next one removes files.
    ///
    /// # Errors
    /// A failed sync is final: what it was to make durable may be gone, so that no later checkpoint may vouch for it. The log
    /// is read-only then, whoever asked; the journal holds everything, and the next start replays it.
    pub(super) fn checkpoint_and<R>(
        &self,
        then: impl FnOnce(&Checkpoint) -> R,
    ) -> Result<(Checkpoint, R), StorageError> {
        let _one = lock(&self.checkpointing);
        if let Mode::ReadOnly { reason } = &lock(&self.queue).mode {
            let reason = format!("the log is read-only: {reason}");
            return Err(StorageError::Io { file: checkpoint::FILE.to_owned(), reason });
        }
        let done = self.make_checkpoint(then);
        if let Err(error) = &done {
            self.fail(&error.to_string());
        }
        done
    }

    fn make_checkpoint<R>(&self, then: impl FnOnce(&Checkpoint) -> R) -> Result<(Checkpoint, R), StorageError> {
        let (point, dirty, directories, doomed) = {
            let mut filling = lock(&self.filling);
            let point = self.point(filling.filled_below);
            let dirty = std::mem::take(&mut filling.dirty);
            dirty.iter().for_each(|segment| segment.take_dirty());
            (point, dirty, std::mem::take(&mut filling.new_directories), std::mem::take(&mut filling.doomed))
        };
        let files = dirty.iter().map(|segment| segment.file_to_write(&*self.storage)).collect::<Result<Vec<_>, _>>()?;
        self.storage.sync_many(&files, &directories.into_iter().collect::<Vec<_>>())?;
        drop(files);
        dirty.iter().for_each(|segment| segment.synced());
        // This one also makes the names of new directories durable.
        super::super::storage::replace_whole(&*self.storage, checkpoint::FILE, point.to_text().as_bytes())?;
        self.retired_below.store(point.journal_from, Ordering::Release);
        {
            let _chores = lock(&self.signals.chores);
            self.signals.retired.notify_all();
        }
        for name in &doomed {
            self.storage.remove(name)?;
        }
        let done = then(&point);
        Ok((point, done))
    }

    fn point(&self, journal_from: u64) -> Checkpoint {
        let topics = self.topics.load();
        Checkpoint {
            nonce: self.nonce.load(Ordering::Acquire),
            journal_from,
            topics: topics.iter().map(|topic| (topic.id, topic.config.clone())).collect(),
            partitions: topics
                .iter()
                .flat_map(|topic| topic.partitions.iter())
                .filter_map(|partition| partition.point())
                .collect(),
        }
    }

    pub(super) fn ask_checkpoint(&self) {
        lock(&self.signals.chores).checkpoint = true;
        self.signals.chores_due.notify_all();
    }

    /// Puts trims for segments beyond their retention in line. The number of partitions concerned.
    pub(super) fn expire(&self, now_ms: i64) -> usize {
        let topics = self.topics.load();
        let partitions = topics.iter().flat_map(|topic| topic.partitions.iter());
        let expired: Vec<_> =
            partitions.filter_map(|found| Some((found.clone(), found.expired_below(now_ms)?))).collect();
        let count = expired.len();
        if count > 0 {
            let mut queue = lock(&self.queue);
            if matches!(queue.mode, Mode::Open) {
                for (partition, to) in expired {
                    queue.add_meta(Meta::Trim { partition, to, answer: None });
                }
            }
            self.wake_journal(queue);
        }
        count
    }

    /// Wakes the journal's driver if it sleeps. Takes the lock so that it is free before anybody wakes up.
    pub(super) fn wake_journal(&self, mut queue: std::sync::MutexGuard<'_, Queue>) {
        let was_idle = std::mem::replace(&mut queue.idle, false);
        drop(queue);
        if was_idle {
            self.signals.work.notify_one();
            self.signals.work_task.notify_one();
        }
    }

    /// A failed write or sync is never tried again (rule P5): the log is read-only from here on.
    pub(super) fn fail(&self, reason: &str) {
        let error = AppendError::ReadOnly { reason: reason.to_owned() };
        let (settled, meta) = {
            let mut queue = lock(&self.queue);
            if !matches!(queue.mode, Mode::Open | Mode::Closed) {
                return;
            }
            queue.mode = Mode::ReadOnly { reason: reason.to_owned() };
            (queue.drain(&self.space, &error), queue.drain_meta())
        };
        tracing::error!(reason, "the log is read-only after a failed write");
        for (answer, result) in settled {
            let _ = answer.send(result);
        }
        for entry in meta {
            if let Meta::Trim { answer: Some(answer), .. } = entry {
                let _ = answer.send(Err(error.clone()));
            }
        }
        let _chores = lock(&self.signals.chores);
        self.signals.retired.notify_all();
        self.signals.work.notify_all();
        self.signals.work_task.notify_one();
    }

    /// Whether appends are still taken.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(lock(&self.queue).mode, Mode::ReadOnly { .. })
    }

    /// The group's fate is unknown: it may or may not be in the journal (rule P5).
    pub(super) fn give_up(&self, group: Group, reason: &str) {
        for run in group.runs {
            for batch in run.batches {
                let Some(answer) = batch.answer else { continue };
                let _ = answer.send(Err(AppendError::Indefinite {
                    topic: run.partition.topic.clone(),
                    partition: run.partition.of.partition,
                    reason: reason.to_owned(),
                }));
            }
        }
        for entry in group.meta {
            if let Meta::Trim { partition, answer: Some(answer), .. } = entry {
                let _ = answer.send(Err(AppendError::Indefinite {
                    topic: partition.topic.clone(),
                    partition: partition.of.partition,
                    reason: reason.to_owned(),
                }));
            }
        }
    }
}

impl Filling {
    /// Groups leave memory when newer ones fill it and segments hold them.
    fn evict(&mut self, limit_bytes: usize) {
        while self.tail_bytes > limit_bytes && self.filled > 0 {
            let Some(group) = self.tail.pop_front() else { return };
            self.filled -= 1;
            self.tail_bytes -= group.capacity_bytes;
            for (partition, run) in group.runs {
                partition.evict();
                drop(run);
            }
            // Free again unless a reader still holds a part of it.
            if self.spare.len() < MAX_SPARE_BUFFERS
                && let Ok(buffer) = group.frame.try_into_mut()
            {
                self.spare.push(buffer);
            }
        }
    }
}

impl Run {
    /// First offset, one past the last, bytes.
    pub(super) fn extent(&self) -> Option<(Offset, Offset, usize)> {
        let (first, last) = (self.batches.first()?, self.batches.last()?);
        Some((first.base, last.next, self.batches.iter().map(|batch| batch.bytes.len()).sum()))
    }
}
