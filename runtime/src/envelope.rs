//! What travels from a fetcher to its shard: record batches as they are stored, with the credit that bounds them.

use crate::credit::Credit;
use crate::log::Fetched;

/// Consecutive batches of one input of one shard. Dropped without being settled, its events stay uncommitted and come
/// again after the restart.
pub struct Envelope {
    /// Index into the service's inputs.
    pub input: usize,
    pub fetched: Fetched,
    /// Held until the envelope is dropped.
    pub credit: Credit,
}
