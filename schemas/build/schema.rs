//! The subset of Avro that event types may use, read from `.avsc`: records, enums, primitives, arrays, maps and
//! "null or T". No recursion and no other unions, so that every type has a fixed depth and borrows from its message.

use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Nesting that a generated type may have; the same number as the decoders' limit.
const DEPTH_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Record(String),
    Enum(String),
    Array(Box<Type>),
    Map(Box<Type>),
    /// `null_branch` is the index of `null` in the union.
    Nullable {
        null_branch: u8,
        inner: Box<Type>,
    },
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub doc: String,
    pub ty: Type,
    pub default: Option<Json>,
}

#[derive(Clone, Debug)]
pub enum Body {
    Record(Vec<Field>),
    Enum { symbols: Vec<String>, default: Option<String> },
}

#[derive(Clone, Debug)]
pub struct Named {
    pub doc: String,
    pub body: Body,
}

/// Every named type, by full name.
#[derive(Default)]
pub struct Definitions(pub BTreeMap<String, Named>);

impl Named {
    /// Equal on the wire: same fields or symbols; docs and defaults may differ.
    fn same_shape(&self, other: &Self) -> bool {
        match (&self.body, &other.body) {
            (Body::Record(a), Body::Record(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.name == y.name && x.ty == y.ty)
            }
            (Body::Enum { symbols: a, .. }, Body::Enum { symbols: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl Definitions {
    /// Reads one schema file; returns the full name of its record.
    pub fn read_top(&mut self, json: &Json) -> Result<String, String> {
        match self.read(json, "", 0)? {
            Type::Record(name) => Ok(name),
            other => Err(format!("an event is a record, this is {other:?}")),
        }
    }

    fn read(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<Type, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        match json {
            Json::String(name) => self.reference(name, namespace),
            Json::Array(branches) => self.nullable(branches, namespace, depth),
            Json::Object(object) => match text(json, "type").as_str() {
                "record" => self.record(json, namespace, depth),
                "enum" => self.enumeration(json, namespace),
                "array" => Ok(Type::Array(self.element(&json["items"], namespace, depth)?)),
                "map" => Ok(Type::Map(self.element(&json["values"], namespace, depth)?)),
                _ => self.read(object.get("type").ok_or("no \"type\"")?, namespace, depth),
            },
            other => Err(format!("not a schema: {other}")),
        }
    }

    fn reference(&self, name: &str, namespace: &str) -> Result<Type, String> {
        let full = full_name(name, namespace);
        Ok(match name {
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => match self.0.get(&full).map(|n| &n.body) {
                Some(Body::Record(_)) => Type::Record(full),
                Some(Body::Enum { .. }) => Type::Enum(full),
                None => {
                    return Err(format!("{full}: not defined before its use (recursion is not allowed)"));
                }
            },
        })
    }

    fn element(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<Box<Type>, String> {
        match self.read(json, namespace, depth + 1)? {
            Type::Nullable { null_branch: 1, .. } => Err("inside arrays and maps null comes first".into()),
            ty => Ok(Box::new(ty)),
        }
    }

    fn nullable(&mut self, branches: &[Json], namespace: &str, depth: usize) -> Result<Type, String> {
        let null_branch = branches.iter().position(|b| b == "null");
        let (Some(null_branch), 2) = (null_branch, branches.len()) else {
            return Err("the only union allowed is null and one other type".into());
        };
        let inner = Box::new(self.read(&branches[1 - null_branch], namespace, depth + 1)?);
        Ok(Type::Nullable { null_branch: null_branch as u8, inner })
    }

    fn record(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<Type, String> {
        let (full, namespace) = names(json, namespace)?;
        let mut fields = Vec::new();
        for field in json["fields"].as_array().ok_or(format!("{full}: no fields"))? {
            let name = text(field, "name");
            let ty = self.read(&field["type"], &namespace, depth + 1).map_err(|e| format!("{full}.{name}: {e}"))?;
            fields.push(Field { name, doc: text(field, "doc"), ty, default: field.get("default").cloned() });
        }
        if fields.is_empty() {
            return Err(format!("{full}: a record without fields has no bytes, so an array of it has no limit"));
        }
        self.define(full.clone(), Named { doc: text(json, "doc"), body: Body::Record(fields) })?;
        Ok(Type::Record(full))
    }

    fn enumeration(&mut self, json: &Json, namespace: &str) -> Result<Type, String> {
        let (full, _) = names(json, namespace)?;
        let symbols = json["symbols"].as_array().ok_or(format!("{full}: no symbols"))?;
        let symbols = symbols.iter().map(|s| s.as_str().unwrap_or_default().to_owned()).collect();
        let default = json.get("default").and_then(Json::as_str).map(str::to_owned);
        self.define(full.clone(), Named { doc: text(json, "doc"), body: Body::Enum { symbols, default } })?;
        Ok(Type::Enum(full))
    }

    fn define(&mut self, full: String, named: Named) -> Result<(), String> {
        match self.0.get(&full) {
            Some(old) if !old.same_shape(&named) => Err(format!("{full}: defined twice, differently")),
            Some(_) => Ok(()),
            None => {
                self.0.insert(full, named);
                Ok(())
            }
        }
    }
}

fn names(json: &Json, outer: &str) -> Result<(String, String), String> {
    let namespace = json.get("namespace").and_then(Json::as_str).unwrap_or(outer);
    let name = text(json, "name");
    if name.is_empty() {
        return Err("a record or enum without name".into());
    }
    Ok((full_name(&name, namespace), namespace.to_owned()))
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn text(json: &Json, key: &str) -> String {
    json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}
