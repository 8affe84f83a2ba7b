//! Why a log cannot be opened.

use super::super::storage::StorageError;

/// Nothing was changed that a later attempt would need.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "{dir} was written by another version: {found}; this build reads {wanted}; use that build, or another directory"
    )]
    Version { dir: String, found: String, wanted: String },
    #[error("{file} is corrupt at byte {byte}: {reason}; nothing was skipped or changed; restore the file from a copy")]
    Corrupt { file: String, byte: u64, reason: String },
    #[error("configuration of the embedded log: {reason}")]
    Config { reason: String },
    #[error("starting the log's threads: {reason}")]
    Threads { reason: String },
}

impl OpenError {
    /// Stable name: metric label and dead letter header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Storage(error) => error.kind(),
            Self::Version { .. } => "LOG_VERSION",
            Self::Corrupt { .. } => "LOG_CORRUPT",
            Self::Config { .. } => "LOG_CONFIG",
            Self::Threads { .. } => "LOG_THREADS",
        }
    }
}
