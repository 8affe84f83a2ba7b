//! Confluent's frame around a datum: one magic byte, then the schema's id.
//! Source: Confluent wire format; magic 0 is followed by four bytes of id, big-endian.

use crate::{
    codec::{Decode, DecodeError, Encode},
    plan::Plans,
};
use std::sync::OnceLock;

/// First byte of a frame with a numeric id.
pub const MAGIC_ID: u8 = 0;
/// First byte of a frame with a GUID, as newer serializers write.
pub const MAGIC_GUID: u8 = 1;
/// Bytes before the datum in a frame with a numeric id.
pub const HEADER_BYTES: usize = 5;
/// Bytes before the datum in a frame with a GUID.
pub const GUID_HEADER_BYTES: usize = 17;

static WIRE_IDS: OnceLock<Box<[u32]>> = OnceLock::new();

/// The id that frames of this process carry for a schema of the binary: its own, unless an external registry gave others.
#[inline]
pub fn wire_id(id: u32) -> u32 {
    match WIRE_IDS.get() {
        None => id,
        Some(ids) => ids.get(id as usize).copied().unwrap_or(id),
    }
}

/// Gives schemas of the binary the ids `(own, registry's)` in all frames of this process. Once, before the first frame.
///
/// # Errors
/// Other ids were given before: frames carry them already.
pub fn set_wire_ids(ids: &[(u32, u32)]) -> Result<(), WireIdsSet> {
    let last = ids.iter().map(|(own, _)| *own).max().unwrap_or(0);
    let mut table: Vec<u32> = (0..=last).collect();
    for (own, wire) in ids {
        table[*own as usize] = *wire;
    }
    let table = table.into_boxed_slice();
    if *WIRE_IDS.get_or_init(|| table.clone()) == table { Ok(()) } else { Err(WireIdsSet) }
}

/// The ids of frames cannot change while a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process already writes other schema ids")]
pub struct WireIdsSet;

impl WireIdsSet {
    /// Stable label.
    pub fn kind(&self) -> &'static str {
        "frame_wire_ids_set"
    }
}

/// Why a framed message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than the header.
    #[error("message of {bytes} bytes is shorter than its magic byte and schema id")]
    Truncated {
        /// Bytes there are.
        bytes: usize,
    },
    /// Not a frame.
    #[error("first byte is {found}, expected the magic byte 0: was this message framed for a schema registry?")]
    Magic {
        /// The byte found.
        found: u8,
    },
    /// Written with another schema.
    #[error("written with schema id {found}, expected {expected}: resolve it with the writer's schema")]
    OtherSchema {
        /// Id of the type asked for.
        expected: u32,
        /// Id in the frame.
        found: u32,
    },
    /// The datum is bad; `byte` counts from the start of the datum.
    #[error(transparent)]
    Datum(#[from] DecodeError),
}

impl FrameError {
    /// Stable label for metrics and dead-letter headers.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "frame_truncated",
            Self::Magic { .. } => "frame_magic",
            Self::OtherSchema { .. } => "frame_other_schema",
            Self::Datum(e) => e.kind(),
        }
    }
}

/// Decodes a frame of any writer that `plans` knows; `plans` must be for the reader `T`.
///
/// # Errors
/// Not a frame, an id without a plan, or a datum that `T` cannot take.
#[inline]
pub fn decode_with<'a, T: Decode<'a>>(message: &'a [u8], plans: &'a Plans) -> Result<T, FrameError> {
    let (found, datum) = split(message)?;
    if found == wire_id(T::SCHEMA_ID) {
        return T::decode_or(datum);
    }
    match plans.get(found) {
        Some(plan) => T::decode_resolved_or(datum, plan),
        None => Err(FrameError::OtherSchema { expected: T::SCHEMA_ID, found }),
    }
}

/// Appends header and datum to `out`.
#[inline]
pub fn encode<T: Encode>(value: &T, out: &mut Vec<u8>) {
    out.push(MAGIC_ID);
    out.extend_from_slice(&wire_id(T::SCHEMA_ID).to_be_bytes());
    value.encode(out);
}

/// Bytes before the datum in a frame of either form: magic 0 and four bytes of id, or magic 1 and the 16 bytes of a GUID.
///
/// # Errors
/// [`FrameError::Truncated`], [`FrameError::Magic`].
pub fn header_bytes(message: &[u8]) -> Result<usize, FrameError> {
    let header = match message.first() {
        Some(&MAGIC_ID) => HEADER_BYTES,
        Some(&MAGIC_GUID) => GUID_HEADER_BYTES,
        Some(&found) => return Err(FrameError::Magic { found }),
        None => return Err(FrameError::Truncated { bytes: 0 }),
    };
    if message.len() < header { Err(FrameError::Truncated { bytes: message.len() }) } else { Ok(header) }
}

/// Splits a frame into schema id and datum.
///
/// # Errors
/// [`FrameError::Truncated`], [`FrameError::Magic`].
#[inline]
pub fn split(message: &[u8]) -> Result<(u32, &[u8]), FrameError> {
    match message {
        [MAGIC_ID, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        [MAGIC_ID, ..] | [] => Err(FrameError::Truncated { bytes: message.len() }),
        [found, ..] => Err(FrameError::Magic { found: *found }),
    }
}

/// The schema id of a frame.
///
/// # Errors
/// As [`split`].
#[inline]
pub fn schema_id(message: &[u8]) -> Result<u32, FrameError> {
    split(message).map(|(id, _)| id)
}

/// Decodes a frame written with exactly the schema of `T`.
///
/// # Errors
/// Not a frame, another schema's id, or a bad datum.
#[inline]
pub fn decode<'a, T: Decode<'a>>(message: &'a [u8]) -> Result<T, FrameError> {
    let (found, datum) = split(message)?;
    if found != wire_id(T::SCHEMA_ID) {
        return Err(FrameError::OtherSchema { expected: wire_id(T::SCHEMA_ID), found });
    }
    T::decode_or(datum)
}
