//! Writes Rust for the definitions: a struct or enum each, its datum codec, and the table of built-in schemas.

use crate::schema::{Body, Definitions, Field, Named, Type};
use serde_json::Value as Json;
use std::{collections::BTreeMap, fmt::Write};

/// One schema file: its id in the embedded registry and the record it defines.
pub struct Top {
    pub id: u32,
    pub file: String,
    pub full_name: String,
}

/// The text of `events.rs`.
pub fn module(definitions: &Definitions, tops: &[Top]) -> Result<String, String> {
    let mut by_short = BTreeMap::new();
    let mut out = String::new();
    for (full, named) in &definitions.0 {
        if let Some(other) = by_short.insert(short(full), full) {
            return Err(format!("{other} and {full} would share one Rust name"));
        }
        match &named.body {
            Body::Record(fields) => record(&mut out, definitions, full, named, fields)?,
            Body::Enum { symbols, default } => enumeration(&mut out, full, named, symbols, default.as_deref()),
        }
    }
    for top in tops {
        traits(&mut out, definitions, top);
    }
    builtin(&mut out, tops);
    Ok(out)
}

fn record(out: &mut String, all: &Definitions, full: &str, named: &Named, fields: &[Field]) -> Result<(), String> {
    let (name, life) = (short(full), if borrows_named(all, full) { "<'a>" } else { "" });
    let anonymous = life.replace("'a", "'_");
    doc(out, "", &named.doc, &format!("Avro record `{full}`."));
    w(out, format!("#[derive(Clone, Copy, Debug, PartialEq)]\npub struct {name}{life} {{"));
    for f in fields {
        doc(out, "    ", &f.doc, &format!("`{}`.", f.name));
        w(out, format!("    pub {}: {},", ident(&f.name), rust_type(all, &f.ty)));
    }
    w(out, format!("}}\n\nimpl<'a> Datum<'a> for {name}{life} {{"));
    w(out, "    #[inline]\n    fn write(&self, out: &mut Vec<u8>) {".into());
    for f in fields {
        w(out, format!("        {};", write_expr(&f.ty, &format!("self.{}", ident(&f.name)))));
    }
    w(
        out,
        "    }\n    #[inline]\n    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {\n        Ok(Self {"
            .into(),
    );
    for f in fields {
        w(out, format!("            {}: {},", ident(&f.name), read_expr(all, &f.ty)));
    }
    w(
        out,
        "        })\n    }\n    #[inline]\n    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {".into(),
    );
    for f in fields {
        w(out, format!("        {};", skip_expr(all, &f.ty)));
    }
    w(out, "        Ok(())\n    }\n    fn check(&self, limits: &Limits) -> Result<(), EncodeError> {".into());
    for f in fields {
        let field = format!("{name}.{}", f.name);
        w(out, format!("        Datum::check(&self.{}, limits).map_err(|e| e.at(\"{field}\"))?;", ident(&f.name)));
    }
    w(out, "        Ok(())\n    }".into());
    convert(out);
    w(out, "}\n".into());
    fill(out, all, name, fields, !life.is_empty());
    w(out, format!("/// The schema's defaults, else zero or empty.\nimpl Default for {name}{anonymous} {{"));
    w(out, "    fn default() -> Self {\n        Self {".into());
    for f in fields {
        let value = default_expr(&f.ty, f.default.as_ref()).map_err(|e| format!("{full}.{}: {e}", f.name))?;
        w(out, format!("            {}: {value},", ident(&f.name)));
    }
    w(out, "        }\n    }\n}\n".into());
    Ok(())
}

/// Fields as the writer has them, in its order; the rest stays at the schema's defaults.
fn convert(out: &mut String) {
    w(
        out,
        "    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {".into(),
    );
    w(
        out,
        "        let mut value = Self::default();\n        value.fill(reader, plan, step)?;\n        Ok(value)\n    }"
            .into(),
    );
}

