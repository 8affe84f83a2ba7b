//! `bench telemetry`: what it costs to be seen, for an event that is not traced, for one that is, and for a whole platform.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bulkhead::telemetry::sampling::Sampling;
use bulkhead::telemetry::{Hub, TelemetryConfig, spans};
use opentelemetry::InstrumentationScope;
use runtime::commit::provenance::HEADER as PROVENANCE;
use runtime::env::Env;
use runtime::log::{BatchBuilder, Batches, Compression};
use runtime::service::Event;
use runtime::telemetry::{Batch, SPANS_MAX, Span};
use runtime::trace::TraceId;

use crate::Failed;
use crate::cpu::thread_seconds;
use crate::edge::processes::Served;
use crate::minutes::{Generator, IMPRESSIONS};
use crate::overhead::through_the_runtime;
use crate::report::{Figure, Report, median};

/// Looks at one event a repeat.
const LOOKS: usize = 10_000_000;
/// Auctions decided on a repeat, over as many ids of 36 bytes.
const AUCTIONS: usize = 2_000_000;
const IDS: usize = 4_096;
/// Spans built a repeat.
const SPANS: usize = 200_000;
/// One event in so many carries a context while OTLP is on.
const ONE_IN: u64 = 1_000;
/// The collector has so long to take the last of a repeat.
const FLUSH: Duration = Duration::from_secs(10);

/// CPU time of one thread, medians of the repeats, an empty loop taken off. `gate_ns`: the look at an event without headers.
/// `unsampled_ns`: the edge's decision about an auction, trace id included, and the look at a record that carries the header
/// of its producer and no context. `sampled_ns`: a span in its shard (both readings of the clock, the context that goes on)
/// and its making for the exporter. `throughput`: events a CPU second of the whole process for the service of `bench runtime`
/// with OTLP on (one event in 1,000 traced, HTTP, a collector in a process of its own, sending included) and off, in turns;
/// the ratio is the median of the pairs'.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- telemetry --output json")]
pub struct Arguments {
    /// Events a repeat of `throughput`.
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Pairs.
    #[arg(long, default_value_t = 9)]
    repeats: usize,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("telemetry");
    let repeats = arguments.repeats.max(1);
    report.push(Figure::alone("gate_ns", gate_ns(repeats)?, "ns"));
    report.push(Figure::alone("unsampled_ns", unsampled_ns(repeats)?, "ns"));
    report.push(Figure::alone("sampled_ns", sampled_ns(repeats)?, "ns"));
    let (mut on, mut off, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let collector = Served::start("telemetry-sink")?;
    let mut generator = Generator::new(1, arguments.events, Compression::None);
    generator.traced_one_in = ONE_IN;
    let batches: Result<Vec<_>, _> = (0..arguments.events / 1_000).map(|_| generator.batch(1_000)).collect();
    let (batches, events) = (batches?, generator.totals.count as u64);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for repeat in 0..repeats {
        let seen =
            runtime.block_on(through_the_runtime(&batches, events, Some((hub(Some(collector.address))?, FLUSH))))?;
        let unseen = runtime.block_on(through_the_runtime(&batches, events, Some((hub(None)?, FLUSH))))?;
        eprintln!("pair {repeat}: {:.1} ns an event with OTLP on, {:.1} off", seen * 1e3, unseen * 1e3);
        on.push(1e6 / seen);
        off.push(1e6 / unseen);
        ratios.push(unseen / seen);
    }
    let mut throughput = Figure::beside("throughput", median(on), "/s", "OTLP off", median(off));
    throughput.ratio = Some(median(ratios));
    report.push(throughput);
    Ok(report)
}

fn hub(collector: Option<SocketAddr>) -> Result<Arc<Hub>, Failed> {
    let config = TelemetryConfig {
        endpoint: collector.map(|address| format!("http://{address}")),
        grpc: false,
        one_in: ONE_IN,
        metrics_interval: Duration::from_secs(1),
    };
    Ok(Hub::start(&Env::production(), &config, "bench")?)
}

/// Nanoseconds of CPU a turn, beyond those of an empty loop; the median of the repeats.
fn per_turn_ns(repeats: usize, turns: usize, mut turn: impl FnMut(usize)) -> f64 {
    let timed = |turn: &mut dyn FnMut()| {
        let start = thread_seconds();
        turn();
        thread_seconds() - start
    };
    let taken = (0..repeats).map(|_| {
        let with = timed(&mut || (0..turns).for_each(&mut turn));
        let empty = timed(&mut || (0..turns).for_each(|n| _ = black_box(n)));
        (with - empty) * 1e9 / turns as f64
    });
    median(taken.collect())
}

/// A record with these headers, looked at again and again.
fn with_event<T>(headers: &[(&[u8], &[u8])], job: impl FnOnce(&Event<'_>) -> T) -> Result<T, Failed> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(1, Some(b"key"), Some(b"value"), headers)?;
    let (bytes, mut scratch) = (builder.finish(), Vec::new());
    let batch = Batches::new(&bytes).next().ok_or("a batch")??;
    let record = batch.records(&mut scratch)?.next().ok_or("a record")??;
    let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
    Ok(job(&Event { topic: &IMPRESSIONS, key, timestamp_ms: 1, value, headers: record.headers }))
}

fn gate_ns(repeats: usize) -> Result<f64, Failed> {
    with_event(&[], |event| per_turn_ns(repeats, LOOKS, |_| _ = black_box(black_box(event).trace().is_some())))
}

fn unsampled_ns(repeats: usize) -> Result<f64, Failed> {
    let sampling = Sampling::new(&Env::production(), u64::MAX);
    let ids: Vec<String> = (0..IDS).map(|n| format!("{n:08x}-0000-4000-8000-{:012x}", n * 7_919)).collect();
    with_event(&[(PROVENANCE, &[7; 40])], |event| {
        per_turn_ns(repeats, AUCTIONS, |n| {
            let decided = sampling.context(None, black_box(&ids[n % IDS]), Some("campaign-0000042"));
            black_box((decided.is_some(), black_box(event).trace().is_some()));
        })
    })
}

fn sampled_ns(repeats: usize) -> Result<f64, Failed> {
    let (env, scope) = (Env::production(), InstrumentationScope::builder("bench").build());
    let parent = TraceId::of_auction("auction").traceparent();
    let (mut building, mut built) = (empty_batch(), Vec::new());
    let ns = per_turn_ns(repeats, SPANS, |n| {
        let span = Span::new("minutes", black_box(parent), (IMPRESSIONS.name, 0, n as i64), env.clock.mono_us());
        if let Some(span) = span {
            black_box(span.carried());
            building.spans.push(span.ended(None, env.clock.mono_us()));
        }
        if building.spans.len() == SPANS_MAX {
            spans::of_batch(&building, "bench", &scope, &mut built);
            building.spans.clear();
            black_box(&built);
            built.clear();
        }
    });
    Ok(ns)
}

fn empty_batch() -> Batch {
    Batch {
        service: "minutes",
        shard: 0,
        sequence: 1,
        inputs: Vec::new(),
        events: SPANS_MAX as u64,
        dead_lettered: 0,
        parked: 0,
        spans: Vec::new(),
        spans_dropped: 0,
        started_us: 1,
        ended_us: 2,
        ended_ms: 3,
    }
}

/// Takes whatever it is sent, until it is ended.
pub fn sink() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let routes = axum::Router::new().fallback(|body: bytes::Bytes| async move { drop(body) });
        axum::serve(listener, routes).await?;
        Ok(())
    })
}
