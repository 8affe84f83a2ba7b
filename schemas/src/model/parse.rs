//! JSON to schema graph. Names may be used before they are defined, as Java's parser allows since 1.12.

use super::{
    Enum, Field, Fixed, Kind, Logical, NESTING_MAX, NODES_MAX, Name, Node, NodeId, Record, SCHEMA_BYTES_MAX, Schema,
    SchemaError, SchemaErrorKind as E,
};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet};

type Object = Map<String, Json>;

pub(super) fn schema(text: &str, references: &[&str]) -> Result<Schema, SchemaError> {
    let mut parser = Parser::default();
    for reference in references {
        parser.text(reference)?;
    }
    let root = parser.text(text)?;
    let schema = parser.finish(root)?;
    check_defaults(&schema)?;
    Ok(schema)
}

#[derive(Default)]
struct Parser {
    /// `None`: a name that was used and is not defined yet.
    nodes: Vec<Option<Node>>,
    names: BTreeMap<String, NodeId>,
    /// Where each undefined name was first used.
    uses: BTreeMap<String, String>,
}

/// A place in the schema: its path for messages, and the namespace that short names belong to there.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    namespace: &'a str,
}

impl Place<'_> {
    fn error(&self, kind: E, message: impl Into<String>) -> SchemaError {
        SchemaError::new(kind, self.path, message)
    }
}

