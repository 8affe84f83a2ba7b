//! A schema registry as a state machine: subjects, versions, ids, references, levels, modes. It is folded from the records
//! of the topic `_schemas` and decides which records a request adds; it does no I/O. Semantics: Confluent's API.
//!
//! ```
//! use schemas::registry::{Registry, Submission};
//! let mut registry = Registry::new(1);
//! let decided = registry.register("visits-value", &Submission::of("\"string\"")).unwrap();
//! decided.records.iter().for_each(|record| registry.apply(record));
//! assert_eq!((decided.answer.id, decided.answer.version), (1, 1));
//! ```

mod canonical;
mod decide;
mod error;
mod judge;
mod query;
mod record;
mod types;

pub use canonical::{Canonical, canonical};
pub use error::RegistryError;
pub use judge::Verdict;
pub use record::{Record, RecordError, SchemaRecord};
pub use types::{Config, Content, Deleted, Guid, Mode, Reference, Submission, VersionSpec, Versioned};

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a subject's name: the length of a topic's name and what strategies add to it.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// Versions of all subjects: beyond it somebody registers in a loop. 20,000 schemas of 10 KB are 200 MB.
pub const VERSIONS_MAX: usize = 20_000;
/// References of one schema, direct ones.
pub const REFERENCES_MAX: usize = 64;
/// Schemas that build on schemas that build on schemas ...
pub const REFERENCE_DEPTH_MAX: usize = 16;
/// All schemas that one builds on, directly or not.
pub const REFERENCED_MAX: usize = 256;
/// Ids below it belong to the schemas of the binary: their frames carry the line of `ids.txt`.
pub const FIRST_FREE_ID: u32 = 1_001;

/// The subjects, and everything that is said about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    subjects: BTreeMap<String, BTreeMap<u32, Version>>,
    /// By id. Kept while a version, even a deleted one, has it.
    contents: BTreeMap<u32, Held>,
    ids: BTreeMap<Guid, u32>,
    configs: BTreeMap<Option<String>, Config>,
    modes: BTreeMap<Option<String>, Mode>,
    others: BTreeMap<String, Option<String>>,
    first_id: u32,
    id_max: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Version {
    id: u32,
    deleted: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    content: Content,
    versions: usize,
}

/// What a request adds to the log, and what is answered once that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<T> {
    /// To be appended together, in order; none: nothing changes.
    pub records: Vec<Record>,
    /// The answer.
    pub answer: T,
}

impl Registry {
    /// Empty; ids that it gives out start at `first_id`.
    pub fn new(first_id: u32) -> Self {
        Self {
            subjects: BTreeMap::new(),
            contents: BTreeMap::new(),
            ids: BTreeMap::new(),
            configs: BTreeMap::new(),
            modes: BTreeMap::new(),
            others: BTreeMap::new(),
            first_id,
            id_max: 0,
        }
    }

