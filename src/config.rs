//! Configuration: flag, then environment, then file, then default. Typed; every key stands once in `keys`; everything that is
//! wrong is told at once, with its place.

pub mod file;
pub mod keys;
pub mod properties;
pub mod reference;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::edge::config::EdgeConfig;
use crate::telemetry::TelemetryConfig;
use keys::{KEYS, Key, count, duration, size};

/// Looked for in the working directory where no other file is named.
const FILE: &str = "bulkhead.toml";
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Where the edge listens if nobody says otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
/// Where the admin listener is if nobody says otherwise.
pub const ADMIN_DEFAULT: &str = "127.0.0.1:8081";
/// Partitions of every topic if nobody says otherwise.
pub const PARTITIONS_DEFAULT: u32 = 4;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}; check the path and its permissions", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} has {bytes} bytes, at most {FILE_MAX_BYTES} are read; is it the right file?", .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{} line {line}: {what}\n    {snippet}", .path.display())]
    Syntax { path: PathBuf, line: usize, what: String, snippet: String },
    #[error("{key}: {what} ({origin})")]
    Value { key: &'static str, what: String, origin: Origin },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Many(Vec<ConfigError>),
}

impl ConfigError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "READ",
            Self::TooLarge { .. } => "TOO_LARGE",
            Self::Syntax { .. } => "SYNTAX",
            Self::Value { .. } => "VALUE",
            Self::Many(_) => "MANY",
        }
    }

    /// Line of the file; 0 where there is none.
    fn line(&self) -> usize {
        match self {
            Self::Syntax { line, .. } => *line,
            _ => 0,
        }
    }
}

/// Where a value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File,
    Environment,
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
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

impl PlatformArgs {
    /// Flags by the names of their keys.
    fn flags(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        let all = [
            ("data", self.data.as_ref().map(path)),
            ("partitions", self.partitions.map(|count| count.to_string())),
            ("lists", self.lists.as_ref().map(path)),
            ("instance", self.instance.clone()),
            ("registry_url", self.registry_url.clone()),
            ("registry_listen", self.registry_listen.map(|address| address.to_string())),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// What a platform is run with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `None`: not stated anywhere.
    pub data: Option<PathBuf>,
    /// Of a new directory.
    pub partitions: u32,
    /// Somebody asked for that count: a directory with another one is refused.
    pub partitions_stated: bool,
    pub lists: Option<PathBuf>,
    pub instance: String,
    /// `None`: the embedded registry.
    pub registry_url: Option<String>,
    pub registry_listen: Option<SocketAddr>,
    /// A stage of a drain may take this long; then what is left comes again at the next start.
    pub drain_timeout: Duration,
    /// Where the edge is to listen; `None`: nobody asked.
    pub listen: Option<String>,
    /// Where the admin listener is to be; `None`: nobody asked.
    pub admin: Option<String>,
    /// Token for what changes something; `None`: a fresh one.
    pub admin_token: Option<String>,
    /// How processes on one cluster share partitions.
    pub sharing: Sharing,
    pub edge: EdgeConfig,
    pub telemetry: TelemetryConfig,
}

/// How processes on one cluster share partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    pub session_timeout: Duration,
    /// The coordinator works the assignment out (KIP-848), not a member.
    pub by_coordinator: bool,
    /// A process that comes back in time, under its name, finds its partitions as they were.
    pub is_static: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Resolved::default().settings()
    }
}

