//! Which registry a command works with.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use runtime::env::Env;
use runtime::log::Log;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;

use crate::exit::CommandError;
use crate::operate::process::{Process, running};
use crate::registry::usage::{self, Manifest};
use crate::registry::{EmbeddedRegistry, HttpRegistry, RegistryFailure, SchemaRegistry};

/// A registry behind a URL, or the one in a data directory that no process has open.
#[derive(Args, Clone, Debug, Default)]
pub struct Target {
    /// Schema registry, up to its `/subjects`: ours or any with Confluent's API
    #[arg(long, value_name = "URL", env = "BULKHEAD_REGISTRY_URL")]
    pub registry: Option<String>,
    /// Data directory with the embedded registry; no process may have it open
    #[arg(long, value_name = "DIR", conflicts_with = "registry")]
    pub data: Option<PathBuf>,
}

/// A registry that answers.
pub struct Opened {
    pub registry: Arc<dyn SchemaRegistry>,
    /// What it is called in messages.
    pub name: String,
    from: From,
}

enum From {
    Url(Arc<HttpRegistry>),
    Directory(Arc<dyn Log>, Env),
}

impl Target {
    pub fn is_given(&self) -> bool {
        self.registry.is_some() || self.data.is_some()
    }

    /// # Errors
    /// Neither is named, the URL is none, or the directory is in use or broken.
    pub async fn open(&self) -> Result<Opened, CommandError> {
        match (&self.registry, &self.data) {
            (Some(url), _) => {
                let mut client = HttpRegistry::new(url).map_err(failed)?;
                // The registry of a process of ours: its user may change it.
                let here = |process: &Process| url.starts_with(&format!("http://{}/", process.admin));
                if let Some(process) = running().into_iter().find(here) {
                    client = client.with_token(&process.token);
                }
                let client = Arc::new(client);
                Ok(Opened { registry: client.clone(), name: client.url().to_owned(), from: From::Url(client) })
            }
            (None, Some(data)) => {
                if !data.is_dir() {
                    return Err(CommandError::usage(format!("{}: no such directory", data.display())));
                }
                let env = Env::production();
                let storage = Arc::new(DiskStorage::open(data).map_err(CommandError::failed)?);
                let log: Arc<dyn Log> =
                    EmbeddedLog::open(&env, storage, SegmentLogConfig::default()).map_err(CommandError::failed)?;
                let registry = EmbeddedRegistry::open(&env, log.clone()).await.map_err(CommandError::failed)?;
                let name = data.display().to_string();
                Ok(Opened { registry: Arc::new(registry), name, from: From::Directory(log, env) })
            }
            (None, None) => Err(CommandError::usage("name a registry: --registry URL, or --data DIR")),
        }
    }
}

impl Opened {
    /// Who uses what; `None`: this registry does not know.
    ///
    /// # Errors
    /// It does not answer, or the topic cannot be read.
    pub async fn usage(&self) -> Result<Option<Manifest>, RegistryFailure> {
        match &self.from {
            From::Url(client) => client.usage().await,
            From::Directory(log, env) => {
                let manifest = usage::read(log.as_ref(), env.clock.wall_ms());
                manifest.map(Some).map_err(|error| RegistryFailure::Down(error.to_string()))
            }
        }
    }

    /// Lets go of the directory.
    pub async fn close(self) {
        if let From::Directory(log, _) = self.from {
            drop(self.registry);
            log.close().await;
        }
    }
}

/// A failure as the command's own: what was asked wrongly is usage.
pub fn failed(failure: RegistryFailure) -> CommandError {
    match failure {
        RegistryFailure::Url(_) => CommandError::usage(failure),
        other => CommandError::failed(other),
    }
}
