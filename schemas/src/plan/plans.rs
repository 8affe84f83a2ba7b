//! Plans for one reader, by the writer's id in the registry.

use super::Plan;
use crate::{compat::CompatError, model::Schema};

/// Every writer's schema that a topic may still hold, compiled for one reader at start.
#[derive(Clone, Debug)]
pub struct Plans {
    reader: Schema,
    /// By id.
    by_writer: Vec<(u32, Plan)>,
    guids: Vec<([u8; 16], u32)>,
}

impl Plans {
    /// No writers yet.
    pub fn new(reader: Schema) -> Self {
        Self { reader, by_writer: Vec::new(), guids: Vec::new() }
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
        let plan = Plan::new(writer, &self.reader)?;
        match self.by_writer.binary_search_by_key(&writer_id, |(id, _)| *id) {
            Ok(at) => self.by_writer[at].1 = plan,
            Err(at) => self.by_writer.insert(at, (writer_id, plan)),
        }
        Ok(())
    }

    /// The plan for a writer's id.
    #[inline]
    pub fn get(&self, writer_id: u32) -> Option<&Plan> {
        let at = self.by_writer.binary_search_by_key(&writer_id, |(id, _)| *id).ok()?;
        Some(&self.by_writer[at].1)
    }

    /// Says which id a GUID stands for: that of an added writer, or the reader's own.
    pub fn add_guid(&mut self, guid: [u8; 16], id: u32) {
        self.guids.retain(|(known, _)| *known != guid);
        self.guids.push((guid, id));
    }

    /// The id of a GUID.
    pub fn id_of(&self, guid: &[u8; 16]) -> Option<u32> {
        self.guids.iter().find(|(known, _)| known == guid).map(|(_, id)| *id)
    }
}
