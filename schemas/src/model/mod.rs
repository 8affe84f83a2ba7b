//! Avro schemas as a graph: names resolved, aliases qualified, recursion as a cycle of node ids, logical types read where
//! the specification places them. Source: Avro 1.12 specification; where it is silent, Java's parser decides.

mod canonical;
mod default;
mod error;
mod logical;
mod parse;
mod same;

pub(crate) use default::{Steps, default_branch};
pub use error::{SchemaError, SchemaErrorKind};
pub use logical::Logical;

use serde_json::Value as Json;

/// Bytes of a schema's JSON text that are read.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// Nodes of one schema: one a type at its place, named types once.
pub const NODES_MAX: usize = 10_000;
/// Types inside each other, along a walk that enters every named type once.
pub const NESTING_MAX: usize = 256;

/// A schema whose references all lead somewhere.
#[derive(Clone, Debug)]
pub struct Schema {
    nodes: Vec<Node>,
    root: NodeId,
}

/// A type inside one [`Schema`]. Every place has its own, but all references to a named type share that type's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Position in the schema's list of nodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One type and what its values mean.
#[derive(Clone, Debug)]
pub struct Node {
    /// The type.
    pub kind: Kind,
    /// A logical type that fits the type; one that does not is ignored, as the specification demands.
    pub logical: Option<Logical>,
}

/// Avro's types.
#[derive(Clone, Debug)]
pub enum Kind {
    /// No value, no bytes.
    Null,
    /// One byte.
    Boolean,
    /// 32 bits, zigzag.
    Int,
    /// 64 bits, zigzag.
    Long,
    /// 4 bytes.
    Float,
    /// 8 bytes.
    Double,
    /// Length and bytes.
    Bytes,
    /// Length and UTF-8.
    String,
    /// Blocks of items.
    Array(NodeId),
    /// Blocks of text keys and values.
    Map(NodeId),
    /// Index of a branch, then its value.
    Union(Vec<NodeId>),
    /// A number of bytes.
    Fixed(Fixed),
    /// Index of a symbol.
    Enum(Enum),
    /// Its fields in order.
    Record(Record),
}

impl Kind {
    /// Avro's word for the type.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Fixed(_) => "fixed",
            Self::Enum(_) => "enum",
            Self::Record(_) => "record",
        }
    }

    /// Name of a named type.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Fixed(t) => Some(&t.name),
            Self::Enum(t) => Some(&t.name),
            Self::Record(t) => Some(&t.name),
            _ => None,
        }
    }

    /// Full names that a named type also reads under.
    pub fn aliases(&self) -> &[String] {
        match self {
            Self::Fixed(t) => &t.aliases,
            Self::Enum(t) => &t.aliases,
            Self::Record(t) => &t.aliases,
            _ => &[],
        }
    }

    /// The tag of a union branch, and the word in messages: the full name, else Avro's word.
    pub fn label(&self) -> &str {
        self.name().map_or(self.word(), Name::full)
    }
}

/// A full name: namespace, dot, short name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// With the namespace.
    pub fn full(&self) -> &str {
        &self.0
    }

    /// Without the namespace.
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }

    /// The namespace; empty if there is none.
    pub fn namespace(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(namespace, _)| namespace)
    }
}

/// A fixed number of bytes.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Its name.
    pub name: Name,
    /// Full names it also reads under.
    pub aliases: Vec<String>,
    /// Bytes.
    pub size: usize,
}

/// A list of symbols.
#[derive(Clone, Debug)]
pub struct Enum {
    /// Its name.
    pub name: Name,
    /// Full names it also reads under.
    pub aliases: Vec<String>,
    /// What it stands for.
    pub doc: String,
    /// Symbols in wire order.
    pub symbols: Vec<String>,
    /// The symbol that a reader takes for one it does not know; always one of `symbols`.
    pub default: Option<String>,
}

/// A list of fields.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name.
    pub name: Name,
    /// Full names it also reads under.
    pub aliases: Vec<String>,
    /// What it stands for.
    pub doc: String,
    /// Fields in wire order.
    pub fields: Vec<Field>,
}

impl Record {
    /// The position of a field.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Names it also reads under.
    pub aliases: Vec<String>,
    /// What it means.
    pub doc: String,
    /// Its type.
    pub ty: NodeId,
    /// What a reader takes where the writer has no such field; fits the type.
    pub default: Option<Json>,
    /// A `logicalType` written beside the type instead of inside it, where every implementation ignores it.
    pub misplaced_logical: Option<String>,
}

impl Schema {
    /// Reads a schema from its JSON text.
    ///
    /// # Errors
    /// Not JSON, not Avro, or a reference that leads nowhere; with the path of the place.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        Self::parse_with(text, &[])
    }

    /// Reads a schema that refers to names defined in `references`, each of which may use those before it.
    ///
    /// # Errors
    /// As [`Schema::parse`], for any of the texts.
    pub fn parse_with(text: &str, references: &[&str]) -> Result<Self, SchemaError> {
        parse::schema(text, references)
    }

    /// The type of a whole datum.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// A type of this schema.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The kind of a type of this schema.
    pub fn kind(&self, id: NodeId) -> &Kind {
        &self.node(id).kind
    }

    /// Number of nodes; ids are below it.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a schema has at least its root.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All types, named ones once.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The types directly inside a type.
    pub fn children(&self, id: NodeId) -> Vec<NodeId> {
        match self.kind(id) {
            Kind::Array(inner) | Kind::Map(inner) => vec![*inner],
            Kind::Union(branches) => branches.clone(),
            Kind::Record(record) => record.fields.iter().map(|f| f.ty).collect(),
            _ => vec![],
        }
    }

    /// A named type that contains itself, if there is one: such a schema has values of any depth.
    pub fn recursive_name(&self) -> Option<&Name> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.nodes.len()];
        let mut stack = vec![(self.root, 0)];
        marks[self.root.index()] = Mark::Open;
        while let Some((id, next)) = stack.pop() {
            let Some(&child) = self.children(id).get(next) else {
                marks[id.index()] = Mark::Done;
                continue;
            };
            stack.push((id, next + 1));
            match marks[child.index()] {
                Mark::Open => return self.kind(child).name(),
                Mark::New => {
                    marks[child.index()] = Mark::Open;
                    stack.push((child, 0));
                }
                Mark::Done => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
