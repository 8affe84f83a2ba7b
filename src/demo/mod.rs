//! The main job: real traffic through the whole platform, a fault on purpose, and a verdict.
//!
//! `run` plays: `requests` and `market` are the two sources that a demo has over `up`, `faults` breaks things,
//! `live` shows it. `recount` and `commits` count again, `invariants` judges, `screen` tells.

pub mod commits;
pub mod faults;
pub mod input;
pub mod invariants;
pub mod live;
pub mod market;
pub mod pace;
pub mod progress;
pub mod recount;
pub mod requests;
pub mod run;
pub mod scan;
pub mod screen;
