//! The walk over a pair of schemas, in the order and with the memory of Java's checker: a pair of types is judged once;
//! met again while it is being judged, it counts as compatible.

use super::{CompatError, Incompatibility, IncompatibilityKind as K, LISTED_MAX, PAIRS_MAX, explain};
use crate::model::{Enum, Field, Kind, NodeId, Record, Schema};
use std::{collections::HashMap, rc::Rc};

pub(super) const DEPTH_MAX: usize = 512;

type Pair = (NodeId, NodeId);
type Found = Rc<Vec<Incompatibility>>;

/// The verdict on a pair of schemas and on every pair of their types that it depends on.
pub struct Checked<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    /// `None`: being judged.
    known: HashMap<Pair, Option<Found>>,
    found: Found,
}

impl<'s> Checked<'s> {
    /// Judges the pair.
    ///
    /// # Errors
    /// It is too large or too deep.
    pub fn new(reader: &'s Schema, writer: &'s Schema) -> Result<Self, CompatError> {
        let mut checked = Self { reader, writer, known: HashMap::new(), found: Rc::default() };
        checked.found = checked.pair((reader.root(), writer.root()), &Pointer::ROOT, 0)?;
        Ok(checked)
    }

    /// What is wrong with the whole.
    pub fn incompatibilities(&self) -> Vec<Incompatibility> {
        self.found.to_vec()
    }

    /// Whether one type of the reader can read one of the writer; judged now if it was not before.
    ///
    /// # Errors
    /// As [`Checked::new`].
    pub fn compatible(&mut self, reader: NodeId, writer: NodeId) -> Result<bool, CompatError> {
        self.pair((reader, writer), &Pointer::ROOT, 0).map(|found| found.is_empty())
    }

    fn pair(&mut self, pair: Pair, at: &Pointer<'_>, depth: usize) -> Result<Found, CompatError> {
        match self.known.get(&pair) {
            Some(Some(found)) => return Ok(found.clone()),
            Some(None) => return Ok(Rc::default()),
            None => {}
        }
        if depth > DEPTH_MAX {
            return Err(CompatError::TooDeep);
        }
        if self.known.len() >= PAIRS_MAX {
            return Err(CompatError::TooLarge);
        }
        self.known.insert(pair, None);
        let mut found = self.judge(pair, at, depth + 1)?;
        found.truncate(LISTED_MAX);
        let found = Rc::new(found);
        self.known.insert(pair, Some(found.clone()));
        Ok(found)
    }

    fn judge(&mut self, pair: Pair, at: &Pointer<'_>, depth: usize) -> Result<Vec<Incompatibility>, CompatError> {
        let (reader, writer) = (self.reader, self.writer);
        let (r, w) = (reader.kind(pair.0), writer.kind(pair.1));
        match (r, w) {
            (Kind::Union(_), Kind::Union(branches)) => self.writer_branches(pair.0, branches, at, depth),
            (_, Kind::Union(branches)) => {
                let mut all = Vec::new();
                for (i, branch) in branches.iter().enumerate() {
                    let found = self.pair((pair.0, *branch), &at.then(&i.to_string()), depth)?;
                    extend(&mut all, &found, &segment(writer, *branch));
                }
                Ok(all)
            }
            (Kind::Union(branches), _) => self.reader_branches(branches, pair.1, at, depth),
            (Kind::Array(r), Kind::Array(w)) => self.inside((*r, *w), "items", "[]", at, depth),
            (Kind::Map(r), Kind::Map(w)) => self.inside((*r, *w), "values", "{}", at, depth),
            (Kind::Fixed(rf), Kind::Fixed(wf)) => {
                let mut all = names(r, w, at);
                if rf.size != wf.size {
                    let why = explain::fixed_size(rf.size, wf.size);
                    all.push(incompatibility(K::FixedSizeMismatch, &at.then("size"), why));
                }
                Ok(all)
            }
            (Kind::Enum(re), Kind::Enum(we)) => {
                let mut all = names(r, w, at);
                all.extend(symbols(re, we, at));
                Ok(all)
            }
            (Kind::Record(rr), Kind::Record(wr)) => {
                let mut all = names(r, w, at);
                self.fields(rr, wr, pair.1, at, depth, &mut all)?;
                Ok(all)
            }
            _ if promotes(w, r) => Ok(vec![]),
            _ => Ok(vec![incompatibility(K::TypeMismatch, at, explain::type_mismatch(r, w))]),
        }
    }

