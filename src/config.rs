//! Configuration: flag, then environment, then file, then default. An unknown key is an error that names its place.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

/// Looked for in the working directory where no other file is named.
const FILE: &str = "bulkhead.toml";
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Where the edge listens if nobody says otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
/// Where the admin listener is if nobody says otherwise.
pub const ADMIN_DEFAULT: &str = "127.0.0.1:8081";
const KEYS: [&str; 6] = ["data", "partitions", "lists", "instance", "registry_url", "registry_listen"];
const PARTITIONS_DEFAULT: u32 = 4;
const PARTITIONS_MAX: u32 = 256;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} has {bytes} bytes, at most {FILE_MAX_BYTES} are read; is it the right file?", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{} line {line}: {what}", .path.display())]
    Syntax { path: PathBuf, line: usize, what: String },
    #[error("{key}: {what}")]
    Value { key: &'static str, what: String },
}

impl ConfigError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "READ",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::Syntax { .. } => "SYNTAX",
            Self::Value { .. } => "VALUE",
        }
    }
}

/// Flags that every command with a platform has.
#[derive(Args, Clone, Debug, Default)]
pub struct PlatformArgs {
    /// Configuration file [default: bulkhead.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "BULKHEAD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory; made if it is absent
    #[arg(long, value_name = "DIR", env = "BULKHEAD_DATA_DIR")]
    pub data: Option<PathBuf>,
    /// Partitions of every topic [default: 4]; fixed once the directory is made
    #[arg(long, value_name = "N", env = "BULKHEAD_PARTITIONS")]
    pub partitions: Option<u32>,
    /// Directory with lists of known agents and networks [default: the built-in lists]
    #[arg(long, value_name = "DIR", env = "BULKHEAD_LISTS")]
    pub lists: Option<PathBuf>,
    /// Name of this process among others [default: local]
    #[arg(long, value_name = "NAME", env = "BULKHEAD_INSTANCE")]
    pub instance: Option<String>,
    /// External schema registry, up to its `/subjects` [default: the embedded one]
    #[arg(long, value_name = "URL", env = "BULKHEAD_REGISTRY_URL")]
    pub registry_url: Option<String>,
    /// Port of its own for the embedded schema registry
    #[arg(long, value_name = "ADDR", env = "BULKHEAD_REGISTRY_LISTEN")]
    pub registry_listen: Option<SocketAddr>,
}

/// Keys of the file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    partitions: Option<u32>,
    lists: Option<PathBuf>,
    instance: Option<String>,
    registry_url: Option<String>,
    registry_listen: Option<SocketAddr>,
}

/// What a platform is run with.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// `None`: not stated anywhere.
    pub data: Option<PathBuf>,
    pub partitions: u32,
    pub lists: Option<PathBuf>,
    pub instance: String,
    /// `None`: the embedded registry.
    pub registry_url: Option<String>,
    pub registry_listen: Option<SocketAddr>,
}

/// Puts the layers together.
///
/// # Errors
/// [`ConfigError`], which is exit 78.
pub fn resolve(args: &PlatformArgs) -> Result<Settings, ConfigError> {
    let file = match &args.config {
        Some(path) => read(path)?,
        None if Path::new(FILE).exists() => read(Path::new(FILE))?,
        None => File::default(),
    };
    let partitions = args.partitions.or(file.partitions).unwrap_or(PARTITIONS_DEFAULT);
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        let what = format!("{partitions} is not within 1 and {PARTITIONS_MAX}");
        return Err(ConfigError::Value { key: "partitions", what });
    }
    let instance = args.instance.clone().or(file.instance).unwrap_or_else(|| "local".to_owned());
    if instance.is_empty() || instance.len() > 64 || instance.contains('/') {
        let what = "must have 1 to 64 bytes and no `/`".to_owned();
        return Err(ConfigError::Value { key: "instance", what });
    }
    Ok(Settings {
        data: args.data.clone().or(file.data),
        partitions,
        lists: args.lists.clone().or(file.lists),
        instance,
        registry_url: args.registry_url.clone().or(file.registry_url),
        registry_listen: args.registry_listen.or(file.registry_listen),
    })
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes });
    }
    parse(path, &std::fs::read_to_string(path).map_err(failed)?)
}

fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let mut what = error.message().lines().next().unwrap_or_default().to_owned();
        if let Some(key) = what.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            what = match nearest(key, &KEYS) {
                Some(known) => format!("unknown key `{key}`; did you mean `{known}`?"),
                None => format!("unknown key `{key}`; known are {}", KEYS.join(", ")),
            };
        }
        ConfigError::Syntax { path: path.to_owned(), line, what }
    })
}

/// The known name that `word` was most likely meant to be: at most a third of it is different.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|name| (distance(word, name), *name)).min()?;
    (near.0 <= word.len().max(3) / 3).then_some(near.1)
}

/// Levenshtein's distance, for words of a line at most.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_line_and_its_neighbour() {
        let error = parse(Path::new("b.toml"), "data = \"d\"\npartitons = 8\n").expect_err("refused");
        assert_eq!(error.to_string(), "b.toml line 2: unknown key `partitons`; did you mean `partitions`?");
        let error = parse(Path::new("b.toml"), "colour = 1\n").expect_err("refused").to_string();
        assert!(error.contains("known are data, partitions"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_its_line() {
        let error = parse(Path::new("b.toml"), "\n\npartitions = \"many\"\n").expect_err("refused").to_string();
        assert!(error.starts_with("b.toml line 3: "), "{error}");
    }

    #[test]
    fn a_flag_goes_before_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.toml");
        std::fs::write(&path, "partitions = 8\ninstance = \"x\"\n").expect("written");
        let args = PlatformArgs { config: Some(path), partitions: Some(2), ..PlatformArgs::default() };
        let settings = resolve(&args).expect("settings");
        assert_eq!((settings.partitions, settings.instance.as_str()), (2, "x"));
        let none = PlatformArgs { partitions: Some(0), ..args };
        assert_eq!(resolve(&none).expect_err("refused").kind(), "VALUE");
    }

    #[test]
    fn distances() {
        assert_eq!((distance("abc", "abc"), distance("abc", "axc"), distance("", "ab")), (0, 1, 2));
        assert_eq!(nearest("lits", &KEYS), Some("lists"));
        assert_eq!(nearest("x", &KEYS), None);
    }
}