/// What `convert` does, where the value is.
fn fill(out: &mut String, all: &Definitions, name: &str, fields: &[Field], borrows: bool) {
    let (generics, life) = if borrows { ("<'a>", "<'a>") } else { ("", "") };
    let own = if borrows { "" } else { "<'a>" };
    w(out, format!("impl{generics} {name}{life} {{\n    #[inline]"));
    w(
        out,
        format!(
            "    fn fill{own}(&mut self, reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<(), DecodeError> {{"
        ),
    );
    w(out, "        for code in plan.codes(step) {\n            match code.what {".into());
    for (i, f) in fields.iter().enumerate() {
        let (place, read, resolve) = (ident(&f.name), read_expr(all, &f.ty), resolve_expr(all, &f.ty));
        w(out, format!("                {} => self.{place} = {read},", 4 * i));
        if f.ty == Type::Long {
            w(out, format!("                {} => self.{place} = i64::from(reader.read_int()?),", 4 * i + 1));
        }
        w(
            out,
            format!(
                "                {} => {{\n                    let step = code.step;\n                    self.{place} = {resolve};\n                }}",
                4 * i + 2
            ),
        );
    }
    w(out, "                Code::SKIP_TEXT => reader.skip_str()?,".into());
    w(out, "                Code::SKIP => plan.skip(reader, code.step, 1)?,".into());
    w(out, "                _ => return Err(reader.error(DecodeErrorKind::TypeMismatch)),".into());
    w(out, "            }\n        }\n        Ok(())\n    }\n}\n".into());
}

fn enumeration(out: &mut String, full: &str, named: &Named, symbols: &[String], default: Option<&str>) {
    let name = short(full);
    let default = default.unwrap_or(&symbols[0]);
    doc(out, "", &named.doc, &format!("Avro enum `{full}`."));
    w(out, format!("#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum {name} {{"));
    for s in symbols {
        let mark = if s == default { "    #[default]\n" } else { "" };
        w(out, format!("    /// `{s}`.\n{mark}    {},", camel(s)));
    }
    w(
        out,
        format!(
            "}}\n\nimpl {name} {{\n    /// All symbols in the order of the schema: the index is the number on the wire."
        ),
    );
    let all: Vec<_> = symbols.iter().map(|s| format!("Self::{}", camel(s))).collect();
    w(out, format!("    pub const ALL: &'static [Self] = &[{}];", all.join(", ")));
    w(out, "    /// The symbol as the schema writes it.\n    pub const fn as_str(self) -> &'static str {\n        match self {".into());
    for s in symbols {
        w(out, format!("            Self::{} => {s:?},", camel(s)));
    }
    w(out, "        }\n    }\n    /// The variant of a symbol; `None` if the schema has no such symbol.".into());
    w(out, "    pub fn from_symbol(symbol: &str) -> Option<Self> {\n        Self::ALL.iter().copied().find(|v| v.as_str() == symbol)\n    }\n}\n".into());
    w(
        out,
        format!(
            "impl std::fmt::Display for {name} {{\n    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n        f.pad(self.as_str())\n    }}\n}}\n"
        ),
    );
    w(
        out,
        format!(
            "impl<'a> Datum<'a> for {name} {{\n    #[inline]\n    fn write(&self, out: &mut Vec<u8>) {{\n        write_long(out, *self as i64);\n    }}"
        ),
    );
    w(out, "    #[inline]\n    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {\n        Ok(Self::ALL[reader.read_index(Self::ALL.len())?])\n    }".into());
    w(out, "    #[inline]\n    fn skip(reader: &mut Reader<'a>) -> Result<(), DecodeError> {\n        reader.read_index(Self::ALL.len()).map(|_| ())\n    }".into());
    w(out, "    fn check(&self, _: &Limits) -> Result<(), EncodeError> {\n        Ok(())\n    }".into());
    w(out, "    #[inline]\n    fn convert(reader: &mut Reader<'a>, plan: &'a Plan, step: StepId) -> Result<Self, DecodeError> {\n        Ok(Self::ALL[plan.read_symbol(reader, step)?])\n    }\n}\n".into());
}

