//! The schema registry: embedded on the log of this process, with the REST paths of Confluent's API.

pub mod api;
pub mod at_rest;
pub mod cache;
pub mod enquiries;
pub mod external;
pub mod http;
pub mod rest;
pub mod serve;
pub mod start;
pub mod store;
pub mod usage;

pub use api::{RegistryFailure, SchemaRegistry};
pub use http::HttpRegistry;
pub use start::Started;
pub use store::EmbeddedRegistry;

#[cfg(test)]
mod tests;
