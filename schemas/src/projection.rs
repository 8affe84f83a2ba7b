//! Only the wanted fields of a record, the rest checked and passed over: what a view or a filter decodes. Nested records
//! are flattened, so that a datum is one run over a flat program.

use crate::{
    codec::{DecodeError, DecodeErrorKind as E, Limits, Reader},
    model::{Kind, NodeId, Schema, Steps, default_branch},
    plan::{Op, Plan, Step, StepId},
};
use serde_json::Value as Json;

/// Wanted fields of a reader's record, compiled for one writer.
#[derive(Clone, Debug)]
pub struct Projection {
    plan: Plan,
    program: Box<[Instruction]>,
    slots: usize,
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slot<'a> {
    /// Null, or a default of null.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An int or a long.
    Long(i64),
    /// A float or a double.
    Double(f64),
    /// A string, or the symbol of an enum.
    Text(&'a str),
    /// Bytes or fixed.
    Bytes(&'a [u8]),
}

/// A projection that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectionError {
    /// No such field.
    #[error("{path}: the schema has no such field; it has {known}")]
    Unknown {
        /// The path asked for.
        path: String,
        /// Fields of the innermost record that was found.
        known: String,
    },
    /// One field has one slot.
    #[error("{path} is named twice: name it once and use its slot twice")]
    Twice {
        /// The path asked for.
        path: String,
    },
    /// Arrays, maps and records have no slot.
    #[error("{path} is {ty}, which is no single value: name a field inside it, or decode the whole")]
    NotScalar {
        /// The path asked for.
        path: String,
        /// Its type.
        ty: String,
    },
}

impl ProjectionError {
    /// Stable label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "projection_unknown",
            Self::Twice { .. } => "projection_twice",
            Self::NotScalar { .. } => "projection_not_scalar",
        }
    }
}

/// One move over the datum. The first ones are what events are made of; `Take` and `Skip` are all the rest.
#[derive(Clone, Debug)]
enum Instruction {
    Text(usize),
    Long(usize),
    /// `["null", "string"]`.
    NullableText(usize),
    /// This many strings in a row.
    SkipTexts(usize),
    /// This many longs in a row.
    SkipLongs(usize),
    SkipNullableText,
    SkipTextMap,
    Take(usize, StepId),
    Skip(StepId),
    Default(usize, Box<Fallback>),
}

