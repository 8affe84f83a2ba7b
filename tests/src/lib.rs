//! What the tests of the whole share.

pub mod program;
pub mod tidy;
