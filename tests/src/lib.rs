//! What the tests of the whole share.

pub mod log_cases;
pub mod program;
pub mod tidy;