/// Every key with its text and where that is from.
#[derive(Clone, Debug, Default)]
pub struct Resolved(BTreeMap<&'static str, (String, Origin)>);

impl Resolved {
    /// Value of a key and its origin; `None` for one without a value.
    pub fn get(&self, key: &Key) -> Option<(&str, Origin)> {
        let stated = self.0.get(key.name).map(|(text, origin)| (text.as_str(), *origin));
        stated.or_else(|| (!key.default.is_empty()).then_some((key.default, Origin::Default)))
    }

    fn text(&self, name: &str) -> &str {
        keys::find(name).and_then(|key| self.get(key)).map_or("", |(text, _)| text)
    }

    /// A value that somebody stated.
    fn stated(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|(text, _)| text.clone())
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// As the program uses it.
    pub fn settings(&self) -> Settings {
        let number = |name: &str| count(self.text(name)).min(u64::from(u32::MAX)) as u32;
        Settings {
            data: self.stated("data").map(PathBuf::from),
            partitions: number("partitions"),
            partitions_stated: self.stated("partitions").is_some(),
            lists: self.stated("lists").map(PathBuf::from),
            instance: self.text("instance").to_owned(),
            registry_url: self.stated("registry_url"),
            registry_listen: self.stated("registry_listen").and_then(|text| text.parse().ok()),
            drain_timeout: duration(self.text("drain_timeout")),
            listen: self.stated("edge.listen"),
            admin: self.stated("admin.listen"),
            admin_token: self.stated("admin.token"),
            telemetry: TelemetryConfig {
                endpoint: self.stated("telemetry.endpoint"),
                grpc: self.flag("telemetry.grpc"),
                one_in: count(self.text("telemetry.sample_one_in")),
                metrics_interval: duration(self.text("telemetry.metrics_interval")),
            },
            sharing: Sharing {
                session_timeout: duration(self.text("kafka.session_timeout")),
                by_coordinator: self.text("kafka.group_protocol") == "consumer",
                is_static: self.flag("kafka.static_membership"),
            },
            edge: EdgeConfig {
                public_url: self.stated("edge.public_url"),
                keys_file: self.stated("edge.keys_file").map(PathBuf::from),
                body_max_bytes: size(self.text("edge.body_max")),
                head_max_bytes: size(self.text("edge.head_max")),
                depth_max: number("edge.depth_max") as usize,
                head_timeout: duration(self.text("edge.head_timeout")),
                body_timeout: duration(self.text("edge.body_timeout")),
                log_timeout: duration(self.text("edge.log_timeout")),
                connections_max: number("edge.connections_max") as usize,
                connections_max_per_address: number("edge.connections_max_per_address"),
                bids_per_s: number("edge.bids_per_s"),
                pixels_per_s: number("edge.pixels_per_s"),
                requests_per_s_per_key: number("edge.requests_per_s_per_key"),
                trust_forwarded: self.flag("edge.trust_forwarded"),
                filter_invalid_traffic: self.flag("edge.filter_invalid_traffic"),
                bid_waits_for_log: self.flag("edge.bid_waits_for_log"),
                threads: number("edge.threads") as usize,
            },
        }
    }
}

/// Puts the layers together.
///
/// # Errors
/// [`ConfigError`], which is exit 78.
pub fn resolve(args: &PlatformArgs) -> Result<Settings, ConfigError> {
    resolve_with(args, &[]).map(|resolved| resolved.settings())
}

/// As [`resolve`], with flags of one command, by the names of their keys.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong.
pub fn resolve_with(args: &PlatformArgs, flags: &[(&'static str, Option<String>)]) -> Result<Resolved, ConfigError> {
    let (values, mut errors) = match &args.config {
        Some(path) => read(path)?,
        None if Path::new(FILE).exists() => read(Path::new(FILE))?,
        None => Default::default(),
    };
    let mut resolved = Resolved::default();
    for (key, text) in values {
        resolved.0.insert(key, (text, Origin::File));
    }
    let mut take = |key: &'static Key, text: String, origin: Origin| match key.check(&text) {
        Ok(()) => {
            resolved.0.insert(key.name, (text, origin));
        }
        Err(what) => errors.push(ConfigError::Value { key: key.name, what, origin }),
    };
    let of_command = flags.iter().filter_map(|(key, text)| Some((*key, text.clone()?)));
    let flags: BTreeMap<&str, String> = args.flags().into_iter().chain(of_command).collect();
    for key in KEYS {
        let environment = std::env::var(key.env()).ok().filter(|text| !text.is_empty());
        // A flag that says what the environment says was taken from there.
        match (flags.get(key.name), environment) {
            (Some(flag), environment) if environment.as_deref() != Some(flag) => take(key, flag.clone(), Origin::Flag),
            (_, Some(environment)) => take(key, environment, Origin::Environment),
            _ => {}
        }
    }
    if errors.len() > 1 {
        return Err(ConfigError::Many(errors));
    }
    errors.pop().map_or(Ok(resolved), Err)
}

fn read(path: &Path) -> Result<(file::Values, Vec<ConfigError>), ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_MAX_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes });
    }
    Ok(file::parse(path, &std::fs::read_to_string(path).map_err(failed)?))
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

    fn resolved(text: &str, args: PlatformArgs) -> Result<Resolved, ConfigError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.toml");
        std::fs::write(&path, text).expect("written");
        resolve_with(&PlatformArgs { config: Some(path), ..args }, &[("edge.listen", Some("127.0.0.1:1".into()))])
    }

    fn refused(text: &str) -> String {
        resolved(text, PlatformArgs::default()).expect_err("refused").to_string()
    }

    #[test]
    fn an_unknown_key_names_its_line_and_its_neighbour() {
        let error = refused("data = \"d\"\npartitons = 8\n");
        assert!(error.contains("c.toml line 2: unknown key `partitons`; did you mean `partitions`?"), "{error}");
        assert!(error.ends_with("partitons = 8"), "with its line as it is: {error}");
        assert!(refused("colour = 1\n").contains("known are data, partitions"));
        let error = refused("[edge]\nbody_maxx = \"1KiB\"\n");
        assert!(error.contains("line 2: unknown key `edge.body_maxx`; did you mean `edge.body_max`?"), "{error}");
        assert!(refused("[egde]\nlisten = \"x\"\n").contains("unknown key `egde`"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let error = refused("partitions = \"many\"\n[edge]\nthreads = 0\ntrust_forwarded = 1.5\nx = 1\n");
        for place in [
            "line 1: `partitions`",
            "line 3: `edge.threads` 0 is not",
            "line 4: `edge.trust_forwarded`: expected true",
            "line 5: unknown",
        ] {
            assert!(error.contains(place), "{place}: {error}");
        }
        assert!(refused("a = [\n").contains("line 1: "));
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let text = "partitions = 8\ninstance = \"x\"\n[edge]\nbody_max = \"32KiB\"\nhead_timeout = \"250ms\"\n";
        let all = resolved(text, PlatformArgs { partitions: Some(2), ..PlatformArgs::default() }).expect("values");
        let origin = |name: &str| all.get(keys::find(name).expect("a key")).map(|(_, origin)| origin);
        assert_eq!((origin("partitions"), origin("instance")), (Some(Origin::Flag), Some(Origin::File)));
        assert_eq!((origin("edge.threads"), origin("admin.token")), (Some(Origin::Default), None));
        let settings = all.settings();
        assert_eq!((settings.partitions, settings.instance.as_str()), (2, "x"));
        assert_eq!((settings.edge.body_max_bytes, settings.edge.head_timeout), (32 << 10, Duration::from_millis(250)));
        assert_eq!((settings.listen.as_deref(), settings.admin), (Some("127.0.0.1:1"), None));
        let none = resolved("", PlatformArgs { partitions: Some(0), ..PlatformArgs::default() });
        assert_eq!(none.expect_err("refused").to_string(), "partitions: 0 is not within 1 and 256 (flag)");
    }

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_code() {
        assert_eq!(Settings::default().edge, EdgeConfig::default());
        assert_eq!(Settings::default().partitions, PARTITIONS_DEFAULT);
        assert_eq!(keys::find("edge.listen").map(|key| key.default), Some(LISTEN_DEFAULT));
        assert_eq!(keys::find("admin.listen").map(|key| key.default), Some(ADMIN_DEFAULT));
    }

    /// `bulkhead config reference` and `bulkhead config schema` write them.
    #[test]
    fn the_pages_are_those_of_the_code() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        for (name, expected) in [("configuration.md", reference::page()), ("bulkhead.schema.json", reference::schema())]
        {
            let found = std::fs::read_to_string(docs.join(name)).unwrap_or_default();
            assert_eq!(found, expected, "docs/{name} is old");
        }
    }

    #[test]
    fn distances() {
        assert_eq!((distance("abc", "abc"), distance("abc", "axc"), distance("", "ab")), (0, 1, 2));
        assert_eq!(nearest("lits", &["data", "lists"]), Some("lists"));
        assert_eq!(nearest("x", &["data", "lists"]), None);
    }
}
