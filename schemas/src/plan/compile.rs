//! From a pair of schemas to steps.

use super::{Op, Plan, RecordStep, Step, StepId, StepNode, code, default};
use crate::{
    codec::DecodeErrorKind as E,
    compat::{Checked, CompatError, promotes, same_name},
    model::{Enum, Kind, NodeId, Record, Schema, Steps},
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

const DEPTH_MAX: usize = 512;

pub(super) fn plan(writer: &Schema, reader: &Schema) -> Result<Plan, CompatError> {
    let checked = Checked::new(reader, writer)?;
    let mut compiler = Compiler {
        writer,
        reader,
        checked,
        nodes: vec![],
        pairs: HashMap::new(),
        skips: HashMap::new(),
        types: writer.ids().filter_map(|id| Some(writer.kind(id).name()?.full())).collect(),
        steps: Steps::new(),
    };
    let root = compiler.pair(writer.root(), reader.root(), 0)?;
    let mut nodes = compiler.nodes;
    mark_same(&mut nodes);
    code::assemble(&mut nodes);
    Ok(Plan { reader: Arc::new(reader.clone()), nodes, root })
}

struct Compiler<'s> {
    writer: &'s Schema,
    reader: &'s Schema,
    checked: Checked<'s>,
    nodes: Vec<StepNode>,
    pairs: HashMap<(NodeId, NodeId), StepId>,
    skips: HashMap<NodeId, StepId>,
    /// Full names of the writer's types.
    types: HashSet<&'s str>,
    /// For the defaults of all fields together.
    steps: Steps,
}

