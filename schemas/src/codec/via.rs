//! Items that another schema wrote, kept in its encoding and converted one by one.

use super::{Datum, DecodeError, Reader};
use crate::plan::{Plan, StepId};

/// How to read an item.
#[derive(Clone, Copy)]
pub(super) struct Via<'a> {
    pub plan: &'a Plan,
    pub step: StepId,
}

/// Reads an item in its own encoding, or as the plan says.
#[inline]
pub(super) fn read_via<'a, T: Datum<'a>>(reader: &mut Reader<'a>, via: Option<Via<'a>>) -> Result<T, DecodeError> {
    match via {
        None => T::read(reader),
        Some(Via { plan, step }) => T::resolve(reader, plan, step),
    }
}
