//! LZ4 frames, exactly as Kafka clients write and read them: independent blocks of 64 KiB, no checksums of their own
//! (the batch has a CRC over the compressed bytes).
//!
//! Written out here instead of going through a stream adaptor, because those allocate their block buffers for every
//! frame, and a frame is one batch.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::batch::CorruptBatch;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Magic, flags (version 1, independent blocks), block size 64 KiB, and the checksum of these two bytes.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const BLOCK_BYTES: usize = 64 * 1024;
const STORED: u32 = 1 << 31;

const FLAG_VERSION: u8 = 0b1100_0000;
const FLAG_INDEPENDENT: u8 = 0b0010_0000;
const FLAG_BLOCK_CHECKSUM: u8 = 0b0001_0000;
const FLAG_CONTENT_SIZE: u8 = 0b0000_1000;
const FLAG_DICTIONARY: u8 = 0b0000_0001;

/// A reusable compressor.
pub(crate) struct Compressor {
    table: CompressTable,
    block: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new() -> Self {
        Self { table: CompressTable::large(), block: Vec::new() }
    }

    /// Appends `input` as one frame.
    pub(super) fn frame(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.block.resize(get_maximum_output_size(BLOCK_BYTES), 0);
        out.extend_from_slice(&HEADER);
        for chunk in input.chunks(BLOCK_BYTES) {
            match compress_into_with_table(chunk, &mut self.block, &mut self.table) {
                Ok(used) if used < chunk.len() => {
                    out.extend_from_slice(&(used as u32).to_le_bytes());
                    out.extend_from_slice(&self.block[..used]);
                }
                // Bytes that do not shrink are stored as they are.
                _ => {
                    out.extend_from_slice(&(chunk.len() as u32 | STORED).to_le_bytes());
                    out.extend_from_slice(chunk);
                }
            }
        }
        out.extend_from_slice(&0u32.to_le_bytes());
    }
}

/// Unpacks the frame that fills `input` into `out` (cleared first).
///
/// # Errors
/// When the frame is not one, is cut off, wants a dictionary, or holds more than `limit_bytes`.
pub(super) fn unpack(input: &[u8], out: &mut Vec<u8>, limit_bytes: usize) -> Result<(), CorruptBatch> {
    out.clear();
    let (flags, block_bytes, mut rest) = header(input)?;
    if flags & FLAG_INDEPENDENT == 0 {
        return unpack_linked(input, out, limit_bytes);
    }
    loop {
        let (word, after) = rest.split_first_chunk::<4>().ok_or(CorruptBatch::Compression("frame is cut off"))?;
        let word = u32::from_le_bytes(*word);
        if word == 0 {
            return Ok(());
        }
        let length = (word & !STORED) as usize;
        let block = after.get(..length).ok_or(CorruptBatch::Compression("block is cut off"))?;
        if word & STORED != 0 {
            if length > block_bytes || out.len() + length > limit_bytes {
                return Err(CorruptBatch::Compression("block is too large"));
            }
            out.extend_from_slice(block);
        } else {
            unpack_block(block, out, block_bytes, limit_bytes)?;
        }
        let checksum = if flags & FLAG_BLOCK_CHECKSUM != 0 { 4 } else { 0 };
        rest = after.get(length + checksum..).ok_or(CorruptBatch::Compression("block is cut off"))?;
    }
}

fn unpack_block(block: &[u8], out: &mut Vec<u8>, block_bytes: usize, limit_bytes: usize) -> Result<(), CorruptBatch> {
    let start = out.len();
    // A byte of LZ4 stands for at most 255.
    let room = block_bytes.min(block.len().saturating_mul(255)).min(limit_bytes.saturating_sub(start));
    out.resize(start + room, 0);
    let used = decompress_into(block, &mut out[start..])
        .map_err(|_| CorruptBatch::Compression("block does not unpack within its limit"))?;
    out.truncate(start + used);
    Ok(())
}

/// Flags, the largest block, and what follows the frame header.
fn header(input: &[u8]) -> Result<(u8, usize, &[u8]), CorruptBatch> {
    const SHORT: CorruptBatch = CorruptBatch::Compression("frame header is cut off");
    let rest = input.strip_prefix(&MAGIC).ok_or(CorruptBatch::Compression("not an LZ4 frame"))?;
    let [flags, sizes, ..] = *rest else { return Err(SHORT) };
    if flags & FLAG_VERSION != 0b0100_0000 || flags & FLAG_DICTIONARY != 0 {
        return Err(CorruptBatch::Compression("LZ4 frame of another version or with a dictionary"));
    }
    let block_bytes = match (sizes >> 4) & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(CorruptBatch::Compression("unknown LZ4 block size")),
    };
    let content_size = if flags & FLAG_CONTENT_SIZE != 0 { 8 } else { 0 };
    let rest = rest.get(2 + content_size + 1..).ok_or(SHORT)?;
    Ok((flags, block_bytes, rest))
}

/// Linked blocks are rare (no Kafka client of today writes them): the stream decoder will do.
fn unpack_linked(input: &[u8], out: &mut Vec<u8>, limit_bytes: usize) -> Result<(), CorruptBatch> {
    use std::io::Read as _;
    let mut decoder = lz4_flex::frame::FrameDecoder::new(input).take(limit_bytes as u64 + 1);
    decoder.read_to_end(out).map_err(|_| CorruptBatch::Compression("frame of linked blocks does not unpack"))?;
    if out.len() > limit_bytes {
        return Err(CorruptBatch::Compression("frame is too large"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "lz4_tests.rs"]
mod tests;