    /// Takes in a record of the topic. Where two processes have written at the same moment, the first counts: a record that
    /// gives a known id another schema, or a known version another id, is void for everybody who reads the topic.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Schema(schema) if self.is_void(schema) => {}
            Record::Schema(schema) => self.apply_schema(schema),
            Record::SchemaGone { subject, version } => self.remove(subject, *version),
            Record::DeleteSubject { subject, version } => {
                for (_, v) in self.subjects.get_mut(subject).into_iter().flat_map(|all| all.range_mut(..=*version)) {
                    v.deleted = true;
                }
            }
            Record::Config(subject, value) => put(&mut self.configs, subject, *value),
            Record::Mode(subject, value) => put(&mut self.modes, subject, *value),
            Record::IdMax(id) => self.id_max = self.id_max.max(*id),
            Record::Other { key, value } => {
                self.others.insert(key.clone(), value.clone());
            }
        }
    }

    fn is_void(&self, record: &SchemaRecord) -> bool {
        let SchemaRecord { subject, version, id, .. } = record;
        let other_id = self.subjects.get(subject).and_then(|all| all.get(version)).is_some_and(|known| known.id != *id);
        let guid = Guid::of(&record.schema, &record.references);
        other_id || self.content(*id).is_some_and(|held| held.guid != guid)
    }

    /// Whether what a record says is so: its writer asks after it has read it back.
    pub fn stands(&self, record: &Record) -> bool {
        match record {
            Record::Schema(record) => {
                let known = self.subjects.get(&record.subject).and_then(|all| all.get(&record.version));
                known.is_some_and(|v| v.id == record.id) && !self.is_void(record)
            }
            // The last one counts, whoever wrote it.
            _ => true,
        }
    }

    fn apply_schema(&mut self, record: &SchemaRecord) {
        let SchemaRecord { subject, version, id, .. } = record;
        let guid = Guid::of(&record.schema, &record.references);
        let all = self.subjects.entry(subject.clone()).or_default();
        let is_new = all.insert(*version, Version { id: *id, deleted: record.deleted }).is_none();
        let content =
            || Content { text: record.schema.as_str().into(), references: record.references.as_slice().into(), guid };
        let held = self.contents.entry(*id).or_insert_with(|| Held { content: content(), versions: 0 });
        held.versions += usize::from(is_new);
        self.ids.entry(guid).or_insert(*id);
        self.id_max = self.id_max.max(*id);
    }

    fn remove(&mut self, subject: &str, version: u32) {
        let Some(all) = self.subjects.get_mut(subject) else { return };
        let Some(gone) = all.remove(&version) else { return };
        if all.is_empty() {
            self.subjects.remove(subject);
        }
        let Some(held) = self.contents.get_mut(&gone.id) else { return };
        held.versions -= 1;
        if held.versions == 0 {
            let guid = held.content.guid;
            self.contents.remove(&gone.id);
            if self.ids.get(&guid) == Some(&gone.id) {
                self.ids.remove(&guid);
            }
        }
    }

    /// The records of which a fold is this registry: what a compaction keeps.
    pub fn snapshot(&self) -> Vec<Record> {
        let mut records = vec![Record::IdMax(self.id_max)];
        records.extend(self.configs.iter().map(|(subject, c)| Record::Config(subject.clone(), Some(*c))));
        for (subject, version, v) in self.all_versions() {
            let Some(held) = self.contents.get(&v.id) else { continue };
            records.push(Record::Schema(record_of(subject, version, v.id, &held.content, v.deleted)));
        }
        // Modes last: nobody who follows the fold refuses what was registered before.
        records.extend(self.modes.iter().map(|(subject, mode)| Record::Mode(subject.clone(), Some(*mode))));
        let others = self.others.iter().map(|(key, value)| Record::Other { key: key.clone(), value: value.clone() });
        records.extend(others);
        records
    }

    fn all_versions(&self) -> impl Iterator<Item = (&str, u32, Version)> {
        self.subjects.iter().flat_map(|(subject, all)| all.iter().map(|(version, v)| (subject.as_str(), *version, *v)))
    }

    fn content(&self, id: u32) -> Option<&Content> {
        self.contents.get(&id).map(|held| &held.content)
    }

    fn next_id(&self) -> u32 {
        self.first_id.max(self.id_max + 1)
    }
}

fn put<T>(map: &mut BTreeMap<Option<String>, T>, subject: &Option<String>, value: Option<T>) {
    match value {
        Some(value) => map.insert(subject.clone(), value),
        None => map.remove(subject),
    };
}

fn record_of(subject: &str, version: u32, id: u32, content: &Content, deleted: bool) -> SchemaRecord {
    SchemaRecord {
        subject: subject.to_owned(),
        version,
        id,
        schema: content.text.to_string(),
        references: content.references.to_vec(),
        deleted,
    }
}

impl Content {
    fn new(text: String, references: Vec<Reference>) -> Self {
        let guid = Guid::of(&text, &references);
        Self { text: Arc::from(text), references: references.into(), guid }
    }
}

#[cfg(test)]
mod tests;
