//! Schemas of other writers as a data directory has them where no process runs: its own registry, or what an external one
//! said while a process asked it.

use std::path::Path;
use std::sync::Arc;

use runtime::log::Log;
use runtime::writers::{Found, WriterSchemas};
use schemas::frame::{Writer, set_wire_ids};
use schemas::registry::Registry;

use super::cache::SchemaCache;
use super::external::{self, ExternalError};
use super::start::{StartError, find_in};
use super::store;

/// Where a process keeps what an external registry said, below its data directory.
pub const CACHE: &str = "schema-cache";

struct Embedded(Registry);

impl WriterSchemas for Embedded {
    fn find(&self, writer: Writer) -> Found {
        find_in(&self.0, writer)
    }
}

struct Kept(SchemaCache);

impl WriterSchemas for Kept {
    fn find(&self, writer: Writer) -> Found {
        let kept = self.0.get(writer).and_then(|kept| kept.parse().ok());
        kept.map_or(Found::Absent, |schema| Found::Schema(Arc::new(schema)))
    }
}

/// Schemas of other writers. From now on frames of this process carry the ids that the directory's records carry.
///
/// # Errors
/// The directory's own registry, or what it says of an external one, cannot be read.
pub fn writers(log: &dyn Log, data: &Path) -> Result<Arc<dyn WriterSchemas>, StartError> {
    let Some(marker) = external::Marker::of(data)? else {
        return Ok(Arc::new(Embedded(store::read_only(log)?)));
    };
    let other = || ExternalError::OtherIds { was: "another registry".to_owned(), url: marker.url.clone() };
    set_wire_ids(&marker.ids).map_err(|_| other())?;
    Ok(Arc::new(Kept(SchemaCache::new(&data.join(CACHE), &marker.url))))
}
