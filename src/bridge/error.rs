//! Why a bridge does not begin, or does not go on.

use runtime::log::{AppendError, FetchError, Offset};

/// In all of them, what was carried stands, and a bridge that begins again goes on behind it.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("the source has no topic {topic}; `bulkhead topics ls --data DIR` names those of a directory")]
    NoTopic { topic: String },
    #[error(
        "{topic}-{partition}: the target's last record says that it is {offset} of the source, and the source has another \
         one there, or ends before it: this is not the log that was bridged before; use another target, or another --topic-prefix"
    )]
    OtherSource { topic: String, partition: u32, offset: Offset },
    #[error(
        "{topic}-{partition}: records {from} to {to} were not carried, and the source has them no more (retention); \
         --accept-gone goes on without them"
    )]
    Gone { topic: String, partition: u32, from: Offset, to: Offset },
    #[error("{topic}-{partition}: offset {offset}: {reason}")]
    Record { topic: String, partition: u32, offset: Offset, reason: String },
    #[error(
        "schema {id} is another one in the target's registry: what is carried would be read wrongly; use another target"
    )]
    OtherSchema { id: u32 },
    #[error(
        "the target's registry lacks schema {id}, and what is carried may need it: carry the topic _schemas first, \
         before anything else writes to the target"
    )]
    NoSchema { id: u32 },
    #[error("the registry of one side does not read: {reason}")]
    Registry { reason: String },
    #[error("reading: {0}")]
    Fetch(#[from] FetchError),
    #[error("writing: {0}")]
    Append(AppendError),
}

impl BridgeError {
    /// Stable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoTopic { .. } => "NO_TOPIC",
            Self::OtherSource { .. } => "OTHER_SOURCE",
            Self::Gone { .. } => "GONE",
            Self::Record { .. } => "RECORD",
            Self::OtherSchema { .. } => "OTHER_SCHEMA",
            Self::NoSchema { .. } => "NO_SCHEMA",
            Self::Registry { .. } => "REGISTRY",
            Self::Fetch(error) => error.kind(),
            Self::Append(error) => error.kind(),
        }
    }
}