/// A default of a wanted field that the writer does not have.
#[derive(Clone, Debug)]
enum Fallback {
    Null,
    Boolean(bool),
    Long(i64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

impl Projection {
    /// Compiles the fields at `paths` (`win_price_micros`, `source.lsn`), in the order of their slots.
    ///
    /// # Errors
    /// A path leads nowhere, or to something that is no single value.
    pub fn new(plan: Plan, paths: &[&str]) -> Result<Self, ProjectionError> {
        let mut wanted = Vec::with_capacity(paths.len());
        for path in paths {
            let found = find(plan.reader(), path)?;
            if wanted.contains(&found) {
                return Err(ProjectionError::Twice { path: (*path).to_owned() });
            }
            wanted.push(found);
        }
        let mut program = Vec::new();
        flatten(&plan, plan.root(), &mut Vec::new(), &wanted, &mut program);
        Ok(Self { program: program.into(), slots: paths.len(), plan })
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Decodes a bare datum into `slots`, one for each path.
    ///
    /// # Errors
    /// As a decode of the whole record: what is not wanted is checked too.
    ///
    /// # Panics
    /// `slots` has another length than there are paths.
    #[inline]
    pub fn decode<'a>(
        &'a self,
        datum: &'a [u8],
        limits: &'static Limits,
        slots: &mut [Slot<'a>],
    ) -> Result<(), DecodeError> {
        assert_eq!(slots.len(), self.slots, "one slot for each path");
        let mut reader = Reader::new(datum, limits)?;
        for instruction in &self.program {
            match *instruction {
                Instruction::Text(slot) => slots[slot] = Slot::Text(reader.read_lone_str()?),
                Instruction::Long(slot) => slots[slot] = Slot::Long(reader.read_long()?),
                Instruction::NullableText(slot) => {
                    let branch = reader.read_branch(2)?;
                    slots[slot] = if branch == 0 { Slot::Null } else { Slot::Text(reader.read_lone_str()?) };
                }
                Instruction::SkipTexts(n) => {
                    for _ in 0..n {
                        reader.skip_str()?;
                    }
                }
                Instruction::SkipLongs(n) => {
                    for _ in 0..n {
                        reader.skip_long()?;
                    }
                }
                Instruction::SkipNullableText => {
                    if reader.read_branch(2)? == 1 {
                        reader.skip_str()?;
                    }
                }
                Instruction::SkipTextMap => {
                    reader.entries(Reader::skip_str)?;
                }
                // A copy walks: a reader whose address nobody takes lives in registers.
                Instruction::Take(slot, step) => {
                    let mut walker = reader;
                    slots[slot] = self.take(&mut walker, step)?;
                    reader = walker;
                }
                Instruction::Skip(step) => {
                    let mut walker = reader;
                    self.plan.skip(&mut walker, step, 1)?;
                    reader = walker;
                }
                Instruction::Default(slot, ref fallback) => slots[slot] = fallback.slot(),
            }
        }
        reader.finish()
    }

    fn take<'a>(&'a self, reader: &mut Reader<'a>, id: StepId) -> Result<Slot<'a>, DecodeError> {
        let node = self.plan.node(id);
        Ok(match &node.step {
            Step::Null => Slot::Null,
            Step::Boolean => Slot::Boolean(reader.read_boolean()?),
            Step::Int | Step::IntToLong => Slot::Long(i64::from(reader.read_int()?)),
            Step::Long => Slot::Long(reader.read_long()?),
            Step::Float | Step::FloatToDouble => Slot::Double(f64::from(f32::from_le_bytes(reader.take_array()?))),
            Step::Double => Slot::Double(f64::from_le_bytes(reader.take_array()?)),
            Step::IntToFloat => Slot::Double(f64::from(reader.read_int()? as f32)),
            Step::IntToDouble => Slot::Double(f64::from(reader.read_int()?)),
            Step::LongToFloat => Slot::Double(f64::from(reader.read_long()? as f32)),
            Step::LongToDouble => Slot::Double(reader.read_long()? as f64),
            Step::String | Step::BytesToString => Slot::Text(reader.read_str()?),
            Step::Bytes => Slot::Bytes(reader.read_bytes()?),
            Step::StringToBytes => Slot::Bytes(reader.read_str()?.as_bytes()),
            Step::Fixed(size) => Slot::Bytes(reader.take(*size)?),
            Step::Enum(_) => {
                let symbol = self.plan.read_symbol(reader, id)?;
                match self.plan.reader().kind(node.reader) {
                    Kind::Enum(e) => Slot::Text(&e.symbols[symbol]),
                    _ => return Err(reader.error(E::TypeMismatch)),
                }
            }
            Step::FromUnion(branches) => {
                let branch = reader.read_branch(branches.len())?;
                self.take(reader, branches[branch])?
            }
            Step::IntoUnion { value, .. } => self.take(reader, *value)?,
            Step::Fail(kind) => return Err(reader.error(*kind)),
            // A union may hold these beside the scalar that was asked for.
            Step::Array { .. } | Step::Map { .. } | Step::Record(_) => return Err(reader.error(E::TypeMismatch)),
        })
    }
}

impl Fallback {
    fn slot(&self) -> Slot<'_> {
        match self {
            Self::Null => Slot::Null,
            Self::Boolean(b) => Slot::Boolean(*b),
            Self::Long(n) => Slot::Long(*n),
            Self::Double(n) => Slot::Double(*n),
            Self::Text(text) => Slot::Text(text),
            Self::Bytes(bytes) => Slot::Bytes(bytes),
        }
    }

    /// From a default, which fits its type: the union's branch does not show in a slot.
    fn new(schema: &Schema, ty: NodeId, json: &Json) -> Self {
        match (schema.kind(ty), json) {
            (Kind::Union(branches), json) => match default_branch(schema, branches, json, &mut Steps::new()) {
                Some(branch) => Self::new(schema, branches[branch], json),
                None => Self::Null,
            },
            (_, Json::Bool(b)) => Self::Boolean(*b),
            (Kind::Int | Kind::Long, Json::Number(n)) => Self::Long(n.as_i64().unwrap_or(0)),
            (Kind::Float, Json::Number(n)) => Self::Double(f64::from(n.as_f64().unwrap_or(0.0) as f32)),
            (_, Json::Number(n)) => Self::Double(n.as_f64().unwrap_or(0.0)),
            (Kind::Bytes | Kind::Fixed(_), Json::String(text)) => {
                // A schema writes bytes as the text whose code points they are.
                Self::Bytes(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect())
            }
            (_, Json::String(text)) => Self::Text(text.as_str().into()),
            _ => Self::Null,
        }
    }
}

/// The reader's fields along a path: positions in each record.
fn find(schema: &Schema, path: &str) -> Result<Vec<u32>, ProjectionError> {
    let mut id = schema.root();
    let mut positions = Vec::new();
    for name in path.split('.') {
        let Kind::Record(record) = schema.kind(id) else {
            return Err(ProjectionError::NotScalar { path: path.to_owned(), ty: schema.kind(id).label().to_owned() });
        };
        let Some(position) = record.position(name) else {
            let known: Vec<_> = record.fields.iter().map(|f| f.name.as_str()).collect();
            return Err(ProjectionError::Unknown { path: path.to_owned(), known: known.join(", ") });
        };
        positions.push(position as u32);
        id = record.fields[position].ty;
    }
    let container = |id: NodeId| matches!(schema.kind(id), Kind::Array(_) | Kind::Map(_) | Kind::Record(_));
    let only_containers = match schema.kind(id) {
        Kind::Union(branches) => !branches.is_empty() && branches.iter().all(|b| container(*b)),
        _ => container(id),
    };
    if only_containers {
        return Err(ProjectionError::NotScalar { path: path.to_owned(), ty: schema.kind(id).label().to_owned() });
    }
    Ok(positions)
}

fn flatten(plan: &Plan, id: StepId, at: &mut Vec<u32>, wanted: &[Vec<u32>], out: &mut Vec<Instruction>) {
    let Step::Record(record) = &plan.node(id).step else { return out.push(skip(plan, id)) };
    let Kind::Record(fields) = plan.reader().kind(plan.node(id).reader) else { return out.push(Instruction::Skip(id)) };
    for op in &record.ops {
        match op {
            Op::Skip(step) => push(out, skip(plan, *step)),
            Op::Read { field, step } => {
                at.push(*field);
                if let Some(slot) = wanted.iter().position(|path| path == at) {
                    out.push(take(plan, *step, slot));
                } else if wanted.iter().any(|path| path.starts_with(at)) {
                    flatten(plan, *step, at, wanted, out);
                } else {
                    push(out, skip(plan, *step));
                }
                at.pop();
            }
            Op::Default { field, .. } => {
                at.push(*field);
                let field = &fields.fields[*field as usize];
                for (slot, path) in wanted.iter().enumerate().filter(|(_, path)| path.starts_with(at)) {
                    let json = field.default.as_ref().unwrap_or(&Json::Null);
                    let fallback = nested(plan.reader(), field.ty, json, &path[at.len()..]);
                    out.push(Instruction::Default(slot, Box::new(fallback)));
                }
                at.pop();
            }
        }
    }
}

/// The default of a field inside a defaulted record.
fn nested(schema: &Schema, ty: NodeId, json: &Json, path: &[u32]) -> Fallback {
    match (path, schema.kind(ty)) {
        ([], _) => Fallback::new(schema, ty, json),
        ([first, rest @ ..], Kind::Record(record)) => {
            let field = &record.fields[*first as usize];
            let json = json.get(&field.name).or(field.default.as_ref()).unwrap_or(&Json::Null);
            nested(schema, field.ty, json, rest)
        }
        _ => Fallback::Null,
    }
}

fn take(plan: &Plan, id: StepId, slot: usize) -> Instruction {
    match &plan.node(id).step {
        Step::String => Instruction::Text(slot),
        Step::Long => Instruction::Long(slot),
        _ if nullable_text(plan, id) => Instruction::NullableText(slot),
        _ => Instruction::Take(slot, id),
    }
}

fn skip(plan: &Plan, id: StepId) -> Instruction {
    match &plan.node(id).step {
        Step::String => Instruction::SkipTexts(1),
        Step::Long => Instruction::SkipLongs(1),
        Step::Map { value } if matches!(plan.node(*value).step, Step::String) => Instruction::SkipTextMap,
        _ if nullable_text(plan, id) => Instruction::SkipNullableText,
        _ => Instruction::Skip(id),
    }
}

fn nullable_text(plan: &Plan, id: StepId) -> bool {
    let inner = |id: StepId| match &plan.node(id).step {
        Step::IntoUnion { value, .. } => plan.node(*value).step.clone(),
        step => step.clone(),
    };
    match &plan.node(id).step {
        Step::FromUnion(branches) => match branches[..] {
            [null, text] => matches!((inner(null), inner(text)), (Step::Null, Step::String)),
            _ => false,
        },
        _ => false,
    }
}

/// Runs of one kind become one instruction.
fn push(out: &mut Vec<Instruction>, next: Instruction) {
    match (out.last_mut(), &next) {
        (Some(Instruction::SkipTexts(n)), Instruction::SkipTexts(more))
        | (Some(Instruction::SkipLongs(n)), Instruction::SkipLongs(more)) => *n += more,
        _ => out.push(next),
    }
}

#[cfg(test)]
#[path = "projection_tests.rs"]
mod tests;
