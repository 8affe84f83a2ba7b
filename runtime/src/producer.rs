//! Appends events from outside: one record a decision, before the answer (rule P15).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;
use schemas::codec::Encode;

use crate::log::batch::Compression;
use crate::log::lz4::Compressor;
use crate::log::{AppendError, AppendOptions, BatchBuilder, Log, ProducerGroup, TopicPartition};
use crate::topology::Topic;
use crate::trace::{TRACEPARENT, TraceParent};

/// How long a full disk is left alone.
const ROOM_PROBE: std::time::Duration = std::time::Duration::from_millis(200);

/// Batches from here on are packed: what sources append is a third of all that is written, and packed a third of that.
const PACKED_FROM_BYTES: usize = 4 << 10;

/// Batches records by partition; `flush` appends what was added and waits for the answers.
pub struct Producer {
    log: Arc<dyn Log>,
    group: ProducerGroup,
    partitions: u32,
    pending: BTreeMap<TopicPartition, BatchBuilder>,
    value: Vec<u8>,
    compressor: Compressor,
    records: usize,
}

impl Producer {
    /// `name` is the producer group whose byte budget bounds what is in flight.
    pub fn new(log: Arc<dyn Log>, name: &str, budget_bytes: usize, partitions: u32) -> Self {
        let group = log.producer_group(name, budget_bytes);
        Self {
            log,
            group,
            partitions,
            pending: BTreeMap::new(),
            value: Vec::new(),
            compressor: Compressor::new(),
            records: 0,
        }
    }

    /// Records added and not flushed.
    pub fn pending(&self) -> usize {
        self.records
    }

    pub fn add<E: Encode>(
        &mut self,
        topic: &'static Topic,
        key: &str,
        timestamp_ms: i64,
        event: &E,
        trace: Option<&TraceParent>,
    ) -> Result<(), AppendError> {
        assert!(topic.schema_id == E::SCHEMA_ID, "{} does not hold {}", topic.name, E::NAME);
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        schemas::frame::encode(event, &mut value);
        let traceparent = trace.map(|trace| (TRACEPARENT, trace.as_slice()));
        let result = self.add_bytes(topic.name, key.as_bytes(), timestamp_ms, &value, traceparent.as_slice());
        self.value = value;
        result
    }

    /// A record as it is, for what is not one of our events (a broken line of a file).
    pub fn add_bytes(
        &mut self,
        topic: &str,
        key: &[u8],
        timestamp_ms: i64,
        value: &[u8],
        headers: &[(&[u8], &[u8])],
    ) -> Result<(), AppendError> {
        let unknown = || AppendError::Unknown { what: format!("topic {topic}") };
        let id = self.log.topic(topic).ok_or_else(unknown)?;
        let partition = crate::log::partitioner::partition(key, self.partitions);
        let builder = self
            .pending
            .entry(TopicPartition { topic: id, partition })
            .or_insert_with(|| BatchBuilder::new(Compression::None));
        builder.push(timestamp_ms, Some(key), Some(value), headers).map_err(|full| AppendError::TooLarge {
            topic: topic.into(),
            partition,
            bytes: full.record_bytes,
            limit_bytes: full.limit_bytes,
        })?;
        self.records += 1;
        Ok(())
    }

    /// Like `flush`, but a full disk is waited out: what was refused there is appended again, as it was, until there is
    /// room. Nothing is lost, and nothing is doubled, because a refusal for want of space appends nothing.
    pub fn flush_with_patience(&mut self) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let options = AppendOptions { group: self.group, fence: None };
        let appends: Vec<_> = self
            .finished()
            .into_iter()
            .map(|(to, batch)| {
                let log = self.log.clone();
                let first = log.append(to, batch.clone(), options);
                async move {
                    let mut answer = first.await;
                    while let Err(AppendError::NoSpace { .. }) = answer {
                        tokio::time::sleep(ROOM_PROBE).await;
                        answer = log.append(to, batch.clone(), options).await;
                    }
                    answer
                }
            })
            .collect();
        self.records = 0;
        async move { try_join_all(appends).await.map(|_| ()) }
    }

    /// A batch for each partition that has records.
    fn finished(&mut self) -> Vec<(TopicPartition, Bytes)> {
        let compressor = &mut self.compressor;
        let filled = self.pending.iter_mut().filter(|(_, builder)| !builder.is_empty());
        let finish = |(to, builder): (&TopicPartition, &mut BatchBuilder)| match builder.bytes() {
            PACKED_FROM_BYTES.. => (*to, builder.finish_packed(compressor)),
            _ => (*to, builder.finish()),
        };
        filled.map(finish).collect()
    }

    /// Appends everything added; resolves when all of it is acknowledged. The places in line are taken at once.
    pub fn flush(&mut self) -> impl Future<Output = Result<(), AppendError>> + Send + 'static {
        let options = AppendOptions { group: self.group, fence: None };
        let appends: Vec<_> =
            self.finished().into_iter().map(|(to, batch)| self.log.append(to, batch, options)).collect();
        self.records = 0;
        async move { try_join_all(appends).await.map(|_| ()) }
    }
}