    fn inside(
        &mut self,
        pair: Pair,
        token: &str,
        segment: &str,
        at: &Pointer<'_>,
        depth: usize,
    ) -> Result<Vec<Incompatibility>, CompatError> {
        let found = self.pair(pair, &at.then(token), depth)?;
        let mut all = Vec::new();
        extend(&mut all, &found, segment);
        Ok(all)
    }

    fn fields(
        &mut self,
        reader: &Record,
        writer: &Record,
        writer_id: NodeId,
        at: &Pointer<'_>,
        depth: usize,
        all: &mut Vec<Incompatibility>,
    ) -> Result<(), CompatError> {
        let at_fields = at.then("fields");
        for (i, field) in reader.fields.iter().enumerate() {
            let token = i.to_string();
            let at_field = at_fields.then(&token);
            let at_type = at_field.then("type");
            let segment = format!(".{}", field.name);
            match writer_fields(writer, field)[..] {
                [one] => {
                    let found = self.pair((field.ty, writer.fields[one].ty), &at_type, depth)?;
                    extend(all, &found, &segment);
                }
                [] if field.default.is_some() => {}
                [] => {
                    if let Kind::Enum(Enum { default: Some(_), .. }) = self.reader.kind(field.ty) {
                        // Java compares the enum with the writer's whole record here, which never fits.
                        let found = self.pair((field.ty, writer_id), &at_type, depth)?;
                        extend(all, &found, &segment);
                    } else {
                        let why = explain::missing_default(self.reader, reader, field, self.writer, writer);
                        extend(all, &[incompatibility(K::ReaderFieldMissingDefaultValue, &at_field, why)], &segment);
                    }
                }
                ref many => {
                    let names: Vec<_> = many.iter().map(|w| writer.fields[*w].name.as_str()).collect();
                    let why = explain::ambiguous_alias(field, &names);
                    extend(all, &[incompatibility(K::AmbiguousAlias, &at_field, why)], &segment);
                }
            }
        }
        Ok(())
    }

    /// Every branch that the writer may use must be readable.
    fn writer_branches(
        &mut self,
        reader: NodeId,
        branches: &[NodeId],
        at: &Pointer<'_>,
        depth: usize,
    ) -> Result<Vec<Incompatibility>, CompatError> {
        let mut all = Vec::new();
        for (i, branch) in branches.iter().enumerate() {
            let token = i.to_string();
            let found = self.pair((reader, *branch), &Pointer::ROOT, depth)?;
            extend(&mut all, &thrown(&found), &segment(self.writer, *branch));
            if let Some(first) = found.first() {
                let why = (first.why.clone(), first.fix.clone());
                extend(
                    &mut all,
                    &[incompatibility(K::MissingUnionBranch, &at.then(&token), why)],
                    &segment(self.writer, *branch),
                );
            }
        }
        Ok(all)
    }

    /// One branch of the reader must be able to read the writer's type.
    fn reader_branches(
        &mut self,
        branches: &[NodeId],
        writer: NodeId,
        at: &Pointer<'_>,
        depth: usize,
    ) -> Result<Vec<Incompatibility>, CompatError> {
        let mut nearest: Option<Found> = None;
        for branch in branches {
            let found = self.pair((*branch, writer), &Pointer::ROOT, depth)?;
            if found.is_empty() {
                return Ok(vec![]);
            }
            let thrown = thrown(&found);
            if !thrown.is_empty() {
                return Ok(thrown);
            }
            if std::mem::discriminant(self.reader.kind(*branch)) == std::mem::discriminant(self.writer.kind(writer)) {
                nearest = Some(found);
            }
        }
        let labels: Vec<_> = branches.iter().map(|b| self.reader.kind(*b).label()).collect();
        let nearest = nearest.as_deref().map_or(&[][..], Vec::as_slice);
        let why = explain::missing_branch(self.writer.kind(writer).label(), &labels, nearest);
        Ok(vec![incompatibility(K::MissingUnionBranch, at, why)])
    }
}

