//! A cursor over one datum. Its slow paths are functions over plain values: a cursor whose address nobody takes lives in
//! registers.

use super::{
    DecodeError, DecodeErrorKind as Kind, Limits,
    text::{SHORT_BYTES, TextRun, short_ascii},
};

/// Reads Avro's primitives from the front of a datum and remembers where it is.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    limits: &'static Limits,
    empty_items: usize,
    text: TextRun<'a>,
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
        Ok(Self { bytes: datum, position: 0, limits, empty_items: limits.empty_items, text: TextRun::default() })
    }

    /// Over a part that was checked before, so that the size of the whole does not matter.
    #[inline]
    pub(super) fn checked(part: &'a [u8]) -> Self {
        Self { bytes: part, position: 0, limits: &Limits::COMMIT, empty_items: 0, text: TextRun::default() }
    }

    /// Offset of the next byte.
    #[inline(always)]
    pub fn byte(&self) -> usize {
        self.position
    }

    /// The limits that hold here.
    #[inline]
    pub fn limits(&self) -> &'static Limits {
        self.limits
    }

    /// What was read since an earlier position.
    #[inline]
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.position]
    }

    /// The position never passes the end, so neither this nor a step forward that was checked can overflow.
    #[inline(always)]
    fn left(&self) -> usize {
        self.bytes.len().wrapping_sub(self.position)
    }

    /// Ends the datum.
    ///
    /// # Errors
    /// Bytes are left.
    #[inline]
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(self.error(Kind::TrailingBytes)) }
    }

    #[inline(always)]
    pub(crate) fn error(&self, kind: Kind) -> DecodeError {
        error_at(kind, self.position)
    }

    /// A long: zigzag, seven bits a byte.
    ///
    /// # Errors
    /// Truncated, or more than 64 bits.
    #[inline(always)]
    pub fn read_long(&mut self) -> Result<i64, DecodeError> {
        match self.bytes.get(self.position) {
            Some(&first) if first < 0x80 => {
                self.position = self.position.wrapping_add(1);
                Ok(zigzag(u64::from(first)))
            }
            _ => {
                let (value, position) = read_long_many(self.bytes, self.position)?;
                self.position = position;
                Ok(value)
            }
        }
    }

    /// Checks a long and passes over it.
    ///
    /// # Errors
    /// As `read_long`.
    #[inline(always)]
    pub(crate) fn skip_long(&mut self) -> Result<(), DecodeError> {
        match self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(chunk) if !u64::from_le_bytes(*chunk) & 0x8080_8080_8080_8080 != 0 => {
                let ends = !u64::from_le_bytes(*chunk) & 0x8080_8080_8080_8080;
                self.position = self.position.wrapping_add(ends.trailing_zeros() as usize / 8 + 1);
            }
            _ => self.position = read_long_slowly(self.bytes, self.position)?.1,
        }
        Ok(())
    }

    /// An int: as a long, within 32 bits.
    ///
    /// # Errors
    /// As `read_long`, or out of range.
    #[inline(always)]
    pub fn read_int(&mut self) -> Result<i32, DecodeError> {
        let byte = self.byte();
        i32::try_from(self.read_long()?).map_err(|_| error_at(Kind::IntRange, byte))
    }

    /// The index of a symbol below `count`.
    ///
    /// # Errors
    /// As `read_long`, or out of range.
    #[inline(always)]
    pub fn read_index(&mut self, count: usize) -> Result<usize, DecodeError> {
        let byte = self.byte();
        match usize::try_from(self.read_long()?) {
            Ok(index) if index < count => Ok(index),
            _ => Err(error_at(Kind::Symbol, byte)),
        }
    }

    /// The branch of a union of `count` branches.
    ///
    /// # Errors
    /// As `read_long`, or out of range.
    #[inline(always)]
    pub fn read_branch(&mut self, count: usize) -> Result<usize, DecodeError> {
        let byte = self.byte();
        match usize::try_from(self.read_long()?) {
            Ok(index) if index < count => Ok(index),
            _ => Err(error_at(Kind::Branch, byte)),
        }
    }

    /// Takes `n` bytes as they are.
    ///
    /// # Errors
    /// Truncated.
    #[inline(always)]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        if n > self.left() {
            return Err(self.error(Kind::Truncated));
        }
        let start = self.position;
        self.position = self.position.wrapping_add(n);
        Ok(self.since(start))
    }

    /// Takes a fixed number of bytes.
    ///
    /// # Errors
    /// Truncated.
    #[inline]
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.position..].first_chunk::<N>() {
            Some(taken) => {
                self.position += N;
                Ok(*taken)
            }
            None => Err(self.error(Kind::Truncated)),
        }
    }

    #[inline(always)]
    fn read_length(&mut self) -> Result<usize, DecodeError> {
        let byte = self.byte();
        usize::try_from(self.read_long()?).map_err(|_| error_at(Kind::Length, byte))
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

    /// Start of a string that ends where the reader is now.
    #[inline(always)]
    fn string_start(&mut self) -> Result<usize, DecodeError> {
        if let Some(&first) = self.bytes.get(self.position)
            && first & 0x81 == 0
            && usize::from(first / 2) < self.left()
        {
            let start = self.position.wrapping_add(1);
            self.position = start.wrapping_add(usize::from(first / 2));
            return Ok(start);
        }
        let (start, end) = long_string(self.bytes, self.position, self.limits)?;
        self.position = end;
        Ok(start)
    }

    /// A string.
    ///
    /// # Errors
    /// Truncated, too long, or not UTF-8.
    #[inline(always)]
    pub fn read_str(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.string_start()?;
        if let Some(text) = self.text.get(start, self.position) {
            return Ok(text);
        }
        self.text =
            self.text.extend(self.bytes, start, self.position).map_err(|at| error_at(Kind::Utf8, start + at))?;
        // No character ends elsewhere: the run is ASCII, or it is this string.
        self.text.get(start, self.position).ok_or(error_at(Kind::Utf8, start))
    }

    /// A string that stands among others that are only checked.
    ///
    /// # Errors
    /// As `read_str`.
    #[inline(always)]
    pub(crate) fn read_lone_str(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.string_start()?;
        let text = std::str::from_utf8(&self.bytes[start..self.position]);
        text.map_err(|e| error_at(Kind::Utf8, start + e.valid_up_to()))
    }

    /// Checks a string and passes over it.
    ///
    /// # Errors
    /// As `read_str`.
    #[inline(always)]
    pub fn skip_str(&mut self) -> Result<(), DecodeError> {
        if let Some(&first) = self.bytes.get(self.position)
            && first & 1 == 0
        {
            let length = usize::from(first / 2);
            let end = self.position.wrapping_add(length).wrapping_add(1);
            // 16 bytes at once, of which the first may stand before the string.
            let last = self.bytes.get(end.wrapping_sub(SHORT_BYTES)..end).and_then(<[u8]>::first_chunk);
            if last.is_some_and(|last| short_ascii(last, length)) {
                self.position = end;
                return Ok(());
            }
        }
        self.position = any_string(self.bytes, self.position, self.limits)?;
        Ok(())
    }

    /// A boolean.
    ///
    /// # Errors
    /// Truncated, or neither 0 nor 1.
    #[inline]
    pub fn read_boolean(&mut self) -> Result<bool, DecodeError> {
        match self.bytes.get(self.position) {
            Some(&flag @ (0 | 1)) => {
                self.position = self.position.wrapping_add(1);
                Ok(flag == 1)
            }
            Some(_) => Err(self.error(Kind::Boolean)),
            None => Err(self.error(Kind::Truncated)),
        }
    }

    /// The next block of an array; `None`: that was the end. `zero_width`: items have no bytes.
    ///
    /// # Errors
    /// Truncated, or more items than bytes or limits allow.
    #[inline(always)]
    pub(crate) fn next_block(&mut self, zero_width: bool) -> Result<Option<Block>, DecodeError> {
        let byte = self.byte();
        let count = self.read_long()?;
        if count == 0 {
            return Ok(None);
        }
        let mut end = None;
        if count < 0 {
            let size = self.read_length()?;
            end = Some(self.byte().checked_add(size).ok_or_else(|| error_at(Kind::BlockSize, byte))?);
        }
        let items = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if zero_width {
            match self.empty_items.checked_sub(items) {
                Some(left) => self.empty_items = left,
                None => return Err(error_at(Kind::ItemLimit, byte)),
            }
        } else if items > self.left() {
            return Err(error_at(Kind::Truncated, byte));
        }
        Ok(Some(Block { items, end }))
    }

    /// The next block of a map, after `entries` entries, to which its own are added.
    ///
    /// # Errors
    /// As `next_block`, or more entries than the limit.
    #[inline(always)]
    pub(crate) fn next_map_block(&mut self, entries: &mut usize) -> Result<Option<Block>, DecodeError> {
        let byte = self.byte();
        let block = self.next_block(false)?;
        *entries += block.map_or(0, |b| b.items);
        if *entries > self.limits.map_entries {
            return Err(error_at(Kind::MapLimit, byte));
        }
        Ok(block)
    }

    /// Checks that a block ended where it said.
    ///
    /// # Errors
    /// It did not.
    #[inline(always)]
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
    #[inline(always)]
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
    #[inline(always)]
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

#[inline(always)]
fn error_at(kind: Kind, byte: usize) -> DecodeError {
    DecodeError { kind, byte }
}

/// Two to eight bytes at once: the end is the first byte without its high bit, then the seven-bit groups are pushed
/// together in three steps. Returns the number and where it ended.
#[inline(always)]
fn read_long_many(bytes: &[u8], position: usize) -> Result<(i64, usize), DecodeError> {
    let Some(chunk) = bytes.get(position..).and_then(|rest| rest.first_chunk::<8>()) else {
        return read_long_slowly(bytes, position);
    };
    let word = u64::from_le_bytes(*chunk);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return read_long_slowly(bytes, position);
    }
    let value = word & (ends ^ ends.wrapping_sub(1)) & 0x7f7f_7f7f_7f7f_7f7f;
    let value = (value & 0x007f_007f_007f_007f) | ((value & 0x7f00_7f00_7f00_7f00) >> 1);
    let value = (value & 0x0000_3fff_0000_3fff) | ((value & 0x3fff_0000_3fff_0000) >> 2);
    let value = (value & 0x0000_0000_0fff_ffff) | ((value & 0x0fff_ffff_0000_0000) >> 4);
    Ok((zigzag(value), position.wrapping_add(ends.trailing_zeros() as usize / 8 + 1)))
}

