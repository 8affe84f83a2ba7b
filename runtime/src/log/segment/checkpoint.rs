//! The checkpoint: topics, start offsets, and how far each partition's segments are known to be synced.
//!
//! Text, replaced atomically. Groups of the journal below `journal_from` are in synced segments. Whatever a segment holds
//! beyond the length written here is not trusted: it is cut at start and written again from the journal.

use std::fmt::Write as _;

use super::super::{Offset, TopicConfig, TopicId};
use super::error::OpenError;
use super::file::Cleaned;
use super::topics;

pub(super) const FILE: &str = "checkpoint";
pub(super) const MAX_BYTES: u64 = 256 << 20;
/// Stands for a segment that compaction has not seen whole.
const NEVER: i64 = -1;
const TITLE: &str = "bulkhead log checkpoint 1";

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Checkpoint {
    /// Groups carry it: see `frame`.
    pub nonce: u64,
    pub journal_from: u64,
    pub topics: Vec<(TopicId, TopicConfig)>,
    pub partitions: Vec<PartitionPoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartitionPoint {
    pub topic: TopicId,
    pub partition: u32,
    pub start: Offset,
    /// One past the last record in synced segments.
    pub next: Offset,
    pub segments: Vec<SegmentPoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct SegmentPoint {
    pub base: Offset,
    pub bytes: u64,
    pub max_timestamp_ms: i64,
    /// How often compaction has written it anew; a part of its file's name.
    pub generation: u32,
    pub cleaned: Option<Cleaned>,
}

impl Checkpoint {
    pub(super) fn to_text(&self) -> String {
        let mut out = format!("{TITLE}\njournal {:016x} {}\n", self.nonce, self.journal_from);
        // Writing to a string does not fail.
        for (id, config) in &self.topics {
            let _ = writeln!(out, "topic {}", topics::to_line(*id, config));
        }
        for point in &self.partitions {
            let _ = writeln!(out, "partition {} {} {} {}", point.topic.0, point.partition, point.start, point.next);
            for segment in &point.segments {
                let _ = write!(out, "segment {} {} {}", segment.base, segment.bytes, segment.max_timestamp_ms);
                // Most segments are never compacted, and say nothing of it.
                if segment.generation > 0 || segment.cleaned.is_some() {
                    let (at_ms, tombstones) = segment.cleaned.map_or((NEVER, 0), |it| (it.at_ms, it.tombstones));
                    let _ = write!(out, " {} {at_ms} {tombstones}", segment.generation);
                }
                out.push('\n');
            }
        }
        let crc = crc32c::crc32c(out.as_bytes());
        let _ = writeln!(out, "crc {crc:08x}");
        out
    }

    /// # Errors
    /// `Corrupt` with the byte of the line that does not read.
    pub(super) fn from_text(text: &[u8]) -> Result<Self, OpenError> {
        let corrupt = |byte: usize, reason: &str| OpenError::Corrupt {
            file: FILE.to_owned(),
            byte: byte as u64,
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(text).map_err(|error| corrupt(error.valid_up_to(), "not text"))?;
        let crc_at = text.rfind("crc ").ok_or_else(|| corrupt(text.len(), "the last line is missing"))?;
        let crc = u32::from_str_radix(text[crc_at + 4..].trim_end(), 16);
        if crc != Ok(crc32c::crc32c(&text.as_bytes()[..crc_at])) {
            return Err(corrupt(crc_at, "the checksum does not match"));
        }
        let mut found = Self::default();
        let mut byte = 0;
        for (number, line) in text[..crc_at].lines().enumerate() {
            let read = if number == 0 { (line == TITLE).then_some(()) } else { found.take_line(line) };
            read.ok_or_else(|| corrupt(byte, "a line does not read"))?;
            byte += line.len() + 1;
        }
        Ok(found)
    }

    fn take_line(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        let words: Vec<&str> = rest.split(' ').collect();
        match (kind, &words[..]) {
            ("journal", [nonce, from]) => {
                self.nonce = u64::from_str_radix(nonce, 16).ok()?;
                self.journal_from = from.parse().ok()?;
            }
            ("topic", _) => self.topics.push(topics::from_line(rest)?),
            ("partition", [topic, partition, start, next]) => self.partitions.push(PartitionPoint {
                topic: TopicId(topic.parse().ok()?),
                partition: partition.parse().ok()?,
                start: start.parse().ok()?,
                next: next.parse().ok()?,
                segments: Vec::new(),
            }),
            ("segment", [base, bytes, max_timestamp_ms, compacted @ ..]) => {
                let (generation, cleaned) = match compacted {
                    [] => (0, None),
                    [generation, at_ms, tombstones] => {
                        let cleaned = Cleaned { at_ms: at_ms.parse().ok()?, tombstones: tombstones.parse().ok()? };
                        (generation.parse().ok()?, Some(cleaned).filter(|cleaned| cleaned.at_ms != NEVER))
                    }
                    _ => return None,
                };
                let base = base.parse().ok()?;
                let segments = &mut self.partitions.last_mut()?.segments;
                if segments.last().is_some_and(|last: &SegmentPoint| last.base >= base) {
                    return None;
                }
                segments.push(SegmentPoint {
                    base,
                    bytes: bytes.parse().ok()?,
                    max_timestamp_ms: max_timestamp_ms.parse().ok()?,
                    generation,
                    cleaned,
                });
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Durability;
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_found() {
        let config = TopicConfig {
            name: "bids".into(),
            partitions: 2,
            durability: Durability::Synced,
            retention_ms: None,
            compacted: false,
        };
        let segments = vec![
            SegmentPoint { base: 0, bytes: 100, max_timestamp_ms: -5, generation: 0, cleaned: None },
            SegmentPoint { base: 5, bytes: 0, max_timestamp_ms: i64::MIN, generation: 2, cleaned: None },
            SegmentPoint {
                base: 9,
                bytes: 7,
                max_timestamp_ms: 8,
                generation: 1,
                cleaned: Some(Cleaned { at_ms: 77, tombstones: 3 }),
            },
        ];
        let point = PartitionPoint { topic: TopicId(0), partition: 1, start: 3, next: 10, segments };
        let found = Checkpoint {
            nonce: u64::MAX,
            journal_from: 17,
            topics: vec![(TopicId(0), config)],
            partitions: vec![point],
        };
        let text = found.to_text();
        assert_eq!(Checkpoint::from_text(text.as_bytes()).unwrap(), found);
        for at in 0..text.len() - 1 {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            assert!(Checkpoint::from_text(&damaged).is_err(), "byte {at}");
        }
        assert!(Checkpoint::from_text(b"").is_err());
    }
}
