//! Maps without allocation: the bytes of a checked message, or pairs that somebody else owns.

use super::via::{Via, read_via};
use super::{Datum, DecodeError, DecodeErrorKind as E, EncodeError, Limits, Reader, primitive::within, write_long};
use crate::plan::{Plan, Step, StepId};
use std::fmt;

/// An Avro map from text to `V`, small by its limit, so look-ups walk. Where a key repeats, the last one counts.
#[derive(Clone, Copy)]
pub struct Map<'a, V = &'a str> {
    form: Form<'a, V>,
}

/// A map from text to numbers.
pub type LongMap<'a> = Map<'a, i64>;

#[derive(Clone, Copy)]
enum Form<'a, V> {
    /// Blocks as they were in a message, all of them read once without error.
    Encoded {
        blocks: &'a [u8],
        len: usize,
        via: Option<Via<'a>>,
    },
    Pairs(&'a [(&'a str, V)]),
}

impl<'a, V> Map<'a, V> {
    /// A map of borrowed pairs, to be encoded in their order.
    pub const fn from_pairs(pairs: &'a [(&'a str, V)]) -> Self {
        Self { form: Form::Pairs(pairs) }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        match self.form {
            Form::Encoded { len, .. } => len,
            Form::Pairs(pairs) => pairs.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, V: Datum<'a>> Map<'a, V> {
    /// The entries in the order of the message.
    #[inline]
    pub fn iter(&self) -> MapIter<'a, V> {
        MapIter(match self.form {
            Form::Encoded { blocks, len, via } => {
                Walk::Encoded { reader: Reader::checked(blocks), in_block: 0, left: len, via }
            }
            Form::Pairs(pairs) => Walk::Pairs(pairs.iter()),
        })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<V> {
        self.iter().filter(|(k, _)| *k == key).last().map(|(_, v)| v)
    }
}

impl<V> Default for Map<'_, V> {
    fn default() -> Self {
        Self { form: Form::Pairs(&[]) }
    }
}

/// Equal as maps: the order of entries does not count.
impl<'a, V: Datum<'a>> PartialEq for Map<'a, V> {
    fn eq(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| a.iter().all(|(k, _)| a.get(k) == b.get(k));
        self.iter().eq(other.iter()) || (within(self, other) && within(other, self))
    }
}

impl<'a, V: Datum<'a>> fmt::Debug for Map<'a, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a, V: Datum<'a>> IntoIterator for Map<'a, V> {
    type Item = (&'a str, V);
    type IntoIter = MapIter<'a, V>;
    fn into_iter(self) -> MapIter<'a, V> {
        self.iter()
    }
}

impl<'a, V: Datum<'a>> IntoIterator for &Map<'a, V> {
    type Item = (&'a str, V);
    type IntoIter = MapIter<'a, V>;
    fn into_iter(self) -> MapIter<'a, V> {
        self.iter()
    }
}

impl<'a, V: Datum<'a>> Datum<'a> for Map<'a, V> {
    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        match self.form {
            Form::Encoded { blocks, via: None, .. } => out.extend_from_slice(blocks),
            Form::Pairs([]) => out.push(0),
            Form::Pairs(pairs) => {
                write_long(out, pairs.len() as i64);
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
                out.push(0);
            }
            Form::Encoded { len: 0, .. } => out.push(0),
            Form::Encoded { len, .. } => {
                write_long(out, len as i64);
                for (key, value) in self.iter() {
                    key.write(out);
                    value.write(out);
                }
                out.push(0);
            }
        }
    }

    #[inline(always)]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = reader.byte();
        let len = pass::<V>(reader)?;
        let blocks = reader.since(start);
        Ok(Self { form: Form::Encoded { blocks, len, via: None } })
    }

    #[inline(always)]
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        pass::<V>(reader).map(|_| ())
    }

    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {
        within("entries in a map", self.len(), limits.map_entries)?;
        self.iter().try_for_each(|(key, value)| key.check(limits).and_then(|()| value.check(limits)))
    }

    #[inline]
    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
        let Step::Map { value } = plan.node(step).step else { return Err(reader.error(E::TypeMismatch)) };
        let via = Via { plan, step: value };
        let start = reader.byte();
        let len = reader.entries(|reader| V::resolve(reader, plan, value).map(|_| ()))?;
        let blocks = reader.since(start);
        Ok(Self { form: Form::Encoded { blocks, len, via: Some(via) } })
    }
}

/// Checks all entries; returns their number. A copy of the reader walks, so that the caller's stays in registers.
#[inline(always)]
fn pass<'a, V: Datum<'a>>(reader: &mut Reader<'a>) -> Result<usize, DecodeError> {
    let mut walker = *reader;
    let len = walker.entries(V::skip)?;
    *reader = walker;
    Ok(len)
}

/// Entries of a [`Map`].
#[derive(Clone)]
pub struct MapIter<'a, V>(Walk<'a, V>);

#[derive(Clone)]
enum Walk<'a, V> {
    Encoded { reader: Reader<'a>, in_block: usize, left: usize, via: Option<Via<'a>> },
    Pairs(std::slice::Iter<'a, (&'a str, V)>),
}

impl<'a, V: Datum<'a>> Iterator for MapIter<'a, V> {
    type Item = (&'a str, V);

    #[inline]
    fn next(&mut self) -> Option<(&'a str, V)> {
        match &mut self.0 {
            Walk::Pairs(pairs) => pairs.next().copied(),
            Walk::Encoded { left: 0, .. } => None,
            Walk::Encoded { reader, in_block, left, via } => {
                // These bytes were read once without error, so no `?` below can end the walk early.
                if *in_block == 0 {
                    *in_block = reader.next_block(false).ok()??.items;
                }
                *in_block -= 1;
                *left -= 1;
                Some((reader.read_str().ok()?, read_via(reader, *via).ok()?))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Walk::Encoded { left, .. } => *left,
            Walk::Pairs(pairs) => pairs.len(),
        };
        (left, Some(left))
    }
}

impl<'a, V: Datum<'a>> ExactSizeIterator for MapIter<'a, V> {}
