//! `bench path`: embedded log -> decode -> per-campaign minute window -> commit, through the whole runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{AppendOptions, Compression, Durability, Log, TopicConfig, TopicPartition};
use runtime::platform::{Platform, PlatformConfig};
use tokio::sync::Notify;

use crate::minutes::{self, Bare, Fields, Generator, IMPRESSIONS, Totals};
use crate::report::{Figure, Report, median};
use crate::{Failed, usage};

mod restore;

const FETCH_BYTES: usize = 256 << 10;
const FILL_BUDGET_BYTES: usize = 12 << 20;
/// Longer than any run takes: a bench that hangs ends.
const LIMIT: Duration = Duration::from_secs(240);

/// CPU of the whole process an event, user and system time, from the start of the platform until everything is settled:
/// fetching, lz4, checksums, decoding, windows, commits with their sync, read-back. The peer walks the same stored batches
/// in one loop and counts into a hash map, without state that could be restored. Both take every event of the run; ours and
/// the peer's repeats take turns and the median of each counts. `restore_s` is the time from the start of the process'
/// platform until a shard with 1.4 million rows is ready, the median of the repeats; it has no peer.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- path --events 4000000 --output json")]
pub struct Arguments {
    /// Events of the run.
    #[arg(long, default_value_t = 4_000_000)]
    events: u64,
    /// Events a batch.
    #[arg(long, default_value_t = 500)]
    batch: usize,
    #[arg(long, default_value_t = 2)]
    partitions: u32,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Rows of the table that `restore_s` restores.
    #[arg(long, default_value_t = 1_400_000)]
    rows: u64,
    /// Where the files are written; the system's temporary directory by default.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("path");
    let directory = tempfile::tempdir_in(arguments.dir.clone().unwrap_or_else(std::env::temp_dir))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let totals = fill(arguments, directory.path()).await?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for repeat in 0..arguments.repeats.max(1) {
            // A run commits into the directory: each has a copy of what was filled in.
            let copy = tempfile::tempdir_in(directory.path().parent().unwrap_or(directory.path()))?;
            copy_files(directory.path(), copy.path())?;
            let (us, events_per_s) = through_the_runtime(arguments, copy.path(), totals).await?;
            let peer = bare_walk(arguments, copy.path(), totals)?;
            eprintln!("repeat {repeat}: {us:.3} us, {events_per_s:.0}/s; bare walk {peer:.3} us");
            ours.push(us);
            bare.push(peer);
        }
        report.push(Figure::beside("cpu_us_per_event", median(ours), "us", "bare walk", median(bare)));
        let mut seconds = Vec::new();
        if arguments.rows > 0 {
            let restore = restore::Restore::fill(arguments.rows, arguments.dir.clone()).await?;
            for repeat in 0..arguments.repeats.clamp(1, 3) {
                let (took, cpu_s) = restore.measure().await?;
                eprintln!("repeat {repeat}: restored in {took:.2} s ({cpu_s:.2} s of CPU)");
                seconds.push(took);
            }
            report.push(Figure::alone("restore_s", median(seconds), "s"));
        }
        Ok(report)
    })
}

pub fn open(directory: &std::path::Path) -> Result<(Env, Arc<EmbeddedLog>), Failed> {
    let env = Env::production();
    let storage = DiskStorage::open(directory)?;
    let log = EmbeddedLog::open(&env, Arc::new(storage), SegmentLogConfig::default())?;
    Ok((env, log))
}

async fn fill(arguments: &Arguments, directory: &std::path::Path) -> Result<Totals, Failed> {
    let (_, log) = open(directory)?;
    let config = TopicConfig {
        name: IMPRESSIONS.name.into(),
        partitions: arguments.partitions,
        durability: Durability::Synced,
        retention_ms: None,
        compacted: false,
    };
    let topic = log.ensure_topic(&config)?;
    let options = AppendOptions { group: log.producer_group("fill", FILL_BUDGET_BYTES), fence: None };
    let mut generator = Generator::new(1, arguments.events, Compression::Lz4);
    let (mut left, mut partition) = (arguments.events, 0);
    while left > 0 {
        let mut appends = Vec::new();
        while left > 0 && appends.len() < 64 {
            let events = left.min(arguments.batch.max(1) as u64);
            let batch = generator.batch(events as usize)?;
            appends.push(log.append(TopicPartition { topic, partition }, batch, options));
            partition = (partition + 1) % arguments.partitions;
            left -= events;
        }
        for append in appends {
            append.await?;
        }
    }
    log.close().await;
    Ok(generator.totals)
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) -> Result<(), Failed> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&to)?;
            copy_files(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// CPU us an event and events a second.
async fn through_the_runtime(
    arguments: &Arguments,
    directory: &std::path::Path,
    totals: Totals,
) -> Result<(f64, f64), Failed> {
    let (env, log) = open(directory)?;
    let config = PlatformConfig { partitions: arguments.partitions, threads: 1, ..PlatformConfig::default() };
    let (from, started) = (usage::process(), Instant::now());
    let platform = Platform::start(env.clone(), log.clone(), vec![minutes::service()?], config).await?;
    let bulkhead = platform.bulkhead("minutes").ok_or("the service is not there")?;
    while bulkhead.stats.tally().done < totals.count as u64 {
        if started.elapsed() > LIMIT {
            return Err(format!("not done after {LIMIT:?}: {}", bulkhead.stats.last_error()).into());
        }
        env.clock.sleep(Duration::from_millis(2)).await;
    }
    let (to, took) = (usage::process(), started.elapsed());
    assert_eq!(bulkhead.stats.tally().done, totals.count as u64, "each event is counted once");
    platform.drain(Duration::from_secs(10), |_| {}).await;
    Ok((usage::us_per_event(from, to, totals.count as u64), totals.count as f64 / took.as_secs_f64()))
}

fn bare_walk(arguments: &Arguments, directory: &std::path::Path, totals: Totals) -> Result<f64, Failed> {
    let (_, log) = open(directory)?;
    let topic = log.topic(IMPRESSIONS.name).ok_or("the topic is not there")?;
    let from = usage::process();
    let mut bare = Bare::new(Fields::new()?);
    for partition in 0..arguments.partitions {
        let mut reader = log.reader(TopicPartition { topic, partition }, 0, Arc::new(Notify::new()))?;
        while let Some(fetched) = reader.try_next(FETCH_BYTES)? {
            bare.walk(&fetched.bytes)?;
        }
    }
    let to = usage::process();
    assert_eq!(bare.totals(), totals, "the peer counts the same");
    Ok(usage::us_per_event(from, to, totals.count as u64))
}
