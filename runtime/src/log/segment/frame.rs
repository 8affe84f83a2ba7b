//! One group of the journal as bytes: a header, a table of what is inside, and the record batches of all partitions.
//!
//! ```text
//! magic 8 | crc 4 | total bytes 4 | nonce 8 | sequence 8 | table bytes 4 | table | batches | zeros to the next 4 KiB
//! ```
//! Little-endian. The CRC-32C covers everything from the total size to the last batch. The nonce is that of the
//! checkpoint under which the group was written: what an earlier life of the file left behind never looks alive.

use bytes::{BufMut as _, BytesMut};

use super::super::{Offset, TopicConfig, TopicPartition};
use super::super::{TopicId, batch};
use super::topics;

const MAGIC: [u8; 8] = *b"BLKHGRP1";
pub(super) const HEADER_BYTES: usize = 36;
const CRC_FROM: usize = 12;
/// Groups start at multiples of this, so that no write touches a page that an earlier sync has promised.
pub(super) const ALIGN: usize = 4096;

const KIND_RUN: u8 = 1;
const KIND_TRIM: u8 = 2;
const KIND_TOPIC: u8 = 3;

/// One row of a group's table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Row {
    /// Batches of one partition, back to back.
    Run { of: TopicPartition, base: Offset, bytes: u32 },
    /// Nobody reads below `to` any more.
    Trim { of: TopicPartition, to: Offset },
    /// A topic was made or changed.
    Topic { id: TopicId, config: TopicConfig },
}

/// Appends a row to a table.
pub(super) fn put_row(table: &mut Vec<u8>, row: &Row) {
    match row {
        Row::Run { of, base, bytes } => {
            table.put_u8(KIND_RUN);
            put_partition(table, *of);
            table.put_i64_le(*base);
            table.put_u32_le(*bytes);
        }
        Row::Trim { of, to } => {
            table.put_u8(KIND_TRIM);
            put_partition(table, *of);
            table.put_i64_le(*to);
        }
        Row::Topic { id, config } => {
            let line = topics::to_line(*id, config);
            table.put_u8(KIND_TOPIC);
            table.put_u16_le(line.len() as u16);
            table.put_slice(line.as_bytes());
        }
    }
}

fn put_partition(table: &mut Vec<u8>, of: TopicPartition) {
    table.put_u16_le(of.topic.0);
    table.put_u32_le(of.partition);
}

/// Size of a frame in the file.
pub(super) fn padded_bytes(table_bytes: usize, batch_bytes: usize) -> usize {
    (HEADER_BYTES + table_bytes + batch_bytes).next_multiple_of(ALIGN)
}

/// Starts a frame: header space and table. The batches follow (`put_batch`), then `seal`.
pub(super) fn start(frame: &mut BytesMut, table: &[u8]) {
    frame.clear();
    frame.put_bytes(0, HEADER_BYTES);
    frame.put_slice(table);
}

/// Appends one batch with its final base offset.
pub(super) fn put_batch(frame: &mut BytesMut, bytes: &[u8], base: Offset) {
    let at = frame.len();
    frame.put_slice(bytes);
    batch::set_base_offset(&mut frame[at..], base);
}

/// Writes header and padding.
pub(super) fn seal(frame: &mut BytesMut, table_bytes: usize, nonce: u64, sequence: u64) {
    let total = frame.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    head.put_slice(&MAGIC);
    head.put_u32_le(0);
    head.put_u32_le(total as u32);
    head.put_u64_le(nonce);
    head.put_u64_le(sequence);
    head.put_u32_le(table_bytes as u32);
    frame[..HEADER_BYTES].copy_from_slice(&head);
    let crc = crc32c::crc32c(&frame[CRC_FROM..]);
    frame[8..12].copy_from_slice(&crc.to_le_bytes());
    frame.put_bytes(0, total.next_multiple_of(ALIGN) - total);
}

/// A frame that was read back and whose CRC holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub sequence: u64,
    table: &'a [u8],
    /// Size in the file.
    pub padded_bytes: usize,
}

/// The size that a header of this nonce claims; not checked yet.
pub(super) fn claimed_bytes(header: &[u8; HEADER_BYTES], nonce: u64) -> Option<usize> {
    let right = header.starts_with(&MAGIC) && header[16..24] == nonce.to_le_bytes();
    let total = u32::from_le_bytes(*header[12..].first_chunk()?) as usize;
    (right && total >= HEADER_BYTES).then_some(total)
}

