//! What an edge may take, and how long it waits. Each limit holds for one request or one sender.

use std::path::PathBuf;
use std::time::Duration;

/// Parameters of the edge; the defaults are those of a server behind nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeConfig {
    /// Start of the URLs given out; `None`: where the edge listens.
    pub public_url: Option<String>,
    /// Signing keys; `None`: beside the log.
    pub keys_file: Option<PathBuf>,
    /// Bytes of a body. Bid requests are 1 to 5 KB.
    pub body_max_bytes: usize,
    /// Bytes of a request's line and headers.
    pub head_max_bytes: usize,
    /// Nesting of a body's JSON.
    pub depth_max: usize,
    /// A request's head must be there by then; also how long a connection may be idle.
    pub head_timeout: Duration,
    /// A body must be there by then.
    pub body_timeout: Duration,
    /// The log must have answered by then, else the sender is told to come again.
    pub log_timeout: Duration,
    pub connections_max: usize,
    pub connections_max_per_address: u32,
    /// Bid requests a second of one address; 0: no limit.
    pub bids_per_s: u32,
    /// Tracking requests a second of one address; 0: no limit.
    pub pixels_per_s: u32,
    /// Requests a second under one `x-api-key`; 0: no limit.
    pub requests_per_s_per_key: u32,
    /// The last address in `x-forwarded-for` is the sender's: only behind a proxy of one's own.
    pub trust_forwarded: bool,
    /// Refuse known programs and data centres before bidding.
    pub filter_invalid_traffic: bool,
    /// A bid is answered only after its decision is synced: 2 to 5 ms more a request.
    pub bid_waits_for_log: bool,
    /// Threads of the edge's bulkhead.
    pub threads: usize,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            keys_file: None,
            body_max_bytes: 64 << 10,
            head_max_bytes: 16 << 10,
            depth_max: 32,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(1),
            log_timeout: Duration::from_secs(2),
            connections_max: 4_096,
            connections_max_per_address: 1_024,
            bids_per_s: 20_000,
            pixels_per_s: 1_000,
            requests_per_s_per_key: 20_000,
            trust_forwarded: false,
            filter_invalid_traffic: true,
            bid_waits_for_log: false,
            threads: 2,
        }
    }
}
