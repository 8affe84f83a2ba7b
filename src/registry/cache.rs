//! Schemas by id on disk, so that consumers go on decoding while an external registry is away. An id never changes its
//! meaning: what is cached is right for ever. A damaged file is as good as none.

use std::path::{Path, PathBuf};

use schemas::model::{SCHEMA_BYTES_MAX, Schema, SchemaError};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

/// Bytes of one file: a schema, all that it builds on, and quotes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A schema with the texts that it builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedSchema {
    pub text: String,
    /// Each after what it needs itself.
    pub referenced: Vec<String>,
}

impl CachedSchema {
    /// # Errors
    /// The registry keeps what this process cannot read as Avro.
    pub fn parse(&self) -> Result<Schema, SchemaError> {
        let referenced: Vec<&str> = self.referenced.iter().map(String::as_str).collect();
        Schema::parse_with(&self.text, &referenced)
    }

    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for text in std::iter::once(&self.text).chain(&self.referenced) {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A directory with one file an id.
#[derive(Clone, Debug)]
pub struct SchemaCache {
    directory: PathBuf,
}

impl SchemaCache {
    /// Ids of one registry mean nothing in another: each has its own directory below `directory`.
    pub fn new(directory: &Path, url: &str) -> Self {
        let digest = Sha256::digest(url.as_bytes());
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { directory: directory.join(name) }
    }

    fn path(&self, id: u32) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    /// What is known of an id.
    pub fn get(&self, id: u32) -> Option<CachedSchema> {
        let path = self.path(id);
        if std::fs::metadata(&path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        let json: Json = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let text = json.get("schema")?.as_str()?.to_owned();
        let referenced = json.get("referenced")?.as_array()?.iter().map(|t| t.as_str().map(str::to_owned));
        let cached = CachedSchema { text, referenced: referenced.collect::<Option<_>>()? };
        let whole = json.get("id")?.as_u64()? == u64::from(id) && json.get("sha256")?.as_str()? == cached.digest();
        whole.then_some(cached)
    }

    /// Keeps a schema. A disk that refuses costs another question later, nothing else.
    pub fn put(&self, id: u32, schema: &CachedSchema) -> std::io::Result<()> {
        if schema.text.len() > SCHEMA_BYTES_MAX {
            return Ok(());
        }
        std::fs::create_dir_all(&self.directory)?;
        let json = json!({
            "id": id, "schema": schema.text, "referenced": schema.referenced, "sha256": schema.digest()
        });
        let new = self.directory.join(format!("{id}.new"));
        std::fs::write(&new, json.to_string())?;
        std::fs::rename(&new, self.path(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = SchemaCache::new(directory.path(), "http://a");
        let schema = CachedSchema { text: "\"n.E\"".into(), referenced: vec!["{}".into()] };
        assert_eq!(cache.get(7), None);
        cache.put(7, &schema).expect("kept");
        assert_eq!(cache.get(7), Some(schema.clone()));
        assert_eq!(SchemaCache::new(directory.path(), "http://b").get(7), None);
        let path = cache.path(7);
        let whole = std::fs::read_to_string(&path).expect("there");
        for damaged in ["", "{", &whole[..whole.len() / 2], &whole.replace("n.E", "n.F"), &whole.replace(":7", ":8")] {
            std::fs::write(&path, damaged).expect("written");
            assert_eq!(cache.get(7), None, "{damaged}");
        }
    }
}
