//! One partition on its way: reads a batch, writes it, waits for the answer, goes on.

use std::sync::Arc;
use std::time::Duration;

use runtime::env::Env;
use runtime::log::{
    AppendError, AppendOptions, Appending, BatchBuilder, Batches, Compression, CorruptBatch, Extent, Log, Offset,
    PartitionReader, ProducerGroup, Record, TopicId, TopicPartition,
};
use tokio::sync::Notify;

use super::{BridgeError, Carried, Manner, position};

/// Bytes of one read of the source.
const FETCH_BYTES: usize = 1 << 20;
/// A batch is written when it has these many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// How long a target that does not answer, or has no room, is left alone.
const PAUSE: Duration = Duration::from_secs(1);
/// So often without an answer in a row, and a bridge that does not follow ends.
const TRIES: u32 = 30;
/// The source is looked at this often if nothing wakes us.
const LOOK: Duration = Duration::from_millis(500);
/// So many looks without a record in front of a known end: the log does not give it.
const LOOKS: u32 = 60;

/// One partition of one topic.
pub(super) struct Lane {
    target: TopicPartition,
    manner: Manner,
    reader: Box<dyn PartitionReader>,
    wake: Arc<Notify>,
    /// The source's end when the bridge was opened.
    end: Offset,
    builder: BatchBuilder,
    carried: Carried,
}

/// A record on its way, until the target has answered.
struct Underway {
    offset: Offset,
    timestamp_ms: i64,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Vec<(Box<[u8]>, Box<[u8]>)>,
}

impl Underway {
    fn of(record: &Record<'_>, topic: &str, partition: u32) -> Result<Self, CorruptBatch> {
        let mut headers = Vec::new();
        for header in record.headers {
            let (name, value) = header?;
            headers.push((name.into(), value.unwrap_or_default().into()));
        }
        let from = position::text(topic, partition, record.offset).into_bytes();
        headers.push((position::HEADER.as_bytes().into(), from.into()));
        Ok(Self {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(Box::from),
            value: record.value.map(Box::from),
            headers,
        })
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, |key| key.len()) + self.value.as_ref().map_or(0, |value| value.len()) + headers
    }
}

impl Lane {
    /// Finds where to begin. Blocks.
    pub(super) fn open(
        from: &dyn Log,
        to: &dyn Log,
        topic: &str,
        (source, target): (TopicId, TopicId),
        partition: u32,
        manner: Manner,
    ) -> Result<Self, BridgeError> {
        let (source, target) =
            (TopicPartition { topic: source, partition }, TopicPartition { topic: target, partition });
        let Extent { start, high_watermark } = from.extent(source)?;
        let came = position::look_back(to, target, topic, partition, Offset::MAX)?;
        // A first run carries what there is.
        let mut next = start;
        if let Some((last, stands)) = came.last {
            // What retention or compaction took since, nobody can compare.
            let there =
                if (start..high_watermark).contains(&last) { position::at(from, source, topic, last)? } else { None };
            if last >= high_watermark || there.is_some_and(|there| there != stands) {
                return Err(BridgeError::OtherSource { topic: topic.to_owned(), partition, offset: last });
            }
            next = last + 1;
        }
        let gone = (start - next).max(0);
        if gone > 0 && !manner.accept_gone {
            return Err(BridgeError::Gone { topic: topic.to_owned(), partition, from: next, to: start - 1 });
        }
        let (next, wake) = (next.max(start), Arc::new(Notify::new()));
        Ok(Self {
            target,
            manner,
            reader: from.reader(source, next, wake.clone())?,
            wake,
            end: high_watermark,
            builder: BatchBuilder::new(Compression::Lz4),
            carried: Carried {
                topic: topic.to_owned(),
                partition,
                began_at: next,
                next,
                records: 0,
                returned: 0,
                gone: gone as u64,
            },
        })
    }

    pub(super) fn left(&self) -> u64 {
        (self.end - self.carried.next).max(0) as u64
    }

    pub(super) fn carried(&self) -> Carried {
        self.carried.clone()
    }

