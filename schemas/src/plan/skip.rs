//! Passing over what the reader does not want, as strictly as if it did.

use super::{Op, Plan, Step, StepId};
use crate::codec::{DecodeError, DecodeErrorKind as E, Reader};

impl Plan {
    /// Checks one value of the writer and passes over it. `depth`: records, arrays and maps around it.
    pub(crate) fn skip(&self, reader: &mut Reader<'_>, id: StepId, depth: usize) -> Result<(), DecodeError> {
        match &self.node(id).step {
            Step::Null => Ok(()),
            Step::Boolean => reader.read_boolean().map(|_| ()),
            Step::Int | Step::IntToLong | Step::IntToFloat | Step::IntToDouble => reader.read_int().map(|_| ()),
            Step::Long | Step::LongToFloat | Step::LongToDouble => reader.read_long().map(|_| ()),
            Step::Float | Step::FloatToDouble => reader.take(4).map(|_| ()),
            Step::Double => reader.take(8).map(|_| ()),
            Step::Bytes | Step::BytesToString => reader.read_bytes().map(|_| ()),
            Step::String | Step::StringToBytes => reader.skip_str(),
            Step::Fixed(size) => reader.take(*size).map(|_| ()),
            Step::Enum(symbols) => reader.read_index(symbols.len()).map(|_| ()),
            Step::FromUnion(branches) => {
                let branch = reader.read_branch(branches.len())?;
                self.skip(reader, branches[branch], depth)
            }
            Step::IntoUnion { value, .. } => self.skip(reader, *value, depth),
            Step::Array { item, zero_width } => {
                let depth = reader.deeper(depth)?;
                reader.items(*zero_width, |reader| self.skip(reader, *item, depth)).map(|_| ())
            }
            Step::Map { value } => {
                let depth = reader.deeper(depth)?;
                reader.entries(|reader| self.skip(reader, *value, depth)).map(|_| ())
            }
            Step::Record(record) => {
                let depth = reader.deeper(depth)?;
                record.ops.iter().try_for_each(|op| match op {
                    Op::Skip(step) | Op::Read { step, .. } => self.skip(reader, *step, depth),
                    Op::Default { .. } => Ok(()),
                })
            }
            Step::Fail(kind) => Err(reader.error(*kind)),
        }
    }
}

impl Reader<'_> {
    /// One level further in.
    pub(crate) fn deeper(&self, depth: usize) -> Result<usize, DecodeError> {
        if depth >= self.limits().depth {
            return Err(self.error(E::DepthLimit));
        }
        Ok(depth + 1)
    }
}
