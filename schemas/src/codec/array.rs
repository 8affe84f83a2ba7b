//! Arrays without allocation: the bytes of a checked message, or a slice that somebody else owns.

use super::via::{Via, read_via};
use super::{Datum, DecodeError, DecodeErrorKind as E, EncodeError, Limits, Reader, write_long};
use crate::plan::{Plan, Step, StepId};
use std::fmt;

/// An Avro array.
#[derive(Clone, Copy)]
pub struct Array<'a, T> {
    form: Form<'a, T>,
}

#[derive(Clone, Copy)]
enum Form<'a, T> {
    /// Blocks as they were in a message, all of them read once without error.
    Encoded {
        blocks: &'a [u8],
        len: usize,
        via: Option<Via<'a>>,
    },
    Items(&'a [T]),
}

impl<'a, T> Array<'a, T> {
    /// An array of borrowed items, to be encoded.
    pub const fn from_slice(items: &'a [T]) -> Self {
        Self { form: Form::Items(items) }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Encoded { len, .. } => len,
            Form::Items(items) => items.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Datum<'a>> Array<'a, T> {
    /// The items in order; those of a message are decoded on the way.
    #[inline]
    pub fn iter(&self) -> ArrayIter<'a, T> {
        ArrayIter(match self.form {
            Form::Encoded { blocks, len, via } => {
                Walk::Encoded { reader: Reader::checked(blocks), in_block: 0, left: len, via }
            }
            Form::Items(items) => Walk::Items(items.iter()),
        })
    }

    /// The item at `index`: walks there.
    pub fn get(&self, index: usize) -> Option<T> {
        self.iter().nth(index)
    }
}

impl<T> Default for Array<'_, T> {
    fn default() -> Self {
        Self::from_slice(&[])
    }
}

impl<'a, T: Datum<'a>> PartialEq for Array<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Datum<'a>> fmt::Debug for Array<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Datum<'a>> IntoIterator for Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;
    fn into_iter(self) -> ArrayIter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Datum<'a>> IntoIterator for &Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;
    fn into_iter(self) -> ArrayIter<'a, T> {
        self.iter()
    }
}

impl<'a, T: Datum<'a>> Datum<'a> for Array<'a, T> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Encoded { blocks, via: None, .. } => out.extend_from_slice(blocks),
            Form::Items([]) => out.push(0),
            Form::Items(items) => {
                write_long(out, items.len() as i64);
                for item in items {
                    item.write(out);
                }
                out.push(0);
            }
            Form::Encoded { len: 0, .. } => out.push(0),
            Form::Encoded { len, .. } => {
                write_long(out, len as i64);
                self.iter().for_each(|item| item.write(out));
                out.push(0);
            }
        }
    }

    #[inline(always)]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = reader.byte();
        let len = pass::<T>(reader)?;
        let blocks = reader.since(start);
        Ok(Self { form: Form::Encoded { blocks, len, via: None } })
    }

    #[inline(always)]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        pass::<T>(reader).map(|_| ())
    }

    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        self.iter().try_for_each(|item| item.check(limits))
    }

    #[inline]
    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
        let Step::Array { item, .. } = plan.node(step).step else { return Err(reader.error(E::TypeMismatch)) };
        let via = Via { plan, step: item };
        let start = reader.byte();
        // Zero-width items are for the writer to have: a generated type's own items have bytes.
        let len = reader.items(false, |reader| T::resolve(reader, plan, item).map(|_| ()))?;
        let blocks = reader.since(start);
        Ok(Self { form: Form::Encoded { blocks, len, via: Some(via) } })
    }
}

/// Checks all items; returns their number. A copy of the reader walks, so that the caller's stays in registers.
#[inline(always)]
fn pass<'a, T: Datum<'a>>(reader: &mut Reader<'a>) -> Result<usize, DecodeError> {
    let mut walker = *reader;
    let len = walker.items(false, T::skip)?;
    *reader = walker;
    Ok(len)
}

/// Items of an [`Array`].
#[derive(Clone)]
pub struct ArrayIter<'a, T>(Walk<'a, T>);

#[derive(Clone)]
enum Walk<'a, T> {
    Encoded { reader: Reader<'a>, in_block: usize, left: usize, via: Option<Via<'a>> },
    Items(std::slice::Iter<'a, T>),
}

impl<'a, T: Datum<'a>> Iterator for ArrayIter<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Walk::Items(items) => items.next().copied(),
            Walk::Encoded { left: 0, .. } => None,
            Walk::Encoded { reader, in_block, left, via } => {
                // These bytes were read once without error, so neither `?` below can end the walk early.
                if *in_block == 0 {
                    *in_block = reader.next_block(false).ok()??.items;
                }
                *in_block -= 1;
                *left -= 1;
                read_via(reader, *via).ok()
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Walk::Encoded { left, .. } => *left,
            Walk::Items(items) => items.len(),
        };
        (left, Some(left))
    }
}

impl<'a, T: Datum<'a>> ExactSizeIterator for ArrayIter<'a, T> {}
