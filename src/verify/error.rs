//! Why a recount could not be made. A recount that finds differences is no error.

use runtime::log::segment::OpenError;
use runtime::log::storage::StorageError;
use runtime::log::{FetchError, Offset};

/// Nothing was changed in the directory.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{dir} is no data directory: {what}; name the directory that was given to `demo` or `up` as --data")]
    NotData { dir: String, what: String },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{topic}-{partition} holds a record at offset {offset} that cannot be read: {reason}")]
    Unreadable { topic: String, partition: u32, offset: Offset, reason: String },
    #[error(
        "{topic}-{partition} starts at offset {start}: its older commits are trimmed, and with them the order from which a \
         recount starts; recount directories written by `demo` or `up --until-idle`"
    )]
    Trimmed { topic: String, partition: u32, start: Offset },
    #[error("built-in schema {name}: {reason}")]
    Schema { name: String, reason: String },
    #[error("lists: {0}")]
    Lists(String),
}

impl VerifyError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotData { .. } => "NOT_DATA",
            Self::Storage(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::Fetch(error) => error.kind(),
            Self::Unreadable { .. } => "UNREADABLE",
            Self::Trimmed { .. } => "TRIMMED",
            Self::Schema { .. } => "SCHEMA",
            Self::Lists(_) => "LISTS",
        }
    }
}
