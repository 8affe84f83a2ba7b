//! How a command ends: the same codes everywhere, and one sentence that says what, where and what to do.

use std::process::ExitCode;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It does not hold, or it failed.
    #[error("{0}")]
    Failed(String),
    /// Wrong usage, or an input file that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Wrong configuration.
    #[error("{0}")]
    Config(String),
}

impl CommandError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Failed(_) => "FAILED",
            Self::Usage(_) => "USAGE",
            Self::Config(_) => "CONFIG",
        }
    }

    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// 1 failed, 2 usage, 78 configuration (the number of sysexits.h).
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 78,
        })
    }
}
