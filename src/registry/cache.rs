//! Schemas by id on disk, so that consumers go on decoding while an external registry is away. An id never changes its
//! meaning: what is cached is right for ever. A damaged file is as good as none.

use std::path::{Path, PathBuf};

use schemas::frame::Writer;
use schemas::model::{SCHEMA_BYTES_MAX, Schema, SchemaError};
use schemas::registry::Guid;
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

fn name(writer: Writer) -> String {
    match writer {
        Writer::Id(id) => id.to_string(),
        Writer::Guid(guid) => Guid(guid).to_string(),
    }
}

/// Whose schema a file says it holds.
fn named(json: &Json) -> Option<Writer> {
    match json.get("guid") {
        Some(guid) => Some(Writer::Guid(guid.as_str()?.parse::<Guid>().ok()?.0)),
        None => Some(Writer::Id(u32::try_from(json.get("id")?.as_u64()?).ok()?)),
    }
}

/// A directory with one file an id or GUID.
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

    fn path(&self, writer: Writer) -> PathBuf {
        self.directory.join(format!("{}.json", name(writer)))
    }

    /// What is known of an id.
    pub fn get(&self, writer: Writer) -> Option<CachedSchema> {
        let path = self.path(writer);
        if std::fs::metadata(&path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        let json: Json = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let text = json.get("schema")?.as_str()?.to_owned();
        let referenced = json.get("referenced")?.as_array()?.iter().map(|t| t.as_str().map(str::to_owned));
        let cached = CachedSchema { text, referenced: referenced.collect::<Option<_>>()? };
        let whole = named(&json)? == writer && json.get("sha256")?.as_str()? == cached.digest();
        whole.then_some(cached)
    }

    /// Keeps a schema. A disk that refuses costs another question later, nothing else.
    pub fn put(&self, writer: Writer, schema: &CachedSchema) -> std::io::Result<()> {
        if schema.text.len() > SCHEMA_BYTES_MAX {
            return Ok(());
        }
        std::fs::create_dir_all(&self.directory)?;
        let mut json = json!({"schema": schema.text, "referenced": schema.referenced, "sha256": schema.digest()});
        match writer {
            Writer::Id(id) => json["id"] = json!(id),
            Writer::Guid(guid) => json["guid"] = json!(Guid(guid).to_string()),
        }
        let new = self.directory.join(format!("{}.new", name(writer)));
        std::fs::write(&new, json.to_string())?;
        std::fs::rename(&new, self.path(writer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN: Writer = Writer::Id(7);

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = SchemaCache::new(directory.path(), "http://a");
        let schema = CachedSchema { text: "\"n.E\"".into(), referenced: vec!["{}".into()] };
        assert_eq!(cache.get(SEVEN), None);
        cache.put(SEVEN, &schema).expect("kept");
        assert_eq!(cache.get(SEVEN), Some(schema.clone()));
        assert_eq!(SchemaCache::new(directory.path(), "http://b").get(SEVEN), None);
        let guid = Writer::Guid([7; 16]);
        cache.put(guid, &schema).expect("kept");
        assert_eq!((cache.get(guid), cache.get(Writer::Guid([8; 16]))), (Some(schema.clone()), None));
        let path = cache.path(SEVEN);
        let whole = std::fs::read_to_string(&path).expect("there");
        for damaged in ["", "{", &whole[..whole.len() / 2], &whole.replace("n.E", "n.F"), &whole.replace(":7", ":8")] {
            std::fs::write(&path, damaged).expect("written");
            assert_eq!(cache.get(SEVEN), None, "{damaged}");
        }
    }
}
