//! Parsing Canonical Form and its fingerprint: what a schema is to the wire, without docs, defaults and layout.
//! Source: Avro 1.12 specification, "Transforming into Parsing Canonical Form".

use super::{Kind, NodeId, Schema};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt::Write};

impl Schema {
    /// The Parsing Canonical Form.
    pub fn canonical_form(&self) -> String {
        let mut out = String::new();
        self.write_canonical(self.root(), &mut BTreeSet::new(), &mut out);
        out
    }

    /// SHA-256 of the Parsing Canonical Form.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(self.canonical_form()).into()
    }

    fn write_canonical<'s>(&'s self, id: NodeId, defined: &mut BTreeSet<&'s str>, out: &mut String) {
        let kind = self.kind(id);
        if let Some(name) = kind.name()
            && !defined.insert(name.full())
        {
            return quote(name.full(), out);
        }
        match kind {
            Kind::Array(items) => self.wrap("{\"type\":\"array\",\"items\":", *items, defined, out),
            Kind::Map(values) => self.wrap("{\"type\":\"map\",\"values\":", *values, defined, out),
            Kind::Union(branches) => {
                list(out, branches, |branch, out| self.write_canonical(*branch, defined, out));
            }
            Kind::Fixed(fixed) => {
                head(fixed.name.full(), "fixed", out);
                let _ = write!(out, ",\"size\":{}}}", fixed.size);
            }
            Kind::Enum(e) => {
                head(e.name.full(), "enum", out);
                out.push_str(",\"symbols\":");
                list(out, &e.symbols, |symbol, out| quote(symbol, out));
                out.push('}');
            }
            Kind::Record(record) => {
                head(record.name.full(), "record", out);
                out.push_str(",\"fields\":");
                list(out, &record.fields, |field, out| {
                    out.push_str("{\"name\":");
                    quote(&field.name, out);
                    out.push_str(",\"type\":");
                    self.write_canonical(field.ty, defined, out);
                    out.push('}');
                });
                out.push('}');
            }
            primitive => quote(primitive.word(), out),
        }
    }

    fn wrap<'s>(&'s self, before: &str, inner: NodeId, defined: &mut BTreeSet<&'s str>, out: &mut String) {
        out.push_str(before);
        self.write_canonical(inner, defined, out);
        out.push('}');
    }
}

fn head(name: &str, word: &str, out: &mut String) {
    out.push_str("{\"name\":");
    quote(name, out);
    let _ = write!(out, ",\"type\":\"{word}\"");
}

fn list<T>(out: &mut String, items: &[T], mut each: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(']');
}

/// Names have no character that JSON escapes, except in namespaces, which Avro does not check.
fn quote(text: &str, out: &mut String) {
    let _ = write!(out, "{}", serde_json::Value::from(text));
}