impl Compiler<'_> {
    fn reserve(&mut self, reader: NodeId, depth: usize) -> Result<StepId, CompatError> {
        if depth > DEPTH_MAX {
            return Err(CompatError::TooDeep);
        }
        if self.nodes.len() >= crate::compat::PAIRS_MAX {
            return Err(CompatError::TooLarge);
        }
        self.nodes.push(StepNode { step: Step::Null, reader, same: false });
        Ok(StepId(self.nodes.len() as u32 - 1))
    }

    fn pair(&mut self, w: NodeId, r: NodeId, depth: usize) -> Result<StepId, CompatError> {
        if let Some(id) = self.pairs.get(&(w, r)) {
            return Ok(*id);
        }
        let id = self.reserve(r, depth)?;
        self.pairs.insert((w, r), id);
        self.nodes[id.0 as usize].step = self.step(w, r, depth + 1)?;
        Ok(id)
    }

    fn step(&mut self, w: NodeId, r: NodeId, depth: usize) -> Result<Step, CompatError> {
        let (writer, reader) = (self.writer, self.reader);
        Ok(match (writer.kind(w), reader.kind(r)) {
            (Kind::Union(branches), _) => {
                let steps = branches.iter().map(|b| self.pair(*b, r, depth)).collect::<Result<_, _>>()?;
                Step::FromUnion(steps)
            }
            (_, Kind::Union(branches)) => match self.choose(w, branches)? {
                Some(branch) => {
                    let is_null = matches!(reader.kind(branches[branch]), Kind::Null);
                    Step::IntoUnion { branch, is_null, value: self.pair(w, branches[branch], depth)? }
                }
                None => Step::Fail(E::MissingBranch),
            },
            (Kind::Array(wi), Kind::Array(ri)) => {
                Step::Array { item: self.pair(*wi, *ri, depth)?, zero_width: zero_width(writer, *wi) }
            }
            (Kind::Map(wv), Kind::Map(rv)) => Step::Map { value: self.pair(*wv, *rv, depth)? },
            (wk, rk) if std::mem::discriminant(wk) == std::mem::discriminant(rk) && !same_name(rk, wk) => {
                Step::Fail(E::NameMismatch)
            }
            (Kind::Fixed(wf), Kind::Fixed(rf)) if wf.size == rf.size => Step::Fixed(wf.size),
            (Kind::Fixed(_), Kind::Fixed(_)) => Step::Fail(E::FixedSizeMismatch),
            (Kind::Enum(we), Kind::Enum(re)) => Step::Enum(symbols(we, re)),
            (Kind::Record(wr), Kind::Record(rr)) => self.record(wr, rr, depth)?,
            (wk, rk) => primitive(wk, rk),
        })
    }

    /// The reader's branch for one of the writer's types.
    fn choose(&mut self, w: NodeId, branches: &[NodeId]) -> Result<Option<usize>, CompatError> {
        let (writer, reader) = (self.writer, self.reader);
        let wk = writer.kind(w);
        let (full, types) = (|k: &Kind| k.name().map(|n| n.full().to_owned()), &self.types);
        let rank = |rk: &Kind| {
            let same_kind = std::mem::discriminant(wk) == std::mem::discriminant(rk);
            // An alias says what a type was called before; where the writer has the type under its new name, too, it
            // says nothing: a schema reads its own data branch by branch.
            let was = || full(wk).is_some_and(|name| rk.aliases().contains(&name));
            let by_full_name =
                full(wk) == full(rk) || (was() && !rk.name().is_some_and(|name| types.contains(name.full())));
            match (same_kind, by_full_name) {
                (true, true) => Some(0),
                (true, false) if same_name(rk, wk) => Some(1),
                (false, _) if promotes(wk, rk) => Some(2),
                _ => None,
            }
        };
        let mut best: Option<((bool, u8), usize)> = None;
        for (i, branch) in branches.iter().enumerate() {
            if let Some(rank) = rank(reader.kind(*branch)) {
                let key = (!self.checked.compatible(*branch, w)?, rank);
                if best.is_none_or(|(other, _)| key < other) {
                    best = Some((key, i));
                }
            }
        }
        Ok(best.map(|(_, i)| i))
    }

    fn record(&mut self, wr: &Record, rr: &Record, depth: usize) -> Result<Step, CompatError> {
        let target: Vec<_> = wr.fields.iter().map(|field| place(&field.name, wr, rr)).collect();
        let mut defaults = Vec::new();
        for (i, field) in rr.fields.iter().enumerate() {
            match (target.iter().filter(|t| **t == Some(i)).count(), &field.default) {
                (1, _) => {}
                (0, Some(json)) => match default::text(self.reader, field.ty, json, &mut self.steps) {
                    Some(text) => defaults.push((i as u32, Arc::<str>::from(text))),
                    None => return Ok(Step::Fail(E::BadDefault)),
                },
                (0, None) => return Ok(Step::Fail(E::MissingDefault)),
                _ => return Ok(Step::Fail(E::AmbiguousAlias)),
            }
        }
        let mut ops = Vec::with_capacity(wr.fields.len() + defaults.len());
        let mut defaults = defaults.into_iter().peekable();
        for (field, target) in wr.fields.iter().zip(target) {
            let Some(target) = target else {
                ops.push(Op::Skip(self.skipped(field.ty, depth)?));
                continue;
            };
            while let Some((field, json)) = defaults.next_if(|(d, _)| (*d as usize) < target) {
                ops.push(Op::Default { field, json });
            }
            ops.push(Op::Read { field: target as u32, step: self.pair(field.ty, rr.fields[target].ty, depth)? });
        }
        ops.extend(defaults.map(|(field, json)| Op::Default { field, json }));
        let in_order = ops.iter().filter_map(Op::field).is_sorted();
        Ok(Step::Record(RecordStep { ops: ops.into(), codes: Box::default(), in_order }))
    }

    /// Steps for a type that only the writer has.
    fn skipped(&mut self, w: NodeId, depth: usize) -> Result<StepId, CompatError> {
        if let Some(id) = self.skips.get(&w) {
            return Ok(*id);
        }
        let id = self.reserve(w, depth)?;
        self.skips.insert(w, id);
        let (writer, depth) = (self.writer, depth + 1);
        self.nodes[id.0 as usize].step = match writer.kind(w) {
            Kind::Union(branches) => {
                Step::FromUnion(branches.iter().map(|b| self.skipped(*b, depth)).collect::<Result<_, _>>()?)
            }
            Kind::Array(item) => {
                Step::Array { item: self.skipped(*item, depth)?, zero_width: zero_width(writer, *item) }
            }
            Kind::Map(value) => Step::Map { value: self.skipped(*value, depth)? },
            Kind::Fixed(fixed) => Step::Fixed(fixed.size),
            Kind::Enum(e) => Step::Enum((0..e.symbols.len() as u32).map(Some).collect()),
            Kind::Record(record) => {
                let fields = record.fields.iter().map(|f| self.skipped(f.ty, depth).map(Op::Skip));
                let ops = fields.collect::<Result<_, _>>()?;
                Step::Record(RecordStep { ops, codes: Box::default(), in_order: true })
            }
            kind => primitive(kind, kind),
        };
        Ok(id)
    }
}

impl Op {
    /// The reader's field that it fills.
    pub(crate) fn field(&self) -> Option<u32> {
        match self {
            Self::Read { field, .. } | Self::Default { field, .. } => Some(*field),
            Self::Skip(_) => None,
        }
    }
}

