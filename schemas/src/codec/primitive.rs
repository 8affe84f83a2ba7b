//! Datum for Avro's primitives and "null or T".

use super::{Datum, DecodeError, DecodeErrorKind as E, EncodeError, Limits, Reader};
use crate::plan::{Plan, Step, StepId};

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

/// The encoding of a scalar; each `$step => $convert` reads it from another type's.
macro_rules! scalar {
    ($ty:ty, |$v:ident, $out:ident| $write:expr, |$r:ident| $read:expr, {$($step:pat => $convert:expr),*}) => {
        impl<'a> Datum<'a> for $ty {
            #[inline]
            fn write(&self, $out: &mut Vec<u8>) {
                let $v = *self;
                $write
            }
            #[inline(always)]
            fn read($r: &mut Reader<'a>) -> Result<Self, DecodeError> {
                $read
            }
            #[inline(always)]
            fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
                Self::read(reader).map(|_| ())
            }
            fn check(&self, _: &Limits) -> Result<(), EncodeError> {
                Ok(())
            }
            #[inline]
            fn convert($r: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
                match &plan.node(step).step {
                    $($step => $convert,)*
                    _ => Err($r.error(E::TypeMismatch)),
                }
            }
        }
    };
}

scalar!(bool, |v, out| out.push(u8::from(v)), |r| r.read_boolean(), {});
scalar!(i32, |v, out| write_long(out, i64::from(v)), |r| r.read_int(), {});
scalar!(i64, |v, out| write_long(out, v), |r| r.read_long(), {
    Step::IntToLong => r.read_int().map(i64::from)
});
scalar!(f32, |v, out| out.extend_from_slice(&v.to_le_bytes()), |r| r.take_array().map(f32::from_le_bytes), {
    Step::IntToFloat => r.read_int().map(|n| n as f32),
    Step::LongToFloat => r.read_long().map(|n| n as f32)
});
scalar!(f64, |v, out| out.extend_from_slice(&v.to_le_bytes()), |r| r.take_array().map(f64::from_le_bytes), {
    Step::IntToDouble => r.read_int().map(f64::from),
    Step::LongToDouble => r.read_long().map(|n| n as f64),
    Step::FloatToDouble => r.take_array().map(|b| f64::from(f32::from_le_bytes(b)))
});

impl<'a> Datum<'a> for &'a str {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        self.as_bytes().write(out);
    }
    #[inline(always)]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.read_str()
    }
    #[inline(always)]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.skip_str()
    }
    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        within("bytes in a string", self.len(), limits.string_bytes)
    }
    #[inline]
    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
        match plan.node(step).step {
            Step::BytesToString => reader.read_str(),
            _ => Err(reader.error(E::TypeMismatch)),
        }
    }
}

impl<'a> Datum<'a> for &'a [u8] {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        // A slice is at most isize::MAX bytes.
        write_long(out, self.len() as i64);
        out.extend_from_slice(self);
    }
    #[inline(always)]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.read_bytes()
    }
    #[inline(always)]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        reader.read_bytes().map(|_| ())
    }
    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        within("bytes", self.len(), limits.message_bytes)
    }
    #[inline]
    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
        match plan.node(step).step {
            Step::StringToBytes => reader.read_str().map(str::as_bytes),
            _ => Err(reader.error(E::TypeMismatch)),
        }
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
    #[inline(always)]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(if reader.read_branch(2)? == 0 { None } else { Some(T::read(reader)?) })
    }
    #[inline(always)]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        if reader.read_branch(2)? == 0 { Ok(()) } else { T::skip(reader) }
    }
    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        self.as_ref().map_or(Ok(()), |value| value.check(limits))
    }
    #[inline]
    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
        match plan.node(step).step {
            Step::IntoUnion { is_null: true, .. } => Ok(None),
            Step::IntoUnion { value, .. } => T::resolve(reader, plan, value).map(Some),
            _ => Err(reader.error(E::TypeMismatch)),
        }
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

/// Reads `[T, "null"]` that another schema wrote.
///
/// # Errors
/// As [`Datum::resolve`].
#[inline]
pub fn resolve_null_last<'a, T: Datum<'a>>(
    reader: &mut Reader<'a>,
    plan: &'a Plan,
    step: StepId,
) -> Result<Option<T>, DecodeError> {
    if plan.node(step).same { read_null_last(reader) } else { Option::resolve(reader, plan, step) }
}

pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), EncodeError> {
    if found <= limit { Ok(()) } else { Err(EncodeError { field: "value", what, found, limit }) }
}
