//! `bench runtime`: what the runtime adds to an event.

mod heap_log;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead::telemetry::Hub;
use bytes::Bytes;
use runtime::env::Env;
use runtime::log::{AppendOptions, Batches, Compression, Log};
use runtime::platform::{Platform, PlatformConfig};
use runtime::service::{Effects, Event, OutputBuffer, Service as _};

use crate::minutes::{self, Generator, IMPRESSIONS, Minutes};
use crate::report::{Figure, Report, median};
use crate::{Failed, usage};
use heap_log::HeapLog;

const LIMIT: Duration = Duration::from_secs(120);

/// CPU of the whole process an event, user and system time, for a service that decodes an impression and counts it by campaign
/// and minute, in batches of 1,000: fetch, envelope, credit, dispatch, marks, undo, outcome, commit record, read-back,
/// offsets. The log keeps batches in memory and does nothing else. The peer walks the same batches and calls the same fold;
/// it empties the table's change lists after each batch and writes nothing. The figure is ours minus the peer's, in turns;
/// the median of the differences counts.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- runtime --output json")]
pub struct Arguments {
    /// Events a repeat.
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Events a batch.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    #[arg(long, default_value_t = 9)]
    repeats: usize,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("runtime");
    let mut generator = Generator::new(1, arguments.events, Compression::None);
    let mut batches = Vec::new();
    for _ in 0..arguments.events / arguments.batch.max(1) as u64 {
        batches.push(generator.batch(arguments.batch)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut ours, mut bare, mut overhead) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..arguments.repeats.max(1) {
        let us = runtime.block_on(through_the_runtime(&batches, generator.totals.count as u64, None))?;
        let peer = bare_loop(&batches, generator.totals.count as u64)?;
        eprintln!("repeat {repeat}: {:.1} ns, bare loop {:.1} ns", us * 1e3, peer * 1e3);
        ours.push(us * 1e3);
        bare.push(peer * 1e3);
        overhead.push((us - peer) * 1e3);
    }
    report.push(Figure::alone("event_overhead_ns", median(overhead), "ns"));
    report.push(Figure::beside("event_ns", median(ours), "ns", "bare loop that calls the fold", median(bare)));
    Ok(report)
}

/// CPU us an event; with telemetry, what it has told is sent within the given time.
pub async fn through_the_runtime(
    batches: &[Bytes],
    events: u64,
    telemetry: Option<(Arc<Hub>, Duration)>,
) -> Result<f64, Failed> {
    let (env, log) = (Env::production(), Arc::new(HeapLog::default()));
    let mut config = PlatformConfig { partitions: 1, threads: 1, ..PlatformConfig::default() };
    config.telemetry = telemetry.as_ref().map(|(hub, _)| hub.clone() as _);
    let services = vec![minutes::service()?];
    let platform = Platform::start(env.clone(), log.clone(), services, config).await?;
    let bulkhead = platform.bulkhead("minutes").ok_or("the service is not there")?;
    while bulkhead.running() == 0 {
        env.clock.sleep(Duration::from_millis(1)).await;
    }
    log.hold(true);
    let to = runtime::log::TopicPartition {
        topic: log.topic(IMPRESSIONS.name).ok_or("the topic is not there")?,
        partition: 0,
    };
    let options = AppendOptions { group: log.producer_group("fill", 0), fence: None };
    for batch in batches {
        // A copy: the log writes the offset into it.
        log.append(to, Bytes::copy_from_slice(batch), options).await?;
    }
    let (from, started) = (usage::process(), Instant::now());
    log.hold(false);
    while bulkhead.stats.tally().done < events {
        if started.elapsed() > LIMIT {
            return Err(format!("not done after {LIMIT:?}: {}", bulkhead.stats.last_error()).into());
        }
        env.clock.sleep(Duration::from_millis(1)).await;
    }
    if let Some((hub, limit)) = &telemetry {
        hub.flush(*limit).await;
    }
    let to = usage::process();
    platform.drain(Duration::from_secs(10), |_| {}).await;
    Ok(usage::us_per_event(from, to, events))
}

/// CPU us an event.
fn bare_loop(batches: &[Bytes], events: u64) -> Result<f64, Failed> {
    let (spec, mut fold) = (Minutes::spec(), minutes::service()?.fold());
    let (mut outputs, mut scratch) = (OutputBuffer::default(), Vec::new());
    let mut taken = 0;
    let from = usage::process();
    for bytes in batches {
        for batch in Batches::new(bytes) {
            for record in batch?.records(&mut scratch)? {
                let record = record?;
                let event = Event {
                    topic: &IMPRESSIONS,
                    key: record.key.unwrap_or_default(),
                    timestamp_ms: record.timestamp_ms,
                    value: record.value.unwrap_or_default(),
                    headers: record.headers,
                };
                let mut effects = Effects::new(&mut outputs, &spec, 0, 0, None);
                fold.handle(&event, &mut effects)?;
                taken += 1;
            }
        }
        fold.tables(&mut |table| table.take_delta(&mut |_, _| {}));
    }
    let to = usage::process();
    assert_eq!(taken, events, "the peer takes the same");
    Ok(usage::us_per_event(from, to, events))
}
