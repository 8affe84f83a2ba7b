//! The one composition of log, services and views: `up` and `demo` call it, nothing else makes a platform.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actors::bidder::{
    self, Campaigns, CampaignsView, LeaseBook, LeaseBookConfig, LeasesView, Placeholders, PlaceholdersView,
};
use actors::catalogue;
use actors::fraud::lists::Lists;
use actors::topics::CAMPAIGNS_CHANGES;
use arc_swap::ArcSwap;
use runtime::env::Env;
use runtime::log::segment::OpenError;
use runtime::log::storage::StorageError;
use runtime::log::{Log, TopicConfig};
use runtime::platform::{DrainStage, MemoryCaps, Platform, PlatformConfig, StartError};
use runtime::service::ServiceDef;
use runtime::view::{View, ViewAge};
use runtime::writers::Writers;

use crate::backend::{Backend, Opened};
use crate::config::Settings;
use crate::exit::CommandError;
use crate::registry::usage::UsageReport;
use crate::registry::{self, Started};
use crate::telemetry::Hub;

/// Bids that a campaign can make before its demand is known: at full speed the first lease lasts until the second comes.
const BIDS_MIN: i64 = 1_000;

/// Why a platform does not stand.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] runtime::log::kafka::OpenError),
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Topic(runtime::log::AppendError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Lists(#[from] actors::fraud::lists::ListError),
    #[error(transparent)]
    Registry(#[from] registry::start::StartError),
    #[error(transparent)]
    Usage(#[from] registry::usage::UsageError),
    #[error("view {name}: {error}")]
    View { name: &'static str, error: runtime::log::FetchError },
}

impl ComposeError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Storage(error) => error.kind(),
            Self::Open(error) => error.kind(),
            #[cfg(feature = "kafka")]
            Self::Kafka(error) => error.kind(),
            #[cfg(feature = "kafka")]
            Self::Topic(error) => error.kind(),
            Self::Start(_) => "START",
            Self::Lists(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Usage(error) => error.kind(),
            Self::View { .. } => "VIEW",
        }
    }
}

impl From<ComposeError> for CommandError {
    fn from(error: ComposeError) -> Self {
        match error {
            ComposeError::Lists(error) => Self::Config(error.to_string()),
            ComposeError::Open(error @ OpenError::Config { .. }) => Self::Config(error.to_string()),
            ComposeError::Storage(error @ StorageError::InUse { .. })
            | ComposeError::Open(OpenError::Storage(error @ StorageError::InUse { .. })) => Self::Failed(format!(
                "{error}. The embedded log has one process; services in processes of their own share a Kafka \
                 (--log kafka --brokers HOST:PORT, and --only SERVICE)"
            )),
            ComposeError::Start(error @ StartError::UnknownService { .. }) => Self::Usage(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// How this run differs from others.
#[derive(Clone, Debug, Default)]
pub struct Variant {
    /// Where the log is.
    pub backend: Backend,
    /// Run these services only.
    pub only: Option<Vec<String>>,
    /// Delays before the next attempts of an event; `None`: the product's.
    pub retry_delays: Option<Vec<Duration>>,
    /// Keep every commit, so that a recount from the start is possible.
    pub keep_commits: bool,
    /// Money is kept at hand for every active campaign, also while nobody bids for it: the first request after a quiet
    /// night is bid on, too. Costs a lease a campaign every few seconds.
    pub keep_leases: bool,
    /// Each service as it is to run: tests wrap its folds here, in no other way.
    pub wrap: Option<fn(ServiceDef) -> ServiceDef>,
    /// Who hears what the platform does.
    pub telemetry: Option<Arc<Hub>>,
}

/// What decisions are made from, with how old each is.
#[derive(Clone)]
pub struct Views {
    pub campaigns: Arc<ArcSwap<Campaigns>>,
    pub leases: Arc<LeaseBook>,
    pub placeholders: Arc<ArcSwap<Placeholders>>,
    pub lists: Arc<Lists>,
    pub campaigns_age: ViewAge,
    pub leases_age: ViewAge,
    pub placeholders_age: ViewAge,
}

impl Views {
    /// Hands out what one decision reads: a snapshot of each view, with its age.
    pub fn with<R>(&self, decide: impl FnOnce(&bidder::Views<'_>) -> R) -> R {
        let (campaigns, placeholders) = (self.campaigns.load(), self.placeholders.load());
        decide(&bidder::Views {
            campaigns: &campaigns,
            campaigns_age_ms: self.campaigns_age.ms(),
            leases: &self.leases,
            leases_age_ms: self.leases_age.ms(),
            placeholders: &placeholders,
            placeholders_age_ms: self.placeholders_age.ms(),
            lists: &self.lists,
        })
    }
}

/// A platform that runs.
pub struct Composed {
    pub env: Env,
    pub log: Arc<dyn Log>,
    pub platform: Platform,
    pub telemetry: Option<Arc<Hub>>,
    pub views: Views,
    pub registry: Started,
    pub usage: Arc<UsageReport>,
    /// All services of this program, whether or not they run in this process.
    pub services: Vec<ServiceDef>,
}

impl Composed {
    /// Paths of the embedded registry and of `/usage`, for a port of their own or below another path; `None`: the registry
    /// is somewhere else.
    pub fn registry_router(&self) -> Option<axum::Router> {
        let registry = self.registry.embedded()?;
        Some(registry::rest::router(registry.clone()).merge(registry::rest::usage_router(self.usage.clone())))
    }
}

/// All topics that the platform needs: its services', and the one of input lines that cannot be read.
pub fn topics(partitions: u32) -> Vec<TopicConfig> {
    let services = catalogue::services(&catalogue::Config::default());
    let mut topics = runtime::platform::topics_of(&services, partitions);
    topics.push(crate::demo::requests::dead_letters(partitions));
    topics.extend([registry::store::topic(), registry::usage::topic()]);
    // Made at the first entry where a log makes topics by itself; a cluster has them from the start.
    topics.extend([crate::admin::audit::TOPIC, crate::dlq::audit::TOPIC].map(crate::dlq::audit::config));
    topics
}

/// What a run with these settings cannot do without.
fn required(settings: &Settings, services: &[ServiceDef]) -> Vec<TopicConfig> {
    let mut topics = runtime::platform::topics_of(services, settings.partitions);
    topics.push(registry::usage::topic());
    topics.extend(settings.registry_url.is_none().then(registry::store::topic));
    topics
}

/// The services of this platform, as they are composed.
///
/// # Errors
/// [`ComposeError::Lists`]: the lists cannot be read.
pub fn services(settings: &Settings) -> Result<Vec<ServiceDef>, ComposeError> {
    Ok(services_with(lists(settings)?))
}

fn services_with(lists: Arc<Lists>) -> Vec<ServiceDef> {
    let mut config = catalogue::Config::default();
    config.fraud.lists = lists;
    catalogue::services(&config)
}

fn lists(settings: &Settings) -> Result<Arc<Lists>, ComposeError> {
    Ok(Arc::new(match &settings.lists {
        Some(directory) => Lists::load(directory)?,
        None => Lists::builtin(),
    }))
}

/// Partitions that a log's topics were made with; `None` for a new one.
pub fn partitions_of(log: &dyn Log) -> Option<u32> {
    log.topics().iter().find(|(_, config)| &*config.name == CAMPAIGNS_CHANGES.name).map(|(_, config)| config.partitions)
}

/// Opens the directory, starts every service and view.
///
/// # Errors
/// [`ComposeError`]; nothing is left running.
pub async fn compose(env: &Env, data: &Path, settings: &Settings, variant: &Variant) -> Result<Composed, ComposeError> {
    let lists = lists(settings)?;
    let mut services = services_with(lists.clone());
    let Opened { log, partitions } = variant.backend.open(env, data, &required(settings, &services))?;
    if let Some(wrap) = variant.wrap {
        services = services.into_iter().map(wrap).collect();
    }
    let registry = registry::start::start(env, &log, data, settings.registry_url.as_deref(), &services).await?;
    // What is joined lies in the same partition, so the count of a directory never changes.
    let partitions = partitions.filter(|_| !settings.partitions_stated).unwrap_or(settings.partitions);
    let config = config(settings, partitions, variant);
    let config = PlatformConfig { writers: Arc::new(Writers::new(registry.writers())), ..config };
    let platform = Platform::start(env.clone(), log.clone(), services.clone(), config).await?;
    let usage = Arc::new(UsageReport::start(env, &log, &services, &settings.instance).await?);
    let views = start_views(env, &platform, settings, variant, lists)?;
    let telemetry = variant.telemetry.clone();
    if let Some(hub) = &telemetry {
        hub.observe(&platform.bulkheads);
    }
    Ok(Composed { env: env.clone(), log, platform, views, registry, usage, services, telemetry })
}

fn config(settings: &Settings, partitions: u32, variant: &Variant) -> PlatformConfig {
    let mut config = PlatformConfig {
        partitions,
        instance: settings.instance.as_str().into(),
        only: variant.only.clone(),
        threads: threads_a_bulkhead(),
        memory: MemoryCaps::of_machine(),
        ..PlatformConfig::default()
    };
    config.limits.trim = !variant.keep_commits;
    config.telemetry = variant.telemetry.clone().map(|hub| hub as _);
    if let Some(delays) = &variant.retry_delays {
        config.limits.retry_delays = delays.clone();
    }
    config
}

/// One service may burn its threads: on a small machine one of them, so that a core is left for the others.
fn threads_a_bulkhead() -> usize {
    (std::thread::available_parallelism().map_or(1, usize::from) / 2).clamp(1, 2)
}

fn start_views(
    env: &Env,
    platform: &Platform,
    settings: &Settings,
    variant: &Variant,
    lists: Arc<Lists>,
) -> Result<Views, ComposeError> {
    // An incarnation is never met again: what an earlier one has borrowed is not ours to spend (rule P16).
    let incarnation: u64 = env.random.stream("incarnation").u64(..);
    let holder = format!("{}/{incarnation:016x}", settings.instance);
    let mut book = LeaseBookConfig { bids_min: BIDS_MIN, ..LeaseBookConfig::default() };
    if variant.keep_leases {
        book.idle_ms = i64::MAX;
    }
    let leases = Arc::new(LeaseBook::new(&holder, book));
    let ((campaigns_view, campaigns), (placeholders_view, placeholders)) =
        (CampaignsView::new(), PlaceholdersView::new());
    let start = |view: Box<dyn View>| {
        let name = view.name();
        platform.view(view).map_err(|error| ComposeError::View { name, error })
    };
    let campaigns_age = start(Box::new(campaigns_view))?;
    let leases_age = start(Box::new(LeasesView::new(leases.clone())))?;
    let placeholders_age = start(Box::new(placeholders_view))?;
    Ok(Views { campaigns, leases, placeholders, lists, campaigns_age, leases_age, placeholders_age })
}

/// One line a stage of a drain.
pub fn drain_line(stage: &DrainStage) -> String {
    let late = if stage.late > 0 { format!(", {} shards did not answer", stage.late) } else { String::new() };
    let left = if stage.lag > 0 { format!(", {} records left for the next start", stage.lag) } else { String::new() };
    let (service, shards, ms) = (stage.service, stage.shards, stage.took.as_millis());
    format!("drain {service:<12} {shards} shards in {ms} ms{left}{late}")
}
