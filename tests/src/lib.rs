//! What the tests of the whole share.

pub mod fatal;
pub mod http;
pub mod kafka;
pub mod log_cases;
pub mod otlp;
pub mod program;
pub mod registry_kit;
pub mod tidy;
