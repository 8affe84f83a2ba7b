//! Why something could not be done with dead letters.

use runtime::log::{AppendError, FetchError, Offset};
use runtime::shard::ShardError;

/// Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("{topic}-{partition} holds a record at offset {offset} that cannot be read: {reason}")]
    Unreadable { topic: String, partition: u32, offset: Offset, reason: String },
    #[error("{0}")]
    Selection(String),
    #[error("no dead letter {0}; `dlq ls` lists them as TOPIC/PARTITION/OFFSET")]
    NoLetter(String),
    #[error("no job {0}; `dlq jobs` lists them")]
    NoJob(String),
    #[error("job {job} is {state}: {hint}")]
    JobOver { job: String, state: String, hint: &'static str },
    #[error("service {0} is not part of this program; its letters can be exported and discarded only")]
    NoService(String),
    #[error("the state of {service}-{partition} cannot be read for a trial: {error}")]
    Trial { service: String, partition: u32, error: ShardError },
    #[error("built-in schema {name}: {reason}")]
    Schema { name: String, reason: String },
    #[error("writing {what}: {error}")]
    Write { what: String, error: std::io::Error },
}

impl DlqError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.kind(),
            Self::Append(error) => error.kind(),
            Self::Unreadable { .. } => "UNREADABLE",
            Self::Selection(_) => "SELECTION",
            Self::NoLetter(_) => "NO_LETTER",
            Self::NoJob(_) => "NO_JOB",
            Self::JobOver { .. } => "JOB_OVER",
            Self::NoService(_) => "NO_SERVICE",
            Self::Trial { .. } => "TRIAL",
            Self::Schema { .. } => "SCHEMA",
            Self::Write { .. } => "WRITE",
        }
    }
}
