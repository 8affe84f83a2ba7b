//! What makes two schema texts one schema to a registry: the text as Java's `Schema.toString` orders it, with docs,
//! defaults, aliases and properties; white space and the order of attributes do not count. `normalize` goes further: full
//! names, no empty docs, references by name in order. Source: Avro 1.12 specification; Java's order of attributes.

use crate::model::{Schema, SchemaError};
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Attributes that have their place; all others are properties.
const RESERVED: [&str; 12] =
    ["type", "name", "namespace", "doc", "fields", "symbols", "default", "size", "items", "values", "aliases", "order"];

/// A schema and the text it is known by.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// Parsed, with its references.
    pub schema: Schema,
    /// The text.
    pub text: String,
}

/// Parses `text`, which may refer to names in `references`, and writes it in the order that decides identity.
///
/// # Errors
/// As [`Schema::parse_with`].
pub fn canonical(text: &str, references: &[&str], normalize: bool) -> Result<Canonical, SchemaError> {
    let schema = Schema::parse_with(text, references)?;
    let defined = schema.ids().filter_map(|id| schema.kind(id).name()).map(|name| name.full().to_owned()).collect();
    // It has just been parsed: this cannot fail, and an empty text would be refused above.
    let json = serde_json::from_str(text).unwrap_or(Json::Null);
    let mut out = String::with_capacity(text.len());
    Writer { defined, normalize, out: &mut out }.schema(&json, "");
    Ok(Canonical { schema, text: out })
}

struct Writer<'o> {
    defined: BTreeSet<String>,
    normalize: bool,
    out: &'o mut String,
}

impl Writer<'_> {
    fn schema(&mut self, json: &Json, namespace: &str) {
        match json {
            Json::String(word) => self.word(word, namespace),
            Json::Array(branches) => {
                self.list(branches, |writer, branch| writer.schema(branch, namespace));
            }
            Json::Object(object) => match object.get("type") {
                Some(Json::String(word)) => self.object(object, word, namespace),
                Some(inner) => self.schema(inner, namespace),
                None => {}
            },
            _ => {}
        }
    }

    fn word(&mut self, word: &str, namespace: &str) {
        if is_primitive(word) {
            return self.quote(word);
        }
        let full = self.full(word, namespace);
        let short = full.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('.'));
        match short {
            Some(short) if !self.normalize && !short.contains('.') => self.quote(short),
            _ => self.quote(&full),
        }
    }

    /// The name that a reference means: in its namespace, else in none (as Java looks it up).
    fn full(&self, name: &str, namespace: &str) -> String {
        let inside = qualify(name, namespace);
        if self.defined.contains(&inside) || !self.defined.contains(name) { inside } else { name.to_owned() }
    }

    fn object(&mut self, object: &Object, word: &str, namespace: &str) {
        match word {
            "record" | "error" | "enum" | "fixed" => self.named(object, word, namespace),
            "array" | "map" => {
                let key = if word == "array" { "items" } else { "values" };
                let _ = write!(self.out, "{{\"type\":\"{word}\",\"{key}\":");
                self.schema(object.get(key).unwrap_or(&Json::Null), namespace);
                self.properties(object);
                self.out.push('}');
            }
            _ if is_primitive(word) && has_properties(object) => {
                let _ = write!(self.out, "{{\"type\":\"{word}\"");
                self.properties(object);
                self.out.push('}');
            }
            _ => self.word(word, namespace),
        }
    }

    fn named(&mut self, object: &Object, word: &str, outer: &str) {
        let name = object.get("name").and_then(Json::as_str).unwrap_or_default();
        let own = object.get("namespace").and_then(Json::as_str).unwrap_or(outer);
        let full = qualify(name, own);
        let (namespace, short) = full.rsplit_once('.').unwrap_or(("", &full));
        let _ = write!(self.out, "{{\"type\":\"{word}\",\"name\":");
        if self.normalize {
            self.quote(&full);
        } else {
            self.quote(short);
            if namespace != outer {
                self.attribute("namespace", namespace);
            }
        }
        self.doc(object);
        match word {
            "enum" => {
                self.json("symbols", object.get("symbols"));
                self.json("default", object.get("default"));
            }
            "fixed" => self.json("size", object.get("size")),
            _ => {
                self.out.push_str(",\"fields\":");
                let fields = object.get("fields").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
                self.list(fields, |writer, field| {
                    if let Json::Object(field) = field {
                        writer.field(field, namespace);
                    }
                });
            }
        }
        self.properties(object);
        self.aliases(object, |alias| qualify(alias, namespace));
        self.out.push('}');
    }

    fn field(&mut self, field: &Object, namespace: &str) {
        self.out.push_str("{\"name\":");
        self.quote(field.get("name").and_then(Json::as_str).unwrap_or_default());
        self.out.push_str(",\"type\":");
        self.schema(field.get("type").unwrap_or(&Json::Null), namespace);
        self.doc(field);
        self.json("default", field.get("default"));
        if field.get("order").and_then(Json::as_str).is_some_and(|order| order != "ascending") {
            self.json("order", field.get("order"));
        }
        self.aliases(field, str::to_owned);
        self.properties(field);
        self.out.push('}');
    }

    fn doc(&mut self, object: &Object) {
        if let Some(doc) = object.get("doc").and_then(Json::as_str)
            && !(self.normalize && doc.is_empty())
        {
            self.attribute("doc", doc);
        }
    }

    fn aliases(&mut self, object: &Object, name: impl Fn(&str) -> String) {
        let aliases = object.get("aliases").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let mut aliases: Vec<_> = aliases.iter().filter_map(Json::as_str).map(name).collect();
        if aliases.is_empty() {
            return;
        }
        if self.normalize {
            aliases.sort_unstable();
        }
        self.json("aliases", Some(&Json::from(aliases)));
    }

    fn properties(&mut self, object: &Object) {
        let mut own: Vec<_> = object.iter().filter(|(key, _)| is_property(key)).collect();
        own.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in own {
            self.json(key, Some(value));
        }
    }

    fn attribute(&mut self, key: &str, text: &str) {
        let _ = write!(self.out, ",\"{key}\":");
        self.quote(text);
    }

    fn json(&mut self, key: &str, value: Option<&Json>) {
        if let Some(value) = value {
            self.out.push(',');
            self.quote(key);
            self.out.push(':');
            sorted(value, self.out);
        }
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.out.push('[');
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            each(self, item);
        }
        self.out.push(']');
    }

    fn quote(&mut self, text: &str) {
        quote(text, self.out);
    }
}

type Object = Map<String, Json>;

fn is_property(key: &str) -> bool {
    !RESERVED.contains(&key)
}

fn has_properties(object: &Object) -> bool {
    object.keys().any(|key| is_property(key))
}

fn is_primitive(word: &str) -> bool {
    matches!(word, "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string")
}

fn qualify(name: &str, namespace: &str) -> String {
    match name.strip_prefix('.') {
        Some(rest) if !rest.contains('.') => rest.to_owned(),
        _ if name.contains('.') || namespace.is_empty() => name.to_owned(),
        _ => format!("{namespace}.{name}"),
    }
}

/// JSON text of a string.
pub(super) fn quote(text: &str, out: &mut String) {
    let _ = write!(out, "{}", Json::from(text));
}

/// JSON text with the keys of objects in order, whatever the parser kept.
fn sorted(json: &Json, out: &mut String) {
    match json {
        Json::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                quote(key, out);
                out.push(':');
                sorted(value, out);
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                sorted(item, out);
            }
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}
