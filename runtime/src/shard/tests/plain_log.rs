//! A log in memory, as kind or unkind as a test wants: for the protocol's own tests, without files and journals.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::log::batch::set_base_offset;
use crate::log::membership::{Change, Member, membership};
use crate::log::*;

#[derive(Default)]
struct Partition {
    batches: Vec<(Offset, Offset, Bytes)>,
    start: Offset,
    next: Offset,
    waiting: Vec<Arc<Notify>>,
}

#[derive(Default)]
struct Inner {
    topics: Vec<TopicConfig>,
    partitions: BTreeMap<TopicPartition, Partition>,
    groups: Vec<String>,
    fences: BTreeMap<(ProducerGroup, u32), Offset>,
    appends: usize,
}

/// What to do with append number n, counted from the log's start.
pub type Script = Box<dyn Fn(usize, &str) -> Answer + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// In the log, but the answer is an error of unknown outcome.
    Lost,
    /// Not in the log.
    No,
}

pub struct PlainLog {
    inner: Arc<Mutex<Inner>>,
    script: Script,
    fencing: bool,
    /// By group, in the order of joining; `None`: there are no groups.
    members: Option<Mutex<Vec<(String, Member)>>>,
}

impl PlainLog {
    pub fn kind() -> Arc<Self> {
        Self::scripted(true, |_, _| Answer::Yes)
    }

    pub fn scripted(fencing: bool, script: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { inner: Arc::default(), script: Box::new(script), fencing, members: None })
    }

    /// With groups, whose decisions are the test's. Stale epochs are found by the read-back alone, as between processes.
    pub fn grouped() -> Arc<Self> {
        let script = Box::new(|_: usize, _: &str| Answer::Yes);
        Arc::new(Self { inner: Arc::default(), script, fencing: false, members: Some(Mutex::default()) })
    }

    fn member<R>(&self, group: &str, nth: usize, with: impl FnOnce(&Member) -> R) -> R {
        let members = self.members.as_ref().unwrap().lock().unwrap();
        with(&members.iter().filter(|(name, _)| name == group).nth(nth).unwrap().1)
    }

    /// Tells the `nth` member of a group; the answer comes there.
    pub fn decide(&self, group: &str, nth: usize, change: Change) -> std::sync::mpsc::Receiver<()> {
        self.member(group, nth, |member| member.tell(change).unwrap())
    }

    pub fn is_leaving(&self, group: &str, nth: usize) -> bool {
        self.member(group, nth, Member::is_leaving)
    }

    /// Values of all records of a topic, by partition, in order.
    pub fn values(&self, topic: &str) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        self.each(topic, |_, record| values.push(record.value.unwrap().to_vec()));
        values
    }

    /// Hands out all records of a topic, by partition, in order.
    pub fn each(&self, topic: &str, mut visit: impl FnMut(u32, &Record<'_>)) {
        let inner = self.inner.lock().unwrap();
        let mut scratch = Vec::new();
        for (at, partition) in &inner.partitions {
            if inner.topics[usize::from(at.topic.0)].name.as_ref() == topic {
                for (_, _, bytes) in &partition.batches {
                    let (batch, _) = Batch::parse(bytes).unwrap();
                    batch.records(&mut scratch).unwrap().for_each(|record| visit(at.partition, &record.unwrap()));
                }
            }
        }
    }
}

struct Reader {
    inner: Arc<Mutex<Inner>>,
    of: TopicPartition,
    position: Offset,
}

impl PartitionReader for Reader {
    fn try_next(&mut self, _: usize) -> Result<Option<Fetched>, FetchError> {
        let inner = self.inner.lock().unwrap();
        let partition = &inner.partitions[&self.of];
        if self.position < partition.start {
            let (topic, start) = ("t".into(), partition.start);
            return Err(FetchError::BelowStart { topic, partition: 0, offset: self.position, start });
        }
        let Some((_, next, bytes)) = partition.batches.iter().find(|(_, next, _)| *next > self.position) else {
            return Ok(None);
        };
        let (from, events) = (self.position, (*next - self.position) as u32);
        self.position = *next;
        Ok(Some(Fetched { bytes: bytes.clone(), from, next: *next, events, readable_at_us: Some(0) }))
    }
    fn position(&self) -> Offset {
        self.position
    }
    fn seek(&mut self, offset: Offset) {
        self.position = offset;
    }
}

