//! Habits of schemas that no compatibility level knows: what is legal and still costs money or data later.

use crate::{
    compat::{same_name, writer_fields},
    model::{Field, Kind, Logical, NodeId, Record, Schema},
};
use names::{is_money, unit};
use serde_json::Value as Json;
use std::{collections::BTreeSet, fmt};

#[path = "lint_names.rs"]
mod names;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintLevel {
    /// Worth a look.
    Warn,
    /// Against the house rules: with a policy it fails the check.
    Deny,
}

impl LintLevel {
    /// Stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// Stable name of the rule.
    pub rule: &'static str,
    /// How bad it is.
    pub level: LintLevel,
    /// Where, by names.
    pub path: String,
    /// What is wrong and what it leads to.
    pub message: String,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}: {}", self.level.as_str(), self.rule, self.path, self.message)
    }
}

/// What is wrong with one schema by itself.
pub fn schema(schema: &Schema) -> Vec<Lint> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    walk(schema, schema.root(), "$", &mut seen, &mut |path, id| one(schema, path, id, &mut found));
    found
}

/// What is wrong with replacing `old` by `new` on a topic. `key`: it is the schema of the records' keys.
pub fn change(old: &Schema, new: &Schema, key: bool) -> Vec<Lint> {
    let mut found = Vec::new();
    if key && old.fingerprint() != new.fingerprint() {
        let message = "the key's schema changes, so the same key becomes other bytes and another partition: order and \
                       compaction per key are lost";
        found.push(lint("key_schema_change", LintLevel::Deny, "$", message));
    }
    pair(old, old.root(), new, new.root(), "$", &mut BTreeSet::new(), &mut found);
    found
}

fn lint(rule: &'static str, level: LintLevel, path: &str, message: impl Into<String>) -> Lint {
    Lint { rule, level, path: path.to_owned(), message: message.into() }
}

/// Every type once, with the path of its first place.
fn walk(schema: &Schema, id: NodeId, path: &str, seen: &mut BTreeSet<NodeId>, visit: &mut impl FnMut(&str, NodeId)) {
    if !seen.insert(id) {
        return;
    }
    visit(path, id);
    match schema.kind(id) {
        Kind::Array(item) => walk(schema, *item, &format!("{path}[]"), seen, visit),
        Kind::Map(value) => walk(schema, *value, &format!("{path}{{}}"), seen, visit),
        Kind::Union(branches) => {
            for branch in branches {
                let kind = schema.kind(*branch);
                let word = kind.name().map_or(kind.word(), |n| n.short());
                let path =
                    if branches.len() > 2 || kind.name().is_some() { format!("{path}<{word}>") } else { path.into() };
                walk(schema, *branch, &path, seen, visit);
            }
        }
        Kind::Record(record) => {
            for field in &record.fields {
                walk(schema, field.ty, &format!("{path}.{}", field.name), seen, visit);
            }
        }
        _ => {}
    }
}

fn one(schema: &Schema, path: &str, id: NodeId, found: &mut Vec<Lint>) {
    match schema.kind(id) {
        Kind::Enum(e) if e.default.is_none() => {
            let message =
                "an enum without a default symbol: every reader must be deployed before a new symbol is written";
            found.push(lint("enum_without_default", LintLevel::Warn, path, message));
        }
        Kind::Record(record) => {
            for field in &record.fields {
                field_lints(schema, record, field, &format!("{path}.{}", field.name), found);
            }
            let silent: Vec<_> = record.fields.iter().filter(|f| f.doc.is_empty()).map(|f| f.name.as_str()).collect();
            if !silent.is_empty() {
                let message = format!("no doc that says what it means and in which unit: {}", silent.join(", "));
                found.push(lint("missing_doc", LintLevel::Warn, path, message));
            }
        }
        _ => {}
    }
}

fn field_lints(schema: &Schema, record: &Record, field: &Field, path: &str, found: &mut Vec<Lint>) {
    if let Some(logical) = &field.misplaced_logical {
        let message = format!(
            "\"logicalType\": \"{logical}\" stands beside the type, where it is ignored; it belongs inside: \"type\": \
             {{\"type\": \"{}\", \"logicalType\": \"{logical}\"}}",
            schema.kind(field.ty).label()
        );
        found.push(lint("misplaced_logical_type", LintLevel::Warn, path, message));
    }
    if is_money(&field.name) && has_float(schema, field.ty, CONTAINERS_MAX) {
        let message = "floating point for money loses cents: use a long in micros or a decimal";
        found.push(lint("float_money", LintLevel::Deny, path, message));
    }
    if let (Kind::Union(branches), Some(Json::Null)) = (schema.kind(field.ty), &field.default)
        && !matches!(branches.first().map(|b| schema.kind(*b)), Some(Kind::Null))
    {
        let message = "a default of null whose union does not start with null: other implementations refuse it";
        found.push(lint("null_default_not_first", LintLevel::Warn, path, message));
    }
    for alias in &field.aliases {
        let also =
            record.fields.iter().any(|f| f.name == *alias || (f.name != field.name && f.aliases.contains(alias)));
        if also {
            let message = format!("the alias {alias} also names another field, so readers must guess");
            found.push(lint("ambiguous_alias", LintLevel::Deny, path, message));
        }
    }
}

