//! One file a command.

pub mod demo;
pub mod up;
pub mod version;
