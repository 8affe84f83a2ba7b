//! The actor-event runtime of Bulkhead. It knows nothing about ads.
//!
//! `service` is what a domain author implements; `log` is the only durable thing; `commit` is the heart between them.

pub mod env;
pub mod log;
pub mod outcome;
pub mod service;
pub mod state;
pub mod testkit;
pub mod topology;
pub mod trace;
