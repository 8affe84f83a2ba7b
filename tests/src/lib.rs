//! What the tests of the whole share.

pub mod exchange;
pub mod fatal;
pub mod fleet;
pub mod http;
pub mod kafka;
pub mod log_cases;
pub mod log_kafka;
pub mod log_load;
pub mod log_seek;
pub mod log_shapes;
pub mod otlp;
pub mod program;
pub mod registry_kit;
pub mod tidy;
