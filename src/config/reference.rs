//! The reference page and the JSON Schema, made from the table of keys. Tests compare the files in `docs` with them.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key, Kind};

/// `docs/configuration.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Configuration\n\nMade from the code by `bulkhead config reference`; a test compares. A flag goes before the environment, the environment\n\
         before the file, the file before the default. The file is `bulkhead.toml` in the working directory, or what `--config` names; an\n\
         editor that knows JSON Schema can use [bulkhead.schema.json](bulkhead.schema.json). `bulkhead config check` reads it without starting\n\
         anything, `bulkhead config show --origin` tells where each value is from. A key that is not here is an error.\n\n",
    );
    let mut room = "";
    for key in KEYS {
        let of = key.name.split_once('.').map_or("general", |(room, _)| room);
        if of != room {
            room = of;
            let _ = writeln!(
                page,
                "## {room}\n| key | type | default | environment | on SIGHUP | what |\n|---|---|---|---|---|---|"
            );
        }
        let default = if key.default.is_empty() { "-".to_owned() } else { format!("`{}`", key.default) };
        let reloads = if key.reloads { "taken over" } else { "stays" };
        let (kind, secret) = (told(key.kind), if key.secret { " A secret: never shown." } else { "" });
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {default} | `{}` | {reloads} | {}{secret} |",
            key.name,
            key.env(),
            key.doc
        );
        if KEYS.last().is_some_and(|last| last.name != key.name) && next_room(key) != room {
            page.push('\n');
        }
    }
    page
}

fn next_room(key: &Key) -> &'static str {
    let next = KEYS.iter().skip_while(|other| other.name != key.name).nth(1);
    next.map_or("", |next| next.name.split_once('.').map_or("general", |(room, _)| room))
}

fn told(kind: Kind) -> String {
    match kind {
        Kind::Text(max) => format!("text, up to {max} bytes"),
        Kind::Path => "path".to_owned(),
        Kind::Address => "HOST:PORT".to_owned(),
        Kind::Socket => "IP:PORT".to_owned(),
        Kind::Url => "URL".to_owned(),
        Kind::OneOf(words) => words.join(" or "),
        Kind::Flag => "true or false".to_owned(),
        Kind::Count(from, to) => format!("{from} to {to}"),
        Kind::Size(from, to) => format!("size, {} to {}", in_kib(from), in_kib(to)),
        Kind::Duration(from, to) => format!("duration, {from} to {to} ms"),
    }
}

fn in_kib(bytes: u64) -> String {
    format!("{}KiB", bytes >> 10)
}

/// `docs/bulkhead.schema.json`.
pub fn schema() -> String {
    let mut root = Map::new();
    for key in KEYS {
        match key.name.split_once('.') {
            None => {
                root.insert(key.name.to_owned(), property(key));
            }
            Some((room, name)) => {
                let empty = || json!({ "type": "object", "additionalProperties": false, "properties": {} });
                let table = root.entry(room).or_insert_with(empty);
                table["properties"][name] = property(key);
            }
        }
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bulkhead.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": Value::Object(root),
    });
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

fn property(key: &Key) -> Value {
    let mut property = match key.kind {
        Kind::OneOf(words) => json!({ "enum": words }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Count(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Text(max) => json!({ "type": "string", "minLength": 1, "maxLength": max }),
        Kind::Size(..) => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" }),
        Kind::Duration(..) => json!({ "type": "string", "pattern": "^[0-9.]+(us|ms|s|m|h)$" }),
        Kind::Path | Kind::Address | Kind::Socket | Kind::Url => json!({ "type": "string", "minLength": 1 }),
    };
    property["description"] = Value::from(key.doc);
    if !key.default.is_empty() {
        property["default"] = match key.kind {
            Kind::Flag => Value::from(key.default == "true"),
            Kind::Count(..) => Value::from(super::keys::count(key.default)),
            _ => Value::from(key.default),
        };
    }
    property
}
