//! Plans for one reader, by the writer's id in the registry.

use super::Plan;
use crate::{compat::CompatError, model::Schema};
use std::collections::HashMap;

/// Every writer's schema that a topic may still hold, compiled for one reader at start.
#[derive(Clone, Debug)]
pub struct Plans {
    reader: Schema,
    by_writer: HashMap<u32, Plan>,
}

impl Plans {
    /// No writers yet.
    pub fn new(reader: Schema) -> Self {
        Self { reader, by_writer: HashMap::new() }
    }

    /// The reader's schema.
    pub fn reader(&self) -> &Schema {
        &self.reader
    }

    /// Compiles a writer's schema for this reader.
    ///
    /// # Errors
    /// The pair is too large or too deep.
    pub fn add(&mut self, writer_id: u32, writer: &Schema) -> Result<(), CompatError> {
        self.by_writer.insert(writer_id, Plan::new(writer, &self.reader)?);
        Ok(())
    }

    /// The plan for a writer's id.
    #[inline]
    pub fn get(&self, writer_id: u32) -> Option<&Plan> {
        self.by_writer.get(&writer_id)
    }
}
