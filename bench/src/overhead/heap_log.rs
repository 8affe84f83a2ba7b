//! A log that only keeps what it is given: what is left of a run over it is the runtime.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use runtime::log::batch::set_base_offset;
use runtime::log::{
    AppendError, AppendOptions, Appending, Batch, Extent, Fence, FetchError, Fetched, Log, Offset, PartitionReader,
    ProducerGroup, TopicConfig, TopicId, TopicPartition,
};
use tokio::sync::Notify;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Partition {
    /// One past the last record, and the batch.
    batches: Vec<(Offset, Bytes)>,
    readers: Vec<Arc<Notify>>,
}

impl Partition {
    fn end(&self) -> Offset {
        self.batches.last().map_or(0, |(next, _)| *next)
    }
}

struct Topic {
    config: TopicConfig,
    partitions: Vec<Arc<Mutex<Partition>>>,
}

/// One process, no file, no checks.
#[derive(Default)]
pub struct HeapLog {
    topics: Mutex<Vec<Topic>>,
    /// While set, readers of shards see nothing: what is to be read is filled in first.
    held: Arc<AtomicBool>,
}

impl HeapLog {
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Release);
        for topic in lock(&self.topics).iter() {
            for partition in &topic.partitions {
                lock(partition).readers.iter().for_each(|reader| reader.notify_one());
            }
        }
    }

    fn partition(&self, of: TopicPartition) -> Option<(Arc<str>, Arc<Mutex<Partition>>)> {
        let topics = lock(&self.topics);
        let topic = topics.get(of.topic.0 as usize)?;
        Some((topic.config.name.clone(), topic.partitions.get(of.partition as usize)?.clone()))
    }
}

impl Log for HeapLog {
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        if let Some(id) = self.topic(&config.name) {
            return Ok(id);
        }
        let mut topics = lock(&self.topics);
        let partitions = (0..config.partitions).map(|_| Arc::default()).collect();
        topics.push(Topic { config: config.clone(), partitions });
        Ok(TopicId(topics.len() as u16 - 1))
    }

    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        let topics = lock(&self.topics);
        topics.iter().enumerate().map(|(id, topic)| (TopicId(id as u16), topic.config.clone())).collect()
    }

    fn topic(&self, name: &str) -> Option<TopicId> {
        let topics = lock(&self.topics);
        topics.iter().position(|topic| &*topic.config.name == name).map(|id| TopicId(id as u16))
    }

    fn producer_group(&self, _: &str, _: usize) -> ProducerGroup {
        ProducerGroup(0)
    }

    fn append(&self, to: TopicPartition, batch: Bytes, _: AppendOptions) -> Appending {
        let Some((_, partition)) = self.partition(to) else {
            return ready(Err(AppendError::Unknown { what: format!("{to:?}") })).boxed();
        };
        let count = match Batch::parse(&batch) {
            Ok((batch, _)) => Offset::from(batch.last_offset_delta()) + 1,
            Err(error) => return ready(Err(AppendError::Malformed { reason: error.to_string() })).boxed(),
        };
        let mut partition = lock(&partition);
        let offset = partition.end();
        let mut batch = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        set_base_offset(&mut batch, offset);
        partition.batches.push((offset + count, batch.freeze()));
        partition.readers.iter().for_each(|reader| reader.notify_one());
        ready(Ok(offset)).boxed()
    }

    fn fence(&self, _: ProducerGroup, _: Fence) {}

    fn room(&self) -> Result<(), AppendError> {
        Ok(())
    }

    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        let (name, partition) = self.partition(of).ok_or_else(|| FetchError::Unknown { what: format!("{of:?}") })?;
        lock(&partition).readers.push(wake);
        let held = if name.ends_with("-commits") { Arc::default() } else { self.held.clone() };
        Ok(Box::new(Reader { partition, held, position }))
    }

    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        let (_, partition) = self.partition(of).ok_or_else(|| FetchError::Unknown { what: format!("{of:?}") })?;
        Ok(Extent { start: 0, high_watermark: lock(&partition).end() })
    }

    fn trim(&self, _: TopicPartition, _: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        ready(Ok(())).boxed()
    }

    fn offset_at(&self, of: TopicPartition, _: i64) -> Result<Offset, FetchError> {
        Err(FetchError::Unknown { what: format!("times of {of:?} are not kept") })
    }

    fn timestamp_at(&self, _: TopicPartition, _: Offset) -> Option<i64> {
        None
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

struct Reader {
    partition: Arc<Mutex<Partition>>,
    held: Arc<AtomicBool>,
    position: Offset,
}

impl PartitionReader for Reader {
    /// One batch at a time, so that an envelope holds as many events as the bench says.
    fn try_next(&mut self, _: usize) -> Result<Option<Fetched>, FetchError> {
        if self.held.load(Ordering::Acquire) {
            return Ok(None);
        }
        let partition = lock(&self.partition);
        let index = partition.batches.partition_point(|(next, _)| *next <= self.position);
        let Some((next, bytes)) = partition.batches.get(index) else { return Ok(None) };
        let (from, next) = (std::mem::replace(&mut self.position, *next), *next);
        let events = (next - from) as u32;
        Ok(Some(Fetched { bytes: bytes.clone(), from, next, events, readable_at_us: None }))
    }

    fn position(&self) -> Offset {
        self.position
    }

    fn seek(&mut self, offset: Offset) {
        self.position = offset;
    }
}