impl Parser {
    fn text(&mut self, text: &str) -> Result<NodeId, SchemaError> {
        let place = Place { path: "$", namespace: "" };
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(place.error(E::Limit, format!("{} bytes; a schema has at most 1 MiB", text.len())));
        }
        let json = serde_json::from_str(text).map_err(|e| place.error(E::Json, format!("not JSON: {e}")))?;
        self.read(&json, place)
    }

    fn add(&mut self, node: Option<Node>, place: Place<'_>) -> Result<NodeId, SchemaError> {
        if self.nodes.len() >= NODES_MAX {
            return Err(place.error(E::Limit, format!("more than {NODES_MAX} types")));
        }
        self.nodes.push(node);
        Ok(NodeId(self.nodes.len() as u32 - 1))
    }

    fn read(&mut self, json: &Json, place: Place<'_>) -> Result<NodeId, SchemaError> {
        match json {
            Json::String(word) => match primitive(word) {
                Some(kind) => self.add(Some(Node { kind, logical: None }), place),
                None => self.reference(word, place),
            },
            Json::Array(branches) => self.union(branches, place),
            Json::Object(object) => self.object(object, place),
            other => {
                Err(place.error(E::Shape, format!("{other} is no schema: expected a name, an object or an array")))
            }
        }
    }

    fn object(&mut self, object: &Object, place: Place<'_>) -> Result<NodeId, SchemaError> {
        let ty = object.get("type").ok_or_else(|| place.error(E::Shape, "no \"type\""))?;
        let Json::String(word) = ty else { return self.read(ty, place) };
        let kind = match word.as_str() {
            "record" | "error" => return self.record(object, place),
            "enum" => return self.enumeration(object, place),
            "fixed" => return self.fixed(object, place),
            "array" => {
                let path = format!("{}[]", place.path);
                Kind::Array(self.read(required(object, "items", place)?, Place { path: &path, ..place })?)
            }
            "map" => {
                let path = format!("{}{{}}", place.path);
                Kind::Map(self.read(required(object, "values", place)?, Place { path: &path, ..place })?)
            }
            word => match primitive(word) {
                Some(kind) => kind,
                None => return self.reference(word, place),
            },
        };
        let logical = Logical::read(object, &kind);
        self.add(Some(Node { kind, logical }), place)
    }

    fn reference(&mut self, name: &str, place: Place<'_>) -> Result<NodeId, SchemaError> {
        if matches!(name, "record" | "enum" | "fixed" | "array" | "map" | "union" | "error") {
            let hint = format!("\"{name}\" needs an object of its own: \"type\": {{\"type\": \"{name}\", ...}}");
            return Err(place.error(E::Shape, hint));
        }
        let full = full_name(name, place.namespace);
        // A name that is not in the namespace may be one without (as in Java).
        if let Some(id) = self.defined(&full).or_else(|| self.defined(name)) {
            return Ok(id);
        }
        self.uses.entry(full.clone()).or_insert_with(|| place.path.to_owned());
        self.slot(full, place)
    }

    fn defined(&self, full: &str) -> Option<NodeId> {
        self.names.get(full).copied().filter(|id| self.nodes[id.index()].is_some())
    }

    fn slot(&mut self, full: String, place: Place<'_>) -> Result<NodeId, SchemaError> {
        if let Some(id) = self.names.get(&full) {
            return Ok(*id);
        }
        let id = self.add(None, place)?;
        self.names.insert(full, id);
        Ok(id)
    }

    fn union(&mut self, branches: &[Json], place: Place<'_>) -> Result<NodeId, SchemaError> {
        let mut ids = Vec::with_capacity(branches.len());
        for branch in branches {
            let path = format!("{}<{}>", place.path, branch_word(branch));
            let id = self.read(branch, Place { path: &path, ..place })?;
            if let Some(Node { kind: Kind::Union(_), .. }) = &self.nodes[id.index()] {
                return Err(place.error(E::Shape, "a union directly inside a union: list the branches in one"));
            }
            ids.push(id);
        }
        self.add(Some(Node { kind: Kind::Union(ids), logical: None }), place)
    }

    /// Claims the name of a definition: its node, name and aliases.
    fn define(&mut self, object: &Object, place: Place<'_>) -> Result<(NodeId, Name, Vec<String>), SchemaError> {
        let name = required_text(object, "name", place)?;
        let namespace = match object.get("namespace") {
            Some(Json::String(namespace)) => namespace,
            Some(other) => return Err(place.error(E::Shape, format!("\"namespace\" is {other}, expected text"))),
            None => place.namespace,
        };
        let full = Name(full_name(name, namespace));
        if !valid_name(full.short()) {
            let rule = "a letter or underscore, then letters, digits and underscores";
            return Err(place.error(E::Name, format!("\"{name}\" is no name: {rule}")));
        }
        if primitive(full.full()).is_some() {
            return Err(place.error(E::Name, format!("\"{name}\" is the name of a primitive type")));
        }
        if self.defined(full.full()).is_some() {
            return Err(place.error(E::Duplicate, format!("{} is defined twice: refer to it by name", full.full())));
        }
        let aliases = texts(object, "aliases", place)?;
        let aliases = aliases.into_iter().map(|alias| full_name(&alias, full.namespace())).collect();
        let id = self.slot(full.full().to_owned(), place)?;
        self.uses.remove(full.full());
        Ok((id, full, aliases))
    }

    fn fixed(&mut self, object: &Object, place: Place<'_>) -> Result<NodeId, SchemaError> {
        let (id, name, aliases) = self.define(object, place)?;
        let size = required(object, "size", place)?.as_u64().and_then(|n| i32::try_from(n).ok());
        let size = size.ok_or_else(|| place.error(E::Shape, "\"size\" is a number of bytes from 0"))? as usize;
        let kind = Kind::Fixed(Fixed { name, aliases, size });
        let logical = Logical::read(object, &kind);
        self.nodes[id.index()] = Some(Node { kind, logical });
        Ok(id)
    }

    fn enumeration(&mut self, object: &Object, place: Place<'_>) -> Result<NodeId, SchemaError> {
        let (id, name, aliases) = self.define(object, place)?;
        required(object, "symbols", place)?;
        let symbols = texts(object, "symbols", place)?;
        let mut seen = BTreeSet::new();
        for symbol in &symbols {
            if !valid_name(symbol) {
                return Err(place.error(E::Name, format!("\"{symbol}\" is no symbol: letters, digits, underscores")));
            }
            if !seen.insert(symbol) {
                return Err(place.error(E::Duplicate, format!("symbol {symbol} is there twice")));
            }
        }
        let default = match object.get("default") {
            None => None,
            Some(Json::String(symbol)) if symbols.contains(symbol) => Some(symbol.clone()),
            Some(other) => return Err(place.error(E::Default, format!("default {other} is none of the symbols"))),
        };
        let kind = Kind::Enum(Enum { name, aliases, doc: text(object, "doc"), symbols, default });
        self.nodes[id.index()] = Some(Node { kind, logical: None });
        Ok(id)
    }

    fn record(&mut self, object: &Object, place: Place<'_>) -> Result<NodeId, SchemaError> {
        let (id, name, aliases) = self.define(object, place)?;
        // Defined already for its own fields: a record may contain itself.
        let empty = Record { name: name.clone(), aliases: aliases.clone(), doc: text(object, "doc"), fields: vec![] };
        self.nodes[id.index()] = Some(Node { kind: Kind::Record(empty.clone()), logical: None });
        let Json::Array(list) = required(object, "fields", place)? else {
            return Err(place.error(E::Shape, "\"fields\" is a list"));
        };
        let mut fields = Vec::with_capacity(list.len());
        let mut seen = BTreeSet::new();
        let inside = Place { namespace: name.namespace(), ..place };
        for json in list {
            let field = self.field(json, inside)?;
            if !seen.insert(field.name.clone()) {
                return Err(place.error(E::Duplicate, format!("field {} is there twice", field.name)));
            }
            fields.push(field);
        }
        self.nodes[id.index()] = Some(Node { kind: Kind::Record(Record { fields, ..empty }), logical: None });
        Ok(id)
    }

    fn field(&mut self, json: &Json, place: Place<'_>) -> Result<Field, SchemaError> {
        let Json::Object(object) = json else {
            return Err(place.error(E::Shape, format!("{json} is no field: expected an object with name and type")));
        };
        let name = required_text(object, "name", place)?.to_owned();
        let path = format!("{}.{name}", place.path);
        let place = Place { path: &path, ..place };
        if !valid_name(&name) {
            return Err(place.error(E::Name, format!("\"{name}\" is no field name: letters, digits, underscores")));
        }
        let ty = self.read(required(object, "type", place)?, place)?;
        Ok(Field {
            ty,
            aliases: texts(object, "aliases", place)?,
            doc: text(object, "doc"),
            default: object.get("default").cloned(),
            misplaced_logical: object.get("logicalType").and_then(Json::as_str).map(str::to_owned),
            name,
        })
    }

    fn finish(self, root: NodeId) -> Result<Schema, SchemaError> {
        // A name used before its definition was looked for in its namespace; the last resort is none.
        let mut alias_of = BTreeMap::new();
        for (full, path) in &self.uses {
            let short = full.rsplit('.').next().unwrap_or(full);
            let Some(target) = self.defined(short) else {
                let known: Vec<_> = self.names.keys().filter(|n| self.defined(n).is_some()).cloned().collect();
                let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                return Err(SchemaError::new(E::Reference, path, format!("{full} is not defined; defined is {known}")));
            };
            alias_of.insert(self.names[full], target);
        }
        let moved = |id: &mut NodeId| *id = alias_of.get(id).copied().unwrap_or(*id);
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let mut node = node.unwrap_or(Node { kind: Kind::Null, logical: None });
            match &mut node.kind {
                Kind::Array(inner) | Kind::Map(inner) => moved(inner),
                Kind::Union(branches) => branches.iter_mut().for_each(moved),
                Kind::Record(record) => record.fields.iter_mut().for_each(|f| moved(&mut f.ty)),
                _ => {}
            }
            nodes.push(node);
        }
        let schema = Schema { nodes, root };
        check_nesting(&schema)?;
        check_unions(&schema)?;
        Ok(schema)
    }
}

