//! Supervision: root -> one supervisor a bulkhead -> shards. Ours, on ractor's primitives.
//!
//! `plan` decides, `bulkhead` acts, `watchdog` finds what is stuck as well as dead. Everything here lives on the control
//! runtime or on a thread of its own, outside whatever may be stuck; a failed shard never ends the process.

pub mod bulkhead;
pub mod plan;
#[cfg(test)]
mod plan_tests;
pub mod root;
mod spinner;
pub mod watchdog;

pub use bulkhead::{ShardSlot, Supervised, SupervisorMessage};
pub use plan::{Backoff, Exit, Intensity, Policy, Strategy};