/// The reader's field for one of the writer's. An alias speaks before a name, for it says what the writer's field is
/// called here; unless the writer has a field of that name beside it, and the reader both.
fn place(name: &String, writer: &Record, reader: &Record) -> Option<usize> {
    let (named, aliased) = (reader.position(name), reader.fields.iter().rposition(|f| f.aliases.contains(name)));
    match (named, aliased) {
        (Some(named), Some(aliased)) if writer.position(&reader.fields[aliased].name).is_some() => Some(named),
        (named, aliased) => aliased.or(named),
    }
}

fn symbols(writer: &Enum, reader: &Enum) -> Box<[Option<u32>]> {
    let position = |symbol: &String| reader.symbols.iter().position(|s| s == symbol).map(|i| i as u32);
    let default = reader.default.as_ref().and_then(position);
    writer.symbols.iter().map(|s| position(s).or(default)).collect()
}

fn primitive(writer: &Kind, reader: &Kind) -> Step {
    match (writer, reader) {
        (Kind::Null, Kind::Null) => Step::Null,
        (Kind::Boolean, Kind::Boolean) => Step::Boolean,
        (Kind::Int, Kind::Int) => Step::Int,
        (Kind::Long, Kind::Long) => Step::Long,
        (Kind::Float, Kind::Float) => Step::Float,
        (Kind::Double, Kind::Double) => Step::Double,
        (Kind::Bytes, Kind::Bytes) => Step::Bytes,
        (Kind::String, Kind::String) => Step::String,
        (Kind::Int, Kind::Long) => Step::IntToLong,
        (Kind::Int, Kind::Float) => Step::IntToFloat,
        (Kind::Int, Kind::Double) => Step::IntToDouble,
        (Kind::Long, Kind::Float) => Step::LongToFloat,
        (Kind::Long, Kind::Double) => Step::LongToDouble,
        (Kind::Float, Kind::Double) => Step::FloatToDouble,
        (Kind::String, Kind::Bytes) => Step::StringToBytes,
        (Kind::Bytes, Kind::String) => Step::BytesToString,
        _ => Step::Fail(E::TypeMismatch),
    }
}

/// Whether values of a type have no bytes at all. A record that contains itself directly has infinitely many.
fn zero_width(schema: &Schema, id: NodeId) -> bool {
    fn walk(schema: &Schema, id: NodeId, open: &mut Vec<NodeId>) -> bool {
        match schema.kind(id) {
            Kind::Null => true,
            Kind::Fixed(fixed) => fixed.size == 0,
            Kind::Record(_) if open.contains(&id) => false,
            Kind::Record(record) => {
                open.push(id);
                let all = record.fields.iter().all(|f| walk(schema, f.ty, open));
                open.pop();
                all
            }
            _ => false,
        }
    }
    walk(schema, id, &mut Vec::new())
}

/// Steps that copy what they read: at first all that look so by themselves, then fewer, until nothing changes.
fn mark_same(nodes: &mut [StepNode]) {
    let mut same: Vec<bool> = (0..nodes.len()).map(|i| looks_same(nodes, i)).collect();
    loop {
        let mut changed = false;
        for i in 0..nodes.len() {
            let all = |ids: &[StepId]| ids.iter().all(|id| same[id.0 as usize]);
            let still = match &nodes[i].step {
                Step::Array { item: inner, .. } | Step::Map { value: inner } => all(&[*inner]),
                Step::IntoUnion { value, .. } => all(&[*value]),
                Step::FromUnion(branches) => all(branches),
                Step::Record(record) => record.ops.iter().all(|op| match op {
                    Op::Read { step, .. } => all(&[*step]),
                    _ => false,
                }),
                _ => true,
            };
            if same[i] && !still {
                same[i] = false;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    for (node, same) in nodes.iter_mut().zip(same) {
        // A branch alone is not the encoding of a union, only the whole union is.
        node.same = same && !matches!(node.step, Step::IntoUnion { .. });
    }
}

fn looks_same(nodes: &[StepNode], i: usize) -> bool {
    match &nodes[i].step {
        Step::Enum(symbols) => symbols.iter().enumerate().all(|(i, s)| *s == Some(i as u32)),
        Step::FromUnion(branches) => branches
            .iter()
            .enumerate()
            .all(|(i, id)| matches!(nodes[id.0 as usize].step, Step::IntoUnion { branch, .. } if branch == i)),
        Step::Record(record) => {
            record.ops.iter().enumerate().all(|(i, op)| matches!(op, Op::Read { field, .. } if *field as usize == i))
        }
        Step::Null | Step::Boolean | Step::Int | Step::Long | Step::Float | Step::Double => true,
        Step::Bytes | Step::String | Step::Fixed(_) | Step::Array { .. } | Step::Map { .. } => true,
        Step::IntoUnion { .. } => true,
        _ => false,
    }
}