/// Java's pointer to a place, kept on the stack.
struct Pointer<'p> {
    outer: Option<&'p Pointer<'p>>,
    token: &'p str,
}

impl<'p> Pointer<'p> {
    const ROOT: Pointer<'static> = Pointer { outer: None, token: "" };

    fn then<'q>(&'q self, token: &'q str) -> Pointer<'q> {
        Pointer { outer: Some(self), token }
    }

    fn text(&self) -> String {
        match self.outer {
            None => "/".to_owned(),
            Some(Pointer { outer: None, .. }) => format!("/{}", self.token),
            Some(outer) => format!("{}/{}", outer.text(), self.token),
        }
    }
}

/// The fields of the writer that a reader's field may be: its name and its aliases, each looked up.
pub(crate) fn writer_fields(writer: &Record, field: &Field) -> Vec<usize> {
    let names = std::iter::once(&field.name).chain(&field.aliases);
    names.filter_map(|name| writer.position(name)).collect()
}

/// Whether named types go by one name: unqualified, or by the reader's alias.
pub(crate) fn same_name(reader: &Kind, writer: &Kind) -> bool {
    match (reader.name(), writer.name()) {
        (Some(r), Some(w)) => r.short() == w.short() || reader.aliases().iter().any(|a| a == w.full()),
        _ => true,
    }
}

/// Whether a value of one primitive type can be read as another.
pub(crate) fn promotes(writer: &Kind, reader: &Kind) -> bool {
    use Kind::{Boolean, Bytes, Double, Float, Int, Long, Null, String};
    matches!(
        (writer, reader),
        (Null, Null)
            | (Boolean, Boolean)
            | (Int, Int | Long | Float | Double)
            | (Long, Long | Float | Double)
            | (Float, Float | Double)
            | (Double, Double)
            | (Bytes | String, Bytes | String)
    )
}

fn names(reader: &Kind, writer: &Kind, at: &Pointer<'_>) -> Vec<Incompatibility> {
    if same_name(reader, writer) {
        return vec![];
    }
    vec![incompatibility(K::NameMismatch, &at.then("name"), explain::name_mismatch(reader, writer))]
}

fn symbols(reader: &Enum, writer: &Enum, at: &Pointer<'_>) -> Option<Incompatibility> {
    let mut missing: Vec<_> =
        writer.symbols.iter().filter(|s| !reader.symbols.contains(s)).map(String::as_str).collect();
    missing.sort_unstable();
    if missing.is_empty() || reader.default.is_some() {
        return None;
    }
    Some(incompatibility(K::MissingEnumSymbols, &at.then("symbols"), explain::missing_symbols(reader, &missing)))
}

/// What ends Java's check with an exception, even inside a branch that another one would make up for.
fn thrown(found: &[Incompatibility]) -> Vec<Incompatibility> {
    found.iter().filter(|i| i.kind == K::AmbiguousAlias).cloned().collect()
}

fn segment(schema: &Schema, branch: NodeId) -> String {
    let kind = schema.kind(branch);
    format!("<{}>", kind.name().map_or(kind.word(), |n| n.short()))
}

fn extend(all: &mut Vec<Incompatibility>, found: &[Incompatibility], segment: &str) {
    let room = LISTED_MAX.saturating_sub(all.len());
    all.extend(found.iter().take(room).map(|i| {
        let rest = i.path.strip_prefix('$').unwrap_or(&i.path);
        Incompatibility { path: format!("${segment}{rest}"), ..i.clone() }
    }));
}

fn incompatibility(kind: K, at: &Pointer<'_>, (why, fix): explain::Why) -> Incompatibility {
    Incompatibility { kind, path: "$".to_owned(), pointer: at.text(), why, fix }
}