fn traits(out: &mut String, all: &Definitions, top: &Top) {
    let (name, full, id) = (short(&top.full_name), &top.full_name, top.id);
    let (life, anonymous) = if borrows_named(all, full) { ("<'a>", "<'_>") } else { ("", "") };
    let limits = if full.starts_with("com.bulkhead.commit.") { "COMMIT" } else { "EVENT" };
    w(
        out,
        format!(
            "impl Encode for {name}{anonymous} {{\n    const SCHEMA_ID: u32 = {id};\n    const NAME: &'static str = {full:?};\n    const LIMITS: &'static Limits = &Limits::{limits};\n    #[inline]\n    fn encode(&self, out: &mut Vec<u8>) {{\n        self.write(out)\n    }}"
        ),
    );
    w(
        out,
        "    fn check(&self) -> Result<(), EncodeError> {\n        Datum::check(self, Self::LIMITS)\n    }\n}\n".into(),
    );
    w(
        out,
        format!(
            "impl<'a> Decode<'a> for {name}{life} {{\n    const SCHEMA_ID: u32 = {id};\n    const NAME: &'static str = {full:?};"
        ),
    );
    // Field by field into locals, and only then into the struct: it is made where the caller wants it, not copied there.
    w(out, "    #[inline]\n    fn decode_or<E: From<DecodeError>>(datum: &'a [u8]) -> Result<Self, E> {".into());
    w(
        out,
        format!("        let mut reader = Reader::new(datum, &Limits::{limits})?;\n        let reader = &mut reader;"),
    );
    let Body::Record(fields) = &all.0[full].body else { return };
    for (i, f) in fields.iter().enumerate() {
        w(out, format!("        let field_{i}: {} = {};", rust_type(all, &f.ty), read_expr(all, &f.ty)));
    }
    let fields = fields.iter().enumerate().map(|(i, f)| format!("{}: field_{i}", ident(&f.name)));
    w(out, "        reader.finish()?;".into());
    w(out, format!("        Ok(Self {{ {} }})\n    }}", fields.collect::<Vec<_>>().join(", ")));
    w(
        out,
        "    #[inline]\n    fn decode_resolved_or<E: From<DecodeError>>(datum: &'a [u8], plan: &'a Plan) -> Result<Self, E> {".into(),
    );
    w(out, format!("        let mut reader = Reader::new(datum, &Limits::{limits})?;"));
    w(out, "        let mut value = Self::default();\n        let root = plan.root();".into());
    w(
        out,
        "        if plan.codes(root).is_empty() {\n            value = Datum::resolve(&mut reader, plan, root)?;"
            .into(),
    );
    w(out, "        } else {\n            value.fill(&mut reader, plan, root)?;\n        }".into());
    w(out, "        reader.finish()?;\n        Ok(value)\n    }\n}\n".into());
}

fn builtin(out: &mut String, tops: &[Top]) {
    w(out, "pub(crate) static BUILTIN: &[crate::Builtin] = &[".into());
    for top in tops {
        let (id, full, file, name) = (top.id, &top.full_name, &top.file, short(&top.full_name));
        w(
            out,
            format!(
                "    crate::Builtin {{ id: {id}, name: {full:?}, avsc: include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/avsc/{file}.avsc\")), recode: |datum, out| {name}::decode(datum).map(|v| v.encode(out)), resolve: |datum, plan, out| {name}::decode_resolved(datum, plan).map(|v| v.encode(out)) }},"
            ),
        );
    }
    w(out, "];".into());
}

fn rust_type(all: &Definitions, ty: &Type) -> String {
    match ty {
        Type::Boolean => "bool".into(),
        Type::Int => "i32".into(),
        Type::Long => "i64".into(),
        Type::Float => "f32".into(),
        Type::Double => "f64".into(),
        Type::Bytes => "&'a [u8]".into(),
        Type::String => "&'a str".into(),
        Type::Record(full) => format!("{}{}", short(full), if borrows_named(all, full) { "<'a>" } else { "" }),
        Type::Enum(full) => short(full).into(),
        Type::Array(items) => format!("Array<'a, {}>", rust_type(all, items)),
        Type::Map(values) if **values == Type::String => "Map<'a>".into(),
        Type::Map(values) => format!("Map<'a, {}>", rust_type(all, values)),
        Type::Nullable { inner, .. } => format!("Option<{}>", rust_type(all, inner)),
    }
}

