//! How keys and values of a table become bytes: Avro's binary forms, field after field.
//!
//! A row is not self-describing; the table's version says how to read it. An older version is resolved by the value's
//! own `upgrade`, a newer one is refused.

use smol_str::SmolStr;

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("row ends early")]
    Truncated,
    #[error("row has {0} bytes too many")]
    Trailing(usize),
    #[error("row holds an impossible value: {0}")]
    Invalid(&'static str),
    #[error(
        "row of version {found} in a table of version {known}: written by a newer program; start that one, or restore an older copy"
    )]
    Newer { found: u16, known: u16 },
    #[error("row of version {found} in a table of version {known}: no way to resolve it; rebuild the table by a reset")]
    Older { found: u16, known: u16 },
}

impl RowError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Truncated => "ROW_TRUNCATED",
            Self::Trailing(_) => "ROW_TRAILING",
            Self::Invalid(_) => "ROW_INVALID",
            Self::Newer { .. } => "ROW_NEWER",
            Self::Older { .. } => "ROW_OLDER",
        }
    }
}

/// A part of a key or value.
pub trait Field: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(input: &mut &[u8]) -> Result<Self, RowError>;
    /// Bytes held outside the value itself.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// What stands in a table. `row!` implements it for structs.
pub trait Value: Field + Clone + Send + 'static {
    const VERSION: u16;
    /// Reads a row of an older version; by default there is none.
    fn upgrade(version: u16, _bytes: &[u8]) -> Result<Self, RowError> {
        Err(RowError::Older { found: version, known: Self::VERSION })
    }
}

/// What a table is keyed by.
pub trait Key: Field + Clone + Eq + Ord + std::hash::Hash + Send + 'static {}
impl<T: Field + Clone + Eq + Ord + std::hash::Hash + Send + 'static> Key for T {}

/// Decodes all of `bytes`, nothing less.
pub fn decode_exact<T: Field>(mut bytes: &[u8]) -> Result<T, RowError> {
    let value = T::take(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(RowError::Trailing(bytes.len())) }
}

/// Unsigned LEB128.
pub fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub fn take_varint(input: &mut &[u8]) -> Result<u64, RowError> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(RowError::Truncated)?;
        *input = rest;
        if shift == 63 && byte > 1 {
            return Err(RowError::Invalid("varint over 64 bits"));
        }
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err(RowError::Invalid("varint over 10 bytes"))
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RowError> {
    let len = take_varint(input)? as usize;
    if len > input.len() {
        return Err(RowError::Truncated);
    }
    let (bytes, rest) = input.split_at(len);
    *input = rest;
    Ok(bytes)
}

impl Field for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(((self << 1) ^ (self >> 63)) as u64, out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        let n = take_varint(input)?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }
}

impl Field for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(*self, out);
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        take_varint(input)
    }
}

macro_rules! narrow {
    ($($narrow:ty as $wide:ty),*) => {$(
        impl Field for $narrow {
            fn put(&self, out: &mut Vec<u8>) {
                <$wide>::from(*self).put(out);
            }
            fn take(input: &mut &[u8]) -> Result<Self, RowError> {
                <$narrow>::try_from(<$wide>::take(input)?).map_err(|_| RowError::Invalid("integer out of range"))
            }
        }
    )*};
}
narrow!(i32 as i64, u32 as u64, u16 as u64, u8 as u64);

impl Field for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        match u8::take(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RowError::Invalid("boolean")),
        }
    }
}

impl Field for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut &[u8]) -> Result<Self, RowError> {
        Ok(())
    }
}

impl Field for SmolStr {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        let bytes = take_bytes(input)?;
        std::str::from_utf8(bytes).map(SmolStr::new).map_err(|_| RowError::Invalid("not UTF-8"))
    }
    fn heap_bytes(&self) -> usize {
        if self.is_heap_allocated() { self.len() + 16 } else { 0 }
    }
}

impl Field for Box<[u8]> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        out.extend_from_slice(self);
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        take_bytes(input).map(Box::from)
    }
    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        let (bytes, rest) = input.split_first_chunk::<N>().ok_or(RowError::Truncated)?;
        *input = rest;
        Ok(*bytes)
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        Ok(if bool::take(input)? { Some(T::take(input)?) } else { None })
    }
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, Field::heap_bytes)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        for item in self {
            item.put(out);
        }
    }
    fn take(input: &mut &[u8]) -> Result<Self, RowError> {
        let len = take_varint(input)? as usize;
        // An item takes at least a byte, except `()`, which nobody puts in a list.
        if len > input.len() {
            return Err(RowError::Truncated);
        }
        (0..len).map(|_| T::take(input)).collect()
    }
    fn heap_bytes(&self) -> usize {
        self.len() * size_of::<T>() + self.iter().map(Field::heap_bytes).sum::<usize>()
    }
}

macro_rules! tuple {
    ($($name:ident),*) => {
        impl<$($name: Field),*> Field for ($($name,)*) {
            #[allow(non_snake_case)] // type names are variables here
            fn put(&self, out: &mut Vec<u8>) {
                let ($($name,)*) = self;
                $($name.put(out);)*
            }
            fn take(input: &mut &[u8]) -> Result<Self, RowError> {
                Ok(($($name::take(input)?,)*))
            }
            #[allow(non_snake_case)] // type names are variables here
            fn heap_bytes(&self) -> usize {
                let ($($name,)*) = self;
                0 $(+ $name.heap_bytes())*
            }
        }
    };
}
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);

impl Value for () {
    const VERSION: u16 = 1;
}
impl Value for i64 {
    const VERSION: u16 = 1;
}

/// Declares a struct that can stand in a table: `row! { pub struct Charge version 1 { pub amount: i64, pub settled: bool } }`.
/// `version 2 upgrade read_older` names the function that reads rows of older versions.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident version $version:literal $(upgrade $upgrade:path)? { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $type),* }
        impl $crate::state::row::Field for $name {
            fn put(&self, out: &mut Vec<u8>) {
                $($crate::state::row::Field::put(&self.$field, out);)*
            }
            fn take(input: &mut &[u8]) -> Result<Self, $crate::state::row::RowError> {
                Ok(Self { $($field: $crate::state::row::Field::take(input)?),* })
            }
            fn heap_bytes(&self) -> usize {
                0 $(+ $crate::state::row::Field::heap_bytes(&self.$field))*
            }
        }
        impl $crate::state::row::Value for $name {
            const VERSION: u16 = $version;
            $(fn upgrade(version: u16, bytes: &[u8]) -> Result<Self, $crate::state::row::RowError> {
                $upgrade(version, bytes)
            })?
        }
    };
}
