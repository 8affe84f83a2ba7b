//! The domain of the platform: one folder a service, and the pure pieces that they and the demo share.
//! Knows nothing of Kafka, threads, offsets or clocks.

pub mod ads;
pub mod analytics;
pub mod attribution;
pub mod bidder;
pub mod bidding;
pub mod billing;
pub mod budget;
pub mod campaigns;
pub mod catalogue;
pub mod draw;
pub mod fraud;
pub mod generator;
pub mod ids;
pub mod input;
pub mod intake;
pub mod market;
pub mod metadata;
pub mod money;
pub mod net;
pub mod openrtb;
#[cfg(test)]
mod testdata;
pub mod topics;
pub mod tracking;