fn write_expr(ty: &Type, place: &str) -> String {
    match ty {
        Type::Nullable { null_branch: 1, .. } => format!("write_null_last(&{place}, out)"),
        _ => format!("Datum::write(&{place}, out)"),
    }
}

fn read_expr(all: &Definitions, ty: &Type) -> String {
    match ty {
        Type::Nullable { null_branch: 1, .. } => "read_null_last(reader)?".into(),
        _ => format!("<{} as Datum>::read(reader)?", rust_type(all, ty)),
    }
}

fn resolve_expr(all: &Definitions, ty: &Type) -> String {
    match ty {
        Type::Nullable { null_branch: 1, .. } => "resolve_null_last(reader, plan, step)?".into(),
        _ => format!("<{} as Datum>::resolve(reader, plan, step)?", rust_type(all, ty)),
    }
}

fn skip_expr(all: &Definitions, ty: &Type) -> String {
    match ty {
        Type::Nullable { null_branch: 1, inner } => format!("skip_null_last::<{}>(reader)?", rust_type(all, inner)),
        _ => format!("<{} as Datum>::skip(reader)?", rust_type(all, ty)),
    }
}

fn default_expr(ty: &Type, default: Option<&Json>) -> Result<String, String> {
    let Some(json) = default else {
        return Ok("Default::default()".into());
    };
    match (ty, json) {
        (Type::Boolean, Json::Bool(b)) => Ok(b.to_string()),
        (Type::Int | Type::Long, Json::Number(n)) => Ok(n.to_string()),
        (Type::Float | Type::Double, Json::Number(n)) => Ok(format!("{:?}", n.as_f64().ok_or("not a double")?)),
        (Type::String, Json::String(s)) => Ok(format!("{s:?}")),
        (Type::Array(_), Json::Array(a)) if a.is_empty() => Ok("Default::default()".into()),
        (Type::Map(_), Json::Object(o)) if o.is_empty() => Ok("Default::default()".into()),
        (Type::Nullable { null_branch: 0, .. }, Json::Null) => Ok("None".into()),
        (Type::Nullable { null_branch: 1, inner }, json) => Ok(format!("Some({})", default_expr(inner, Some(json))?)),
        (Type::Enum(full), Json::String(s)) => Ok(format!("{}::{}", short(full), camel(s))),
        _ => Err(format!("default {json} does not fit the type")),
    }
}

fn borrows_named(all: &Definitions, full: &str) -> bool {
    match &all.0[full].body {
        Body::Record(fields) => fields.iter().any(|f| borrows(all, &f.ty)),
        Body::Enum { .. } => false,
    }
}

fn borrows(all: &Definitions, ty: &Type) -> bool {
    match ty {
        Type::Bytes | Type::String | Type::Array(_) | Type::Map(_) => true,
        Type::Record(full) => borrows_named(all, full),
        Type::Nullable { inner, .. } => borrows(all, inner),
        _ => false,
    }
}

fn short(full: &str) -> &str {
    full.rsplit('.').next().unwrap_or(full)
}

/// `NO_BID` becomes `NoBid`.
fn camel(symbol: &str) -> String {
    let part = |p: &str| p[..1].to_ascii_uppercase() + &p[1..].to_ascii_lowercase();
    symbol.split('_').filter(|p| !p.is_empty()).map(part).collect()
}

fn ident(name: &str) -> String {
    const KEYWORDS: [&str; 12] =
        ["final", "type", "match", "move", "ref", "in", "box", "abstract", "override", "where", "use", "loop"];
    if KEYWORDS.contains(&name) { format!("r#{name}") } else { name.to_owned() }
}

fn doc(out: &mut String, indent: &str, doc: &str, fallback: &str) {
    let text = if doc.is_empty() { fallback } else { doc };
    for line in text.lines() {
        w(out, format!("{indent}/// {}", line.replace('[', "\\[").replace(']', "\\]")));
    }
}

fn w(out: &mut String, line: String) {
    writeln!(out, "{line}").expect("writing to a String does not fail");
}