/// Containers in containers that are looked into for a number; deeper is no amount.
const CONTAINERS_MAX: u32 = 8;

/// Whether the value is a binary fraction, or holds some in unions, arrays and maps. The fields of a record speak for
/// themselves.
fn has_float(schema: &Schema, id: NodeId, containers: u32) -> bool {
    let within = |id: &NodeId| containers > 0 && has_float(schema, *id, containers - 1);
    match schema.kind(id) {
        Kind::Float | Kind::Double => true,
        Kind::Array(inner) | Kind::Map(inner) => within(inner),
        Kind::Union(branches) => branches.iter().any(within),
        _ => false,
    }
}

fn alternatives(schema: &Schema, id: NodeId) -> Vec<NodeId> {
    match schema.kind(id) {
        Kind::Union(branches) => branches.clone(),
        _ => vec![id],
    }
}

fn pair(
    old: &Schema,
    o: NodeId,
    new: &Schema,
    n: NodeId,
    path: &str,
    seen: &mut BTreeSet<(NodeId, NodeId)>,
    found: &mut Vec<Lint>,
) {
    if !seen.insert((o, n)) {
        return;
    }
    meaning(old.node(o).logical, new.node(n).logical, path, found);
    match (old.kind(o), new.kind(n)) {
        (Kind::Array(o), Kind::Array(n)) => pair(old, *o, new, *n, &format!("{path}[]"), seen, found),
        (Kind::Map(o), Kind::Map(n)) => pair(old, *o, new, *n, &format!("{path}{{}}"), seen, found),
        (Kind::Record(or), Kind::Record(nr)) => records(old, or, new, nr, path, seen, found),
        (ok, nk) if matches!(ok, Kind::Union(_)) || matches!(nk, Kind::Union(_)) => {
            for o in alternatives(old, o) {
                let like = |n: &NodeId| {
                    let (ok, nk) = (old.kind(o), new.kind(*n));
                    std::mem::discriminant(ok) == std::mem::discriminant(nk) && same_name(nk, ok)
                };
                if let Some(n) = alternatives(new, n).into_iter().find(like) {
                    pair(old, o, new, n, path, seen, found);
                }
            }
        }
        _ => {}
    }
}

fn records(
    old: &Schema,
    or: &Record,
    new: &Schema,
    nr: &Record,
    path: &str,
    seen: &mut BTreeSet<(NodeId, NodeId)>,
    found: &mut Vec<Lint>,
) {
    let mut kept = BTreeSet::new();
    for field in &nr.fields {
        let path = format!("{path}.{}", field.name);
        if let [position] = writer_fields(or, field)[..] {
            let before = &or.fields[position];
            kept.insert(position);
            if before.name != field.name {
                let message = format!(
                    "renamed from {} by an alias: readers that still have the old schema lose it or stop",
                    before.name
                );
                found.push(lint("renamed_by_alias", LintLevel::Warn, &path, message));
                if unit(&before.name) != unit(&field.name) {
                    let message = format!(
                        "{} and {} count in other units, but the bytes stay the same: add a new field instead",
                        before.name, field.name
                    );
                    found.push(lint("unit_change", LintLevel::Deny, &path, message));
                }
            }
            pair(old, before.ty, new, field.ty, &path, seen, found);
        }
    }
    for (_, gone) in or.fields.iter().enumerate().filter(|(i, _)| !kept.contains(i)) {
        let message = "removed: consumers that read it get its default or stop; keep it and mark it as deprecated";
        found.push(lint("field_removed", LintLevel::Deny, &format!("{path}.{}", gone.name), message));
    }
}

fn meaning(old: Option<Logical>, new: Option<Logical>, path: &str, found: &mut Vec<Lint>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Logical::Decimal { scale: o, .. }), Some(Logical::Decimal { scale: n, .. })) if o != n => {
            let message = format!("the scale goes from {o} to {n}: the same bytes mean another amount of money");
            found.push(lint("decimal_scale_change", LintLevel::Deny, path, message));
        }
        (Some(Logical::Decimal { precision: o, .. }), Some(Logical::Decimal { precision: n, .. })) if n < o => {
            let message = format!("the precision falls from {o} to {n}: larger amounts that were written do not fit");
            found.push(lint("decimal_precision_change", LintLevel::Warn, path, message));
        }
        (Some(Logical::Decimal { .. }), Some(Logical::Decimal { .. })) => {}
        (Some(o), Some(n)) => {
            let message = format!("{} becomes {}: the same number means another time", o.word(), n.word());
            found.push(lint("unit_change", LintLevel::Deny, path, message));
        }
        (o, n) => {
            let word = |l: Option<Logical>| l.map_or("none", Logical::word);
            let message = format!(
                "logical type {} becomes {}: some readers then get another type in their code",
                word(o),
                word(n)
            );
            found.push(lint("logical_type_change", LintLevel::Warn, path, message));
        }
    }
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
