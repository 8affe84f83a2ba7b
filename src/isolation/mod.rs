//! The isolation matrix on metal: real threads, a real disk, the platform as `up` runs it, and beside it the same without
//! bulkheads. The shape of the answer, its rules and its picture are the simulation's (`sim::isolation`).
//!
//! `rig` is a platform under load that can be watched and broken; `interval` says how sure a figure is; `measure` plays the
//! pairs.

pub mod interval;
pub mod measure;
pub mod rig;
