//! Builds a record batch, record by record, into one buffer.

use bytes::Bytes;

use super::batch::{self, Compression, HEADER_BYTES, MAX_BATCH_BYTES};
use super::lz4::Compressor;
use super::varint;

/// A record does not fit the batch: finish it and start another; a record that is larger than a whole batch never fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record of {record_bytes} bytes does not fit a batch that holds {batch_bytes} of at most {limit_bytes} bytes")]
pub struct BatchFull {
    pub record_bytes: usize,
    pub batch_bytes: usize,
    pub limit_bytes: usize,
}

impl BatchFull {
    /// Stable name: metric label and dead letter header.
    pub fn kind(&self) -> &'static str {
        "BATCH_FULL"
    }
}

/// Attributes of a batch: its compression.
const PLAIN: u16 = 0;
const LZ4: u16 = 3;

/// Collects records of one partition. Reusable: `finish` leaves it empty, with its buffers.
pub struct BatchBuilder {
    /// Header (filled in by `finish`), then records.
    plain: Vec<u8>,
    packed: Vec<u8>,
    compressor: Option<Compressor>,
    count: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> Self {
        let compressor = match compression {
            Compression::None => None,
            Compression::Lz4 => Some(Compressor::new()),
        };
        Self {
            plain: vec![0; HEADER_BYTES],
            packed: Vec::new(),
            compressor,
            count: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
        }
    }

    /// Adds a record; `timestamp_ms` since the epoch.
    ///
    /// # Errors
    /// `BatchFull` when the batch would pass `MAX_BATCH_BYTES`; nothing was added.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], &[u8])],
    ) -> Result<(), BatchFull> {
        let base_timestamp_ms = if self.count == 0 { timestamp_ms } else { self.base_timestamp_ms };
        let timestamp_delta = timestamp_ms.wrapping_sub(base_timestamp_ms);
        let body_bytes = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(self.count))
            + optional_size(key)
            + optional_size(value)
            + varint::size(headers.len() as i64)
            + headers.iter().map(|(k, v)| optional_size(Some(k)) + optional_size(Some(v))).sum::<usize>();
        let record_bytes = varint::size(body_bytes as i64) + body_bytes;
        if self.plain.len() + record_bytes > MAX_BATCH_BYTES {
            return Err(BatchFull { record_bytes, batch_bytes: self.plain.len(), limit_bytes: MAX_BATCH_BYTES });
        }
        if self.count == 0 {
            self.base_timestamp_ms = timestamp_ms;
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let out = &mut self.plain;
        out.reserve(record_bytes);
        varint::write(out, body_bytes as i64);
        out.push(0); // attributes: none defined
        varint::write(out, timestamp_delta);
        varint::write(out, i64::from(self.count));
        write_optional(out, key);
        write_optional(out, value);
        varint::write(out, headers.len() as i64);
        for (name, value) in headers {
            write_optional(out, Some(name));
            write_optional(out, Some(value));
        }
        self.count += 1;
        Ok(())
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the batch so far, before compression, header included.
    pub fn bytes(&self) -> usize {
        self.plain.len()
    }

    /// The batch, with base offset 0 and its CRC-32C; the builder is empty again. Panics when it is empty: there is no
    /// batch of no records.
    pub fn finish(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(self.seal());
        self.clear();
        bytes
    }

    /// Like `finish`, packed by a compressor that several builders share.
    pub(crate) fn finish_packed(&mut self, compressor: &mut Compressor) -> Bytes {
        assert!(self.count > 0, "a batch holds at least one record");
        let mut out = Vec::with_capacity(HEADER_BYTES + self.plain.len() / 2);
        out.resize(HEADER_BYTES, 0);
        compressor.frame(&self.plain[HEADER_BYTES..], &mut out);
        write_header(&mut out, LZ4, self.count - 1, self.base_timestamp_ms, self.max_timestamp_ms);
        self.clear();
        Bytes::from(out)
    }

    /// Like `finish`, for a builder of a single batch: its buffer becomes the batch, nothing is copied.
    pub fn into_batch(mut self) -> Bytes {
        if self.compressor.is_some() {
            return self.finish();
        }
        self.seal();
        Bytes::from(self.plain)
    }

    /// Like `finish`, behind what `out` holds and with this base offset, which lies outside the CRC.
    #[cfg(feature = "kafka")]
    pub(super) fn finish_onto(&mut self, base_offset: i64, out: &mut Vec<u8>) {
        let from = out.len();
        self.seal();
        if out.is_empty() && self.compressor.is_none() {
            // Most often it is the only one: the buffers change places, and nothing is copied.
            std::mem::swap(out, &mut self.plain);
            self.plain.clear();
            self.plain.resize(HEADER_BYTES, 0);
        } else {
            out.extend_from_slice(if self.compressor.is_some() { &self.packed } else { &self.plain });
        }
        batch::set_base_offset(&mut out[from..], base_offset);
        self.clear();
    }

    /// Packs the records and fills in the header.
    fn seal(&mut self) -> &[u8] {
        assert!(self.count > 0, "a batch holds at least one record");
        let attributes = if self.compressor.is_some() { LZ4 } else { PLAIN };
        let done = match &mut self.compressor {
            Some(compressor) => {
                self.packed.clear();
                self.packed.resize(HEADER_BYTES, 0);
                compressor.frame(&self.plain[HEADER_BYTES..], &mut self.packed);
                &mut self.packed
            }
            None => &mut self.plain,
        };
        let last_delta = self.count - 1;
        write_header(done, attributes, last_delta, self.base_timestamp_ms, self.max_timestamp_ms);
        done
    }

    /// Throws away what was added.
    pub fn clear(&mut self) {
        self.plain.truncate(HEADER_BYTES);
        self.count = 0;
    }
}

fn write_header(out: &mut [u8], attributes: u16, last_delta: u32, base_timestamp_ms: i64, max_timestamp_ms: i64) {
    fn put<const N: usize>(out: &mut [u8], at: usize, value: [u8; N]) {
        out[at..at + N].copy_from_slice(&value);
    }
    let length = (out.len() - batch::LENGTH_AT - 4) as u32;
    batch::set_base_offset(out, 0);
    put(out, batch::LENGTH_AT, length.to_be_bytes());
    put(out, batch::LENGTH_AT + 4, 0u32.to_be_bytes()); // leader epoch: there is one leader
    out[batch::MAGIC_AT] = 2;
    put(out, batch::ATTRIBUTES_AT, attributes.to_be_bytes());
    put(out, batch::LAST_DELTA_AT, last_delta.to_be_bytes());
    put(out, batch::BASE_TIMESTAMP_AT, base_timestamp_ms.to_be_bytes());
    put(out, batch::MAX_TIMESTAMP_AT, max_timestamp_ms.to_be_bytes());
    // No Kafka producer: idempotence is the commit protocol's own (provenance and marks).
    put(out, batch::PRODUCER_ID_AT, (-1i64).to_be_bytes());
    put(out, batch::PRODUCER_EPOCH_AT, (-1i16).to_be_bytes());
    put(out, batch::BASE_SEQUENCE_AT, (-1i32).to_be_bytes());
    put(out, batch::COUNT_AT, (last_delta + 1).to_be_bytes());
    let crc = crc32c::crc32c(&out[batch::ATTRIBUTES_AT..]);
    put(out, batch::CRC_AT, crc.to_be_bytes());
}

#[inline]
fn optional_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len())
}

#[inline]
fn write_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
