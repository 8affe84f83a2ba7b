//! Schema ids beside those of the binary: what an external registry calls its schemas (said by every process in `_usage`),
//! and the schemas of other writers (kept in `_schemas`, or, where the registry is external, in files beside the log). Read
//! plainly: JSON, the last word counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use apache_avro::Schema;
use runtime::log::Log;
use schemas::registry::Guid;
use serde_json::Value as Json;

use super::VerifyError;
use super::topics::Walk;

/// What ids mean.
#[derive(Default)]
pub struct Ids {
    /// Full names of the binary's own schemas.
    pub own: BTreeMap<u32, String>,
    /// Schemas of others.
    pub writers: BTreeMap<u32, Schema>,
    /// The same by GUID.
    pub guids: BTreeMap<Guid, Schema>,
}

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
            if let Some(json) = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                ids.writer(&json);
            }
        }
        each(log, "_schemas", |json| ids.writer(json))?;
        Ok(ids)
    }

    fn writer(&mut self, json: &Json) {
        let Some(text) = json["schema"].as_str() else { return };
        let Ok(schema) = Schema::parse_str(text) else { return };
        // A registry of ours derives the GUID from the text, one elsewhere has said it.
        let said = json["guid"].as_str().and_then(|guid| guid.parse().ok());
        self.guids.insert(said.unwrap_or_else(|| Guid::of(text, &[])), schema.clone());
        if let Some(id) = id(json) {
            self.writers.insert(id, schema);
        }
    }
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
