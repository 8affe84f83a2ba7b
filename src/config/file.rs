//! Reads `bulkhead.toml`: every key that is wrong is told, with its line and what was probably meant.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Kind, find};
use super::{ConfigError, nearest};

/// Keys of the file, as text.
pub type Values = Vec<(&'static str, String)>;

/// The values of a file's text, and everything that is wrong with it.
pub fn parse(path: &Path, text: &str) -> (Values, Vec<ConfigError>) {
    let mut file = File { path, text, values: Vec::new(), errors: Vec::new() };
    match DeTable::parse(text) {
        Ok(table) => file.table("", table.get_ref()),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            file.wrong(at, error.message().lines().next().unwrap_or_default().to_owned());
        }
    }
    file.errors.sort_by_key(|error| error.line());
    (file.values, file.errors)
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    values: Values,
    errors: Vec<ConfigError>,
}

impl File<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let full = format!("{prefix}{}", name.get_ref());
            match (find(&full), value.get_ref()) {
                (Some(key), value) => match as_text(value) {
                    Some(text) => match key.check(&text) {
                        Ok(()) => self.values.push((key.name, text)),
                        Err(what) => self.wrong(at, format!("`{full}` {what}")),
                    },
                    None => {
                        self.wrong(at, format!("`{full}`: expected {}, found {}", expected(key.kind), value.type_str()))
                    }
                },
                (None, DeValue::Table(inner)) if KEYS.iter().any(|key| key.name.starts_with(&format!("{full}."))) => {
                    self.table(&format!("{full}."), inner);
                }
                (None, _) => self.unknown(at, &full),
            }
        }
    }

    fn unknown(&mut self, at: usize, name: &str) {
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        let what = match nearest(name, &names) {
            Some(known) => format!("unknown key `{name}`; did you mean `{known}`?"),
            None => format!("unknown key `{name}`; known are {}", names.join(", ")),
        };
        self.wrong(at, what);
    }

    fn wrong(&mut self, at: usize, what: String) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let snippet = self.text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(120).collect();
        self.errors.push(ConfigError::Syntax { path: self.path.to_owned(), line, what, snippet });
    }
}

fn as_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "text",
        Kind::Path => "a path",
        Kind::Socket => "text such as \"127.0.0.1:8082\"",
        Kind::Address => "text such as \"127.0.0.1:8080\"",
        Kind::Url => "a URL",
        Kind::OneOf(_) => "one of a few words",
        Kind::Flag => "true or false",
        Kind::Count(..) => "a whole number",
        Kind::Size(..) => "a size such as \"64KiB\"",
        Kind::Duration(..) => "a duration such as \"5s\"",
    }
}
