//! A record batch in Kafka's v2 format: what the log stores, the wire carries and the envelope holds, as bytes.
//!
//! `Batch` is a checked view of such bytes. Nothing here copies; records are walked in place (`record`), and only a
//! compressed batch is unpacked first, into a buffer that the reader keeps.

use super::lz4;
use super::record::Records;

/// Bytes of the batch header; records follow.
pub const HEADER_BYTES: usize = 61;
/// Base offset and length: what precedes the bytes that the length counts.
const PREFIX_BYTES: usize = 12;
/// Largest batch that is built or accepted, packed.
pub const MAX_BATCH_BYTES: usize = 8 << 20;
/// Largest batch after unpacking; a few dozen bytes of LZ4 can claim any size.
pub const MAX_UNPACKED_BYTES: usize = 32 << 20;

pub(super) const LENGTH_AT: usize = 8;
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const LAST_DELTA_AT: usize = 23;
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const PRODUCER_ID_AT: usize = 43;
pub(super) const PRODUCER_EPOCH_AT: usize = 51;
pub(super) const BASE_SEQUENCE_AT: usize = 53;
pub(super) const COUNT_AT: usize = 57;

/// How the records of a batch are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// Kafka's LZ4 frame.
    Lz4,
}

/// Why bytes are not a usable batch. The caller knows the file or topic and adds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptBatch {
    #[error("cut off: {needed_bytes} bytes needed, {found_bytes} found")]
    Truncated { needed_bytes: usize, found_bytes: usize },
    #[error("impossible length {bytes}")]
    Length { bytes: i64 },
    #[error("magic byte {found}, only version 2 is read")]
    Magic { found: u8 },
    #[error("CRC-32C {found:08x}, computed {computed:08x}")]
    Crc { found: u32, computed: u32 },
    #[error("compression codec {codec} is not supported (none and lz4 are)")]
    Codec { codec: u16 },
    #[error("compressed records: {0}")]
    Compression(&'static str),
    #[error("header: {0}")]
    Header(&'static str),
    #[error("record {index}: {reason}")]
    Record { index: u32, reason: &'static str },
}

impl CorruptBatch {
    /// Stable name: metric label and dead letter header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "BATCH_TRUNCATED",
            Self::Length { .. } => "BATCH_LENGTH",
            Self::Magic { .. } => "BATCH_MAGIC",
            Self::Crc { .. } => "BATCH_CRC",
            Self::Codec { .. } => "BATCH_CODEC",
            Self::Compression(_) => "BATCH_COMPRESSION",
            Self::Header(_) => "BATCH_HEADER",
            Self::Record { .. } => "BATCH_RECORD",
        }
    }
}

