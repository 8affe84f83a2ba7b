//! `bench kafka`: the job of `bench path` from a real broker, beside a bare client loop, a plain Java consumer and Kafka Streams.

mod bare;
mod java;
mod job;
mod produce;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runtime::env::Env;
use runtime::log::kafka::{KafkaConfig, KafkaLog};
use runtime::log::{AppendOptions, Compression, Durability, Log, TopicConfig, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::Failed;
use crate::minutes::{Generator, IMPRESSIONS, Totals};
use crate::report::{Figure, Report};

pub const PARTITIONS: u32 = 8;
const BATCH_EVENTS: u64 = 500;
const FILL_BUDGET_BYTES: usize = 12 << 20;

/// Count and sum of the price by campaign and minute, over Avro impressions of about 150 bytes in 8 partitions of a real broker, lz4.
/// Each reader is a process of its own that takes every event; its totals must be the generator's. A figure is that
/// process's CPU time an event, user and system, over the second half of the events: the first half warms up (JIT, caches);
/// beside `..._us` stands what the whole run took. `path_us`: the whole runtime with commits to the broker. `bare_us`: the
/// client library's batch calls, decoding, a hash map. `java_us`: KafkaConsumer, GenericDatumReader, a HashMap. `streams_us`:
/// Kafka Streams with RocksDB, at least once, 24 h of grace. `produce`: events a second into the broker through our log, beside
/// the client library alone with the same settings. `..._rss_bytes`: the most memory that a process held.
/// The broker runs on the same machine. Runs below 12 million events compare unfairly with Java.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- kafka --output json")]
pub struct Arguments {
    /// A broker that is up [default: one of our own, by tests/kafka/up].
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// Events of the run.
    #[arg(long, default_value_t = 12_000_000)]
    events: u64,
    /// Events of `produce`.
    #[arg(long, default_value_t = 2_000_000)]
    produced: u64,
    /// Leave out what needs a Java compiler.
    #[arg(long)]
    without_java: bool,
}

/// One reader of its own process.
#[derive(clap::Args)]
pub struct Step {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    prefix: String,
    #[arg(long)]
    events: u64,
}

/// What a reader says of itself, ours and Java's alike.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    count: i64,
    micros: i64,
    /// CPU an event of the second half.
    us: f64,
    /// Of the whole run.
    all_us: f64,
    events_per_s: f64,
    rss_bytes: u64,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failed> {
    let mut report = Report::new("kafka");
    let brokers = match &arguments.brokers {
        Some(brokers) => brokers.clone(),
        None => broker()?,
    };
    let prefix = format!("bench{:016x}-", Env::production().random.seed());
    let (ours, bare) = produce::rates(&brokers, &prefix, arguments.produced)?;
    report.push(Figure::beside("produce", ours, "/s", "bare producer", bare));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let totals = runtime.block_on(fill(&brokers, &prefix, arguments.events))?;
    let step = |name: &str| -> Result<Measured, Failed> {
        let events = arguments.events.to_string();
        let mut command = Command::new(std::env::current_exe()?);
        command.args([name, "--brokers", &brokers, "--prefix", &prefix, "--events", &events]);
        measured(name, command, totals)
    };
    let bare = step("kafka-bare")?;
    let path = step("kafka-path")?;
    let mut all = vec![("bare", bare), ("path", path)];
    if !arguments.without_java {
        let java = java::Java::build()?;
        let topic = format!("{prefix}{}", IMPRESSIONS.name);
        for (name, class) in [("java", "Minutes"), ("streams", "MinutesStreams")] {
            all.push((name, measured(name, java.command(class, &brokers, &topic, arguments.events), totals)?));
        }
    }
    for (name, measured) in &all {
        let peer = all.iter().find(|(peer, _)| *name == "path" && *peer == "java");
        let name = format!("{name}_us");
        report.push(match peer {
            Some((_, java)) => Figure::beside(&name, measured.us, "us", "java", java.us),
            None => Figure::alone(&name, measured.us, "us"),
        });
    }
    for (name, measured) in &all {
        report.push(Figure::alone(&format!("{name}_all_us"), measured.all_us, "us"));
        report.push(Figure::alone(&format!("{name}_rss_bytes"), measured.rss_bytes as f64, "B"));
    }
    Ok(report)
}

/// The path in one process: `bench kafka-path`.
pub fn path(step: &Step) -> Result<(), Failed> {
    print(&job::through_the_runtime(step)?)
}

/// The bare loop in one process: `bench kafka-bare`.
pub fn bare(step: &Step) -> Result<(), Failed> {
    print(&bare::walk(step)?)
}

fn print(measured: &Measured) -> Result<(), Failed> {
    println!("{}", serde_json::to_string(measured)?);
    Ok(())
}

/// Runs a reader; its last line says what it measured.
fn measured(name: &str, mut command: Command, totals: Totals) -> Result<Measured, Failed> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{name} failed: {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let measured: Measured = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let found = Totals { count: measured.count, micros: measured.micros };
    if found != totals {
        return Err(format!("{name} counted {found:?}, the generator {totals:?}").into());
    }
    eprintln!(
        "{name}: {:.3} us an event in the second half, {:.3} of all, {:.2} M/s, {} MiB",
        measured.us,
        measured.all_us,
        measured.events_per_s / 1e6,
        measured.rss_bytes >> 20
    );
    Ok(measured)
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A broker of our own, gone with this process.
fn broker() -> Result<String, Failed> {
    let pid = std::process::id().to_string();
    let script = project().join("tests/kafka/up");
    let up = Command::new(script).args(["--fresh", "--with", &pid]).stderr(Stdio::inherit()).output()?;
    if !up.status.success() {
        return Err("tests/kafka/up failed: see its messages, or name a broker with --brokers".into());
    }
    Ok(String::from_utf8(up.stdout)?.trim().to_owned())
}

fn config(brokers: &str, prefix: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers.into(),
        topic_prefix: prefix.into(),
        create_with_replicas: Some(1),
        ..KafkaConfig::default()
    }
}

fn topic(name: &str) -> TopicConfig {
    let (partitions, durability) = (PARTITIONS, Durability::Synced);
    TopicConfig { name: name.into(), partitions, durability, retention_ms: None, compacted: false }
}

async fn fill(brokers: &str, prefix: &str, events: u64) -> Result<Totals, Failed> {
    let log = KafkaLog::open(&Env::production(), config(brokers, prefix))?;
    let topic = log.ensure_topic(&topic(IMPRESSIONS.name))?;
    let options = AppendOptions { group: log.producer_group("fill", FILL_BUDGET_BYTES), fence: None };
    let mut generator = Generator::new(1, events, Compression::None);
    let (mut left, mut partition) = (events, 0);
    while left > 0 {
        let mut appends = Vec::new();
        while left > 0 && appends.len() < 64 {
            let batch = generator.batch(left.min(BATCH_EVENTS) as usize)?;
            left -= left.min(BATCH_EVENTS);
            appends.push(log.append(TopicPartition { topic, partition }, batch, options));
            partition = (partition + 1) % PARTITIONS;
        }
        for append in appends {
            append.await?;
        }
    }
    log.close().await;
    Ok(generator.totals)
}

/// Reads the clocks at half of the events and at their end.
struct Clocks {
    started: std::time::Instant,
    from: std::time::Duration,
    half: Option<(std::time::Duration, u64)>,
}

impl Clocks {
    fn start() -> Self {
        Self { started: std::time::Instant::now(), from: crate::usage::process(), half: None }
    }

    /// So many are done of so many.
    fn look(&mut self, done: u64, of: u64) {
        if self.half.is_none() && done >= of / 2 {
            self.half = Some((crate::usage::process(), done));
        }
    }

    fn end(self, events: u64) -> Measured {
        let now = crate::usage::process();
        let (half, done) = self.half.unwrap_or((self.from, 0));
        Measured {
            count: 0,
            micros: 0,
            us: crate::usage::us_per_event(half, now, (events - done).max(1)),
            all_us: crate::usage::us_per_event(self.from, now, events.max(1)),
            events_per_s: events as f64 / self.started.elapsed().as_secs_f64(),
            rss_bytes: bulkhead::usage::rss_max_bytes(),
        }
    }
}

impl Measured {
    fn of(self, totals: Totals) -> Self {
        Self { count: totals.count, micros: totals.micros, ..self }
    }
}
