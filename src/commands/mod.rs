//! One file a command.

pub mod acl;
pub mod ask;
pub mod backup;
pub mod bridge;
pub mod completions;
pub mod config;
pub mod demo;
pub mod dlq;
pub mod doctor;
pub mod isolation;
pub mod man;
pub mod new;
pub mod produce;
pub mod schemas;
mod shown;
pub mod top;
pub mod topics;
pub mod up;
pub mod verify;
pub mod version;
