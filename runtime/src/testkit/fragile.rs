//! A log as one process sees it: it can be full, and the process can die in the middle of what it says to it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::commit::Entry;
use crate::log::{
    AppendError, AppendOptions, Appending, Batches, Extent, Fence, FetchError, Log, Offset, PartitionReader,
    ProducerGroup, TopicConfig, TopicId, TopicPartition,
};

/// Where a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Before its first commit of events.
    BeforeCommit,
    /// After that commit, before anything of it is published.
    BeforePublication,
    /// After the first of its outputs.
    InPublication,
}

pub(super) struct FragileLog {
    log: Arc<dyn Log>,
    death: Mutex<Option<Death>>,
    is_dead: AtomicBool,
    is_full: AtomicBool,
}

impl FragileLog {
    pub(super) fn over(log: Arc<dyn Log>) -> Arc<Self> {
        Arc::new(Self {
            log,
            death: Mutex::default(),
            is_dead: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        })
    }

    pub(super) fn dies(&self, death: Death) {
        *self.death.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(death);
    }

    /// Nothing gets out of the process any more.
    pub(super) fn die(&self) {
        self.is_dead.store(true, Ordering::Release);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Acquire)
    }

    pub(super) fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Release);
    }

    /// What this append means for the planned death: `true`, it does not happen any more.
    fn strikes(&self, to: TopicPartition, batch: &[u8]) -> bool {
        let mut death = self.death.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(planned) = *death else { return false };
        let is_commits =
            self.log.topics().iter().any(|(id, topic)| *id == to.topic && topic.name.ends_with("-commits"));
        let is_commit = is_commits && takes_events(batch);
        match planned {
            Death::BeforeCommit if is_commit => {
                self.die();
                true
            }
            Death::BeforePublication | Death::InPublication if is_commit => {
                if planned == Death::BeforePublication {
                    self.die();
                } else {
                    *death = Some(Death::InPublication);
                }
                false
            }
            Death::InPublication if !is_commits => {
                self.die();
                false
            }
            _ => false,
        }
    }
}

/// A commit with inputs, and not a claim or a chunk.
fn takes_events(batch: &[u8]) -> bool {
    let mut scratch = Vec::new();
    Batches::new(batch).flatten().any(|batch| {
        let Ok(mut records) = batch.records(&mut scratch) else { return false };
        records.any(|record| {
            let entry = record.ok().and_then(|record| Some(Entry::parse(0, Some(record.value?)).ok()?.takes_events()));
            entry.unwrap_or(false)
        })
    })
}

impl Entry<'_> {
    fn takes_events(&self) -> bool {
        matches!(self, Self::Commit(commit) if commit.inputs.iter().next().is_some())
    }
}

impl Log for FragileLog {
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        self.log.ensure_topic(config)
    }
    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        self.log.topics()
    }
    fn topic(&self, name: &str) -> Option<TopicId> {
        self.log.topic(name)
    }
    fn producer_group(&self, name: &str, budget_bytes: usize) -> ProducerGroup {
        self.log.producer_group(name, budget_bytes)
    }
    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending {
        if self.is_dead() || self.strikes(to, &batch) {
            return async { Err(AppendError::Closed) }.boxed();
        }
        self.log.append(to, batch, options)
    }
    fn fence(&self, group: ProducerGroup, fence: Fence) {
        self.log.fence(group, fence);
    }
    fn room(&self) -> Result<(), AppendError> {
        if self.is_full.load(Ordering::Acquire) {
            return Err(AppendError::NoSpace { topic: "any".into(), partition: 0, needed_bytes: 1 });
        }
        self.log.room()
    }
    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        self.log.reader(of, position, wake)
    }
    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        self.log.extent(of)
    }
    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.log.trim(of, to)
    }
    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Result<Offset, FetchError> {
        self.log.offset_at(of, timestamp_ms)
    }
    fn timestamp_at(&self, of: TopicPartition, offset: Offset) -> Option<i64> {
        self.log.timestamp_at(of, offset)
    }
    /// The process ends; the log goes on for the next one.
    fn close(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}
