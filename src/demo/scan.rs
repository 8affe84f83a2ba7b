//! Reads whole topics at the end of a run, straight from the log and with none of the services' code.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::commit::provenance::{BOUNDARY, HEADER, Provenance};
use runtime::log::{Batches, FetchError, Log, Offset, Record, TopicPartition};
use tokio::sync::Notify;

const FETCH_BYTES: usize = 1 << 20;
/// How long a record that the log has may take to come; a cluster sends it over the network.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// Why a recount could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{topic}-{partition} holds something that cannot be read at offset {offset}: {reason}")]
    Unreadable { topic: String, partition: u32, offset: Offset, reason: String },
}

impl ScanError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.kind(),
            Self::Unreadable { .. } => "UNREADABLE",
        }
    }
}

/// A log to be recounted, from where a run has begun.
pub struct Scan<'a> {
    pub log: &'a dyn Log,
    pub partitions: u32,
}

impl Scan<'_> {
    /// Position of a topic's partition; a topic that is not there has none.
    fn at(&self, topic: &str, partition: u32) -> Option<TopicPartition> {
        self.log.topic(topic).map(|topic| TopicPartition { topic, partition })
    }

    /// First and last offset of a partition; nothing for a topic that is not there.
    ///
    /// # Errors
    /// [`ScanError::Fetch`] if the log refuses.
    pub fn extent(&self, topic: &str, partition: u32) -> Result<(Offset, Offset), ScanError> {
        let Some(at) = self.at(topic, partition) else { return Ok((0, 0)) };
        let extent = self.log.extent(at)?;
        Ok((extent.start, extent.high_watermark))
    }

    /// High watermarks of all partitions of a topic.
    ///
    /// # Errors
    /// [`ScanError::Fetch`] if the log refuses.
    pub fn ends(&self, topic: &str) -> Result<Vec<Offset>, ScanError> {
        (0..self.partitions).map(|partition| Ok(self.extent(topic, partition)?.1)).collect()
    }

    /// Hands every record from `from` on to `visit`. What a producer of ours has published twice is handed out once
    /// (rule P7).
    ///
    /// # Errors
    /// [`ScanError`]: the log refuses, a record cannot be read, or `visit` says why it cannot use one.
    pub fn records(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        mut visit: impl FnMut(&Record<'_>) -> Result<(), String>,
    ) -> Result<(), ScanError> {
        let Some(at) = self.at(topic, partition) else { return Ok(()) };
        let extent = self.log.extent(at)?;
        let mut reader = self.log.reader(at, from.max(extent.start), Arc::new(Notify::new()))?;
        let mut marks: BTreeMap<(u32, u16), i64> = BTreeMap::new();
        let mut scratch = Vec::new();
        let unreadable = |offset, reason| ScanError::Unreadable { topic: topic.to_owned(), partition, offset, reason };
        while reader.position() < extent.high_watermark {
            let Some(fetched) = reader.next_within(FETCH_BYTES, FETCH_LIMIT)? else {
                return Err(unreadable(reader.position(), format!("nothing came within {} s", FETCH_LIMIT.as_secs())));
            };
            let corrupt = |error: runtime::log::CorruptBatch| unreadable(fetched.from, error.to_string());
            for batch in Batches::new(&fetched.bytes) {
                let batch = batch.map_err(corrupt)?;
                for record in batch.records(&mut scratch).map_err(corrupt)? {
                    let record = record.map_err(corrupt)?;
                    if record.offset < fetched.from || record.offset >= extent.high_watermark {
                        continue;
                    }
                    // Only the first header is the producer's own: a dead letter carries those of its event behind it.
                    let first = record.headers.clone().next().and_then(Result::ok).filter(|(name, _)| *name == HEADER);
                    if let Some(from) = first.and_then(|(_, value)| Provenance::decode(value?)) {
                        let mark = marks.entry((from.service, from.partition)).or_insert(-1);
                        if from.n <= *mark {
                            continue;
                        }
                        *mark = from.n;
                    }
                    // Says something about keys, not about one of them (rule P10).
                    if record.headers.get(BOUNDARY).is_some() {
                        continue;
                    }
                    visit(&record).map_err(|reason| unreadable(record.offset, reason))?;
                }
            }
        }
        Ok(())
    }
}