/// The frame that starts `bytes`, if a whole and undamaged one does.
pub(super) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let total = u32_at(12)? as usize;
    let table_bytes = u32_at(32)? as usize;
    let covered = bytes.get(CRC_FROM..total)?;
    if crc32c::crc32c(covered) != u32_at(8)? {
        return None;
    }
    let body = bytes.get(HEADER_BYTES..total)?;
    let table = body.get(..table_bytes)?;
    Some(Frame { sequence: u64_at(24)?, table, padded_bytes: total.next_multiple_of(ALIGN) })
}

impl Frame<'_> {
    /// Where the batches begin.
    pub(super) fn batches_at(&self) -> usize {
        HEADER_BYTES + self.table.len()
    }

    /// The table. `None` means that it does not read although its CRC holds: another version wrote it.
    pub(super) fn rows(&self) -> Option<Vec<Row>> {
        let mut rest = self.table;
        let mut rows = Vec::new();
        while !rest.is_empty() {
            rows.push(take_row(&mut rest)?);
        }
        Some(rows)
    }
}

fn take_row(rest: &mut &[u8]) -> Option<Row> {
    Some(match take::<1>(rest)?[0] {
        KIND_RUN => Row::Run {
            of: take_partition(rest)?,
            base: i64::from_le_bytes(take(rest)?),
            bytes: u32::from_le_bytes(take(rest)?),
        },
        KIND_TRIM => Row::Trim { of: take_partition(rest)?, to: i64::from_le_bytes(take(rest)?) },
        KIND_TOPIC => {
            let bytes = u16::from_le_bytes(take(rest)?) as usize;
            let (line, after) = rest.split_at_checked(bytes)?;
            *rest = after;
            let (id, config) = topics::from_line(std::str::from_utf8(line).ok()?)?;
            Row::Topic { id, config }
        }
        _ => return None,
    })
}

fn take_partition(rest: &mut &[u8]) -> Option<TopicPartition> {
    let topic = TopicId(u16::from_le_bytes(take(rest)?));
    Some(TopicPartition { topic, partition: u32::from_le_bytes(take(rest)?) })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (found, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*found)
}

#[cfg(test)]
mod tests {
    use super::super::super::Durability;
    use super::*;

    fn frame() -> (BytesMut, Vec<Row>) {
        let of = TopicPartition { topic: TopicId(3), partition: 7 };
        let config = TopicConfig {
            name: "clicks".into(),
            partitions: 8,
            durability: Durability::Accepted,
            retention_ms: Some(5),
            compacted: true,
        };
        let rows = vec![
            Row::Topic { id: TopicId(3), config },
            Row::Trim { of, to: 40 },
            Row::Run { of, base: 41, bytes: 100 },
        ];
        let mut table = Vec::new();
        rows.iter().for_each(|row| put_row(&mut table, row));
        let mut frame = BytesMut::new();
        start(&mut frame, &table);
        put_batch(&mut frame, &[9; 100], 41);
        seal(&mut frame, table.len(), 0xabcd, 12);
        (frame, rows)
    }

    #[test]
    fn what_is_sealed_is_parsed() {
        let (bytes, rows) = frame();
        assert_eq!(bytes.len() % ALIGN, 0);
        let found = parse(&bytes).unwrap();
        assert_eq!((found.sequence, found.padded_bytes), (12, bytes.len()));
        assert_eq!(found.rows().unwrap(), rows);
        let header = bytes.first_chunk().unwrap();
        assert_eq!(claimed_bytes(header, 0xabcd), Some(found.batches_at() + 100));
        assert_eq!(claimed_bytes(header, 0xabce), None);
        assert_eq!(bytes[found.batches_at()..][..8], 41i64.to_be_bytes());
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let (bytes, _) = frame();
        let total = u32::from_le_bytes(*bytes[12..].first_chunk().unwrap()) as usize;
        for at in 0..total {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(parse(&damaged).is_none(), "byte {at} bit {bit}");
            }
        }
        assert!(parse(&bytes[..total - 1]).is_none());
    }
}
