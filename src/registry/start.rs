//! Which registry a platform works with, made ready before the first record.

use std::path::Path;
use std::sync::Arc;

use runtime::env::Env;
use runtime::log::Log;
use runtime::service::ServiceDef;
use runtime::writers::{Found, WriterSchemas};
use schemas::frame::Writer;
use schemas::registry::{Guid, Registry};

use super::api::SchemaRegistry;
use super::external::{self, External, ExternalError};
use super::http::HttpRegistry;
use super::store::{EmbeddedRegistry, OpenError, TOPIC};

/// The registry of a platform.
#[derive(Clone)]
pub enum Started {
    Embedded(Arc<EmbeddedRegistry>),
    External(Arc<External>),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Embedded(#[from] OpenError),
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error("records in this directory carry schema ids of {was}: name it with --registry-url, or use a new directory")]
    NeedsExternal { was: String },
    #[error(
        "records in this directory carry schema ids of its own registry: go on without --registry-url {url}, or use a new directory"
    )]
    HasOwn { url: String },
}

impl StartError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(error) => error.kind(),
            Self::External(error) => error.kind(),
            Self::NeedsExternal { .. } => "REGISTRY_IS_EXTERNAL",
            Self::HasOwn { .. } => "REGISTRY_IS_EMBEDDED",
        }
    }
}

/// Embedded: opens it and registers the schemas of the binary. External: checks that they are registered there.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    env: &Env,
    log: &Arc<dyn Log>,
    data: &Path,
    url: Option<&str>,
    services: &[ServiceDef],
) -> Result<Started, StartError> {
    let topics = topics(services);
    let Some(url) = url else {
        if let Some(was) = external::bound_to(data)? {
            return Err(StartError::NeedsExternal { was });
        }
        let registry = EmbeddedRegistry::open(env, log.clone()).await?;
        registry.register_builtins(&topics).await?;
        return Ok(Started::Embedded(Arc::new(registry)));
    };
    if log.topic(TOPIC).is_some() {
        return Err(StartError::HasOwn { url: url.to_owned() });
    }
    let client = HttpRegistry::new(url).map_err(ExternalError::from)?;
    let external = External::start(env, data, client)?;
    let ids = external.ids(data, &topics).await?;
    let other = || ExternalError::OtherIds { was: "another registry".to_owned(), url: url.to_owned() };
    schemas::frame::set_wire_ids(&ids).map_err(|_| other())?;
    Ok(Started::External(Arc::new(external)))
}

/// Topics of the services with the ids of their schemas, each once.
pub fn topics(services: &[ServiceDef]) -> Vec<(&'static str, u32)> {
    let all = services.iter().flat_map(|service| service.spec.inputs.iter().chain(&service.spec.outputs));
    let mut topics: Vec<_> = all.map(|topic| (topic.name, topic.schema_id)).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

impl Started {
    /// Where services find the schemas of other writers.
    pub fn writers(&self) -> Arc<dyn WriterSchemas> {
        match self {
            Self::Embedded(registry) => registry.clone(),
            Self::External(external) => external.clone(),
        }
    }

    /// As the trait that both have.
    pub fn registry(&self) -> Arc<dyn SchemaRegistry> {
        match self {
            Self::Embedded(registry) => registry.clone(),
            Self::External(external) => external.registry.clone(),
        }
    }

    /// The embedded one, for its REST paths.
    pub fn embedded(&self) -> Option<&Arc<EmbeddedRegistry>> {
        match self {
            Self::Embedded(registry) => Some(registry),
            Self::External(_) => None,
        }
    }
}

/// What a registry of this process knows of a writer.
pub fn find_in(state: &Registry, writer: Writer) -> Found {
    let id = match writer {
        Writer::Id(id) => Ok(id),
        Writer::Guid(guid) => state.id_of(Guid(guid)),
    };
    match id.and_then(|id| state.by_id(id)).and_then(|content| state.parse(content)) {
        Ok(schema) => Found::Schema(Arc::new(schema)),
        Err(_) => Found::Absent,
    }
}

impl WriterSchemas for EmbeddedRegistry {
    fn find(&self, writer: Writer) -> Found {
        find_in(&self.read(), writer)
    }
}
