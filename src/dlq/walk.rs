//! Walks a partition record by record; what a producer of ours has sent twice is handed out once (rule P7).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use runtime::commit::provenance::{HEADER, Provenance};
use runtime::log::{Batches, CorruptBatch, Log, Offset, PartitionReader, Record, TopicPartition};
use tokio::sync::Notify;

use super::DlqError;

const FETCH_BYTES: usize = 256 << 10;

/// One partition, from where the walk stands to where the log ends at each call.
pub struct Walk<T> {
    pub topic: Arc<str>,
    pub partition: u32,
    reader: Option<Box<dyn PartitionReader>>,
    end: Offset,
    marks: BTreeMap<(u32, u16), i64>,
    buffer: VecDeque<T>,
    read: fn(&Arc<str>, u32, &Record<'_>) -> Option<T>,
}

impl<T> Walk<T> {
    /// From the start of the partition to where it ends now. `read` says what a record is, and passes over others with `None`.
    /// A topic that is not there is an empty one.
    ///
    /// # Errors
    /// The log refuses.
    pub fn new(
        log: &dyn Log,
        topic: &str,
        partition: u32,
        read: fn(&Arc<str>, u32, &Record<'_>) -> Option<T>,
    ) -> Result<Self, DlqError> {
        let (mut end, mut reader) = (0, None);
        if let Some(id) = log.topic(topic) {
            let at = TopicPartition { topic: id, partition };
            let extent = log.extent(at)?;
            end = extent.high_watermark;
            reader = Some(log.reader(at, extent.start, Arc::new(Notify::new()))?);
        }
        Ok(Self { topic: topic.into(), partition, reader, end, marks: BTreeMap::new(), buffer: VecDeque::new(), read })
    }

    /// From now on to where the partition ends now.
    ///
    /// # Errors
    /// The log refuses.
    pub fn extend(&mut self, log: &dyn Log) -> Result<(), DlqError> {
        if let Some(id) = log.topic(&self.topic) {
            let at = TopicPartition { topic: id, partition: self.partition };
            let extent = log.extent(at)?;
            self.end = extent.high_watermark;
            if self.reader.is_none() {
                self.reader = Some(log.reader(at, extent.start, Arc::new(Notify::new()))?);
            }
        }
        Ok(())
    }

    /// The next record that is one, or `None` at the end.
    ///
    /// # Errors
    /// The log refuses, or holds what no producer wrote.
    pub fn take_next(&mut self) -> Result<Option<T>, DlqError> {
        while self.buffer.is_empty() {
            let Some(reader) = self.reader.as_mut().filter(|reader| reader.position() < self.end) else {
                return Ok(None);
            };
            let Some(fetched) = reader.try_next(FETCH_BYTES)? else { return Ok(None) };
            let mut scratch = Vec::new();
            let mut unpack = || -> Result<(), CorruptBatch> {
                for batch in Batches::new(&fetched.bytes) {
                    for record in batch?.records(&mut scratch)? {
                        let record = record?;
                        if record.offset >= fetched.from
                            && record.offset < self.end
                            && is_first(&mut self.marks, &record)
                        {
                            self.buffer.extend((self.read)(&self.topic, self.partition, &record));
                        }
                    }
                }
                Ok(())
            };
            unpack().map_err(|error| DlqError::Unreadable {
                topic: self.topic.to_string(),
                partition: self.partition,
                offset: fetched.from,
                reason: error.to_string(),
            })?;
        }
        Ok(self.buffer.pop_front())
    }
}

/// Not sent before by its producer. Only the first header is the producer's own.
fn is_first(marks: &mut BTreeMap<(u32, u16), i64>, record: &Record<'_>) -> bool {
    let first = record.headers.clone().next().and_then(Result::ok).filter(|(name, _)| *name == HEADER);
    let Some(from) = first.and_then(|(_, value)| Provenance::decode(value?)) else { return true };
    let mark = marks.entry((from.service, from.partition)).or_insert(-1);
    let is_new = from.n > *mark;
    *mark = from.n.max(*mark);
    is_new
}

/// Every record of every partition of a topic, in order of partition.
///
/// # Errors
/// As [`Walk::take_next`], and whatever `visit` answers.
pub fn each<T>(
    log: &dyn Log,
    topic: &str,
    read: fn(&Arc<str>, u32, &Record<'_>) -> Option<T>,
    mut visit: impl FnMut(T) -> Result<(), DlqError>,
) -> Result<(), DlqError> {
    for partition in 0..partitions(log, topic) {
        let mut walk = Walk::new(log, topic, partition, read)?;
        while let Some(found) = walk.take_next()? {
            visit(found)?;
        }
    }
    Ok(())
}

/// Partitions of a topic; 0 where there is none.
pub fn partitions(log: &dyn Log, topic: &str) -> u32 {
    log.topics().iter().find(|(_, config)| &*config.name == topic).map_or(0, |(_, config)| config.partitions)
}
