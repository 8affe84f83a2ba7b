//! Text to datum: a JSON value as people and files have it becomes the bytes of a schema. Union branches may be tagged with
//! their full name, as Avro's JSON encoding has them, or not; a field that is absent takes its default. Everything that does
//! not fit is said with its place.

use serde_json::{Map, Number, Value as Json};

use crate::codec::write_long;
use crate::model::{Kind, Logical, NodeId, Record, Schema};

/// Levels that a value may nest: defaults of a recursive schema could nest without end.
const DEPTH_MAX: usize = 32;

/// A value that does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", if .path.is_empty() { "the value" } else { .path })]
pub struct EncodeJsonError {
    /// Where: `after.countries[2]`; empty for the value itself.
    pub path: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl EncodeJsonError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        "json_unfit"
    }

    fn new(what: impl Into<String>) -> Self {
        Self { path: String::new(), what: what.into() }
    }

    fn within(mut self, step: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{step}{joint}{}", self.path);
        self
    }
}

type Encoded = Result<(), EncodeJsonError>;

/// Appends a value as a bare datum of `schema`.
///
/// # Errors
/// The value does not fit; what was appended by then is of no use.
pub fn encode(schema: &Schema, json: &Json, out: &mut Vec<u8>) -> Encoded {
    value(schema, schema.root(), json, out, 0)
}

fn value(schema: &Schema, ty: NodeId, json: &Json, out: &mut Vec<u8>, depth: usize) -> Encoded {
    if depth > DEPTH_MAX {
        return Err(EncodeJsonError::new(format!("nests deeper than {DEPTH_MAX}")));
    }
    let node = schema.node(ty);
    let unfit = || EncodeJsonError::new(format!("expected {}, found {}", expected(&node.kind), found(json)));
    match (&node.kind, json) {
        (Kind::Null, Json::Null) => {}
        (Kind::Boolean, Json::Bool(value)) => out.push(u8::from(*value)),
        (Kind::Int, Json::Number(n)) => {
            write_long(out, n.as_i64().and_then(|n| i32::try_from(n).ok()).map(i64::from).ok_or_else(unfit)?);
        }
        (Kind::Long, Json::Number(n)) => write_long(out, n.as_i64().ok_or_else(unfit)?),
        (Kind::Float, json) => {
            let float = float(json).ok_or_else(unfit)? as f32;
            out.extend_from_slice(&float.to_le_bytes());
        }
        (Kind::Double, json) => out.extend_from_slice(&float(json).ok_or_else(unfit)?.to_le_bytes()),
        (Kind::String, Json::String(text)) => sized(text.as_bytes(), out),
        (Kind::Bytes | Kind::Fixed(_), Json::String(text)) => {
            if let Some(Logical::Decimal { .. }) = node.logical {
                return Err(EncodeJsonError::new("decimals cannot be given as JSON"));
            }
            let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            let bytes = bytes.ok_or_else(|| EncodeJsonError::new("bytes are text of code points up to 255"))?;
            match &node.kind {
                Kind::Fixed(fixed) if fixed.size == bytes.len() => out.extend_from_slice(&bytes),
                Kind::Fixed(fixed) => {
                    return Err(EncodeJsonError::new(format!("expected {} bytes, found {}", fixed.size, bytes.len())));
                }
                _ => sized(&bytes, out),
            }
        }
        (Kind::Enum(e), Json::String(symbol)) => {
            let index = e.symbols.iter().position(|known| known == symbol);
            let known = || EncodeJsonError::new(format!("`{symbol}` is none of {}", e.symbols.join(", ")));
            write_long(out, index.ok_or_else(known)? as i64);
        }
        (Kind::Array(item), Json::Array(values)) => array(schema, *item, values, out, depth)?,
        (Kind::Map(ty), Json::Object(entries)) => map(schema, *ty, entries, out, depth)?,
        (Kind::Union(branches), json) => union(schema, branches, json, out, depth)?,
        (Kind::Record(record), Json::Object(entries)) => fields(schema, record, entries, out, depth)?,
        _ => return Err(unfit()),
    }
    Ok(())
}

fn array(schema: &Schema, item: NodeId, values: &[Json], out: &mut Vec<u8>, depth: usize) -> Encoded {
    if !values.is_empty() {
        write_long(out, values.len() as i64);
    }
    for (index, json) in values.iter().enumerate() {
        value(schema, item, json, out, depth + 1).map_err(|error| error.within(&format!("[{index}]")))?;
    }
    write_long(out, 0);
    Ok(())
}

fn map(schema: &Schema, ty: NodeId, entries: &Map<String, Json>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    if !entries.is_empty() {
        write_long(out, entries.len() as i64);
    }
    for (key, json) in entries {
        sized(key.as_bytes(), out);
        value(schema, ty, json, out, depth + 1).map_err(|error| error.within(key))?;
    }
    write_long(out, 0);
    Ok(())
}

fn fields(schema: &Schema, record: &Record, entries: &Map<String, Json>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    if let Some(unknown) = entries.keys().find(|key| record.position(key).is_none()) {
        let known: Vec<&str> = record.fields.iter().map(|field| field.name.as_str()).collect();
        return Err(EncodeJsonError::new(format!("`{unknown}` is no field; there are {}", known.join(", "))));
    }
    for field in &record.fields {
        let json = entries.get(&field.name).or(field.default.as_ref());
        let json = json.ok_or_else(|| EncodeJsonError::new("is missing and has no default").within(&field.name))?;
        value(schema, field.ty, json, out, depth + 1).map_err(|error| error.within(&field.name))?;
    }
    Ok(())
}

/// A tagged value first: an object whose one key is the name of a branch. Else the first branch that takes the value; if
/// none does, what is told is why the only one that is not null does not.
fn union(schema: &Schema, branches: &[NodeId], json: &Json, out: &mut Vec<u8>, depth: usize) -> Encoded {
    let is_tag = |branch: &NodeId, key: &str| schema.kind(*branch).label() == key;
    if let Json::Object(entries) = json
        && let (1, Some((key, inner))) = (entries.len(), entries.iter().next())
        && let Some(index) = branches.iter().position(|branch| is_tag(branch, key))
    {
        write_long(out, index as i64);
        return value(schema, branches[index], inner, out, depth + 1);
    }
    let start = out.len();
    let mut told = None;
    for (index, branch) in branches.iter().enumerate() {
        write_long(out, index as i64);
        match value(schema, *branch, json, out, depth + 1) {
            Ok(()) => return Ok(()),
            Err(error) if !matches!(schema.kind(*branch), Kind::Null) => told = told.or(Some(error)),
            Err(_) => {}
        }
        out.truncate(start);
    }
    Err(told.unwrap_or_else(|| EncodeJsonError::new(format!("expected null, found {}", found(json)))))
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

/// Numbers that JSON lacks are quoted, as [`super::decode`] writes them.
fn float(json: &Json) -> Option<f64> {
    match json {
        Json::Number(number) => Number::as_f64(number),
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Int => "a whole number of 32 bits".to_owned(),
        Kind::Long => "a whole number of 64 bits".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::Enum(e) => format!("one of {}", e.symbols.join(", ")),
        Kind::Record(record) => format!("an object with the fields of {}", record.name.full()),
        Kind::Map(_) => "an object".to_owned(),
        kind => kind.word().to_owned(),
    }
}

/// A value in a word or two; never its content, which may be somebody's.
fn found(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(number) if number.is_f64() => "a number with a fraction",
        Json::Number(_) => "a number",
        Json::String(_) => "text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
