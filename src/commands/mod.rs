//! One file a command.

pub mod ask;
pub mod completions;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod produce;
pub mod schemas;
mod shown;
pub mod topics;
pub mod up;
pub mod verify;
pub mod version;
