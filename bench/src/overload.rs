//! Twice what can be done, and what comes after: at the platform's own source of bids, and at the public edge.

mod edge;
mod source;

use std::time::Duration;

use crate::Failed;
use crate::report::Report;

/// A tenth of the peak is calm.
const CALM_SHARE: f64 = 0.1;
/// What one window has beyond this is the machine's, not the overload's: a scheduler's slice on either side.
const CALM_SLACK_MS: f64 = 2.0;
/// Windows that must be calm in a row.
const CALM_WINDOWS: usize = 4;
const WINDOW: Duration = Duration::from_millis(250);
/// What is answered later has missed its auction.
const IN_TIME: Duration = Duration::from_millis(100);

/// Bid requests at twice the capacity. `goodput`, `recovery_s`: the source of `bulkhead demo` with a time budget of 30 ms in front of the
/// whole platform. A round: the peak (requests as fast as they are decided on and acknowledged by the log; mean of before and after), and
/// between, on a new platform, 3 s of calm (a tenth of the peak), 5 s of twice the peak, 6 s of calm. Good is what was acknowledged within
/// 100 ms of being due; the median of the rounds' ratios counts. Calm again: the p99 of four quarters of a second in a row is at most 2 ms above the worst of the calm before.
///
/// `edge_...`: `bulkhead up` on the first core alone, a generator of HTTP requests on the others. A round: the peak (as fast as 64, 128 or 256
/// connections are answered, whichever is best), calm, twice the peak (open loop; what cannot be sent within 20 ms, with every
/// connection waiting for its answer, is not sent; `edge_sent` says how much was), calm. With less than 1.5 times the peak sent the
/// edge was not overloaded, and the run is void: exit 1. Medians of the rounds; the first one of each warms up and does not count.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds; the first one warms up and does not count.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of the overload.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections of the edge's overload.
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Only the source of bids, not the edge.
    #[arg(long)]
    source_only: bool,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("overload");
    source::run(arguments, &mut report)?;
    if !arguments.source_only {
        edge::run(arguments, &mut report)?;
    }
    Ok(report)
}

/// The first of [`CALM_WINDOWS`] windows in a row whose p99 is at most `limit_ms`.
fn first_calm(p99_ms: &[f64], limit_ms: f64) -> Option<usize> {
    p99_ms.windows(CALM_WINDOWS).position(|row| row.iter().all(|p99_ms| *p99_ms <= limit_ms))
}
