//! A decoded value in the plainest form: what is compared and what the recount computes with.

use std::collections::BTreeMap;
use std::fmt;

use apache_avro::types::Value;

/// A value without its schema: integers of all widths and times are one kind, unions are what they hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Datum>),
    /// A record or a map.
    Map(BTreeMap<String, Datum>),
}

impl From<Value> for Datum {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(flag) => Self::Bool(flag),
            Value::Int(n) | Value::Date(n) | Value::TimeMillis(n) => Self::Int(i64::from(n)),
            Value::Long(n)
            | Value::TimeMicros(n)
            | Value::TimestampMillis(n)
            | Value::TimestampMicros(n)
            | Value::TimestampNanos(n)
            | Value::LocalTimestampMillis(n)
            | Value::LocalTimestampMicros(n)
            | Value::LocalTimestampNanos(n) => Self::Int(n),
            Value::Float(x) => Self::Float(f64::from(x)),
            Value::Double(x) => Self::Float(x),
            Value::Bytes(bytes) | Value::Fixed(_, bytes) => Self::Bytes(bytes),
            Value::String(text) | Value::Enum(_, text) => Self::Text(text),
            Value::Union(_, value) => Self::from(*value),
            Value::Array(values) => Self::List(values.into_iter().map(Self::from).collect()),
            // Into a sorted map at once: the order of the hash map reaches nothing.
            Value::Map(entries) => Self::Map(entries.into_iter().map(|(key, value)| (key, value.into())).collect()),
            Value::Record(fields) => Self::Map(fields.into_iter().map(|(key, value)| (key, value.into())).collect()),
            // No schema of ours has these.
            Value::Null | Value::Decimal(_) | Value::BigDecimal(_) | Value::Duration(_) | Value::Uuid(_) => Self::Null,
        }
    }
}

impl From<i64> for Datum {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<bool> for Datum {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Datum>> From<Vec<T>> for Datum {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl From<BTreeMap<String, String>> for Datum {
    fn from(entries: BTreeMap<String, String>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key, value.into())).collect())
    }
}

/// A record of named fields.
#[macro_export]
macro_rules! record {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::verify::datum::Datum::Map([$(($name.to_owned(), $crate::verify::datum::Datum::from($value))),*].into())
    };
}

impl Datum {
    /// A field of a record; null where there is none.
    pub fn get(&self, name: &str) -> &Datum {
        match self {
            Self::Map(fields) => fields.get(name).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    /// A text field; `None` for null.
    pub fn opt_text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> &str {
        self.opt_text(name).unwrap_or_default()
    }

    /// A number; `None` for null.
    pub fn opt_int(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Self::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        self.opt_int(name).unwrap_or_default()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == &Self::Bool(true)
    }

    pub fn list(&self, name: &str) -> &[Datum] {
        match self.get(name) {
            Self::List(values) => values,
            _ => &[],
        }
    }

    /// An entry of the record's `metadata`.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.get("metadata").opt_text(name)
    }

    /// All entries of the record's `metadata` but these.
    pub fn meta_without(&self, names: &[&str]) -> BTreeMap<String, String> {
        let Self::Map(entries) = self.get("metadata") else { return BTreeMap::new() };
        let kept = entries.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        kept.filter_map(|(key, value)| Some((key.clone(), value.as_text()?.to_owned()))).collect()
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The first place in which `found` is another value: its path, what stands here, what stands there.
    pub fn difference(&self, found: &Self) -> Option<(String, String, String)> {
        match (self, found) {
            (Self::Map(here), Self::Map(there)) => {
                let names: std::collections::BTreeSet<_> = here.keys().chain(there.keys()).collect();
                names.into_iter().find_map(|name| {
                    let (path, expected, found) = self.get(name).difference(found.get(name))?;
                    let path = if path.is_empty() { name.clone() } else { format!("{name}.{path}") };
                    Some((path, expected, found))
                })
            }
            _ => (self != found).then(|| (String::new(), self.to_string(), found.to_string())),
        }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "null"),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x}"),
            Self::Text(text) => write!(f, "{text}"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::List(values) => {
                write!(f, "[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
                }
                write!(f, "]")
            }
            Self::Map(fields) => {
                write!(f, "{{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if index > 0 { ", " } else { "" })?;
                }
                write!(f, "}}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_difference_is_named_with_its_path() {
        let one = record! { "id": "a", "metadata": record! { "x": "1" }, "n": 3 };
        let other = record! { "id": "a", "metadata": record! { "x": "2" }, "n": 4 };
        assert_eq!(one.difference(&one), None);
        assert_eq!(one.difference(&other), Some(("metadata.x".into(), "1".into(), "2".into())));
        let more = record! { "id": "a", "metadata": record! { "x": "1", "y": "z" }, "n": 3 };
        assert_eq!(one.difference(&more), Some(("metadata.y".into(), "null".into(), "z".into())));
    }
}
