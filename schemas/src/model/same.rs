//! Whether two definitions of one name say the same.

use super::{Kind, NodeId, Schema};
use std::collections::BTreeSet;

/// Equal but for docs, aliases and an enum's default, as Java compares.
pub(super) fn same(schema: &Schema, a: NodeId, b: NodeId) -> bool {
    equal(schema, a, b, &mut BTreeSet::new())
}

fn equal(schema: &Schema, a: NodeId, b: NodeId, open: &mut BTreeSet<(NodeId, NodeId)>) -> bool {
    // A pair that was met before is judged there.
    if a == b || !open.insert((a, b)) {
        return true;
    }
    let (first, second) = (schema.kind(a), schema.kind(b));
    if first.label() != second.label() || schema.node(a).logical != schema.node(b).logical {
        return false;
    }
    match (first, second) {
        (Kind::Array(x), Kind::Array(y)) | (Kind::Map(x), Kind::Map(y)) => equal(schema, *x, *y, open),
        (Kind::Union(x), Kind::Union(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(schema, *x, *y, open))
        }
        (Kind::Fixed(x), Kind::Fixed(y)) => x.size == y.size,
        (Kind::Enum(x), Kind::Enum(y)) => x.symbols == y.symbols,
        (Kind::Record(x), Kind::Record(y)) => {
            x.fields.len() == y.fields.len()
                && x.fields
                    .iter()
                    .zip(&y.fields)
                    .all(|(x, y)| x.name == y.name && x.default == y.default && equal(schema, x.ty, y.ty, open))
        }
        _ => std::mem::discriminant(first) == std::mem::discriminant(second),
    }
}
