//! The chaos simulation: the production services, shards, supervision and log code under a seed, in virtual time.
//!
//! `scenario` is a run as data; `world` runs it; `oracle` judges it; `trace` is what two runs of a seed must share.
//! The program `bulkhead-sim` adds what replaces libc's clock and randomness, one process a seed.

pub mod compare;
pub mod disk;
pub mod explain;
pub mod fault;
pub mod isolation;
pub mod model;
pub mod mutant;
pub mod network;
pub mod oracle;
pub mod scenario;
pub mod source;
pub mod trace;
pub mod traffic;
pub mod world;
