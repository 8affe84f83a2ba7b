//! Avro's binary encoding for types known at build time. Decoding borrows from the message, allocates nothing, checks
//! every limit and consumes the datum exactly; nothing in a message can make it panic.

mod array;
mod error;
mod limits;
mod map;
mod primitive;
mod reader;
mod text;
mod via;

pub use array::{Array, ArrayIter};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use limits::Limits;
pub use map::{LongMap, Map, MapIter};
pub use primitive::{read_null_last, resolve_null_last, skip_null_last, write_long, write_null_last};
pub use reader::Reader;

use crate::plan::{Plan, Step, StepId};
use std::fmt::Debug;

/// A type with an Avro encoding, of its own or as a part of another.
pub trait Datum<'a>: Copy + Debug + PartialEq {
    /// Appends the encoding to `out`.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads one value.
    ///
    /// # Errors
    /// The bytes are no such value, or beyond a limit.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Checks one value as strictly as `read` and passes over it.
    ///
    /// # Errors
    /// As `read`.
    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError>;
    /// Whether a decoder with these limits would accept the value.
    ///
    /// # Errors
    /// The first limit that is passed, and where.
    fn check(&self, limits: &Limits) -> Result<(), EncodeError>;
    /// Reads one value that another schema wrote.
    ///
    /// # Errors
    /// As `read`, or the plan's writer has what this type cannot take.
    #[inline]
    fn resolve(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {
        let node = plan.node(step);
        if node.same {
            return Self::read(reader);
        }
        match &node.step {
            Step::FromUnion(branches) => {
                let branch = reader.read_branch(branches.len())?;
                Self::resolve(reader, plan, branches[branch])
            }
            Step::Fail(kind) => Err(reader.error(*kind)),
            _ => Self::convert(reader, plan, step),
        }
    }
    /// Reads one value by a step that changes the encoding; `resolve` has dealt with the writer's unions.
    ///
    /// # Errors
    /// As `resolve`.
    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError>;
}

/// A message type that can be written.
pub trait Encode {
    /// Id of the schema in the embedded registry.
    const SCHEMA_ID: u32;
    /// Full name of the schema's record.
    const NAME: &'static str;
    /// Limits that readers of this type apply.
    const LIMITS: &'static Limits;
    /// Appends the bare datum to `out`, which callers reuse.
    fn encode(&self, out: &mut Vec<u8>);
    /// Whether readers will accept the parts of this value: for text that comes from outside. The size of the whole is
    /// not checked here.
    ///
    /// # Errors
    /// The first limit that is passed, and where.
    fn check(&self) -> Result<(), EncodeError>;
}

/// A message type that can be read.
pub trait Decode<'a>: Sized {
    /// Id of the schema in the embedded registry.
    const SCHEMA_ID: u32;
    /// Full name of the schema's record.
    const NAME: &'static str;
    /// Decodes a bare datum that was written with this type's own schema.
    ///
    /// # Errors
    /// The bytes are no such value, are beyond a limit, or bytes are left over.
    #[inline]
    fn decode(datum: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_or(datum)
    }
    /// The same with the caller's error: a large value is not copied from one `Result` to another.
    ///
    /// # Errors
    /// As `decode`.
    fn decode_or<E: From<DecodeError>>(datum: &'a [u8]) -> Result<Self, E>;
    /// Decodes a bare datum that was written with another schema, by the plan for that writer and this type.
    ///
    /// # Errors
    /// As `decode`, or the writer has what this type cannot take.
    #[inline]
    fn decode_resolved(datum: &'a [u8], plan: &'a Plan) -> Result<Self, DecodeError> {
        Self::decode_resolved_or(datum, plan)
    }
    /// The same with the caller's error.
    ///
    /// # Errors
    /// As `decode_resolved`.
    fn decode_resolved_or<E: From<DecodeError>>(datum: &'a [u8], plan: &'a Plan) -> Result<Self, E>;
}

#[cfg(test)]
mod tests;
