//! Avro contracts: the schema files, the Rust types generated from them, and a codec that borrows, never allocates
//! and cannot be killed by bytes.
//!
//! ```
//! use schemas::{codec::{Decode, Encode, Map}, events::ImpressionEvent, frame};
//! let pairs = [("page", "home")];
//! let event = ImpressionEvent { event_id: "e1", metadata: Map::from_pairs(&pairs), ..Default::default() };
//! let mut message = Vec::new();
//! frame::encode(&event, &mut message);
//! let read: ImpressionEvent<'_> = frame::decode(&message).unwrap();
//! assert_eq!(read, event);
//! assert_eq!(read.metadata.get("page"), Some("home"));
//! ```

pub mod codec;
pub mod compat;
pub mod events;
pub mod frame;
pub mod hostile;
pub mod json;
pub mod lint;
pub mod model;
pub mod plan;
pub mod projection;
pub mod proof;
pub mod registry;

use codec::DecodeError;
use plan::Plan;

/// Datum in, datum out.
pub type Recode = fn(&[u8], &mut Vec<u8>) -> Result<(), DecodeError>;
/// Datum of another writer and its plan in, datum out.
pub type Resolve = fn(&[u8], &Plan, &mut Vec<u8>) -> Result<(), DecodeError>;

/// A schema that is part of the binary.
#[derive(Debug)]
pub struct Builtin {
    /// Id in the embedded registry: the line of `avsc/ids.txt`, from 1. Never reused.
    pub id: u32,
    /// Full name of the record.
    pub name: &'static str,
    /// The schema file as it is.
    pub avsc: &'static str,
    /// Decodes a bare datum by the generated type and appends it encoded again: checks and normalises at once.
    ///
    /// # Errors
    /// As `Decode::decode`.
    pub recode: Recode,
    /// Decodes a bare datum of another writer by the generated type and appends it encoded with the type's own schema.
    ///
    /// # Errors
    /// As `Decode::decode_resolved`.
    pub resolve: Resolve,
}

/// All built-in schemas, in the order of their ids.
pub fn builtin() -> &'static [Builtin] {
    events::BUILTIN
}

/// The built-in schema of an id.
pub fn builtin_by_id(id: u32) -> Option<&'static Builtin> {
    builtin().get((id as usize).checked_sub(1)?)
}
