//! JSON to schema graph. Names may be used before they are defined, and defined again if nothing differs, as Java's parser
//! allows since 1.12.

use super::{
    Enum, Field, Fixed, Kind, Logical, NESTING_MAX, NODES_MAX, Name, Node, NodeId, Record, SCHEMA_BYTES_MAX, Schema,
    SchemaError, SchemaErrorKind as E, Steps, same::same,
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
    /// `None`: a definition that is being read, or a name that was used before its definition.
    nodes: Vec<Option<Node>>,
    /// Definitions by full name. A record's own name is there when the record is complete.
    names: BTreeMap<String, NodeId>,
    /// Full names that were used before, and the path of the first use.
    uses: BTreeMap<String, (NodeId, String)>,
    /// Definitions of a name that has one already, and their paths.
    again: Vec<(NodeId, NodeId, String)>,
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
        // As Java's parser, and so registries, have it: attributes stand beside the name of a type, not around a type.
        let Json::String(word) = ty else {
            let message =
                "\"type\" is the name of a type here: a type of its own takes the place of the object around it";
            return Err(place.error(E::Shape, message));
        };
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
        // A name that is not in the namespace may be one without.
        if let Some(id) = self.names.get(&full).or_else(|| self.names.get(name)) {
            return Ok(*id);
        }
        if let Some((id, _)) = self.uses.get(&full) {
            return Ok(*id);
        }
        let id = self.add(None, place)?;
        self.uses.insert(full, (id, place.path.to_owned()));
        Ok(id)
    }

    /// Completes a definition; its name means this type from here on.
    fn put(&mut self, id: NodeId, node: Node, place: Place<'_>) -> NodeId {
        let full = node.kind.label().to_owned();
        self.nodes[id.index()] = Some(node);
        match self.names.get(&full) {
            Some(first) => self.again.push((*first, id, place.path.to_owned())),
            None => {
                self.names.insert(full, id);
            }
        }
        id
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
            // Generators write null for what they do not say, and Java reads it so.
            None | Some(Json::Null) => place.namespace,
            Some(other) => return Err(place.error(E::Shape, format!("\"namespace\" is {other}, expected text"))),
        };
        let full = Name(full_name(name, namespace));
        if !full.full().split('.').all(valid_name) {
            return Err(no_name(full.full(), place));
        }
        if primitive(full.full()).is_some() {
            return Err(place.error(E::Name, format!("\"{name}\" is the name of a primitive type")));
        }
        let mut aliases = texts(object, "aliases", place)?;
        for alias in &mut aliases {
            *alias = full_name(alias, full.namespace());
            if !valid_name(alias.rsplit('.').next().unwrap_or(alias)) {
                return Err(no_name(alias, place));
            }
        }
        Ok((self.add(None, place)?, full, aliases))
    }

    fn fixed(&mut self, object: &Object, place: Place<'_>) -> Result<NodeId, SchemaError> {
        let (id, name, aliases) = self.define(object, place)?;
        let size = required(object, "size", place)?.as_u64().and_then(|n| i32::try_from(n).ok());
        let size = size.ok_or_else(|| place.error(E::Shape, "\"size\" is a number of bytes from 0"))? as usize;
        let kind = Kind::Fixed(Fixed { name, aliases, size });
        let logical = Logical::read(object, &kind);
        Ok(self.put(id, Node { kind, logical }, place))
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
        Ok(self.put(id, Node { kind, logical: None }, place))
    }

    fn record(&mut self, object: &Object, place: Place<'_>) -> Result<NodeId, SchemaError> {
        let (id, name, aliases) = self.define(object, place)?;
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
        let kind = Kind::Record(Record { name, aliases, doc: text(object, "doc"), fields });
        Ok(self.put(id, Node { kind, logical: None }, place))
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
        if let Some(order) = object.get("order")
            && !order
                .as_str()
                .is_some_and(|o| ["ascending", "descending", "ignore"].contains(&&*o.to_ascii_lowercase()))
        {
            return Err(
                place.error(E::Shape, format!("\"order\" is {order}, expected ascending, descending or ignore"))
            );
        }
        Ok(Field {
            ty,
            aliases: texts(object, "aliases", place)?,
            doc: text(object, "doc"),
            default: object.get("default").map(|json| self.number(ty, json)),
            misplaced_logical: object.get("logicalType").and_then(Json::as_str).map(str::to_owned),
            name,
        })
    }

    /// The default of a float may stand as text, as Java reads it.
    fn number(&self, ty: NodeId, json: &Json) -> Json {
        let float = matches!(&self.nodes[ty.index()], Some(Node { kind: Kind::Float | Kind::Double, .. }));
        let number = json.as_str().filter(|_| float).and_then(|text| text.trim().parse::<f64>().ok());
        number.and_then(serde_json::Number::from_f64).map_or_else(|| json.clone(), Json::Number)
    }

    fn finish(self, root: NodeId) -> Result<Schema, SchemaError> {
        let mut target = BTreeMap::new();
        for (full, (id, path)) in &self.uses {
            let Some(defined) = self.names.get(full) else {
                let known: Vec<_> = self.names.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                return Err(SchemaError::new(E::Reference, path, format!("{full} is not defined; defined is {known}")));
            };
            target.insert(*id, *defined);
        }
        let moved = |id: &mut NodeId| *id = target.get(id).copied().unwrap_or(*id);
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
        let mut root = root;
        moved(&mut root);
        let schema = Schema { nodes, root };
        check_nesting(&schema)?;
        for (first, second, path) in self.again {
            if !same(&schema, first, second) {
                let name = schema.kind(first).label();
                let message = format!("{name} is defined twice, and differently: refer to it by name");
                return Err(SchemaError::new(E::Duplicate, &path, message));
            }
        }
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
    let mut steps = Steps::new();
    for id in schema.ids() {
        if let Kind::Record(record) = schema.kind(id) {
            for field in &record.fields {
                if let Some(default) = &field.default
                    && !schema.fits(field.ty, default, 0, &mut steps)
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

fn no_name(name: &str, place: Place<'_>) -> SchemaError {
    let rule = "letters, digits and underscores, none of the parts between dots empty or with a digit first";
    place.error(E::Name, format!("\"{name}\" is no name: {rule}"))
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
        None => Ok(vec![]),
        Some(Json::Array(list)) => list.iter().map(|t| t.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

fn text(object: &Object, key: &str) -> String {
    object.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}
