//! A cursor over one datum.

use super::{DecodeError, DecodeErrorKind as Kind, Limits, text};

/// Reads Avro's primitives from the front of a datum and remembers where it is.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
    limits: &'static Limits,
    empty_items: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `datum`.
    ///
    /// # Errors
    /// The datum is larger than the limit.
    #[inline]
    pub fn new(datum: &'a [u8], limits: &'static Limits) -> Result<Self, DecodeError> {
        if datum.len() > limits.message_bytes {
            return Err(DecodeError { kind: Kind::MessageLimit, byte: limits.message_bytes });
        }
        Ok(Self { rest: datum, len: datum.len(), limits, empty_items: limits.empty_items })
    }

    /// Over a part that was checked before, so that the size of the whole does not matter.
    #[inline]
    pub(super) fn checked(part: &'a [u8]) -> Self {
        Self { rest: part, len: part.len(), limits: &Limits::COMMIT, empty_items: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub fn byte(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The limits that hold here.
    #[inline]
    pub fn limits(&self) -> &'static Limits {
        self.limits
    }

    /// Bytes not read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the datum.
    ///
    /// # Errors
    /// Bytes are left.
    #[inline]
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Kind::TrailingBytes)) }
    }

    #[cold]
    pub(crate) fn error(&self, kind: Kind) -> DecodeError {
        DecodeError { kind, byte: self.byte() }
    }

    #[cold]
    fn error_at(&self, kind: Kind, byte: usize) -> DecodeError {
        DecodeError { kind, byte }
    }

    /// A long: zigzag, seven bits a byte.
    ///
    /// # Errors
    /// Truncated, or more than 64 bits.
    #[inline]
    pub fn read_long(&mut self) -> Result<i64, DecodeError> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(zigzag(u64::from(first)))
            }
            _ => self.read_long_many(),
        }
    }

    fn read_long_many(&mut self) -> Result<i64, DecodeError> {
        let mut value = 0_u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                // The tenth byte holds the last bit of 64.
                if i == 9 && byte > 1 {
                    return Err(self.error(Kind::Varint));
                }
                self.rest = &self.rest[i + 1..];
                return Ok(zigzag(value));
            }
        }
        Err(self.error(if self.rest.len() >= 10 { Kind::Varint } else { Kind::Truncated }))
    }

    /// An int: as a long, within 32 bits.
    ///
    /// # Errors
    /// As `read_long`, or out of range.
    #[inline]
    pub fn read_int(&mut self) -> Result<i32, DecodeError> {
        let byte = self.byte();
        i32::try_from(self.read_long()?).map_err(|_| self.error_at(Kind::IntRange, byte))
    }

    /// The index of a symbol below `count`.
    ///
    /// # Errors
    /// As `read_long`, or out of range.
    #[inline]
    pub fn read_index(&mut self, count: usize) -> Result<usize, DecodeError> {
        let byte = self.byte();
        match usize::try_from(self.read_long()?) {
            Ok(index) if index < count => Ok(index),
            _ => Err(self.error_at(Kind::Symbol, byte)),
        }
    }

    /// The branch of a union of `count` branches.
    ///
    /// # Errors
    /// As `read_long`, or out of range.
    #[inline]
    pub fn read_branch(&mut self, count: usize) -> Result<usize, DecodeError> {
        let byte = self.byte();
        match usize::try_from(self.read_long()?) {
            Ok(index) if index < count => Ok(index),
            _ => Err(self.error_at(Kind::Branch, byte)),
        }
    }

    /// Takes `n` bytes as they are.
    ///
    /// # Errors
    /// Truncated.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(Kind::Truncated)),
        }
    }

    /// Takes a fixed number of bytes.
    ///
    /// # Errors
    /// Truncated.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error(Kind::Truncated)),
        }
    }

    #[inline]
    fn read_length(&mut self) -> Result<usize, DecodeError> {
        let byte = self.byte();
        usize::try_from(self.read_long()?).map_err(|_| self.error_at(Kind::Length, byte))
    }

    /// Bytes with their length before them; the message limit is their limit.
    ///
    /// # Errors
    /// Truncated, or a negative length.
    #[inline]
    pub fn read_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.read_length()?;
        self.take(length)
    }

    #[inline]
    fn string_bytes(&mut self) -> Result<(usize, &'a [u8]), DecodeError> {
        let byte = self.byte();
        let length = self.read_length()?;
        if length > self.limits.string_bytes {
            return Err(self.error_at(Kind::StringLimit, byte));
        }
        Ok((self.byte(), self.take(length)?))
    }

    /// A string.
    ///
    /// # Errors
    /// Truncated, too long, or not UTF-8.
    #[inline]
    pub fn read_str(&mut self) -> Result<&'a str, DecodeError> {
        let (byte, bytes) = self.string_bytes()?;
        text::decode(bytes).map_err(|at| self.error_at(Kind::Utf8, byte + at))
    }

    /// Checks a string and passes over it.
    ///
    /// # Errors
    /// As `read_str`.
    #[inline]
    pub fn skip_str(&mut self) -> Result<(), DecodeError> {
        let (byte, bytes) = self.string_bytes()?;
        text::check(bytes).map_err(|at| self.error_at(Kind::Utf8, byte + at))
    }

    /// A boolean.
    ///
    /// # Errors
    /// Truncated, or neither 0 nor 1.
    #[inline]
    pub fn read_boolean(&mut self) -> Result<bool, DecodeError> {
        match *self.rest {
            [flag @ (0 | 1), ref rest @ ..] => {
                self.rest = rest;
                Ok(flag == 1)
            }
            [] => Err(self.error(Kind::Truncated)),
            _ => Err(self.error(Kind::Boolean)),
        }
    }

    /// The next block of an array; `None`: that was the end. `zero_width`: items have no bytes.
    ///
    /// # Errors
    /// Truncated, or more items than bytes or limits allow.
    #[inline]
    pub(crate) fn next_block(&mut self, zero_width: bool) -> Result<Option<Block>, DecodeError> {
        let byte = self.byte();
        let count = self.read_long()?;
        if count == 0 {
            return Ok(None);
        }
        let mut end = None;
        if count < 0 {
            let size = self.read_length()?;
            end = Some(self.byte().checked_add(size).ok_or_else(|| self.error_at(Kind::BlockSize, byte))?);
        }
        let items = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if zero_width {
            match self.empty_items.checked_sub(items) {
                Some(left) => self.empty_items = left,
                None => return Err(self.error_at(Kind::ItemLimit, byte)),
            }
        } else if items > self.rest.len() {
            return Err(self.error_at(Kind::Truncated, byte));
        }
        Ok(Some(Block { items, end }))
    }

    /// The next block of a map, after `entries` entries, to which its own are added.
    ///
    /// # Errors
    /// As `next_block`, or more entries than the limit.
    #[inline]
    pub(crate) fn next_map_block(&mut self, entries: &mut usize) -> Result<Option<Block>, DecodeError> {
        let byte = self.byte();
        let block = self.next_block(false)?;
        *entries += block.map_or(0, |b| b.items);
        if *entries > self.limits.map_entries {
            return Err(self.error_at(Kind::MapLimit, byte));
        }
        Ok(block)
    }

    /// Checks that a block ended where it said.
    ///
    /// # Errors
    /// It did not.
    #[inline]
    pub(crate) fn end_block(&self, block: Block) -> Result<(), DecodeError> {
        match block.end {
            Some(end) if end != self.byte() => Err(self.error(Kind::BlockSize)),
            _ => Ok(()),
        }
    }

    /// All items of an array; returns their number.
    ///
    /// # Errors
    /// As `next_block` and `item`.
    #[inline]
    pub(crate) fn items(
        &mut self,
        zero_width: bool,
        mut item: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<usize, DecodeError> {
        let mut len = 0;
        while let Some(block) = self.next_block(zero_width)? {
            for _ in 0..block.items {
                item(self)?;
            }
            self.end_block(block)?;
            len += block.items;
        }
        Ok(len)
    }

    /// All entries of a map; returns their number.
    ///
    /// # Errors
    /// As `next_map_block`, a bad key, and `value`.
    #[inline]
    pub(crate) fn entries(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Result<(), DecodeError>,
    ) -> Result<usize, DecodeError> {
        let mut len = 0;
        while let Some(block) = self.next_map_block(&mut len)? {
            for _ in 0..block.items {
                self.skip_str()?;
                value(self)?;
            }
            self.end_block(block)?;
        }
        Ok(len)
    }
}

/// A run of items in an array or map.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub items: usize,
    end: Option<usize>,
}

#[inline]
fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
