//! Datum for Avro's primitives and "null or T".

use super::{Datum, DecodeError, EncodeError, Limits, Reader};

/// Appends a long.
#[inline]
pub fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    if rest < 0x80 {
        out.push(rest as u8);
        return;
    }
    let mut buffer = [0_u8; 10];
    let mut n = 0;
    while rest >= 0x80 {
        buffer[n] = rest as u8 | 0x80;
        rest >>= 7;
        n += 1;
    }
    buffer[n] = rest as u8;
    out.extend_from_slice(&buffer[..=n]);
}

macro_rules! scalar {
    ($ty:ty, |$value:ident, $out:ident| $write:expr, |$reader:ident| $read:expr) => {
        impl<'a> Datum<'a> for $ty {
            #[inline]
            fn write(&self, $out: &mut Vec<u8>) {
                let $value = *self;
                $write
            }
            #[inline]
            fn read($reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                $read
            }
            #[inline]
            fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
                Self::read(reader).map(|_| ())
            }
            fn check(&self, _: &Limits) -> Result<(), EncodeError> {
                Ok(())
            }
        }
    };
}

scalar!(i64, |value, out| write_long(out, value), |reader| reader.read_long());
scalar!(i32, |value, out| write_long(out, i64::from(value)), |reader| reader.read_int());
scalar!(f32, |value, out| out.extend_from_slice(&value.to_le_bytes()), |reader| reader
    .take_array()
    .map(f32::from_le_bytes));
scalar!(f64, |value, out| out.extend_from_slice(&value.to_le_bytes()), |reader| reader
    .take_array()
    .map(f64::from_le_bytes));
scalar!(bool, |value, out| out.push(u8::from(value)), |reader| reader.read_boolean());

impl<'a> Datum<'a> for &'a str {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.as_bytes().write(out);
    }
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.read_str()
    }
    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.skip_str()
    }
    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        within("bytes in a string", self.len(), limits.string_bytes)
    }
}

impl<'a> Datum<'a> for &'a [u8] {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        // A slice is at most isize::MAX bytes.
        write_long(out, self.len() as i64);
        out.extend_from_slice(self);
    }
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.read_bytes()
    }
    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.read_bytes().map(|_| ())
    }
    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        within("bytes", self.len(), limits.message_bytes)
    }
}

/// `["null", T]`.
impl<'a, T: Datum<'a>> Datum<'a> for Option<T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                value.write(out);
            }
        }
    }
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(if reader.read_branch(2)? == 0 { None } else { Some(T::read(reader)?) })
    }
    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        if reader.read_branch(2)? == 0 { Ok(()) } else { T::skip(reader) }
    }
    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        self.as_ref().map_or(Ok(()), |value| value.check(limits))
    }
}

/// Writes `[T, "null"]`.
#[inline]
pub fn write_null_last<'a, T: Datum<'a>>(value: &Option<T>, out: &mut Vec<u8>) {
    match value {
        None => out.push(2),
        Some(value) => {
            out.push(0);
            value.write(out);
        }
    }
}

/// Reads `[T, "null"]`.
///
/// # Errors
/// As [`Datum::read`].
#[inline]
pub fn read_null_last<'a, T: Datum<'a>>(reader: &mut Reader<'a>) -> Result<Option<T>, DecodeError> {
    Ok(if reader.read_branch(2)? == 1 { None } else { Some(T::read(reader)?) })
}

/// Passes over `[T, "null"]`.
///
/// # Errors
/// As [`Datum::skip`].
#[inline]
pub fn skip_null_last<'a, T: Datum<'a>>(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
    if reader.read_branch(2)? == 1 { Ok(()) } else { T::skip(reader) }
}

pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), EncodeError> {
    if found <= limit { Ok(()) } else { Err(EncodeError { field: "value", what, found, limit }) }
}
