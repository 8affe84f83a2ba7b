//! A pair of schemas compiled to a program: how each byte of the writer's datum becomes a part of the reader's value.
//! Promotions, aliases, defaults, order and unions are decided once, here; decoding only follows the steps.
//! Source: Avro 1.12 specification, "Schema Resolution". Where a union offers a choice, a branch that can read everything
//! wins, so that whatever the compatibility check accepts is decoded.

mod code;
mod compile;
mod default;
mod plans;
mod skip;

pub(crate) use code::Code;
pub use plans::Plans;

use crate::{
    codec::{DecodeError, DecodeErrorKind, Reader},
    compat::CompatError,
    model::{NodeId, Schema},
};
use std::sync::Arc;

/// A compiled pair of writer and reader.
#[derive(Clone, Debug)]
pub struct Plan {
    reader: Arc<Schema>,
    nodes: Vec<StepNode>,
    root: StepId,
}

/// A step inside one [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(u32);

#[derive(Clone, Debug)]
pub(crate) struct StepNode {
    pub step: Step,
    /// The type that comes out; for what is only skipped, nobody asks.
    pub reader: NodeId,
    /// The writer's bytes are exactly the reader's encoding.
    pub same: bool,
}

/// What to do with the next bytes.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    IntToLong,
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
    StringToBytes,
    BytesToString,
    Fixed(usize),
    /// Reader's symbol for each of the writer's; `None`: the reader cannot express it.
    Enum(Box<[Option<u32>]>),
    /// `zero_width`: an item has no bytes, so the message's size does not limit their number.
    Array {
        item: StepId,
        zero_width: bool,
    },
    Map {
        value: StepId,
    },
    Record(RecordStep),
    /// The writer has a union: its branch says which step follows.
    FromUnion(Box<[StepId]>),
    /// The reader has a union, the writer one type: it becomes this branch.
    IntoUnion {
        branch: usize,
        is_null: bool,
        value: StepId,
    },
    /// The reader cannot read this.
    Fail(DecodeErrorKind),
}

#[derive(Clone, Debug)]
pub(crate) struct RecordStep {
    pub ops: Box<[Op]>,
    /// The same for a generated type.
    pub codes: Box<[Code]>,
    /// Fields come out in the reader's order.
    pub in_order: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A field of both.
    Read { field: u32, step: StepId },
    /// A field of the writer only.
    Skip(StepId),
    /// A field of the reader only; its default in Avro's JSON encoding.
    Default { field: u32, json: Arc<str> },
}

impl Plan {
    /// Compiles a pair. Pairs that are not compatible compile too: decoding fails where the reader cannot follow.
    ///
    /// # Errors
    /// The pair is too large or too deep.
    pub fn new(writer: &Schema, reader: &Schema) -> Result<Self, CompatError> {
        compile::plan(writer, reader)
    }

    /// The reader's schema.
    pub fn reader(&self) -> &Schema {
        &self.reader
    }

    /// The step for a whole datum.
    pub fn root(&self) -> StepId {
        self.root
    }

    /// Whether the writer's bytes are the reader's encoding as they are.
    pub fn is_same(&self) -> bool {
        self.node(self.root).same
    }

    /// What to do for a record; nothing for anything else.
    #[inline]
    pub(crate) fn codes(&self, id: StepId) -> &[Code] {
        match &self.node(id).step {
            Step::Record(record) => &record.codes,
            _ => &[],
        }
    }

    /// Reads a symbol of the writer as the reader's.
    #[inline]
    pub(crate) fn read_symbol(&self, reader: &mut Reader<'_>, id: StepId) -> Result<usize, DecodeError> {
        let Step::Enum(symbols) = &self.node(id).step else {
            return Err(reader.error(DecodeErrorKind::TypeMismatch));
        };
        let before = *reader;
        let index = reader.read_index(symbols.len())?;
        match symbols[index] {
            Some(symbol) => Ok(symbol as usize),
            None => Err(before.error(DecodeErrorKind::MissingSymbol)),
        }
    }

    #[inline]
    pub(crate) fn node(&self, id: StepId) -> &StepNode {
        &self.nodes[id.0 as usize]
    }
}

#[cfg(test)]
mod tests;
