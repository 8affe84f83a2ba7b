//! What brings events in, whoever asks: the demo's replay and market, and the edge of a server.

pub mod decision;
pub mod slices;
pub mod treasury;
