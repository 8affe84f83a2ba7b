//! One Rust type for each record and enum of `avsc/*.avsc`, generated at build time. Records borrow from the message
//! they were decoded from; money is in micros, times in milliseconds since the epoch, as the field names and docs say.

use crate::{
    codec::{Array, Datum, Decode, DecodeError, DecodeErrorKind, Encode, EncodeError, Limits, Map, Reader, write_long},
    plan::{Code, Plan, StepId},
};

include!(concat!(env!("OUT_DIR"), "/events.rs"));
