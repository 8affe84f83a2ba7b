//! One file a command.

pub mod demo;
pub mod isolation;
pub mod schemas;
pub mod topics;
pub mod up;
pub mod verify;
pub mod version;
