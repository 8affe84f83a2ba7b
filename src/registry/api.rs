//! A schema registry as the rest of the program sees it: the one in this process and one behind a URL answer alike.

use futures_util::future::BoxFuture;
use schemas::compat::Level;
use schemas::registry::{
    Content, Deleted, Guid, Mode, Reference, RegistryError, Submission, Verdict, VersionSpec, Versioned,
};

use super::EmbeddedRegistry;

/// An answer that may take a while.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RegistryFailure>>;

/// Why a registry gave no answer, or no good one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryFailure {
    /// It is there and says no.
    #[error("the registry refuses ({code}): {message}")]
    Refused { status: u16, code: u32, message: String },
    /// It cannot be reached, does not answer in time, or fails by itself.
    #[error("the registry is down: {0}")]
    Down(String),
    /// Something answers that is no schema registry.
    #[error("not the answer of a schema registry: {0}")]
    Garbage(String),
    /// Something answers that does not have the path: an older registry, or none at all.
    #[error("not the answer of a schema registry: {0}")]
    NoSuchPath(String),
    /// The URL is none that can be asked.
    #[error("{0}")]
    Url(String),
}

impl RegistryFailure {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "REGISTRY_REFUSED",
            Self::Down(_) => "REGISTRY_DOWN",
            Self::Garbage(_) | Self::NoSuchPath(_) => "REGISTRY_GARBAGE",
            Self::Url(_) => "REGISTRY_URL",
        }
    }

    /// The registry is up and does not have it. Anything less certain is no proof that it is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code: 40400..=40499, .. })
    }
}

impl From<RegistryError> for RegistryFailure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Store(reason) => Self::Down(reason),
            other => Self::Refused { status: other.status(), code: other.code(), message: other.to_string() },
        }
    }
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub subject: String,
    pub version: u32,
    pub id: u32,
    pub schema: String,
    pub references: Vec<Reference>,
}

impl From<Versioned> for Entry {
    fn from(found: Versioned) -> Self {
        Self {
            subject: found.subject,
            version: found.version,
            id: found.id,
            schema: found.content.text.to_string(),
            references: found.content.references.to_vec(),
        }
    }
}

/// What the program asks of a registry.
pub trait SchemaRegistry: Send + Sync {
    fn subjects(&self) -> Answer<'_, Vec<String>>;
    fn versions<'a>(&'a self, subject: &'a str) -> Answer<'a, Vec<u32>>;
    fn version<'a>(&'a self, subject: &'a str, version: VersionSpec) -> Answer<'a, Entry>;
    /// The text and the references of an id.
    fn by_id(&self, id: u32) -> Answer<'_, (String, Vec<Reference>)>;
    /// The same of a GUID.
    fn by_guid(&self, guid: Guid) -> Answer<'_, (String, Vec<Reference>)>;
    /// The version that has this content.
    fn lookup<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, Entry>;
    /// The id and, where the registry says it, the version.
    fn register<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, u32>;
    fn check<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, Verdict>;
    /// The subject's own level, or that of all; `None`: it has none of its own.
    fn level<'a>(&'a self, subject: Option<&'a str>) -> Answer<'a, Option<Level>>;
    fn set_level<'a>(&'a self, subject: Option<&'a str>, level: Level) -> Answer<'a, ()>;
    /// The subject's own mode, forced; `None`: takes it away.
    fn set_mode<'a>(&'a self, subject: &'a str, mode: Option<Mode>) -> Answer<'a, ()>;
}

/// The schema of a version together with all that it builds on, each text after what it needs.
///
/// # Errors
/// As the registry; references in a circle or beyond the limits are refused.
pub async fn with_references(
    registry: &dyn SchemaRegistry,
    references: &[Reference],
) -> Result<Vec<String>, RegistryFailure> {
    use schemas::registry::{REFERENCE_DEPTH_MAX, REFERENCED_MAX};
    // Depth first with a stack of our own: what a registry answers must not decide how deep we recurse.
    let mut stack: Vec<(Option<String>, Vec<Reference>)> = vec![(None, references.to_vec())];
    let mut seen = std::collections::BTreeSet::new();
    let mut texts = Vec::new();
    while let Some((_, open)) = stack.last_mut() {
        if open.is_empty() {
            texts.extend(stack.pop().and_then(|(text, _)| text));
            continue;
        }
        let next = open.remove(0);
        if !seen.insert((next.subject.clone(), next.version)) {
            continue;
        }
        if stack.len() > REFERENCE_DEPTH_MAX || seen.len() > REFERENCED_MAX {
            let what = format!("the references of {} lead to more than {REFERENCED_MAX} others", next.name);
            return Err(RegistryFailure::Garbage(what));
        }
        let entry = registry.version(&next.subject, VersionSpec::Number(next.version)).await?;
        stack.push((Some(entry.schema), entry.references));
    }
    Ok(texts)
}

/// Answers at once: the state is in memory, and only changes wait for the disk.
impl SchemaRegistry for EmbeddedRegistry {
    fn subjects(&self) -> Answer<'_, Vec<String>> {
        ready(Ok(self.read().subjects("", Deleted::Without).into_iter().map(str::to_owned).collect()))
    }

    fn versions<'a>(&'a self, subject: &'a str) -> Answer<'a, Vec<u32>> {
        ready(self.read().versions(subject, Deleted::Without))
    }

    fn version<'a>(&'a self, subject: &'a str, version: VersionSpec) -> Answer<'a, Entry> {
        ready(self.read().version(subject, version, Deleted::With).map(Entry::from))
    }

    fn by_id(&self, id: u32) -> Answer<'_, (String, Vec<Reference>)> {
        ready(self.read().by_id(id).map(|content| (content.text.to_string(), content.references.to_vec())))
    }

    fn by_guid(&self, guid: Guid) -> Answer<'_, (String, Vec<Reference>)> {
        let (state, content) = (self.read(), |c: &Content| (c.text.to_string(), c.references.to_vec()));
        ready(state.id_of(guid).and_then(|id| state.by_id(id)).map(content))
    }

    fn lookup<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, Entry> {
        ready(self.read().lookup(subject, submission, Deleted::Without).map(Entry::from))
    }

    fn register<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, u32> {
        Box::pin(async move { Ok(self.write(|state| state.register(subject, submission)).await?.id) })
    }

    fn check<'a>(&'a self, subject: &'a str, submission: &'a Submission) -> Answer<'a, Verdict> {
        ready(self.read().check(subject, None, submission))
    }

    fn level<'a>(&'a self, subject: Option<&'a str>) -> Answer<'a, Option<Level>> {
        let state = self.read();
        let config = match subject {
            Some(subject) => state.own_config(subject).ok(),
            None => Some(state.global_config()),
        };
        ready(Ok(config.map(|config| config.level)))
    }

    fn set_level<'a>(&'a self, subject: Option<&'a str>, level: Level) -> Answer<'a, ()> {
        Box::pin(async move {
            let config = schemas::registry::Config { level, normalize: None };
            self.write(|state| state.set_config(subject, config)).await?;
            Ok(())
        })
    }

    fn set_mode<'a>(&'a self, subject: &'a str, mode: Option<Mode>) -> Answer<'a, ()> {
        Box::pin(async move {
            self.write(|state| match mode {
                Some(mode) => state.set_mode(Some(subject), mode, true),
                None => state.delete_mode(subject),
            })
            .await?;
            Ok(())
        })
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T, RegistryError>) -> Answer<'a, T> {
    Box::pin(std::future::ready(result.map_err(RegistryFailure::from)))
}
