//! The embedded log: one journal with group commit for all partitions, and segment files filled behind it.
//!
//! ```text
//! append -> queue -> group -> journal, one sync -> readers see it, producers are answered -> segments -> checkpoint
//!           (queue)  (writer, frame, journal)       (core, partition)                        (file)     (checkpoint)
//! ```
//! A sync costs milliseconds and a platform has hundreds of partitions, so only the journal is synced for durability.
//! Segments are synced when their part of the journal is to be used again; recovery cuts them to the checkpoint and
//! replays the journal behind it (`recovery`).

mod backup;
mod checkpoint;
mod compact;
mod config;
mod core;
mod driver;
mod error;
mod file;
mod frame;
mod journal;
mod partition;
mod queue;
mod reader;
mod recovery;
mod rewrite;
mod scan;
mod seek;
mod space;
mod topics;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};

use self::core::Core;
use self::driver::Driver;
use self::queue::{Append, Meta, Mode, Taken};
use self::reader::SegmentReader;
use super::batch::Batch;
use super::storage::{Storage, StorageError};
use super::{
    AppendError, AppendOptions, Appending, Extent, Fence, FetchError, Log, Offset, PartitionReader, ProducerGroup,
    TopicConfig, TopicId, TopicPartition,
};
use crate::env::Env;

pub use self::backup::{Copied, restore};
pub use self::config::SegmentLogConfig;
pub use self::error::OpenError;

/// The log of one data directory. Dropping it without `close` is like killing the process: nothing acknowledged is lost.
pub struct EmbeddedLog {
    core: Arc<Core>,
    driver: Mutex<Driver>,
}

impl EmbeddedLog {
    /// Takes the directory's lock, recovers what an earlier process left, and starts the journal's driver.
    ///
    /// # Errors
    /// The directory is in use, of another version, or corrupt; the storage fails; the configuration is impossible.
    pub fn open(env: &Env, storage: Arc<dyn Storage>, config: SegmentLogConfig) -> Result<Arc<Self>, OpenError> {
        let (core, writer) = recovery::open(env.clock.clone(), storage, config)?;
        let driver = Mutex::new(Driver::start(env, writer)?);
        Ok(Arc::new(Self { core, driver }))
    }

    /// Trims partitions whose oldest segments are past their topic's retention at `now_ms`. The driver does it by itself
    /// from time to time; the files go with the next checkpoint. Gives the number of partitions concerned.
    pub fn apply_retention(&self, now_ms: i64) -> usize {
        self.core.expire(now_ms)
    }

    /// Compacts whatever is worth it at `now_ms`, to the end. The driver does it by itself, a step at a time; the old files go
    /// with the next checkpoint. Gives the number of records that were removed.
    pub fn compact(&self, now_ms: i64) -> u64 {
        let mut compactor = compact::Compactor::default();
        std::iter::from_fn(|| compactor.step(&self.core, now_ms)).map(|stepped| stepped.removed).sum()
    }

    /// Bytes of a producer group between admission and sync.
    pub fn in_flight_bytes(&self, group: ProducerGroup) -> usize {
        lock(&self.core.queue).in_flight_bytes(group)
    }

    fn partition(&self, of: TopicPartition) -> Option<Arc<partition::Partition>> {
        self.core.partition(of)
    }

    fn check(&self, to: TopicPartition, bytes: Bytes, options: AppendOptions) -> Result<Append, AppendError> {
        let malformed = |reason: String| AppendError::Malformed { reason };
        let topics = self.core.topics.load();
        let topic = topics.get(to.topic.0 as usize).ok_or_else(|| unknown(to))?;
        let partition = topic.partitions.get(to.partition as usize).ok_or_else(|| unknown(to))?;
        let limit_bytes = self.core.config.max_batch_bytes;
        if bytes.len() > limit_bytes {
            return Err(AppendError::TooLarge {
                topic: partition.topic.clone(),
                partition: to.partition,
                bytes: bytes.len(),
                limit_bytes,
            });
        }
        let (batch, rest) = Batch::parse(&bytes).map_err(|error| malformed(error.to_string()))?;
        if !rest.is_empty() || batch.count() == 0 {
            return Err(malformed("exactly one batch with at least one record is appended".to_owned()));
        }
        batch.check_crc().map_err(|error| malformed(error.to_string()))?;
        Ok(Append {
            partition: partition.clone(),
            span: i64::from(batch.last_offset_delta()) + 1,
            timestamp_ms: batch.base_timestamp_ms(),
            group: options.group,
            fence: options.fence,
            durability: topic.config.durability,
            bytes,
        })
    }

    fn take(&self, append: Append) -> Result<Taken, AppendError> {
        let mut queue = lock(&self.core.queue);
        let taken = queue.append(append, &self.core.space)?;
        self.core.wake_journal(queue);
        Ok(taken)
    }
}

fn unknown(of: TopicPartition) -> AppendError {
    AppendError::Unknown { what: format!("partition {} of topic {}", of.partition, of.topic.0) }
}

