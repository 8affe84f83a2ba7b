//! Reads partitions record by record. The only thing shared with the platform below this line is the log's own iterator.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use runtime::log::{Batches, CorruptBatch, Log, Offset, PartitionReader, Record, TopicPartition};
use tokio::sync::Notify;

use super::VerifyError;

const FETCH_BYTES: usize = 256 << 10;
/// How long a record that the log has may take to come; a cluster sends it over the network.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// Header that names the producer of a record (rule P6) and the one of a boundary (rule P10).
const PROVENANCE: &[u8] = b"bh";
const BOUNDARY: &[u8] = b"bh-boundary";
/// Header of a value that has no frame: what would stand in front of it.
const WRITER: &[u8] = b"__value_schema_id";
/// First header of a replay.
const REPLAY: &[u8] = b"bh-replay";

/// Which shard sent a record, and its number among those to this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub service: u32,
    pub partition: u16,
    pub lineage: i64,
    pub n: i64,
}

impl Origin {
    /// Service, partition, lineage and n, big-endian, in 22 bytes.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (service, rest) = bytes.split_first_chunk::<4>()?;
        let (partition, rest) = rest.split_first_chunk::<2>()?;
        let (lineage, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            service: u32::from_be_bytes(*service),
            partition: u16::from_be_bytes(*partition),
            lineage: i64::from_be_bytes(*lineage),
            n: i64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// Which event a replay stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replayed {
    pub topic: String,
    pub partition: u32,
    pub offset: Offset,
    /// Replays of this event so far, this one included.
    pub n: u32,
}

impl Replayed {
    /// Topic, partition, offset, n, time of the first failure and job, between slashes.
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [topic, partition, offset, n, first_failed_ms, _job] = parts[..] else { return None };
        first_failed_ms.parse::<i64>().ok()?;
        let (partition, offset, n) = (partition.parse().ok()?, offset.parse().ok()?, n.parse().ok()?);
        (offset >= 0 && n > 0).then(|| Self { topic: topic.to_owned(), partition, offset, n })
    }
}

/// One record, copied.
#[derive(Clone, Debug)]
pub struct Entry {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    pub origin: Option<Origin>,
    /// Says something about keys, and is no event.
    pub is_boundary: bool,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    fn of(record: &Record<'_>) -> Result<Self, CorruptBatch> {
        let mut headers = Vec::with_capacity(record.headers.len());
        for header in record.headers {
            let (name, value) = header?;
            headers.push((name.to_vec(), value.unwrap_or_default().to_vec()));
        }
        let mut value = record.value.map(<[u8]>::to_vec);
        let header = |name: &[u8]| headers.iter().find(|(found, _)| found == name).map(|(_, value)| &value[..]);
        // Beside the value or in front of it, the bytes that name a schema are the same; of another length they name none.
        if let (Some(named), Some(datum)) = (header(WRITER), &mut value) {
            let whole = matches!((named.first(), named.len()), (Some(0), 5) | (Some(1), 17));
            *datum = if whole { [named, &datum[..]].concat() } else { Vec::new() };
        }
        Ok(Self {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.unwrap_or_default().to_vec(),
            value,
            // Only the first header is the producer's own: a dead letter carries those of its event behind it.
            origin: headers.first().filter(|(name, _)| name == PROVENANCE).and_then(|(_, value)| Origin::parse(value)),
            is_boundary: header(BOUNDARY).is_some(),
            headers,
        })
    }

    /// The event that a record of a replay topic stands for, as it was when it came first.
    pub fn replayed(&self) -> Option<(Replayed, Self)> {
        let (name, value) = self.headers.first()?;
        let replayed = Replayed::parse(std::str::from_utf8(value).ok().filter(|_| name == REPLAY)?)?;
        Some((replayed, Self { headers: self.headers[1..].to_vec(), origin: None, ..self.clone() }))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name.as_bytes());
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// Walks one partition from its start to where it ended when the walk began.
pub struct Walk {
    pub topic: String,
    pub partition: u32,
    pub start: Offset,
    pub end: Offset,
    reader: Option<Box<dyn PartitionReader>>,
    buffer: VecDeque<Entry>,
}

impl Walk {
    /// A topic that is not there is an empty one.
    ///
    /// # Errors
    /// [`VerifyError::Fetch`] if the log refuses.
    pub fn new(log: &dyn Log, topic: &str, partition: u32) -> Result<Self, VerifyError> {
        let (mut start, mut end, mut reader) = (0, 0, None);
        if let Some(id) = log.topic(topic) {
            let at = TopicPartition { topic: id, partition };
            let extent = log.extent(at)?;
            (start, end) = (extent.start, extent.high_watermark);
            reader = Some(log.reader(at, start, Arc::new(Notify::new()))?);
        }
        Ok(Self { topic: topic.to_owned(), partition, start, end, reader, buffer: VecDeque::new() })
    }

    pub fn unreadable(&self, offset: Offset, reason: impl ToString) -> VerifyError {
        let (topic, partition) = (self.topic.clone(), self.partition);
        VerifyError::Unreadable { topic, partition, offset, reason: reason.to_string() }
    }

    /// The next record, or `None` at the end.
    ///
    /// # Errors
    /// The log refuses, or holds what no producer wrote.
    pub fn next(&mut self) -> Result<Option<Entry>, VerifyError> {
        while self.buffer.is_empty() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(self.buffer.pop_front())
    }

    fn fill(&mut self) -> Result<bool, VerifyError> {
        let Some(reader) = self.reader.as_mut().filter(|reader| reader.position() < self.end) else { return Ok(false) };
        let Some(fetched) = reader.next_within(FETCH_BYTES, FETCH_LIMIT)? else {
            let at = reader.position();
            return Err(self.unreadable(at, format!("nothing came within {} s", FETCH_LIMIT.as_secs())));
        };
        let (mut scratch, mut entries) = (Vec::new(), VecDeque::new());
        let mut unpack = || -> Result<(), CorruptBatch> {
            for batch in Batches::new(&fetched.bytes) {
                for record in batch?.records(&mut scratch)? {
                    let record = record?;
                    if record.offset >= fetched.from && record.offset < self.end {
                        entries.push_back(Entry::of(&record)?);
                    }
                }
            }
            Ok(())
        };
        unpack().map_err(|error| self.unreadable(fetched.from, error))?;
        self.buffer = entries;
        Ok(true)
    }
}

/// MurmurHash2 with the seed of Kafka's Java client: names services in provenance and places keys in partitions.
pub fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let word = chunk.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let mixed = word.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (mixed ^ mixed >> 24).wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// The partition of a key, as Kafka's Java client chooses it.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Apache Kafka's own test of `Utils.murmur2`.
    #[test]
    fn hashes_as_kafka_does() {
        for (text, hash) in [("21", -973_932_308), ("foobar", -790_332_482), ("abc", 479_470_107)] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn an_origin_has_22_bytes() {
        let bytes: Vec<u8> = (1..=22).collect();
        let origin = Origin::parse(&bytes).expect("an origin");
        assert_eq!((origin.service, origin.partition), (0x0102_0304, 0x0506));
        assert_eq!((origin.lineage, origin.n), (0x0708_090a_0b0c_0d0e, 0x0f10_1112_1314_1516));
        assert!(Origin::parse(&bytes[..21]).is_none() && Origin::parse(&[0; 23]).is_none());
    }
}