/// Whatever walks a schema may recurse: a chain of names must not be able to exhaust the stack.
fn check_nesting(schema: &Schema) -> Result<(), SchemaError> {
    let mut seen = vec![false; schema.len()];
    let mut stack = vec![(schema.root(), 0)];
    while let Some((id, depth)) = stack.pop() {
        if depth > NESTING_MAX {
            return Err(SchemaError::new(E::Limit, "$", format!("types nested deeper than {NESTING_MAX}")));
        }
        if !std::mem::replace(&mut seen[id.index()], true) {
            // Reversed: the walk is the same depth-first one as everywhere else.
            stack.extend(schema.children(id).into_iter().rev().map(|child| (child, depth + 1)));
        }
    }
    Ok(())
}

/// No two branches with one tag. After the last name is known, for a branch may be a reference.
fn check_unions(schema: &Schema) -> Result<(), SchemaError> {
    for id in schema.ids() {
        if let Kind::Union(branches) = schema.kind(id) {
            let mut seen = BTreeSet::new();
            for branch in branches {
                let label = schema.kind(*branch).label();
                if !seen.insert(label) {
                    return Err(SchemaError::new(E::Duplicate, "$", format!("a union has the branch {label} twice")));
                }
            }
        }
    }
    Ok(())
}

/// Defaults are checked when all names are known, for they may be values of any type.
fn check_defaults(schema: &Schema) -> Result<(), SchemaError> {
    for id in schema.ids() {
        if let Kind::Record(record) = schema.kind(id) {
            for field in &record.fields {
                if let Some(default) = &field.default
                    && !schema.fits(field.ty, default, 0)
                {
                    let path = format!("{}.{}", record.name.full(), field.name);
                    let ty = schema.kind(field.ty).label();
                    return Err(SchemaError::new(E::Default, &path, format!("default {default} is no value of {ty}")));
                }
            }
        }
    }
    Ok(())
}

fn primitive(word: &str) -> Option<Kind> {
    Some(match word {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

fn full_name(name: &str, namespace: &str) -> String {
    match name.strip_prefix('.') {
        Some(rest) if !rest.contains('.') => rest.to_owned(),
        _ if name.contains('.') || namespace.is_empty() => name.to_owned(),
        _ => format!("{namespace}.{name}"),
    }
}

fn valid_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
}

fn branch_word(json: &Json) -> &str {
    let attribute = |key| json.get(key).and_then(Json::as_str);
    json.as_str().or(attribute("name")).or(attribute("type")).unwrap_or("?")
}

fn required<'j>(object: &'j Object, key: &str, place: Place<'_>) -> Result<&'j Json, SchemaError> {
    object.get(key).ok_or_else(|| place.error(E::Shape, format!("no \"{key}\"")))
}

fn required_text<'j>(object: &'j Object, key: &str, place: Place<'_>) -> Result<&'j str, SchemaError> {
    let json = required(object, key, place)?;
    json.as_str().ok_or_else(|| place.error(E::Shape, format!("\"{key}\" is {json}, expected text")))
}

fn texts(object: &Object, key: &str, place: Place<'_>) -> Result<Vec<String>, SchemaError> {
    let wrong = || place.error(E::Shape, format!("\"{key}\" is a list of texts"));
    match object.get(key) {
        None | Some(Json::Null) => Ok(vec![]),
        Some(Json::Array(list)) => list.iter().map(|t| t.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

fn text(object: &Object, key: &str) -> String {
    object.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}