impl Log for EmbeddedLog {
    fn copy_to(&self, to: &dyn Storage) -> Option<Result<Copied, StorageError>> {
        Some(backup::copy_live(&self.core, to))
    }

    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        let _one = lock(&self.core.making_topics);
        let refuse = |what: String| Err(AppendError::Unknown { what });
        let present = self.core.topics.load().iter().find(|topic| topic.config.name == config.name).cloned();
        let id = match &present {
            Some(topic) if topic.config.partitions != config.partitions => {
                return refuse(format!(
                    "topic {} has {} partitions, {} were asked for; the count of a topic never changes",
                    config.name, topic.config.partitions, config.partitions
                ));
            }
            Some(topic) if topic.config == *config => return Ok(topic.id),
            Some(topic) => topic.id,
            None => TopicId(self.core.topics.load().len() as u16),
        };
        if !super::is_topic_name(&config.name) {
            return refuse(format!("{:?} is not a topic name (letters, digits, . _ -, at most 249)", config.name));
        }
        if config.partitions == 0 || config.partitions > topics::MAX_PARTITIONS {
            return refuse(format!("topic {}: 1 to {} partitions", config.name, topics::MAX_PARTITIONS));
        }
        if id.0 as usize >= topics::MAX_TOPICS {
            return refuse(format!("topic {}: there are {} already", config.name, topics::MAX_TOPICS));
        }
        // In line before any append to it: the journal makes both durable in this order.
        let mut queue = lock(&self.core.queue);
        queue.refusal()?;
        queue.add_meta(Meta::Topic { id, config: config.clone() });
        self.core.put_topic(id, config.clone());
        if present.is_none()
            && let Some(topic) = self.core.topics.load().get(id.0 as usize)
        {
            topic.partitions.iter().for_each(|partition| queue.add_lane(partition.clone()));
        }
        self.core.wake_journal(queue);
        Ok(id)
    }

    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        let mut all: Vec<_> = self.core.topics.load().iter().map(|topic| (topic.id, topic.config.clone())).collect();
        all.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        all
    }

    fn topic(&self, name: &str) -> Option<TopicId> {
        self.core.topics.load().iter().find(|topic| &*topic.config.name == name).map(|topic| topic.id)
    }

    fn producer_group(&self, name: &str, budget_bytes: usize) -> ProducerGroup {
        lock(&self.core.queue).producer_group(name, budget_bytes)
    }

    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending {
        let taken = self.check(to, batch, options).and_then(|append| {
            let name = append.partition.topic.clone();
            self.take(append).map(|taken| (name, taken))
        });
        match taken {
            Ok((_, Taken::Now(offset))) => std::future::ready(Ok(offset)).boxed(),
            Ok((topic, Taken::Later(answer))) => settled(answer, topic, to.partition).boxed(),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn fence(&self, group: ProducerGroup, fence: Fence) {
        lock(&self.core.queue).fence(group, fence);
    }

    fn room(&self) -> Result<(), AppendError> {
        lock(&self.core.queue).refusal()?;
        if self.core.space.has_room() {
            return Ok(());
        }
        let needed_bytes = self.core.config.reserve_bytes;
        Err(AppendError::NoSpace { topic: "any".into(), partition: 0, needed_bytes })
    }

    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        let partition = self.partition(of).ok_or_else(|| FetchError::Unknown { what: unknown(of).to_string() })?;
        Ok(Box::new(SegmentReader::new(self.core.clone(), partition, position, wake)))
    }

    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        let partition = self.partition(of).ok_or_else(|| FetchError::Unknown { what: unknown(of).to_string() })?;
        Ok(partition.extent())
    }

    fn offset_at(&self, of: TopicPartition, timestamp_ms: i64) -> Result<Offset, FetchError> {
        let partition = self.partition(of).ok_or_else(|| FetchError::Unknown { what: unknown(of).to_string() })?;
        seek::offset_at(&self.core, &partition, timestamp_ms)
    }

    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        let Some(partition) = self.partition(of) else { return std::future::ready(Err(unknown(of))).boxed() };
        let extent = partition.extent();
        if to <= extent.start {
            return std::future::ready(Ok(())).boxed();
        }
        let topic = partition.topic.clone();
        let to = to.min(extent.high_watermark);
        let (answer, answered) = oneshot::channel();
        let mut queue = lock(&self.core.queue);
        if let Err(error) = queue.refusal() {
            return std::future::ready(Err(error)).boxed();
        }
        queue.add_meta(Meta::Trim { partition, to, answer: Some(answer) });
        self.core.wake_journal(queue);
        settled(answered, topic, of.partition).boxed()
    }

    fn timestamp_at(&self, of: TopicPartition, offset: Offset) -> Option<i64> {
        self.partition(of)?.timestamp_at(offset)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let mut queue = lock(&self.core.queue);
        queue.closing = true;
        if matches!(queue.mode, Mode::Open) {
            queue.mode = Mode::Closed;
        }
        self.core.wake_journal(queue);
        let mut closed = self.core.closed.subscribe();
        // An error means that the sender is gone, and with it the log.
        async move {
            let _ = closed.wait_for(|closed| *closed).await;
        }
        .boxed()
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        {
            let mut queue = lock(&self.core.queue);
            if matches!(queue.mode, Mode::Open) {
                queue.mode = Mode::Closed;
            }
            queue.abandoned = true;
            self.core.wake_journal(queue);
        }
        lock(&self.driver).stop();
    }
}

/// The driver answers; if it ended without an answer, nobody knows.
async fn settled<T>(
    answered: oneshot::Receiver<Result<T, AppendError>>,
    topic: Arc<str>,
    partition: u32,
) -> Result<T, AppendError> {
    match answered.await {
        Ok(result) => result,
        Err(_) => Err(AppendError::Indefinite { topic, partition, reason: "the log ended".to_owned() }),
    }
}

/// A poisoned lock is taken as it is: a panic elsewhere must not spread (what it guards has its own invariants).
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
