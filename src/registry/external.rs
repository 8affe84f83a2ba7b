//! An external registry at work: at start it must know the schemas of the binary, later it is asked for those of others.
//! Questions are few, each answer is kept, on disk too, and nobody waits for one: who asks is told to come again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::env::{BulkheadRuntime, Clock, Env};
use runtime::writers::{Found, WriterSchemas};
use schemas::frame::Writer;
use schemas::model::Schema;
use schemas::registry::{Guid, Submission};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::api::{RegistryFailure, SchemaRegistry, with_references};
use super::at_rest::CACHE;
use super::cache::{CachedSchema, SchemaCache};
use super::http::HttpRegistry;
use super::store::subjects_of;

/// Which registry the frames of a data directory get their ids from, and which ids those are.
pub const MARKER: &str = "registry.json";
/// Between two questions: at most 20 a second, whatever ids come in.
const QUESTION_PAUSE: Duration = Duration::from_millis(50);
/// Ids that wait to be asked for.
const QUESTIONS_MAX: usize = 64;
/// An id that the registry does not have is asked for again after this: it may be registered late.
const ABSENT_US: u64 = 30_000_000;
/// A registry that is away is asked again after this.
const AWAY_US: u64 = 1_000_000;
/// Ids that are remembered in memory.
const KNOWN_MAX: usize = 4_096;

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
    book: Arc<Book>,
    questions: mpsc::Sender<Writer>,
    _runtime: BulkheadRuntime,
}

/// Where an id stands.
#[derive(Clone)]
enum Slot {
    Asked,
    Known(Arc<Schema>),
    Absent { until_us: u64 },
    Away { why: String, until_us: u64 },
}

struct Book {
    slots: Mutex<BTreeMap<Writer, Slot>>,
    cache: SchemaCache,
    clock: Clock,
}

impl External {
    /// Starts the client; asks nothing yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(env: &Env, directory: &Path, registry: HttpRegistry) -> Result<Self, ExternalError> {
        let runtime = BulkheadRuntime::with_network(env, "registry", 1, 5).map_err(ExternalError::Threads)?;
        let cache = SchemaCache::new(&directory.join(CACHE), registry.url());
        let book = Arc::new(Book { slots: Mutex::default(), cache, clock: env.clock.clone() });
        let registry = Arc::new(registry);
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        runtime.spawn(answer(book.clone(), registry.clone(), asked));
        Ok(Self { registry, book, questions, _runtime: runtime })
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
        let now_us = self.book.clock.mono_us();
        let slot = self.book.lock().get(&writer).cloned();
        match slot {
            Some(Slot::Known(schema)) => return Found::Schema(schema),
            Some(Slot::Asked) => return Found::Away("it is being asked for".to_owned()),
            Some(Slot::Absent { until_us }) if now_us < until_us => return Found::Absent,
            Some(Slot::Away { why, until_us }) if now_us < until_us => return Found::Away(why),
            _ => {}
        }
        if let Some(schema) = self.book.cache.get(writer).and_then(|cached| cached.parse().ok()) {
            let schema = Arc::new(schema);
            self.book.put(writer, Slot::Known(schema.clone()));
            return Found::Schema(schema);
        }
        // Noted before it is asked for: an answer may be there at once, and must stand. Full: the line moves on by itself, and
        // whoever asks comes again.
        self.book.put(writer, Slot::Asked);
        if self.questions.try_send(writer).is_err() {
            self.book.lock().remove(&writer);
        }
        Found::Away("it is being asked for".to_owned())
    }
}

impl Book {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Writer, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, writer: Writer, slot: Slot) {
        let mut slots = self.lock();
        if slots.len() >= KNOWN_MAX {
            // Ids that somebody made up go first; what is known is on disk as well.
            slots.retain(|_, slot| matches!(slot, Slot::Known(_) | Slot::Asked));
            if slots.len() >= KNOWN_MAX {
                slots.retain(|_, slot| matches!(slot, Slot::Asked));
            }
        }
        slots.insert(writer, slot);
    }
}

/// Asks for one id after the other.
async fn answer(book: Arc<Book>, registry: Arc<HttpRegistry>, mut asked: mpsc::Receiver<Writer>) {
    while let Some(writer) = asked.recv().await {
        let fetched = fetch(registry.as_ref(), writer).await;
        let now_us = book.clock.mono_us();
        let slot = match fetched {
            Ok(fetched) => match fetched.parse() {
                Ok(schema) => {
                    if let Err(error) = book.cache.put(writer, &fetched) {
                        tracing::warn!(%writer, %error, "a schema could not be kept on disk");
                    }
                    Slot::Known(Arc::new(schema))
                }
                Err(error) => {
                    tracing::warn!(%writer, %error, "the registry keeps a schema that is no Avro");
                    Slot::Absent { until_us: now_us + ABSENT_US }
                }
            },
            Err(failure) if failure.is_absent() => Slot::Absent { until_us: now_us + ABSENT_US },
            Err(failure) => Slot::Away { why: failure.to_string(), until_us: now_us + AWAY_US },
        };
        book.put(writer, slot);
        book.clock.sleep(QUESTION_PAUSE).await;
    }
}

async fn fetch(registry: &dyn SchemaRegistry, writer: Writer) -> Result<CachedSchema, RegistryFailure> {
    let found = match writer {
        Writer::Id(id) => registry.by_id(id),
        Writer::Guid(guid) => registry.by_guid(Guid(guid)),
    };
    let (text, references) = found.await?;
    // A reference that is gone does not make the id unknown: the schema is there, and cannot be read now.
    let referenced = with_references(registry, &references).await;
    let referenced = referenced.map_err(|failure| RegistryFailure::Garbage(format!("a reference of it: {failure}")))?;
    Ok(CachedSchema { text, referenced })
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