/// Near the end of the datum, and for nine or ten bytes.
#[inline(never)]
fn read_long_slowly(bytes: &[u8], position: usize) -> Result<(i64, usize), DecodeError> {
    let rest = bytes.get(position..).unwrap_or_default();
    let mut value = 0_u64;
    for (i, &byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            // The tenth byte holds the last bit of 64.
            if i == 9 && byte > 1 {
                return Err(error_at(Kind::Varint, position));
            }
            return Ok((zigzag(value), position + i + 1));
        }
    }
    Err(error_at(if rest.len() >= 10 { Kind::Varint } else { Kind::Truncated }, position))
}

/// Start and end of a string of 64 bytes or more, or of one that is wrong.
#[inline(never)]
fn long_string(bytes: &[u8], position: usize, limits: &Limits) -> Result<(usize, usize), DecodeError> {
    let (length, start) = match bytes.get(position) {
        Some(&first) if first < 0x80 => (zigzag(u64::from(first)), position + 1),
        _ => read_long_many(bytes, position)?,
    };
    let length = usize::try_from(length).map_err(|_| error_at(Kind::Length, position))?;
    if length > limits.string_bytes {
        return Err(error_at(Kind::StringLimit, position));
    }
    if length > bytes.len() - start {
        return Err(error_at(Kind::Truncated, start));
    }
    Ok((start, start + length))
}

/// End of a string that is checked, of any kind.
#[inline(never)]
fn any_string(bytes: &[u8], position: usize, limits: &Limits) -> Result<usize, DecodeError> {
    let (start, end) = long_string(bytes, position, limits)?;
    let string = &bytes[start..end];
    if !string.is_ascii() {
        std::str::from_utf8(string).map_err(|e| error_at(Kind::Utf8, start + e.valid_up_to()))?;
    }
    Ok(end)
}

#[inline(always)]
fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
