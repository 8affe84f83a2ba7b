//! One file a command.

pub mod demo;
pub mod up;
pub mod verify;
pub mod version;
