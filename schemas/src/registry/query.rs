//! Questions to the registry that change nothing.

use super::{
    Config, Content, Deleted, Guid, Mode, REFERENCE_DEPTH_MAX, REFERENCED_MAX, Reference, Registry, RegistryError,
    Version, VersionSpec, Versioned,
};
use crate::model::{Schema, SchemaError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Registry {
    /// Subjects that have versions of the wanted sort, by name.
    pub fn subjects(&self, prefix: &str, deleted: Deleted) -> Vec<&str> {
        let from = self.subjects.range(prefix.to_owned()..).take_while(|(subject, _)| subject.starts_with(prefix));
        let wanted = |all: &BTreeMap<u32, Version>| match deleted {
            // A subject is deleted when none of its versions is in use.
            Deleted::Only => all.values().all(|v| v.deleted),
            _ => all.values().any(|v| deleted.takes(v.deleted)),
        };
        from.filter(|(_, all)| wanted(all)).map(|(subject, _)| subject.as_str()).collect()
    }

    /// Versions of a subject, oldest first.
    ///
    /// # Errors
    /// The subject is not there.
    pub fn versions(&self, subject: &str, deleted: Deleted) -> Result<Vec<u32>, RegistryError> {
        let all = self.subjects.get(subject).into_iter().flatten();
        let found: Vec<u32> = all.filter(|(_, v)| deleted.takes(v.deleted)).map(|(version, _)| *version).collect();
        if found.is_empty() { Err(RegistryError::SubjectNotFound(subject.to_owned())) } else { Ok(found) }
    }

    /// A version of a subject.
    ///
    /// # Errors
    /// The subject or the version is not there.
    pub fn version(&self, subject: &str, version: VersionSpec, deleted: Deleted) -> Result<Versioned, RegistryError> {
        let known = self.subjects.get(subject);
        let known = known.filter(|all| all.values().any(|v| deleted.takes(v.deleted)));
        let all = known.ok_or_else(|| RegistryError::SubjectNotFound(subject.to_owned()))?;
        let mut newest = all.iter().rev().filter(|(_, v)| deleted.takes(v.deleted));
        let found = match version {
            VersionSpec::Latest => newest.next(),
            VersionSpec::Number(n) => newest.find(|(version, _)| **version == n),
        };
        let found = found.and_then(|(number, v)| self.versioned(subject, *number, *v));
        found.ok_or_else(|| RegistryError::VersionNotFound(version.to_string()))
    }

    /// All versions of subjects with a prefix, `latest` ones only if asked, in order.
    pub fn all(&self, prefix: &str, deleted: Deleted, latest: bool) -> Vec<Versioned> {
        let mut found = Vec::new();
        for subject in self.subjects(prefix, deleted) {
            let all = self.subjects.get(subject).into_iter().flatten().rev().filter(|(_, v)| deleted.takes(v.deleted));
            let mut versions: Vec<_> = all.take(if latest { 1 } else { usize::MAX }).collect();
            versions.reverse();
            found.extend(versions.into_iter().filter_map(|(version, v)| self.versioned(subject, *version, *v)));
        }
        found
    }

    fn versioned(&self, subject: &str, version: u32, v: Version) -> Option<Versioned> {
        let content = self.content(v.id)?.clone();
        Some(Versioned { subject: subject.to_owned(), version, id: v.id, content, deleted: v.deleted })
    }

    /// The schema of an id, deleted or not: records that carry it may still be there.
    ///
    /// # Errors
    /// No schema has it.
    pub fn by_id(&self, id: u32) -> Result<&Content, RegistryError> {
        self.content(id).ok_or_else(|| RegistryError::SchemaNotFound(id.to_string()))
    }

    /// The id of a GUID.
    ///
    /// # Errors
    /// No schema has it.
    pub fn id_of(&self, guid: Guid) -> Result<u32, RegistryError> {
        self.ids.get(&guid).copied().ok_or_else(|| RegistryError::SchemaNotFound(guid.to_string()))
    }

    /// Subjects and versions that have an id.
    ///
    /// # Errors
    /// No schema has it.
    pub fn uses(&self, id: u32, deleted: Deleted) -> Result<Vec<(&str, u32)>, RegistryError> {
        self.by_id(id)?;
        let all = self.all_versions().filter(|(.., v)| v.id == id && deleted.takes(v.deleted));
        Ok(all.map(|(subject, version, _)| (subject, version)).collect())
    }

    /// Greatest id that was given out.
    pub fn id_max(&self) -> u32 {
        self.id_max
    }

    /// The level that a subject follows.
    pub fn config(&self, subject: &str) -> Config {
        self.configs.get(&Some(subject.to_owned())).copied().unwrap_or_else(|| self.global_config())
    }

    /// The level of all that have none of their own.
    pub fn global_config(&self) -> Config {
        self.configs.get(&None).copied().unwrap_or(Config::DEFAULT)
    }

    /// The subject's own level.
    ///
    /// # Errors
    /// It has none.
    pub fn own_config(&self, subject: &str) -> Result<Config, RegistryError> {
        let own = self.configs.get(&Some(subject.to_owned())).copied();
        own.ok_or_else(|| RegistryError::NoSubjectConfig(subject.to_owned()))
    }

    /// The mode that a subject follows.
    pub fn mode(&self, subject: &str) -> Mode {
        self.modes.get(&Some(subject.to_owned())).copied().unwrap_or_else(|| self.global_mode())
    }

    /// The mode of all that have none of their own.
    pub fn global_mode(&self) -> Mode {
        self.modes.get(&None).copied().unwrap_or(Mode::ReadWrite)
    }

    /// The subject's own mode.
    ///
    /// # Errors
    /// It has none.
    pub fn own_mode(&self, subject: &str) -> Result<Mode, RegistryError> {
        let own = self.modes.get(&Some(subject.to_owned())).copied();
        own.ok_or_else(|| RegistryError::NoSubjectMode(subject.to_owned()))
    }

    /// Ids of the schemas that refer to a version; soft-deleted ones count if asked.
    pub fn referenced_by(&self, subject: &str, version: u32, deleted: Deleted) -> Vec<u32> {
        let refers = |v: &Version| {
            let of = self.content(v.id).map_or(&[][..], |content| &content.references);
            of.iter().any(|r| r.subject == subject && r.version == version)
        };
        let ids = self.all_versions().filter(|(.., v)| deleted.takes(v.deleted) && refers(v)).map(|(.., v)| v.id);
        ids.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Parses a schema of this registry with everything that it builds on.
    ///
    /// # Errors
    /// It was registered by somebody who reads schemas otherwise.
    pub fn parse(&self, content: &Content) -> Result<Schema, RegistryError> {
        let texts = self.referenced(&content.references)?;
        let texts: Vec<&str> = texts.iter().map(|t| &**t).collect();
        Schema::parse_with(&content.text, &texts).map_err(|e: SchemaError| RegistryError::InvalidSchema(e.to_string()))
    }

    /// The texts of all that a schema builds on, each after what it needs itself.
    pub fn referenced(&self, references: &[Reference]) -> Result<Vec<Arc<str>>, RegistryError> {
        let mut walk = Walk { registry: self, seen: BTreeSet::new(), texts: vec![] };
        walk.all(references, 0)?;
        Ok(walk.texts)
    }
}

struct Walk<'r> {
    registry: &'r Registry,
    seen: BTreeSet<(String, u32)>,
    texts: Vec<Arc<str>>,
}

impl Walk<'_> {
    fn all(&mut self, references: &[Reference], depth: usize) -> Result<(), RegistryError> {
        let refuse = |what: String| Err(RegistryError::InvalidSchema(what));
        if depth > REFERENCE_DEPTH_MAX {
            return refuse(format!("references nested deeper than {REFERENCE_DEPTH_MAX}"));
        }
        for Reference { name, subject, version } in references {
            if !self.seen.insert((subject.clone(), *version)) {
                continue;
            }
            if self.seen.len() > REFERENCED_MAX {
                return refuse(format!("builds on more than {REFERENCED_MAX} other schemas"));
            }
            let found = self.registry.subjects.get(subject).and_then(|all| all.get(version));
            let Some(content) = found.and_then(|v| self.registry.content(v.id)) else {
                return refuse(format!(
                    "the reference {name} leads to version {version} of '{subject}', which is not there"
                ));
            };
            self.all(&content.references.clone(), depth + 1)?;
            self.texts.push(content.text.clone());
        }
        Ok(())
    }
}

impl std::fmt::Display for VersionSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(n) => write!(f, "{n}"),
        }
    }
}
