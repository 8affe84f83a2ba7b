//! The public edge over loopback, beside an axum echo of the same bodies: a process each, asked in turns by one open-loop
//! generator in this process.

pub mod load;
pub mod processes;

use std::time::Duration;

use crate::Failed;
use crate::report::{Figure, Report, median};
use load::{Pace, Taken};
use processes::{Bulkhead, Served};

pub use processes::echo;

/// The edge beside an axum echo of the same bodies. Per round, in turns: the echo and the edge at the asked rate (open loop:
/// a request's time counts from when it was due, so a late answer delays nobody's start), then both as fast as they take it.
/// Figures are medians of the rounds; the generator shares the machine, its own CPU time is told on stderr.
#[derive(clap::Args)]
pub struct Arguments {
    /// Requests a second at which latency is taken.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Rounds; the first one warms up and does not count.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections of the generator.
    #[arg(long, default_value_t = 32)]
    connections: usize,
}

#[derive(Default)]
struct Rounds {
    p99_ms: Vec<f64>,
    per_s: Vec<f64>,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("edge");
    let (edge, echo) = (Bulkhead::start()?, Served::start("edge-echo")?);
    let idle_rss = edge.rss_bytes()?;
    edge.produce_campaigns()?;
    let (mut ours, mut peers) = (Rounds::default(), Rounds::default());
    let length = Duration::from_secs(arguments.seconds);
    let mut bids = 0.0;
    for round in 0..arguments.rounds.max(2) {
        for (at, path, rounds) in [(echo.address, "/", &mut peers), (edge.address, "/openrtb2/bid", &mut ours)] {
            let paced = load::run(at, path, Pace::PerSecond(arguments.rate), arguments.connections, length)?;
            let flat_out = load::run(at, path, Pace::FlatOut, arguments.connections, length)?;
            told(round, path, &paced, &flat_out);
            if round > 0 {
                rounds.p99_ms.push(paced.p99_ms());
                rounds.per_s.push(flat_out.per_s());
                bids = paced.share_of_200();
            }
        }
    }
    eprintln!("{:.0} % of the requests were bid on", bids * 100.0);
    let (bid, echoed) = (median(ours.p99_ms), median(peers.p99_ms));
    report.push(Figure::beside("bid_p99_ms", bid, "ms", "echo", echoed));
    report.push(Figure::beside("requests_per_s", median(ours.per_s), "/s", "echo", median(peers.per_s)));
    report.push(Figure::alone("ready_ms", edge.ready_ms, "ms"));
    report.push(Figure::alone("idle_rss_bytes", idle_rss as f64, "bytes"));
    Ok(report)
}

fn told(round: usize, path: &str, paced: &Taken, flat_out: &Taken) {
    eprintln!(
        "round {round} {path}: p50 {:.2} ms, p99 {:.2} ms at {:.0}/s; flat out {:.0}/s; statuses {:?}; generator {:.0} us CPU a request",
        paced.p50_ms(),
        paced.p99_ms(),
        paced.per_s(),
        flat_out.per_s(),
        paced.statuses,
        paced.cpu_us_per_request(),
    );
}
