//! A default of a reader's field in Avro's JSON encoding: in schemas union branches are untagged and parts of records may
//! be left to their own fields' defaults.

use crate::{
    json::{write_bytes, write_decimal, write_double, write_float, write_text},
    model::{Kind, Logical, NodeId, Schema, Steps, default_branch},
};
use serde_json::Value as Json;

const DEPTH_MAX: usize = 64;

/// The text; `None` if the default is no value after all: an unknown symbol, a fixed of another size,
/// more values than `steps`.
pub(super) fn text(schema: &Schema, ty: NodeId, json: &Json, steps: &mut Steps) -> Option<String> {
    let mut out = String::new();
    write(schema, ty, json, &mut out, 0, steps)?;
    Some(out)
}

fn write(schema: &Schema, ty: NodeId, json: &Json, out: &mut String, depth: usize, steps: &mut Steps) -> Option<()> {
    if depth > DEPTH_MAX || !steps.take() {
        return None;
    }
    match (schema.kind(ty), json) {
        (Kind::Null, Json::Null) => out.push_str("null"),
        (Kind::Boolean, Json::Bool(b)) => out.push_str(if *b { "true" } else { "false" }),
        (Kind::Int | Kind::Long, Json::Number(n)) => out.push_str(&n.as_i64()?.to_string()),
        (Kind::Float, Json::Number(n)) => write_float(n.as_f64()? as f32, out),
        (Kind::Double, Json::Number(n)) => write_double(n.as_f64()?, out),
        (Kind::String, Json::String(text)) => write_text(text, out),
        (Kind::Bytes, Json::String(text)) => binary(schema, ty, text, None, out)?,
        (Kind::Fixed(fixed), Json::String(text)) => binary(schema, ty, text, Some(fixed.size), out)?,
        (Kind::Enum(e), Json::String(text)) => e.symbols.contains(text).then(|| write_text(text, out))?,
        (Kind::Array(items), Json::Array(values)) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                comma(i, out);
                write(schema, *items, value, out, depth + 1, steps)?;
            }
            out.push(']');
        }
        (Kind::Map(inner), Json::Object(entries)) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                comma(i, out);
                write_text(key, out);
                out.push(':');
                write(schema, *inner, value, out, depth + 1, steps)?;
            }
            out.push('}');
        }
        (Kind::Record(record), Json::Object(entries)) => {
            out.push('{');
            for (i, field) in record.fields.iter().enumerate() {
                comma(i, out);
                write_text(&field.name, out);
                out.push(':');
                let value = entries.get(&field.name).or(field.default.as_ref())?;
                write(schema, field.ty, value, out, depth + 1, steps)?;
            }
            out.push('}');
        }
        (Kind::Union(branches), json) => {
            let branch = branches[default_branch(schema, branches, json, steps)?];
            if let Kind::Null = schema.kind(branch) {
                out.push_str("null");
            } else {
                out.push('{');
                write_text(schema.kind(branch).label(), out);
                out.push(':');
                write(schema, branch, json, out, depth + 1, steps)?;
                out.push('}');
            }
        }
        _ => return None,
    }
    Some(())
}

/// Bytes stand in a schema as text whose code points are the bytes.
fn binary(schema: &Schema, ty: NodeId, text: &str, size: Option<usize>, out: &mut String) -> Option<()> {
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<_>>()?;
    if size.is_some_and(|size| size != bytes.len()) {
        return None;
    }
    match schema.node(ty).logical {
        Some(Logical::Decimal { scale, .. }) => write_decimal(&bytes, scale, out)?,
        _ => write_bytes(&bytes, out),
    }
    Some(())
}

fn comma(i: usize, out: &mut String) {
    if i > 0 {
        out.push(',');
    }
}
