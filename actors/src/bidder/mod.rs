//! The bid decision: the one thing that is answered while somebody waits.
//!
//! It reads views in this process's memory and asks no actor, no lock that anyone holds long, and no clock. What it decided
//! with (campaign version, lease, age of every view) goes into the event, so that replay and audit see the same facts.

pub mod campaigns;
pub mod decide;
pub mod event;
#[cfg(test)]
mod flow_tests;
pub mod leases;
pub mod placeholders;
pub mod reason;

pub use campaigns::{Campaign, Campaigns, CampaignsView};
pub use decide::{DecideConfig, Decision, Offer, Views, decide};
pub use leases::{LeaseBook, LeaseBookConfig, LeaseDemand, LeasesView, SpendRefused};
pub use placeholders::{Placeholders, PlaceholdersView};
pub use reason::NoBid;
