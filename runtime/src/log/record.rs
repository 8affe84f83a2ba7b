//! Walks the records of a batch in place: no allocation and no copy a record.

use super::Offset;
use super::batch::{Batch, CorruptBatch};
use super::varint;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: Offset,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// The records of a batch, in order of their offsets. Ends after the first error; an error means that the bytes are not
/// what a producer wrote (the CRC of a batch that was checked has been forged or the producer is broken).
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    index: u32,
    count: u32,
    base_offset: Offset,
    base_timestamp_ms: i64,
    last_delta: i64,
    previous_delta: i64,
}

impl<'a> Records<'a> {
    pub(super) fn new(plain: &'a [u8], batch: &Batch<'_>) -> Self {
        Self {
            bytes: plain,
            at: 0,
            index: 0,
            count: batch.count(),
            base_offset: batch.base_offset(),
            base_timestamp_ms: batch.base_timestamp_ms(),
            last_delta: i64::from(batch.last_offset_delta()),
            previous_delta: -1,
        }
    }

    /// Bytes of the records that were handed out.
    pub(super) fn taken_bytes(&self) -> usize {
        self.at
    }

    /// The records that were handed out since then, as they are in the batch.
    pub(super) fn bytes_since(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        const CUT: &str = "cut off";
        let mut at = self.at;
        let length = varint::read_i32(self.bytes, &mut at).ok_or(CUT)?;
        let length = usize::try_from(length).map_err(|_| "negative length")?;
        let body = self.bytes.get(at..).and_then(|rest| rest.get(..length)).ok_or(CUT)?;
        self.at = at + length;

        let mut at = 1; // behind the attributes, none of which is defined
        let timestamp_delta = varint::read(body, &mut at).ok_or(CUT)?;
        let delta = i64::from(varint::read_i32(body, &mut at).ok_or(CUT)?);
        if delta <= self.previous_delta || delta > self.last_delta {
            return Err("offset out of order");
        }
        self.previous_delta = delta;
        let key = optional(body, &mut at)?;
        let value = optional(body, &mut at)?;
        let headers = varint::read_i32(body, &mut at).ok_or(CUT)?;
        let rest = body.get(at..).ok_or(CUT)?;
        // A header takes at least two bytes: a count that the bytes cannot hold is not believed.
        if headers < 0 || headers as usize > rest.len() / 2 || (headers == 0 && !rest.is_empty()) {
            return Err("impossible header count");
        }
        Ok(Record {
            offset: self.base_offset + delta,
            timestamp_ms: self.base_timestamp_ms.wrapping_add(timestamp_delta),
            key,
            value,
            headers: Headers { rest, left: headers as u32 },
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, CorruptBatch>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            if self.at < self.bytes.len() {
                self.at = self.bytes.len();
                return Some(Err(CorruptBatch::Record { index: self.index, reason: "bytes behind the last record" }));
            }
            return None;
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                self.index = self.count;
                self.at = self.bytes.len();
                Some(Err(CorruptBatch::Record { index, reason }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The count is the batch's claim: good as a bound, not as a reservation.
        (0, Some((self.count - self.index) as usize + 1))
    }
}

/// One header: its name, and its value if it has one.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// The headers of a record, read when walked. The count is known before.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const fn empty() -> Self {
        Self { rest: &[], left: 0 }
    }

    /// Headers kept as bytes, as `raw` gave them.
    pub const fn from_raw(bytes: &'a [u8], count: u32) -> Self {
        Self { rest: bytes, left: count }
    }

    /// The bytes of the headers not walked yet, and their count.
    pub const fn raw(&self) -> (&'a [u8], u32) {
        (self.rest, self.left)
    }

    /// Headers not walked yet.
    pub fn len(&self) -> usize {
        self.left as usize
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The value of the first header named `name`, if it is there, has a value, and the headers before it are readable.
    pub fn get(mut self, name: &[u8]) -> Option<&'a [u8]> {
        self.find_map(|header| match header {
            Ok((found, value)) if found == name => Some(value),
            _ => None,
        })
        .flatten()
    }

    #[inline]
    fn read(&mut self) -> Result<Header<'a>, &'static str> {
        let mut at = 0;
        let name = optional(self.rest, &mut at)?.ok_or("header without a name")?;
        let value = optional(self.rest, &mut at)?;
        self.rest = &self.rest[at..];
        Ok((name, value))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, CorruptBatch>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        Some(self.read().map_err(|reason| {
            self.left = 0;
            CorruptBatch::Record { index: 0, reason }
        }))
    }
}

/// A length and that many bytes; -1 stands for none.
#[inline]
fn optional<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, &'static str> {
    let length = varint::read_i32(bytes, at).ok_or("cut off")?;
    if length < 0 {
        return if length == -1 { Ok(None) } else { Err("negative length") };
    }
    let length = length as usize;
    let found = bytes.get(*at..).and_then(|rest| rest.get(..length)).ok_or("cut off")?;
    *at += length;
    Ok(Some(found))
}
