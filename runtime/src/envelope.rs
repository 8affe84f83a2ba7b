//! What travels from a fetcher to its shard: record batches as they are stored, with the credit that bounds them.

use std::sync::Arc;

use crate::credit::Credit;
use crate::log::Fetched;
use crate::stats::ServiceStats;

/// Consecutive batches of one input of one shard. Dropped without being settled, its events stay uncommitted and come
/// again after the restart.
pub struct Envelope {
    /// Index into the service's inputs.
    pub input: usize,
    pub fetched: Fetched,
    /// Held until the envelope is dropped.
    _credit: Credit,
    stats: Arc<ServiceStats>,
}

impl Envelope {
    /// The room for its bytes has been claimed from `stats`; it is given back with the envelope.
    pub fn new(input: usize, fetched: Fetched, credit: Credit, stats: Arc<ServiceStats>) -> Self {
        stats.queued(fetched.events, fetched.bytes.len() as i64);
        Self { input, fetched, _credit: credit, stats }
    }
}

impl Drop for Envelope {
    fn drop(&mut self) {
        self.stats.unqueued(self.fetched.events, self.fetched.bytes.len() as i64);
    }
}
