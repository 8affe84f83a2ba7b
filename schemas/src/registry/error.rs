//! Why the registry refuses, with the codes of Confluent's API.

/// An answer of the registry that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No version of the subject is there.
    #[error("Subject '{0}' not found.")]
    SubjectNotFound(String),
    /// The subject has no such version.
    #[error("Version {0} not found.")]
    VersionNotFound(String),
    /// No schema has the id, the GUID or the content.
    #[error("Schema {0} not found.")]
    SchemaNotFound(String),
    /// Deleted already, but not for good.
    #[error("Subject '{0}' is soft-deleted; permanent=true removes it for good.")]
    SubjectSoftDeleted(String),
    /// A subject is removed for good in two steps.
    #[error("Subject '{0}' is in use; delete it without permanent=true first.")]
    SubjectNotSoftDeleted(String),
    /// Deleted already, but not for good.
    #[error("Version {1} of subject '{0}' is soft-deleted; permanent=true removes it for good.")]
    VersionSoftDeleted(String, u32),
    /// A version is removed for good in two steps.
    #[error("Version {1} of subject '{0}' is in use; delete it without permanent=true first.")]
    VersionNotSoftDeleted(String, u32),
    /// The subject follows the global level.
    #[error("Subject '{0}' has no compatibility level of its own; defaultToGlobal=true gives the one it follows.")]
    NoSubjectConfig(String),
    /// The subject follows the global mode.
    #[error("Subject '{0}' has no mode of its own; defaultToGlobal=true gives the one it follows.")]
    NoSubjectMode(String),
    /// Would break a reader or a writer.
    #[error("The schema is incompatible with subject '{subject}': {}", .messages.join(" | "))]
    Incompatible {
        /// Where.
        subject: String,
        /// One a finding.
        messages: Vec<String>,
    },
    /// Not an Avro schema, or references that lead nowhere.
    #[error("Invalid schema: {0}")]
    InvalidSchema(String),
    /// Neither a number from 1 nor `latest`.
    #[error("'{0}' is no version: use a number from 1 to 2147483647, or latest.")]
    InvalidVersion(String),
    /// Not one of the seven levels.
    #[error("Invalid compatibility level: {0}")]
    InvalidLevel(String),
    /// Not one of the modes.
    #[error("Invalid mode '{0}': use READWRITE, READONLY or IMPORT.")]
    InvalidMode(String),
    /// The mode, or an id that means another schema, forbids it.
    #[error("{0}")]
    NotPermitted(String),
    /// Others build on it.
    #[error("Version {1} of subject '{0}' is referenced by schemas with the ids {2:?}; delete those first.")]
    ReferenceExists(String, u32, Vec<u32>),
    /// A name that no subject may have.
    #[error("Invalid subject: {0}")]
    InvalidSubject(String),
    /// Beyond a limit.
    #[error("Too large: {0}")]
    TooLarge(String),
    /// The log below did not take it.
    #[error("The registry's log failed: {0}")]
    Store(String),
}

impl RegistryError {
    /// Confluent's error code.
    pub fn code(&self) -> u32 {
        match self {
            Self::SubjectNotFound(_) => 40401,
            Self::VersionNotFound(_) => 40402,
            Self::SchemaNotFound(_) => 40403,
            Self::SubjectSoftDeleted(_) => 40404,
            Self::SubjectNotSoftDeleted(_) => 40405,
            Self::VersionSoftDeleted(..) => 40406,
            Self::VersionNotSoftDeleted(..) => 40407,
            Self::NoSubjectConfig(_) => 40408,
            Self::NoSubjectMode(_) => 40409,
            Self::Incompatible { .. } => 409,
            Self::InvalidSchema(_) => 42201,
            Self::InvalidVersion(_) => 42202,
            Self::InvalidLevel(_) => 42203,
            Self::InvalidMode(_) => 42204,
            Self::NotPermitted(_) => 42205,
            Self::ReferenceExists(..) => 42206,
            Self::InvalidSubject(_) => 42208,
            Self::TooLarge(_) => 42209,
            Self::Store(_) => 50001,
        }
    }

    /// HTTP status: the first three digits of the code.
    pub fn status(&self) -> u16 {
        let code = self.code();
        if code < 1_000 { code as u16 } else { (code / 100) as u16 }
    }

    /// Stable label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SubjectNotFound(_) => "subject_not_found",
            Self::VersionNotFound(_) => "version_not_found",
            Self::SchemaNotFound(_) => "schema_not_found",
            Self::SubjectSoftDeleted(_) => "subject_soft_deleted",
            Self::SubjectNotSoftDeleted(_) => "subject_not_soft_deleted",
            Self::VersionSoftDeleted(..) => "version_soft_deleted",
            Self::VersionNotSoftDeleted(..) => "version_not_soft_deleted",
            Self::NoSubjectConfig(_) => "no_subject_config",
            Self::NoSubjectMode(_) => "no_subject_mode",
            Self::Incompatible { .. } => "incompatible",
            Self::InvalidSchema(_) => "invalid_schema",
            Self::InvalidVersion(_) => "invalid_version",
            Self::InvalidLevel(_) => "invalid_level",
            Self::InvalidMode(_) => "invalid_mode",
            Self::NotPermitted(_) => "not_permitted",
            Self::ReferenceExists(..) => "reference_exists",
            Self::InvalidSubject(_) => "invalid_subject",
            Self::TooLarge(_) => "too_large",
            Self::Store(_) => "store",
        }
    }
}
