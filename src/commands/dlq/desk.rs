//! Whom a command about dead letters asks: the process that runs on the directory, or the directory itself.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use runtime::env::Env;
use runtime::log::Log;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{open, place};
use crate::config::{PlatformArgs, Settings};
use crate::dlq::desk::{self, Change, Question};
use crate::dlq::value::Schemas;
use crate::exit::CommandError;
use crate::operate::target::{Remote, Target, TargetArgs, escaped};
use crate::registry;

/// Flags that name a process.
#[derive(Args, Clone, Debug, Default)]
pub struct RemoteArgs {
    /// Ask the process whose admin listener is there [default: whoever runs on the directory, or the directory]
    #[arg(long, value_name = "ADDR", global = true)]
    pub admin: Option<String>,
    /// Token of the admin listener, for what changes something [default: the process's own, for its user]
    #[arg(long, value_name = "TOKEN", env = "BULKHEAD_ADMIN_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
}

/// Who answers.
pub enum Desk {
    Running(Remote, Settings),
    AtRest(AtRest),
}

/// A directory that no process uses.
pub struct AtRest {
    pub settings: Settings,
    pub data: PathBuf,
    pub log: Arc<dyn Log>,
    /// With those of other writers, as the directory has them.
    pub schemas: Schemas,
}

/// Finds who answers.
///
/// # Errors
/// [`CommandError`]: wrong settings, or the directory cannot be opened.
pub fn desk(platform: &PlatformArgs, remote: &RemoteArgs) -> Result<Desk, CommandError> {
    let (settings, data) = place(platform)?;
    let target = TargetArgs { admin: remote.admin.clone(), data: Some(data.clone()), token: remote.token.clone() };
    Ok(match target.target()? {
        Target::Running(remote) => Desk::Running(remote, settings),
        Target::Directory(_) => {
            let log = open(&data)?;
            let writers = registry::at_rest::writers(log.as_ref(), &data).map_err(CommandError::failed)?;
            Desk::AtRest(AtRest { log, settings, data, schemas: Schemas::new(writers)? })
        }
    })
}

impl Desk {
    /// Name of this instance, for the audit.
    pub fn instance(&self) -> &str {
        match self {
            Self::Running(_, settings) => &settings.instance,
            Self::AtRest(at_rest) => &at_rest.settings.instance,
        }
    }

    /// The document `what`: `letters`, `groups`, `show`, `export` or `jobs`.
    ///
    /// # Errors
    /// Nobody answers, or what is asked for cannot be read.
    pub async fn ask(self, what: &str, question: &Question) -> Result<Value, CommandError> {
        match self {
            Self::Running(remote, _) => {
                let query = serde_json::to_string(question).map_err(CommandError::failed)?;
                remote.json(&format!("/dlq/{what}?q={}", escaped(&query))).await
            }
            Self::AtRest(AtRest { log, schemas, .. }) => {
                // One's own memory is the only bound here.
                let answer = desk::answer(log.as_ref(), &schemas, what, question, usize::MAX);
                log.close().await;
                answer?.ok_or_else(|| CommandError::Failed(format!("there is no document {what}")))
            }
        }
    }
}

/// Asks a process for a change.
///
/// # Errors
/// Nobody answers, it needs another token, or it refuses.
pub async fn post<T: DeserializeOwned>(remote: &Remote, what: &str, change: &Change) -> Result<T, CommandError> {
    let body = serde_json::to_vec(change).map_err(CommandError::failed)?;
    let answer = remote.post(&format!("/dlq/{what}"), body.into()).await?;
    serde_json::from_slice(&answer).map_err(CommandError::failed)
}

/// A part of a document.
///
/// # Errors
/// The process that answered speaks another language than this program.
pub fn part<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T, CommandError> {
    serde_json::from_value(value[name].clone()).map_err(|error| CommandError::Failed(format!("{name}: {error}")))
}

/// Prints a document as it is.
///
/// # Errors
/// It is no JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), CommandError> {
    println!("{}", serde_json::to_string(value).map_err(CommandError::failed)?);
    Ok(())
}

/// Now, by this machine.
pub fn now_ms() -> i64 {
    Env::production().clock.wall_ms()
}
