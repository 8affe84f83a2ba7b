//! Schema ids beside those of the binary: what an external registry calls its schemas (said by every process in `_usage`),
//! and the schemas of other writers (kept in `_schemas`, or, where the registry is external, in files beside the log). Read
//! plainly: JSON, the last word counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use runtime::log::Log;
use schemas::registry::{Guid, Reference};
use serde_json::Value as Json;

use super::VerifyError;
use super::topics::Walk;

/// Deepest chain of references that is followed, and most schemas that one builds on.
const REFERENCE_DEPTH_MAX: usize = 16;
const REFERENCED_MAX: usize = 256;

/// What ids mean.
#[derive(Default)]
pub struct Ids {
    /// Full names of the binary's own schemas.
    pub own: BTreeMap<u32, String>,
    /// Schemas of others.
    pub writers: BTreeMap<u32, Written>,
    /// The same by GUID.
    pub guids: BTreeMap<Guid, Written>,
}

/// A writer's schema with those that it builds on.
#[derive(Clone)]
pub struct Written {
    pub schema: Schema,
    pub referenced: Vec<Schema>,
}

impl Written {
    /// `None` if that is no schema, or needs more than `referenced`.
    fn parse(text: &str, referenced: &[String]) -> Option<Self> {
        let (schema, referenced) = Schema::parse_str_with_list(text, referenced).ok()?;
        Some(Self { schema, referenced })
    }
}

/// Versions of subjects: text and references.
type Versions = BTreeMap<(String, u32), (String, Vec<Reference>)>;

impl Ids {
    /// `kept`: directory of what an external registry said, one directory a registry, one file an id.
    ///
    /// # Errors
    /// [`VerifyError`] if a topic cannot be read; what is in a record or a file and is no schema is nobody's.
    pub fn read(log: &dyn Log, kept: &Path) -> Result<Self, VerifyError> {
        let mut ids = Self::default();
        each(log, "_usage", |json| {
            for writer in json["writers"].as_array().into_iter().flatten() {
                if let (Some(id), Some(name)) = (id(writer), writer["schema"].as_str()) {
                    ids.own.insert(id, name.to_owned());
                }
            }
        })?;
        for file in paths_in(kept).iter().flat_map(|registry| paths_in(registry)) {
            let Some(json) = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok())
            else {
                continue;
            };
            let texts = json["referenced"].as_array().into_iter().flatten();
            let texts: Vec<String> = texts.filter_map(|text| text.as_str().map(str::to_owned)).collect();
            ids.writer(&json, &[], &texts);
        }
        // A schema may stand before what it builds on: first all versions, then what they mean.
        let (mut versions, mut rows) = (Versions::new(), Vec::new());
        each(log, "_schemas", |json| {
            let version = json["version"].as_u64().and_then(|version| u32::try_from(version).ok());
            if let (Some(subject), Some(version), Some(text)) =
                (json["subject"].as_str(), version, json["schema"].as_str())
            {
                versions.insert((subject.to_owned(), version), (text.to_owned(), references(json)));
                rows.push(json.clone());
            }
        })?;
        for json in &rows {
            let (references, mut texts) = (references(json), Vec::new());
            if collect(&versions, &references, 0, &mut BTreeSet::new(), &mut texts).is_some() {
                ids.writer(json, &references, &texts);
            }
        }
        Ok(ids)
    }

    fn writer(&mut self, json: &Json, references: &[Reference], referenced: &[String]) {
        let Some(text) = json["schema"].as_str() else { return };
        let Some(written) = Written::parse(text, referenced) else { return };
        // A registry of ours derives the GUID from the text, one elsewhere has said it.
        let said = json["guid"].as_str().and_then(|guid| guid.parse().ok());
        self.guids.insert(said.unwrap_or_else(|| Guid::of(text, references)), written.clone());
        if let Some(id) = id(json) {
            self.writers.insert(id, written);
        }
    }
}

fn references(json: &Json) -> Vec<Reference> {
    let one = |json: &Json| {
        Some(Reference {
            name: json["name"].as_str()?.to_owned(),
            subject: json["subject"].as_str()?.to_owned(),
            version: u32::try_from(json["version"].as_u64()?).ok()?,
        })
    };
    json["references"].as_array().into_iter().flatten().filter_map(one).collect()
}

/// Texts of what is referred to, each once; `None` if one is missing, or they are too many.
fn collect(
    versions: &Versions,
    references: &[Reference],
    depth: usize,
    seen: &mut BTreeSet<(String, u32)>,
    texts: &mut Vec<String>,
) -> Option<()> {
    for reference in references {
        let at = (reference.subject.clone(), reference.version);
        if !seen.insert(at.clone()) {
            continue;
        }
        if depth >= REFERENCE_DEPTH_MAX || seen.len() > REFERENCED_MAX {
            return None;
        }
        let (text, further) = versions.get(&at)?;
        collect(versions, further, depth + 1, seen, texts)?;
        texts.push(text.clone());
    }
    Some(())
}

/// What is in a directory, in order; nothing if it is none.
fn paths_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn id(json: &Json) -> Option<u32> {
    json["id"].as_u64().and_then(|id| u32::try_from(id).ok())
}

fn each(log: &dyn Log, topic: &str, mut take: impl FnMut(&Json)) -> Result<(), VerifyError> {
    let mut walk = Walk::new(log, topic, 0)?;
    while let Some(entry) = walk.next()? {
        if let Ok(json) = serde_json::from_slice(entry.value.as_deref().unwrap_or_default()) {
            take(&json);
        }
    }
    Ok(())
}
