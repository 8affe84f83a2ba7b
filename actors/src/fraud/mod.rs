//! Invalid traffic: judged after the fact and marked, never dropped, and never in the path of serving.

pub mod lists;
