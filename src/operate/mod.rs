//! What an operator asks and does, as functions over a log and a platform: the admin listener and the commands call the
//! same ones, so a running process and a data directory answer alike.

pub mod acl;
pub mod backup;
pub mod explain;
pub mod lag;
pub mod process;
pub mod produce;
pub mod tap;
pub mod target;
pub mod top;
pub mod topics;
pub mod topology;
pub mod values;

/// Why an operator's question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The question is wrong.
    #[error("{0}")]
    Wrong(String),
    /// What was asked for is not there.
    #[error("{0}")]
    Absent(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
}

impl OperateError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Wrong(_) => "WRONG",
            Self::Absent(_) => "ABSENT",
            Self::Failed(_) => "FAILED",
        }
    }

    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<OperateError> for crate::exit::CommandError {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Wrong(what) => Self::Usage(what),
            OperateError::Absent(what) | OperateError::Failed(what) => Self::Failed(what),
        }
    }
}