impl Log for PlainLog {
    fn ensure_topic(&self, config: &TopicConfig) -> Result<TopicId, AppendError> {
        let mut inner = self.inner.lock().unwrap();
        if let Some(at) = inner.topics.iter().position(|known| known.name == config.name) {
            return Ok(TopicId(at as u16));
        }
        inner.topics.push(config.clone());
        let topic = TopicId(inner.topics.len() as u16 - 1);
        for partition in 0..config.partitions {
            inner.partitions.insert(TopicPartition { topic, partition }, Partition::default());
        }
        Ok(topic)
    }
    fn topics(&self) -> Vec<(TopicId, TopicConfig)> {
        let inner = self.inner.lock().unwrap();
        inner.topics.iter().enumerate().map(|(n, c)| (TopicId(n as u16), c.clone())).collect()
    }
    fn topic(&self, name: &str) -> Option<TopicId> {
        let inner = self.inner.lock().unwrap();
        inner.topics.iter().position(|known| known.name.as_ref() == name).map(|at| TopicId(at as u16))
    }
    fn producer_group(&self, name: &str, _: usize) -> ProducerGroup {
        let groups = &mut self.inner.lock().unwrap().groups;
        let known = groups.iter().position(|group| group == name);
        ProducerGroup(known.unwrap_or_else(|| {
            groups.push(name.to_string());
            groups.len() - 1
        }) as _)
    }
    fn append(&self, to: TopicPartition, batch: Bytes, options: AppendOptions) -> Appending {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.appends;
        inner.appends += 1;
        let topic = inner.topics[usize::from(to.topic.0)].name.clone();
        let partition = to.partition;
        if let Some(fence) = options.fence.filter(|_| self.fencing) {
            let newer = inner.fences.get(&(options.group, fence.shard)).copied().unwrap_or(-1);
            if fence.epoch_offset < newer {
                let error =
                    AppendError::Fenced { topic, partition, epoch_offset: fence.epoch_offset, newer_offset: newer };
                return async move { Err(error) }.boxed();
            }
        }
        let answer = (self.script)(number, &topic);
        if answer == Answer::No {
            return async { Err(AppendError::Closed) }.boxed();
        }
        let log = inner.partitions.get_mut(&to).unwrap();
        let mut bytes = BytesMut::from(&batch[..]);
        set_base_offset(&mut bytes, log.next);
        let base = log.next;
        log.next += Batch::parse(&batch).unwrap().0.next_offset();
        let next = log.next;
        log.batches.push((base, next, bytes.freeze()));
        log.waiting.iter().for_each(|waiting| waiting.notify_one());
        let result = match answer {
            Answer::Lost => Err(AppendError::Indefinite { topic, partition, reason: "scripted".into() }),
            _ => Ok(base),
        };
        async move { result }.boxed()
    }
    fn fence(&self, group: ProducerGroup, fence: Fence) {
        let mut inner = self.inner.lock().unwrap();
        let known = inner.fences.entry((group, fence.shard)).or_insert(fence.epoch_offset);
        *known = fence.epoch_offset.max(*known);
    }
    fn room(&self) -> Result<(), AppendError> {
        Ok(())
    }
    fn reader(
        &self,
        of: TopicPartition,
        position: Offset,
        wake: Arc<Notify>,
    ) -> Result<Box<dyn PartitionReader>, FetchError> {
        self.inner.lock().unwrap().partitions.get_mut(&of).unwrap().waiting.push(wake);
        Ok(Box::new(Reader { inner: self.inner.clone(), of, position }))
    }
    fn extent(&self, of: TopicPartition) -> Result<Extent, FetchError> {
        let inner = self.inner.lock().unwrap();
        let partition = &inner.partitions[&of];
        Ok(Extent { start: partition.start, high_watermark: partition.next })
    }
    fn trim(&self, of: TopicPartition, to: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.inner.lock().unwrap().partitions.get_mut(&of).unwrap().start = to;
        async { Ok(()) }.boxed()
    }
    fn offset_at(&self, of: TopicPartition, _: i64) -> Result<Offset, FetchError> {
        Err(FetchError::Unknown { what: format!("times of {of:?} are not kept") })
    }
    fn timestamp_at(&self, _: TopicPartition, _: Offset) -> Option<i64> {
        None
    }
    fn join(&self, group: &str, _: TopicId) -> Result<Option<Membership>, JoinError> {
        let Some(members) = &self.members else { return Ok(None) };
        let (ours, theirs) = membership();
        members.lock().unwrap().push((group.to_string(), theirs));
        Ok(Some(ours))
    }
    fn close(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}
