//! Whether a schema may become the next version of a subject.

use super::decide::Prepared;
use super::{Deleted, Registry, RegistryError, Submission, VersionSpec};
use crate::compat::{self, Comparison, Direction, Level};
use crate::model::Schema;

/// Messages that one answer lists.
const MESSAGES_MAX: usize = 200;

/// The answer to "would it be compatible?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It would.
    pub compatible: bool,
    /// Why not, a finding each: kind, place, between whom, why, and what mends it.
    pub messages: Vec<String>,
}

impl Registry {
    /// Compares a schema with one version of a subject, or with as many as the subject's level demands (`None`).
    ///
    /// # Errors
    /// No schema; with a version: the subject or version is not there.
    pub fn check(
        &self,
        subject: &str,
        version: Option<VersionSpec>,
        submission: &Submission,
    ) -> Result<Verdict, RegistryError> {
        let prepared = self.prepare(subject, submission)?;
        let versions = match version {
            Some(version) => vec![self.version(subject, version, Deleted::Without)?.version],
            None => self.versions(subject, Deleted::Without).unwrap_or_default(),
        };
        self.verdict(subject, &prepared, &versions)
    }

    /// The verdict over the given versions, oldest first.
    pub(super) fn verdict(
        &self,
        subject: &str,
        prepared: &Prepared,
        versions: &[u32],
    ) -> Result<Verdict, RegistryError> {
        let level = self.config(subject).level;
        if level == Level::None || versions.is_empty() {
            return Ok(Verdict { compatible: true, messages: vec![] });
        }
        let wanted = if level.transitive() { 0 } else { versions.len() - 1 };
        let versions = &versions[wanted..];
        let history =
            versions.iter().map(|version| self.schema_of(subject, *version)).collect::<Result<Vec<_>, _>>()?;
        let found = compat::check_level(level, &prepared.schema, &history)
            .map_err(|error| RegistryError::InvalidSchema(error.to_string()))?;
        let mut messages: Vec<_> = found.iter().flat_map(|c| lines(c, versions)).take(MESSAGES_MAX).collect();
        let compatible = messages.is_empty();
        if !compatible {
            messages.push(format!("level {level}: {}", level.sentence()));
        }
        Ok(Verdict { compatible, messages })
    }

    fn schema_of(&self, subject: &str, version: u32) -> Result<Schema, RegistryError> {
        let found = self.version(subject, VersionSpec::Number(version), Deleted::With)?;
        self.parse(&found.content)
    }
}

fn lines<'c>(comparison: &'c Comparison, versions: &'c [u32]) -> impl Iterator<Item = String> + 'c {
    let version = versions.get(comparison.version).copied().unwrap_or_default();
    let between = match comparison.direction {
        Direction::Backward => format!("the new schema reads version {version}"),
        Direction::Forward => format!("version {version} reads the new schema"),
    };
    comparison.incompatibilities.iter().map(move |i| {
        format!("{} at {} ({between}): {}; to mend it: {}", i.kind.as_str(), i.path, i.why, i.fix.join("; or "))
    })
}
