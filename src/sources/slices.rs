//! What sources share: records go out in slices, and only so many slices are unanswered at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actors::input::InputError;
use runtime::env::Env;
use runtime::log::{AppendError, Log};
use runtime::producer::Producer;
use runtime::trace::{TraceId, TraceParent};

/// Records of one slice at most.
pub const SLICE_RECORDS: usize = 256;
/// Bytes of one slice, about: a batch to one partition stays far below the log's limit.
pub const SLICE_BYTES: usize = 512 << 10;
/// A slice is sent at the latest after this.
pub const SLICE_US: u64 = 2_000;
/// Slices that may be unanswered.
pub const SLICES_IN_FLIGHT: usize = 8;
/// Bytes that one source may have in flight in the journal.
pub const BUDGET_BYTES: usize = 8 << 20;
/// How long a full disk is left alone.
const ROOM_PROBE: Duration = Duration::from_millis(200);
/// One in so many auctions carries its trace context.
const SAMPLED_ONE_IN: u64 = 1_000;

/// Why a source stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("{0}")]
    NotReady(String),
}

impl SourceError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input(error) => error.kind(),
            Self::Append(error) => error.kind(),
            Self::NotReady(_) => "NOT_READY",
        }
    }
}

/// The answer to one slice.
pub type Appended = Pin<Box<dyn Future<Output = Result<(), AppendError>> + Send>>;

/// A producer that knows when its slice is due.
pub struct Slices {
    env: Env,
    log: Arc<dyn Log>,
    pub producer: Producer,
    opened_us: Option<u64>,
    bytes: usize,
}

impl Slices {
    pub fn new(env: &Env, log: &Arc<dyn Log>, name: &str, partitions: u32) -> Self {
        let producer = Producer::new(log.clone(), name, BUDGET_BYTES, partitions);
        Self { env: env.clone(), log: log.clone(), producer, opened_us: None, bytes: 0 }
    }

    /// A record of about `bytes` was added.
    pub fn added(&mut self, bytes: usize) {
        self.opened_us.get_or_insert_with(|| self.env.clock.mono_us());
        self.bytes += bytes;
    }

    /// Time to send?
    pub fn due(&self) -> bool {
        let Some(opened_us) = self.opened_us else { return false };
        self.producer.pending() >= SLICE_RECORDS
            || self.bytes >= SLICE_BYTES
            || self.env.clock.mono_us() - opened_us >= SLICE_US
    }

    pub fn is_empty(&self) -> bool {
        self.opened_us.is_none()
    }

    /// The disk is not full: whoever waits has another reason.
    pub fn has_room(&self) -> bool {
        self.log.room().is_ok()
    }

    /// Sends what was added; the places in line are taken at once. A full disk is waited out first.
    pub async fn send(&mut self, pauses: &AtomicU64) -> Appended {
        self.wait_for_room(pauses).await;
        (self.opened_us, self.bytes) = (None, 0);
        Box::pin(self.producer.flush_with_patience())
    }

    async fn wait_for_room(&self, pauses: &AtomicU64) {
        let mut told = false;
        while let Err(error) = self.log.room() {
            if !told {
                eprintln!("paused: {error}");
                pauses.fetch_add(1, Ordering::Relaxed);
                told = true;
            }
            // Anything but a full disk is for the append to report.
            if !matches!(error, AppendError::NoSpace { .. }) {
                return;
            }
            self.env.clock.sleep(ROOM_PROBE).await;
        }
        if told {
            eprintln!("there is room again; going on");
        }
    }
}

/// Context of an auction if it is one of those that are traced.
pub fn trace(auction_id: &str) -> Option<TraceParent> {
    let trace = TraceId::of_auction(auction_id);
    trace.sampled(SAMPLED_ONE_IN).then(|| trace.traceparent())
}
