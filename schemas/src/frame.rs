//! Confluent's frame around a datum: one magic byte, then the schema's id.
//! Source: Confluent wire format; magic 0 is followed by four bytes of id, big-endian, magic 1 by the 16 bytes of a GUID. Newer
//! serializers put the same bytes into a header, and then the message is the datum alone.

use crate::{
    codec::{Decode, DecodeError, Encode},
    plan::Plans,
    registry::Guid,
};
use std::{fmt, sync::OnceLock};

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

/// The binary's own id of a schema that frames of this process carry as `wire`; `wire` itself where it is none of those.
pub fn own_id(wire: u32) -> u32 {
    let known = WIRE_IDS.get().and_then(|ids| ids.iter().position(|id| *id == wire));
    known.map_or(wire, |own| own as u32)
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

/// Header with the schema of a record's value, as the bytes before a datum would be.
pub const VALUE_HEADER: &str = "__value_schema_id";
/// The same for a record's key.
pub const KEY_HEADER: &str = "__key_schema_id";

/// What names the writer's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// A number in one registry.
    Id(u32),
    /// The same in every registry.
    Guid([u8; 16]),
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "schema id {id}"),
            Self::Guid(guid) => write!(f, "schema GUID {}", Guid(*guid)),
        }
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
    #[error("first byte is {found}, expected the magic byte 0 or 1: was this message framed for a schema registry?")]
    Magic {
        /// The byte found.
        found: u8,
    },
    /// A header that is longer than its magic byte and id.
    #[error("a schema header of {bytes} bytes: expected 5 with an id, 17 with a GUID")]
    Header {
        /// Bytes there are.
        bytes: usize,
    },
    /// Written with another schema.
    #[error("written with schema id {found}, expected {expected}: resolve it with the writer's schema")]
    OtherSchema {
        /// Id of the type asked for.
        expected: u32,
        /// Id in the frame.
        found: u32,
    },
    /// Written with a schema that no plan knows by its GUID.
    #[error("written with the schema of GUID {guid:032x}, for which there is no plan: add it when the registry has it")]
    UnknownGuid {
        /// The GUID, big-endian.
        guid: u128,
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
            Self::Header { .. } => "frame_header",
            Self::OtherSchema { .. } => "frame_other_schema",
            Self::UnknownGuid { .. } => "frame_unknown_guid",
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
    match split(message) {
        Ok((found, datum)) => by_id(found, datum, plans),
        Err(FrameError::Magic { found: MAGIC_GUID }) => decode_headed(None, message, plans),
        Err(e) => Err(e),
    }
}

/// The same for a record whose header, if it has one, names the schema of a bare datum.
///
/// # Errors
/// As `decode_with`.
pub fn decode_headed<'a, T: Decode<'a>>(
    header: Option<&[u8]>,
    message: &'a [u8],
    plans: &'a Plans,
) -> Result<T, FrameError> {
    let (writer, datum) = split_headed(header, message)?;
    match writer {
        Writer::Id(id) => by_id(id, datum, plans),
        Writer::Guid(guid) => {
            let id = plans.id_of(&guid).ok_or(FrameError::UnknownGuid { guid: u128::from_be_bytes(guid) })?;
            by_id(id, datum, plans)
        }
    }
}

#[inline]
fn by_id<'a, T: Decode<'a>>(found: u32, datum: &'a [u8], plans: &'a Plans) -> Result<T, FrameError> {
    if found == wire_id(T::SCHEMA_ID) {
        return T::decode_or(datum);
    }
    match plans.get(found) {
        Some(plan) => T::decode_resolved_or(datum, plan),
        None => Err(FrameError::OtherSchema { expected: T::SCHEMA_ID, found }),
    }
}

/// Splits a record into its writer and datum: by the header, and then the message is the datum, else by its first bytes.
///
/// # Errors
/// [`FrameError::Truncated`], [`FrameError::Magic`]; a header with bytes behind the id is no header of ours.
pub fn split_headed<'m>(header: Option<&[u8]>, message: &'m [u8]) -> Result<(Writer, &'m [u8]), FrameError> {
    match header {
        None => split_any(message),
        Some(header) => match split_any(header)? {
            (writer, []) => Ok((writer, message)),
            _ => Err(FrameError::Header { bytes: header.len() }),
        },
    }
}

/// Splits a frame of either form.
///
/// # Errors
/// [`FrameError::Truncated`], [`FrameError::Magic`].
pub fn split_any(message: &[u8]) -> Result<(Writer, &[u8]), FrameError> {
    let (head, datum) = message.split_at(header_bytes(message)?);
    match head[1..].try_into() {
        Ok(guid) => Ok((Writer::Guid(guid), datum)),
        Err(_) => split(message).map(|(id, datum)| (Writer::Id(id), datum)),
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
    match split(message) {
        Ok((found, datum)) if found == wire_id(T::SCHEMA_ID) => T::decode_or(datum),
        _ => Err(no_plan(T::SCHEMA_ID, message)),
    }
}

/// Why a frame cannot be read without a plan.
#[cold]
fn no_plan(reader: u32, message: &[u8]) -> FrameError {
    match split_any(message) {
        Ok((Writer::Id(found), _)) => FrameError::OtherSchema { expected: wire_id(reader), found },
        Ok((Writer::Guid(guid), _)) => FrameError::UnknownGuid { guid: u128::from_be_bytes(guid) },
        Err(error) => error,
    }
}
