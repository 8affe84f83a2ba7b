//! Schema ids beside those of the binary: what an external registry calls its schemas (said by every process in `_usage`),
//! and the schemas of other writers (kept in `_schemas`). Read plainly: JSON records, the last word counts.

use std::collections::BTreeMap;

use apache_avro::Schema;
use runtime::log::Log;
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
}

impl Ids {
    /// # Errors
    /// [`VerifyError`] if a topic cannot be read; what is in a record and is no schema is nobody's.
    pub fn read(log: &dyn Log) -> Result<Self, VerifyError> {
        let mut ids = Self::default();
        each(log, "_usage", |json| {
            for writer in json["writers"].as_array().into_iter().flatten() {
                if let (Some(id), Some(name)) = (id(writer), writer["schema"].as_str()) {
                    ids.own.insert(id, name.to_owned());
                }
            }
        })?;
        each(log, "_schemas", |json| {
            if let (Some(id), Some(text)) = (id(json), json["schema"].as_str())
                && let Ok(schema) = Schema::parse_str(text)
            {
                ids.writers.insert(id, schema);
            }
        })?;
        Ok(ids)
    }
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