/// A view of one whole batch whose header is consistent. The CRC is checked when asked for (`check_crc`).
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The first batch of `bytes`, and what follows it. Checks length, magic, codec, and that count and offsets agree.
    ///
    /// # Errors
    /// `Truncated` when more bytes are needed; the others when no more bytes would help.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), CorruptBatch> {
        if bytes.len() < HEADER_BYTES {
            return Err(CorruptBatch::Truncated { needed_bytes: HEADER_BYTES, found_bytes: bytes.len() });
        }
        // The magic stands at the same place in all versions, so it is told first.
        if bytes[MAGIC_AT] != 2 {
            return Err(CorruptBatch::Magic { found: bytes[MAGIC_AT] });
        }
        let length = i64::from(i32::from_be_bytes(read(bytes, LENGTH_AT)));
        let size = length + PREFIX_BYTES as i64;
        if size < HEADER_BYTES as i64 || size > MAX_BATCH_BYTES as i64 {
            return Err(CorruptBatch::Length { bytes: length });
        }
        let size = size as usize;
        if bytes.len() < size {
            return Err(CorruptBatch::Truncated { needed_bytes: size, found_bytes: bytes.len() });
        }
        let (own, rest) = bytes.split_at(size);
        let batch = Self { bytes: own };
        batch.check_header()?;
        Ok((batch, rest))
    }

    fn check_header(&self) -> Result<(), CorruptBatch> {
        let count = i32::from_be_bytes(read(self.bytes, COUNT_AT));
        let last_delta = i32::from_be_bytes(read(self.bytes, LAST_DELTA_AT));
        if count < 0 || last_delta < 0 || i64::from(count) > i64::from(last_delta) + 1 {
            return Err(CorruptBatch::Header("record count and last offset do not agree"));
        }
        let base_offset = self.base_offset();
        if base_offset < 0 || base_offset.checked_add(i64::from(last_delta) + 1).is_none() {
            return Err(CorruptBatch::Header("offset out of range"));
        }
        self.compression().map(|_| ())
    }

    /// Compares the CRC-32C with the bytes that it covers: everything after it.
    ///
    /// # Errors
    /// `Crc` when they differ.
    pub fn check_crc(&self) -> Result<(), CorruptBatch> {
        let found = u32::from_be_bytes(read(self.bytes, CRC_AT));
        let computed = crc32c::crc32c(&self.bytes[ATTRIBUTES_AT..]);
        if found == computed { Ok(()) } else { Err(CorruptBatch::Crc { found, computed }) }
    }

    /// The records, in order. A compressed batch is unpacked into `scratch`, which a reader keeps between batches.
    ///
    /// # Errors
    /// When the packed records do not unpack within `MAX_UNPACKED_BYTES`. Errors inside records come from the iterator.
    pub fn records<'s>(&self, scratch: &'s mut Vec<u8>) -> Result<Records<'s>, CorruptBatch>
    where
        'a: 's,
    {
        let packed: &'a [u8] = &self.bytes[HEADER_BYTES..];
        let plain: &'s [u8] = match self.compression()? {
            Compression::None => packed,
            Compression::Lz4 => {
                lz4::unpack(packed, scratch, MAX_UNPACKED_BYTES)?;
                scratch
            }
        };
        Ok(Records::new(plain, self))
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Offset of the first record (of the first that ever was, in a compacted topic).
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(read(self.bytes, 0))
    }

    /// One past the offset of the last record.
    pub fn next_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.last_offset_delta()) + 1
    }

    /// Distance from the base offset to the last record's.
    pub fn last_offset_delta(&self) -> u32 {
        u32::from_be_bytes(read(self.bytes, LAST_DELTA_AT))
    }

    /// Records in the batch.
    pub fn count(&self) -> u32 {
        u32::from_be_bytes(read(self.bytes, COUNT_AT))
    }

    /// Timestamp of the first record, ms since the epoch.
    pub fn base_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(read(self.bytes, BASE_TIMESTAMP_AT))
    }

    /// Greatest timestamp, ms since the epoch.
    pub fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(read(self.bytes, MAX_TIMESTAMP_AT))
    }

    /// Producer id of an idempotent Kafka producer; -1 without.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(read(self.bytes, PRODUCER_ID_AT))
    }

    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(read(self.bytes, PRODUCER_EPOCH_AT))
    }

    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(read(self.bytes, BASE_SEQUENCE_AT))
    }

    /// A transaction marker of a Kafka broker: holds no events.
    pub fn is_control(&self) -> bool {
        self.attributes() & (1 << 5) != 0
    }

    /// # Errors
    /// `Codec` for gzip, snappy and zstd, which this build does not read.
    pub fn compression(&self) -> Result<Compression, CorruptBatch> {
        match self.attributes() & 7 {
            0 => Ok(Compression::None),
            3 => Ok(Compression::Lz4),
            codec => Err(CorruptBatch::Codec { codec }),
        }
    }

    fn attributes(&self) -> u16 {
        u16::from_be_bytes(read(self.bytes, ATTRIBUTES_AT))
    }
}

/// What a scan needs of a batch header, without the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peek {
    pub size: usize,
    pub base_offset: i64,
    pub max_timestamp_ms: i64,
}

/// Reads the header that starts `bytes`; the rest of the batch need not be there.
pub(super) fn peek(bytes: &[u8]) -> Result<Peek, CorruptBatch> {
    match Batch::parse(bytes) {
        Ok((batch, _)) => Ok(Peek::of(&batch, batch.bytes.len())),
        Err(CorruptBatch::Truncated { needed_bytes, .. }) if bytes.len() >= HEADER_BYTES => {
            let batch = Batch { bytes };
            batch.check_header()?;
            Ok(Peek::of(&batch, needed_bytes))
        }
        Err(error) => Err(error),
    }
}

impl Peek {
    fn of(batch: &Batch<'_>, size: usize) -> Self {
        Self { size, base_offset: batch.base_offset(), max_timestamp_ms: batch.max_timestamp_ms() }
    }
}

/// Whole batches back to back, as a fetch gives them. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, CorruptBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Batch::parse(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Makes the header of a batch fit after records were taken out of it: length, count, greatest timestamp, CRC. Offsets and
/// the base timestamp stay. Panics on less than a header.
pub(super) fn rewrite_header(batch: &mut [u8], count: u32, max_timestamp_ms: i64) {
    let length = (batch.len() - PREFIX_BYTES) as u32;
    batch[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    batch[COUNT_AT..COUNT_AT + 4].copy_from_slice(&count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Writes the base offset of the batch that starts `batch`; it lies outside the CRC. Panics on less than a header.
#[inline]
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    batch[..8].copy_from_slice(&offset.to_be_bytes());
}

#[inline]
fn read<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests;
