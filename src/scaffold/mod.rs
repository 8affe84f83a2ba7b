//! `bulkhead new`: a service that counts what a topic says, as a place to begin. It is written into a checkout of the
//! project: services are compiled in, so that all of them pass the same suite.

use std::path::{Path, PathBuf};

use runtime::topology::Topic;

use crate::config::nearest;
use crate::operate::values;

/// Longest name, bytes: it is part of topics and threads.
const NAME_MAX: usize = 15;
const LIBRARY: &str = "actors/src/lib.rs";
const CATALOGUE: &str = "actors/src/catalogue.rs";
const COSTS: &str = "sim/src/isolation/costs.rs";
/// Files of a service: name, and text with its places.
const FILES: [(&str, &str); 4] = [
    ("mod.rs", include_str!("service/mod.rs.txt")),
    ("state.rs", include_str!("service/state.rs.txt")),
    ("tests.rs", include_str!("service/tests.rs.txt")),
    ("README.md", include_str!("service/README.md.txt")),
];

/// Why there is no new service.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error(
        "`{0}` is no name for a service: 2 to {NAME_MAX} letters a to z and digits, a letter first, no word of Rust"
    )]
    Name(String),
    #[error("`{0}` is taken: there is a part of that name in actors/src")]
    Taken(String),
    #[error("there is no topic `{name}`{}; see `bulkhead topics ls`", .nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean `{near}`")))]
    Topic { name: String, nearest: Option<String> },
    #[error("{}: {source}; name a checkout of the project with --dir", .path.display())]
    NoCheckout { path: PathBuf, source: std::io::Error },
    #[error("{}: the place for a new line is not found ({what}); add the service by hand", .path.display())]
    NoPlace { path: PathBuf, what: &'static str },
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl ScaffoldError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Name(_) => "NAME",
            Self::Taken(_) => "TAKEN",
            Self::Topic { .. } => "TOPIC",
            Self::NoCheckout { .. } => "NO_CHECKOUT",
            Self::NoPlace { .. } => "NO_PLACE",
            Self::Io { .. } => "IO",
        }
    }
}

/// What was written, relative to the checkout: new files first, then those that have a new line.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    pub files: Vec<PathBuf>,
    pub changed: Vec<PathBuf>,
}

/// Words that can be no module.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Writes a service `name` that reads `topic` into the checkout `root`. Nothing is written unless everything can be.
///
/// # Errors
/// [`ScaffoldError`]: a name or topic that will not do, or no checkout.
pub fn service(root: &Path, name: &str, topic: &str) -> Result<Written, ScaffoldError> {
    let is_word = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let begins_well = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let is_keyword = KEYWORDS.contains(&name);
    if !is_word || !begins_well || is_keyword || !(2..=NAME_MAX).contains(&name.len()) {
        return Err(ScaffoldError::Name(name.to_owned()));
    }
    let topics = values::topics();
    let Some(topic) = topics.iter().find(|known| known.name == topic) else {
        let names: Vec<&str> = topics.iter().map(|known| known.name).collect();
        let nearest = nearest(topic, &names).map(str::to_owned);
        return Err(ScaffoldError::Topic { name: topic.to_owned(), nearest });
    };
    let read = |path: &str| {
        let path = root.join(path);
        std::fs::read_to_string(&path).map_err(|source| ScaffoldError::NoCheckout { path, source })
    };
    let (library, catalogue, costs) = (read(LIBRARY)?, read(CATALOGUE)?, read(COSTS)?);
    let folder = PathBuf::from("actors/src").join(name);
    if root.join(&folder).exists() || library.contains(&format!("mod {name};")) {
        return Err(ScaffoldError::Taken(name.to_owned()));
    }
    let changed = [
        (LIBRARY, with_module(root, &library, name)?),
        (CATALOGUE, with_service(root, &catalogue, name)?),
        (COSTS, with_cost(root, &costs, name)?),
    ];
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ScaffoldError::Io { path, source }
    };
    std::fs::create_dir(root.join(&folder)).map_err(io(&root.join(&folder)))?;
    let mut files = Vec::new();
    for (file, text) in FILES {
        let path = folder.join(file);
        std::fs::write(root.join(&path), filled(text, name, topic)).map_err(io(&root.join(&path)))?;
        files.push(path);
    }
    for (path, text) in &changed {
        std::fs::write(root.join(path), text).map_err(io(&root.join(path)))?;
    }
    Ok(Written { files, changed: changed.iter().map(|(path, _)| PathBuf::from(path)).collect() })
}

/// `clicks` as a type: `Clicks`.
fn type_name(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}

fn filled(text: &str, name: &str, topic: &Topic) -> String {
    let event = schemas::builtin().iter().find(|builtin| builtin.id == topic.schema_id).map_or("", |b| b.name);
    let event = event.rsplit('.').next().unwrap_or_default();
    text.replace("@name@", name)
        .replace("@Name@", &type_name(name))
        .replace("@topic@", topic.name)
        .replace("@TOPIC@", &topic.name.replace('-', "_").to_ascii_uppercase())
        .replace("@Event@", event)
        .replace("@key@", topic.key)
}

/// `text` with `line` where it belongs by the alphabet, among the lines that begin as it does.
fn among(text: &str, start: &str, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|other| other.starts_with(start))?;
    let place = lines.iter().position(|other| other.starts_with(start) && *other > line).unwrap_or(last + 1);
    lines.insert(place, line);
    Some(lines.join("\n") + "\n")
}

fn with_module(root: &Path, library: &str, name: &str) -> Result<String, ScaffoldError> {
    let no_place = || ScaffoldError::NoPlace { path: root.join(LIBRARY), what: "`pub mod …;`" };
    among(library, "pub mod ", &format!("pub mod {name};")).ok_or_else(no_place)
}

/// The last in the list: it reads what the others have written.
fn with_service(root: &Path, catalogue: &str, name: &str) -> Result<String, ScaffoldError> {
    let no_place = |what| ScaffoldError::NoPlace { path: root.join(CATALOGUE), what };
    let of_type = type_name(name);
    let with_use = among(catalogue, "use crate::", &format!("use crate::{name}::{of_type};"));
    let with_use = with_use.ok_or_else(|| no_place("`use crate::…;`"))?;
    let list = with_use.find("pub fn services(").and_then(|from| Some(from + with_use[from..].find("\n    ]\n")?));
    let list = list.ok_or_else(|| no_place("the list in `services`"))?;
    Ok(format!("{}\n        ServiceDef::new(|| {of_type}),{}", &with_use[..list], &with_use[list..]))
}

/// What an event of it costs in the isolation matrix is not known yet: as much as one of the dearest service.
fn with_cost(root: &Path, costs: &str, name: &str) -> Result<String, ScaffoldError> {
    let no_place = || ScaffoldError::NoPlace { path: root.join(COSTS), what: "the list `EVENT_US`" };
    let list = costs.find("pub const EVENT_US").and_then(|from| Some(from + costs[from..].find("\n];")?));
    let list = list.ok_or_else(no_place)?;
    Ok(format!("{}\n    // Not measured yet.\n    (\"{name}\", 10.0),{}", &costs[..list], &costs[list..]))
}

#[cfg(test)]
mod tests;
