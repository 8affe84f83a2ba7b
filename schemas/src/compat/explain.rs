//! Why a pair does not fit, in one sentence, and one to three ways to mend it.

use super::Incompatibility;
use crate::model::{Enum, Field, Kind, Record, Schema};

pub(super) type Why = (String, Vec<String>);

pub(super) fn type_mismatch(reader: &Kind, writer: &Kind) -> Why {
    let (r, w) = (reader.label(), writer.label());
    let mut fix = vec![
        format!("keep the type {w}"),
        format!("add a new field of type {r} with a default and stop using this one once no reader needs it"),
    ];
    if super::check::promotes(reader, writer) {
        fix.push(format!("the other direction works: {r} can be read as {w}, so change the readers to {w} first"));
    }
    if matches!(writer, Kind::Null) {
        fix[0] = format!("let the reader take the union [\"null\", {r}]");
    }
    (format!("records of the writer hold {w} here, and Avro has no promotion from {w} to {r}"), fix)
}

pub(super) fn name_mismatch(reader: &Kind, writer: &Kind) -> Why {
    let full = |kind: &Kind| kind.name().map_or_else(String::new, |n| n.full().to_owned());
    let (r, w) = (full(reader), full(writer));
    let fix = vec![
        format!(
            "add \"aliases\": [\"{w}\"] to the reader's {r} (readers that have it can read old records; old readers cannot read new ones)"
        ),
        format!("keep the name {w}"),
    ];
    (
        format!(
            "the writer's type is named {w}, the reader's {r}, and no alias of the reader says that they are the same"
        ),
        fix,
    )
}

pub(super) fn fixed_size(reader: usize, writer: usize) -> Why {
    let fix = vec![
        format!("keep the size of {writer} bytes"),
        "add a new field with a new fixed type (or bytes) and a default, and stop using this one".to_owned(),
    ];
    (
        format!(
            "the writer writes {writer} bytes, the reader expects {reader}, and a fixed type cannot change its size"
        ),
        fix,
    )
}

pub(super) fn missing_symbols(reader: &Enum, missing: &[&str]) -> Why {
    let list = missing.join(", ");
    let example = reader.symbols.first().map_or("UNKNOWN", String::as_str);
    let fix = vec![
        format!("give the reader's enum {} a default symbol: \"default\": \"{example}\"", reader.name.short()),
        format!("keep {list} in the reader's symbols"),
        "deploy the consumers that know the new symbols before any producer writes them".to_owned(),
    ];
    (format!("records may hold {list}, which the reader's enum does not have, and it has no default symbol"), fix)
}

pub(super) fn missing_default(
    reader_schema: &Schema,
    reader: &Record,
    field: &Field,
    writer_schema: &Schema,
    writer: &Record,
) -> Why {
    let ty = reader_schema.kind(field.ty);
    let mut fix = vec![format!("give {} a default: \"default\": {}", field.name, example(ty))];
    if !matches!(ty, Kind::Union(_)) {
        fix.push(format!("make it optional: \"type\": [\"null\", {}], \"default\": null", quoted(ty)));
    }
    let renamed = writer.fields.iter().find(|w| {
        reader.position(&w.name).is_none() && writer_schema.kind(w.ty).label() == reader_schema.kind(field.ty).label()
    });
    if let Some(old) = renamed {
        fix.push(format!("if it is {} under a new name: \"aliases\": [\"{}\"]", old.name, old.name));
    }
    let why = format!("records of the writer have no field {}, and the reader has no default for it", field.name);
    (why, fix)
}

pub(super) fn ambiguous_alias(field: &Field, names: &[&str]) -> Why {
    let fix = vec![format!("leave one of these names out of the aliases of {}", field.name)];
    let why =
        format!("{} may be any of the writer's fields {}, so readers refuse to choose", field.name, names.join(", "));
    (why, fix)
}

pub(super) fn missing_branch(writer: &str, reader: &[&str], nearest: &[Incompatibility]) -> Why {
    let list = reader.join(", ");
    if let Some(inner) = nearest.first() {
        let more = if nearest.len() > 1 { format!(" (and {} more)", nearest.len() - 1) } else { String::new() };
        let why = format!("the reader's branch for {writer} does not fit: at {}: {}{more}", inner.path, inner.why);
        return (why, inner.fix.clone());
    }
    let fix = vec![
        format!("keep the branch {writer} in the reader's union"),
        format!("deploy readers with the branch {writer} before producers write it"),
    ];
    (format!("records may hold {writer}, and the reader's union [{list}] has no branch that can read it"), fix)
}

fn example(kind: &Kind) -> String {
    match kind {
        Kind::Null => "null".to_owned(),
        Kind::Boolean => "false".to_owned(),
        Kind::Int | Kind::Long => "0".to_owned(),
        Kind::Float | Kind::Double => "0.0".to_owned(),
        Kind::Bytes | Kind::String => "\"\"".to_owned(),
        Kind::Fixed(fixed) => format!("a text of {} characters", fixed.size),
        Kind::Enum(e) => format!("\"{}\"", e.symbols.first().map_or("", String::as_str)),
        Kind::Array(_) => "[]".to_owned(),
        Kind::Map(_) => "{}".to_owned(),
        Kind::Record(_) => "an object with its fields".to_owned(),
        Kind::Union(_) => "a value of one of its branches, such as null".to_owned(),
    }
}

fn quoted(kind: &Kind) -> String {
    match kind {
        Kind::Array(_) | Kind::Map(_) => format!("{{\"type\": \"{}\", ...}}", kind.word()),
        _ => format!("\"{}\"", kind.label()),
    }
}
