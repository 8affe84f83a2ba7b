//! Whether a JSON default is a value of its type, as Java's parser checks it.

use super::{Kind, NodeId, Schema};
use serde_json::Value as Json;

/// Levels of nested defaults that are followed: a record may take its missing parts from its own fields' defaults,
/// without end if the schema is recursive.
const DEPTH_MAX: usize = 64;

/// Values that one schema's or plan's defaults may have in all. Two recursive fields would make 2^64 of them.
pub(crate) struct Steps(usize);

impl Steps {
    /// As many as any schema that is meant to be read needs.
    pub fn new() -> Self {
        Self(1_000_000)
    }

    /// One more; `false`: there were too many.
    pub fn take(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

impl Schema {
    /// Whether `json` is a value of `ty` in the notation of defaults: union branches untagged, bytes as text.
    pub(super) fn fits(&self, ty: NodeId, json: &Json, depth: usize, steps: &mut Steps) -> bool {
        if depth > DEPTH_MAX || !steps.take() {
            return false;
        }
        match (self.kind(ty), json) {
            (Kind::Null, Json::Null) | (Kind::Boolean, Json::Bool(_)) => true,
            (Kind::Int, Json::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Kind::Long, Json::Number(n)) => n.as_i64().is_some(),
            (Kind::Float | Kind::Double, Json::Number(_)) => true,
            (Kind::Bytes | Kind::String | Kind::Enum(_) | Kind::Fixed(_), Json::String(_)) => true,
            (Kind::Array(items), Json::Array(values)) => values.iter().all(|v| self.fits(*items, v, depth + 1, steps)),
            (Kind::Map(values), Json::Object(entries)) => {
                entries.values().all(|v| self.fits(*values, v, depth + 1, steps))
            }
            (Kind::Union(branches), json) => branches.iter().any(|b| self.fits(*b, json, depth + 1, steps)),
            (Kind::Record(record), Json::Object(entries)) => record.fields.iter().all(|field| {
                let value = entries.get(&field.name).or(field.default.as_ref());
                value.is_some_and(|v| self.fits(field.ty, v, depth + 1, steps))
            }),
            _ => false,
        }
    }
}

/// The branch of a union that a default belongs to: the first that it fits.
pub(crate) fn default_branch(schema: &Schema, branches: &[NodeId], json: &Json, steps: &mut Steps) -> Option<usize> {
    branches.iter().position(|b| schema.fits(*b, json, 0, steps))
}
