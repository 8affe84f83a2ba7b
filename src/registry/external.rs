//! An external registry at work: at start it must know the schemas of the binary, later it is asked for those of others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::env::{BulkheadRuntime, Env};
use runtime::writers::{Found, WriterSchemas};
use schemas::frame::Writer;
use schemas::registry::Submission;
use serde_json::{Value as Json, json};

use super::api::{RegistryFailure, SchemaRegistry};
use super::at_rest::CACHE;
use super::cache::SchemaCache;
use super::enquiries::Enquiries;
use super::http::HttpRegistry;
use super::store::subjects_of;

/// Which registry the frames of a data directory get their ids from, and which ids those are.
pub const MARKER: &str = "registry.json";
/// Why an external registry cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// The registry's own failure.
    #[error(transparent)]
    Registry(#[from] RegistryFailure),
    /// Schemas of the binary are missing there, and nothing registers by itself.
    #[error(
        "{} schemas of this binary are not registered at {url}: {}; register them: bulkhead schemas register --builtin --registry {url}",
        .subjects.len(), .subjects.join(", ")
    )]
    NotRegistered { url: String, subjects: Vec<String> },
    /// The ids that records here carry are not those that the registry gives.
    #[error(
        "records in this directory carry schema ids of {was}, {url} gives others; go back to that registry, or use a new directory"
    )]
    OtherIds { was: String, url: String },
    /// Files.
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The system gives no thread.
    #[error("no thread for the registry's client: {0}")]
    Threads(std::io::Error),
}

impl ExternalError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Registry(error) => error.kind(),
            Self::NotRegistered { .. } => "SCHEMAS_NOT_REGISTERED",
            Self::OtherIds { .. } => "SCHEMA_IDS_DIFFER",
            Self::Io { .. } => "IO",
            Self::Threads(_) => "THREADS",
        }
    }
}

/// The registry behind a URL, and what this process knows of it.
pub struct External {
    pub registry: Arc<HttpRegistry>,
    enquiries: Enquiries,
    _runtime: BulkheadRuntime,
}

impl External {
    /// Starts the client; asks nothing yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(env: &Env, directory: &Path, registry: HttpRegistry) -> Result<Self, ExternalError> {
        let runtime = BulkheadRuntime::with_network(env, "registry", 1, 5).map_err(ExternalError::Threads)?;
        let cache = SchemaCache::new(&directory.join(CACHE), registry.url());
        let registry = Arc::new(registry);
        let (enquiries, answering) = Enquiries::new(&env.clock, cache, registry.clone());
        runtime.spawn(answering);
        Ok(Self { registry, enquiries, _runtime: runtime })
    }

    /// Ids that the registry has for the schemas of the binary's topics, as (own, registry's). Where it is away, what it
    /// said last time counts.
    ///
    /// # Errors
    /// Schemas are missing, or are known under other ids than the directory's records carry.
    pub async fn ids(&self, data: &Path, topics: &[(&str, u32)]) -> Result<Vec<(u32, u32)>, ExternalError> {
        let path = data.join(MARKER);
        let known = Marker::read(&path)?;
        let ids = match ids_at(&self.registry, topics).await {
            Ok(ids) => ids,
            Err(ExternalError::Registry(away @ RegistryFailure::Down(_))) => match known {
                Some(marker) if marker.url == self.registry.url() && marker.covers(topics) => return Ok(marker.ids),
                _ => return Err(away.into()),
            },
            Err(other) => return Err(other),
        };
        match known {
            Some(marker) if marker.contradicts(&ids) => {
                Err(ExternalError::OtherIds { was: marker.url, url: self.registry.url().to_owned() })
            }
            _ => {
                Marker { url: self.registry.url().to_owned(), ids: ids.clone() }.write(&path)?;
                Ok(ids)
            }
        }
    }
}

/// Ids that a registry has for the schemas of the binary's topics, as (own, registry's). Changes nothing there.
///
/// # Errors
/// [`ExternalError::NotRegistered`] with every subject that is missing; the registry's own failure.
pub async fn ids_at(registry: &HttpRegistry, topics: &[(&str, u32)]) -> Result<Vec<(u32, u32)>, ExternalError> {
    let (mut ids, mut missing) = (BTreeMap::new(), Vec::new());
    for builtin in schemas::builtin().iter().filter(|b| topics.iter().any(|(_, id)| *id == b.id)) {
        for subject in subjects_of(builtin, topics) {
            match registry.lookup(&subject, &Submission::of(builtin.avsc)).await {
                Ok(entry) => {
                    ids.entry(builtin.id).or_insert(entry.id);
                }
                Err(failure) if failure.is_absent() => missing.push(subject),
                Err(failure) => return Err(failure.into()),
            }
        }
    }
    if !missing.is_empty() {
        return Err(ExternalError::NotRegistered { url: registry.url().to_owned(), subjects: missing });
    }
    Ok(ids.into_iter().collect())
}

impl WriterSchemas for External {
    fn find(&self, writer: Writer) -> Found {
        self.enquiries.find(writer)
    }
}

/// What a directory says of the registry that its ids are of.
pub(super) struct Marker {
    pub url: String,
    pub ids: Vec<(u32, u32)>,
}

impl Marker {
    /// # Errors
    /// The file is there and cannot be understood.
    pub fn of(data: &Path) -> Result<Option<Self>, ExternalError> {
        Self::read(&data.join(MARKER))
    }

    /// A file that cannot be understood is an error: it says what records mean.
    fn read(path: &Path) -> Result<Option<Self>, ExternalError> {
        let io = |source| ExternalError::Io { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let parsed = || {
            let json: Json = serde_json::from_slice(&bytes).ok()?;
            let pair = |p: &Json| Some((u32::try_from(p[0].as_u64()?).ok()?, u32::try_from(p[1].as_u64()?).ok()?));
            let ids = json.get("ids")?.as_array()?.iter().map(pair).collect::<Option<Vec<_>>>()?;
            Some(Self { url: json.get("url")?.as_str()?.to_owned(), ids })
        };
        let broken = || io(std::io::Error::other("not what this program writes there; restore it from a backup"));
        parsed().map(Some).ok_or_else(broken)
    }

    fn write(&self, path: &Path) -> Result<(), ExternalError> {
        let io = |source| ExternalError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(io)?;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, json!({"url": self.url, "ids": self.ids}).to_string()).map_err(io)?;
        std::fs::rename(&new, path).map_err(io)
    }

    fn covers(&self, topics: &[(&str, u32)]) -> bool {
        topics.iter().all(|(_, id)| self.ids.iter().any(|(own, _)| own == id))
    }

    fn contradicts(&self, ids: &[(u32, u32)]) -> bool {
        self.ids.iter().any(|(own, wire)| ids.iter().any(|(o, w)| o == own && w != wire))
    }
}

/// The URL whose ids a directory's records carry, if it is not its own registry.
///
/// # Errors
/// The file is there and cannot be understood.
pub fn bound_to(data: &Path) -> Result<Option<String>, ExternalError> {
    Ok(Marker::of(data)?.map(|marker| marker.url))
}
