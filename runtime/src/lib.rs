//! The actor-event runtime of Bulkhead. It knows nothing about ads.
//!
//! `service` is what a domain author implements; `log` is the only durable thing; `commit` is the heart between them.

pub mod alloc;
pub mod breaker;
mod bulkhead;
pub mod commit;
pub mod credit;
pub mod deadletter;
pub mod env;
pub mod envelope;
pub mod fault;
pub mod flood;
pub mod invariant;
pub mod log;
pub mod offsets;
pub mod outcome;
mod ownership;
pub mod park;
pub mod platform;
pub mod producer;
pub mod service;
pub mod shard;
pub mod state;
pub mod stats;
pub mod supervisor;
pub mod telemetry;
pub mod testkit;
pub mod topology;
pub mod trace;
pub mod view;
pub mod writers;