    /// Carries to the end, or on and on.
    pub(super) async fn carry(&mut self, env: &Env, to: &dyn Log, group: ProducerGroup) -> Result<(), BridgeError> {
        let mut looks = 0;
        loop {
            if !self.manner.follow && self.carried.next >= self.end {
                return Ok(());
            }
            let Some(fetched) = self.reader.try_next(FETCH_BYTES)? else {
                looks += 1;
                if !self.manner.follow && looks >= LOOKS {
                    let reason = format!("nothing came up to {}, where the topic ended", self.end);
                    return Err(self.refused(self.carried.next, reason));
                }
                env.clock.timeout(LOOK, self.wake.notified()).await;
                continue;
            };
            looks = 0;
            let (mut scratch, mut ways, mut bytes) = (Vec::new(), Vec::new(), 0);
            for batch in Batches::new(&fetched.bytes) {
                let corrupt = |error: CorruptBatch| self.refused(fetched.from, error.to_string());
                let records = batch.map_err(corrupt)?.records(&mut scratch).map_err(corrupt)?;
                for record in records {
                    let record = record.map_err(|error| self.refused(fetched.from, error.to_string()))?;
                    if record.offset < fetched.from {
                        continue;
                    }
                    if position::of(&record).is_some() {
                        self.carried.returned += 1;
                        continue;
                    }
                    let way = Underway::of(&record, &self.carried.topic, self.carried.partition);
                    let way = way.map_err(|error| self.refused(record.offset, error.to_string()))?;
                    bytes += way.bytes();
                    ways.push(way);
                    if bytes >= BATCH_BYTES {
                        self.write(env, to, group, &mut ways).await?;
                        bytes = 0;
                    }
                }
            }
            self.write(env, to, group, &mut ways).await?;
            self.carried.next = fetched.next;
            // A source that has all in memory never makes us wait.
            tokio::task::yield_now().await;
        }
    }

    /// Writes records and waits until they stand, each once.
    async fn write(
        &mut self,
        env: &Env,
        to: &dyn Log,
        group: ProducerGroup,
        ways: &mut Vec<Underway>,
    ) -> Result<(), BridgeError> {
        let (mut tries, mut is_known) = (0, true);
        while let (Some(first), Some(last)) = (ways.first(), ways.last()) {
            let (first, last, count) = (first.offset, last.offset, ways.len() as u64);
            let failed = if is_known {
                match self.append(to, group, ways)?.await {
                    Ok(_) => {
                        self.carried.records += count;
                        self.carried.next = last + 1;
                        ways.clear();
                        return Ok(());
                    }
                    Err(error @ AppendError::Indefinite { .. }) => {
                        is_known = false;
                        BridgeError::Append(error)
                    }
                    Err(error @ AppendError::NoSpace { .. }) => BridgeError::Append(error),
                    Err(error) => return Err(BridgeError::Append(error)),
                }
            } else {
                // Some of them may stand, and not only the first ones.
                match position::look_back(to, self.target, &self.carried.topic, self.carried.partition, first) {
                    Ok(came) => {
                        ways.retain(|way| !came.offsets.contains(&way.offset));
                        self.carried.records += count - ways.len() as u64;
                        is_known = true;
                        continue;
                    }
                    Err(error) => BridgeError::Fetch(error),
                }
            };
            tries += 1;
            if tries >= TRIES && !self.manner.follow {
                return Err(failed);
            }
            let (topic, partition) = (&self.carried.topic, self.carried.partition);
            tracing::warn!(topic, partition, first, last, error = %failed, "the target did not take it; tried again");
            env.clock.sleep(PAUSE).await;
        }
        Ok(())
    }

    fn append(&mut self, to: &dyn Log, group: ProducerGroup, ways: &[Underway]) -> Result<Appending, BridgeError> {
        for way in ways {
            let headers: Vec<(&[u8], &[u8])> = way.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let pushed = self.builder.push(way.timestamp_ms, way.key.as_deref(), way.value.as_deref(), &headers);
            pushed.map_err(|error| self.refused(way.offset, error.to_string()))?;
        }
        Ok(to.append(self.target, self.builder.finish(), AppendOptions { group, fence: None }))
    }

    fn refused(&self, offset: Offset, reason: String) -> BridgeError {
        BridgeError::Record { topic: self.carried.topic.clone(), partition: self.carried.partition, offset, reason }
    }
}
