//! How one event ends. The *type* of a failure decides what happens to it; no call site decides that again.

use std::borrow::Cow;

/// An event that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It had its effect.
    Done,
    /// It was seen before, from outside; absorbed and counted.
    Duplicate,
}

/// Why an event did not end `Done`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable, upper case: metric label, dead letter header, part of the fingerprint.
    pub code: &'static str,
    /// What is wrong with this event, for people. Never holds personal data.
    pub message: Cow<'static, str>,
    /// Path of the field at fault, where there is one.
    pub field: Option<&'static str>,
}

impl Reason {
    pub fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), field: None }
    }
}

/// What a fold may answer instead of taking an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No retry can mend it: dead letter at once.
    #[error("{}: {}", .0.code, .0.message)]
    Permanent(Reason),
    /// May go well next time: retried with back-off, then a dead letter.
    #[error("{}: {}", .0.code, .0.message)]
    Transient(Reason),
    /// Asked to slow down: retried later, no attempt used up.
    #[error("{}: {}", .0.code, .0.message)]
    Throttled(Reason),
    /// Something the service needs is away: the partition pauses, nothing is dead-lettered.
    #[error("{}: {}", .0.code, .0.message)]
    DependencyDown(Reason),
    /// It breaks the fold: tried three times, then a dead letter. A panic is this by itself.
    #[error("{}: {}", .0.code, .0.message)]
    Poison(Reason),
    /// Too old to have an effect: quarantined as a dead letter.
    #[error("{}: {}", .0.code, .0.message)]
    Expired(Reason),
}

impl Failure {
    /// Dead letter class, stable.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Permanent(_) => "PERMANENT",
            Self::Transient(_) => "TRANSIENT",
            Self::Throttled(_) => "THROTTLED",
            Self::DependencyDown(_) => "DEPENDENCY_DOWN",
            Self::Poison(_) => "POISON",
            Self::Expired(_) => "EXPIRED",
        }
    }

    pub fn reason(&self) -> &Reason {
        match self {
            Self::Permanent(r)
            | Self::Transient(r)
            | Self::Throttled(r)
            | Self::DependencyDown(r)
            | Self::Poison(r)
            | Self::Expired(r) => r,
        }
    }

    /// Shorthand for what happens most: the event contradicts what we know.
    pub fn semantic(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Permanent(Reason::new("SEMANTIC_VIOLATION", message))
    }
}

/// Bytes that do not follow their schema can never be taken.
impl From<schemas::frame::FrameError> for Failure {
    fn from(error: schemas::frame::FrameError) -> Self {
        Self::Permanent(Reason::new("SCHEMA_VIOLATION", error.to_string()))
    }
}
