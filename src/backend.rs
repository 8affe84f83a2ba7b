//! Which log a platform runs on: the embedded one in its data directory, or Apache Kafka.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "kafka")]
use actors::topics::CAMPAIGNS_CHANGES;
use clap::{Args, ValueEnum};
use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{Log, TopicConfig};

use crate::config::Settings;
use crate::exit::CommandError;
use crate::platform::ComposeError;

/// The kinds of log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogKind {
    /// Segment files in the data directory
    Embedded,
    /// Apache Kafka at --brokers
    Kafka,
}

/// Flags that choose the log.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// The log [default: embedded; kafka where --brokers is given]
    #[arg(long, value_enum, env = "BULKHEAD_LOG")]
    pub log: Option<LogKind>,
    #[command(flatten)]
    pub brokers: BrokerArgs,
}

/// Flags that name a cluster.
#[derive(Args, Clone, Debug, Default)]
pub struct BrokerArgs {
    /// Kafka brokers, several with commas
    #[arg(long, value_name = "HOST:PORT", env = "BULKHEAD_BROKERS")]
    pub brokers: Option<String>,
    /// Put before every topic's name at the brokers, so that several platforms share a cluster
    #[arg(long, value_name = "PREFIX", env = "BULKHEAD_TOPIC_PREFIX", requires = "brokers")]
    pub topic_prefix: Option<String>,
    /// File of client settings, `KEY = VALUE` a line as librdkafka names them (`security.protocol`, `sasl.username`, ...)
    #[arg(long, value_name = "FILE", env = "BULKHEAD_KAFKA_PROPERTIES", requires = "brokers")]
    pub kafka_properties: Option<PathBuf>,
}

/// A log, and the partitions that its topics were made with; `None` for a new one.
pub struct Opened {
    pub log: Arc<dyn Log>,
    pub partitions: Option<u32>,
}

/// A log that can be opened.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    #[default]
    Embedded,
    #[cfg(feature = "kafka")]
    Kafka(runtime::log::kafka::KafkaConfig),
}

impl LogArgs {
    /// The log that these flags mean.
    ///
    /// # Errors
    /// Flags that contradict each other; Kafka in a build without it.
    pub fn backend(&self) -> Result<Backend, CommandError> {
        let usage = |text: &str| Err(CommandError::Usage(text.to_owned()));
        match (self.log, &self.brokers.brokers) {
            (Some(LogKind::Kafka), None) => usage("--log kafka needs --brokers HOST:PORT"),
            (Some(LogKind::Embedded), Some(_)) => {
                usage("--brokers is for --log kafka; the embedded log has its directory, --data DIR")
            }
            (_, Some(_)) => self.brokers.kafka(),
            (_, None) => Ok(Backend::Embedded),
        }
    }
}

impl BrokerArgs {
    /// The cluster that these flags name.
    ///
    /// # Errors
    /// No brokers named; a build without Kafka.
    #[cfg(feature = "kafka")]
    pub fn kafka(&self) -> Result<Backend, CommandError> {
        let missing = || CommandError::Usage("which cluster? --brokers HOST:PORT".to_owned());
        let options = match &self.kafka_properties {
            Some(path) => {
                crate::config::properties::read(path).map_err(|error| CommandError::Config(error.to_string()))?
            }
            None => Default::default(),
        };
        Ok(Backend::Kafka(runtime::log::kafka::KafkaConfig {
            options,
            brokers: self.brokers.clone().ok_or_else(missing)?,
            topic_prefix: self.topic_prefix.clone().unwrap_or_default(),
            ..Default::default()
        }))
    }

    /// Refused: this build has no Kafka.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "kafka"))]
    pub fn kafka(&self) -> Result<Backend, CommandError> {
        Err(CommandError::Usage("this build has no Kafka (feature `kafka`); only --log embedded".to_owned()))
    }
}

impl Backend {
    /// Shares the cluster's partitions with other processes: whoever is in the group has some of them.
    #[must_use]
    pub fn shared(self, settings: &Settings) -> Self {
        match self {
            Self::Embedded => Self::Embedded,
            #[cfg(feature = "kafka")]
            Self::Kafka(mut config) => {
                use runtime::log::kafka::{GroupConfig, GroupProtocol};
                let sharing = settings.sharing;
                config.group = Some(GroupConfig {
                    protocol: if sharing.by_coordinator { GroupProtocol::Consumer } else { GroupProtocol::Classic },
                    session_timeout: sharing.session_timeout,
                    static_name: sharing.is_static.then(|| settings.instance.clone()),
                });
                Self::Kafka(config)
            }
        }
    }

    /// Opens the log, which has to have `wanted` where it makes no topics by itself. Blocks while a cluster is asked.
    ///
    /// # Errors
    /// The directory or the cluster cannot be used; a cluster that lacks topics.
    pub fn open(&self, env: &Env, data: &Path, wanted: &[TopicConfig]) -> Result<Opened, ComposeError> {
        #[cfg(not(feature = "kafka"))]
        let _ = wanted;
        match self {
            Self::Embedded => {
                let storage = Arc::new(DiskStorage::open(data)?);
                let log: Arc<dyn Log> = EmbeddedLog::open(env, storage, SegmentLogConfig::default())?;
                let partitions = crate::platform::partitions_of(log.as_ref());
                Ok(Opened { log, partitions })
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => {
                let log = runtime::log::kafka::KafkaLog::open(env, config.clone())?;
                log.require(wanted)?;
                let partitions = log.partitions_of(CAMPAIGNS_CHANGES.name).map_err(ComposeError::Topic)?;
                Ok(Opened { log, partitions })
            }
        }
    }

    /// What is said of where the log is.
    pub fn place(&self, data: &Path) -> String {
        match self {
            Self::Embedded => data.display().to_string(),
            #[cfg(feature = "kafka")]
            Self::Kafka(config) => format!("Kafka at {}", config.brokers),
        }
    }
}
