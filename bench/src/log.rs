//! `bench log`: what the embedded log costs over the bare loops that do the same to the disk.

mod bare;
mod counted;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::env::{Clock, Env};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{
    AppendOptions, Batch, BatchBuilder, Compression, Durability, Log, TopicConfig, TopicId, TopicPartition,
};
use tokio::sync::Notify;

use crate::report::{Figure, Report, median};
use counted::CountedStorage;

pub type Failure = Box<dyn std::error::Error>;

const RECORD_BYTES: usize = 200;
const RECORDS_A_BATCH: usize = 500;
const MANY: u32 = 200;
/// Appends in flight; with the budget below it keeps the journal's groups full.
const WINDOW: usize = 96;
const BUDGET_BYTES: usize = 12 << 20;
/// A scan is short: several a repeat.
const SCANS: usize = 5;
const READ_BYTES: usize = 1 << 20;

/// 200-byte records in batches of 500, durable. Every repeat measures ours and the peer one after the other, in turns; the
/// median of the repeats counts, for both. The peer of `append` writes the same bytes twice (journal and segment) into
/// preallocated files with the same number of syncs; the peer of `scan` reads the same file and checks each batch's CRC;
/// `append_200` spreads the same batches over 200 partitions, its peer is `append`; the peer of `ack_p99_ms` is the p99 of
/// a 4 KiB write and sync at the same pace.
#[derive(clap::Args)]
#[command(after_help = "Example: cargo run --release -p bench -- log --records 1000000 --repeats 5")]
pub struct Arguments {
    /// Records a repeat.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Where the files are written; the system's temporary directory by default.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let bench = Bench::new(arguments)?;
    let mut report = Report::new("log");
    let mut append = Pairs::default();
    let mut many = Vec::new();
    let mut scan = Pairs::default();
    let mut ack = Pairs::default();
    for repeat in 0..arguments.repeats.max(1) {
        let ours = bench.append(1)?;
        let bare = bench.bare_append(&ours)?;
        let spread = bench.append(MANY)?;
        eprintln!(
            "repeat {repeat}: append {:.0}/s ({} syncs), bare {bare:.0}/s, to 200 {:.0}/s ({} syncs)",
            ours.per_s, ours.syncs, spread.per_s, spread.syncs
        );
        append.push(ours.per_s, bare);
        many.push(spread.per_s);
        for _ in 0..SCANS {
            scan.push(bench.scan(ours.directory.path())?, bench.bare_scan(ours.directory.path())?);
        }
        let (acknowledged, synced) = bench.acknowledge()?;
        eprintln!("repeat {repeat}: ack p99 {acknowledged:.2} ms, sync p99 {synced:.2} ms");
        ack.push(acknowledged, synced);
    }
    report.push(append.figure("append", "records/s", "bare loop"));
    report.push(scan.figure("scan", "records/s", "bare loop"));
    report.push(Figure::beside("append_200", median(many), "records/s", "append", median(append.ours)));
    report.push(ack.figure("ack_p99_ms", "ms", "sync p99"));
    Ok(report)
}

/// Values of the repeats, ours and the peer's.
#[derive(Default)]
struct Pairs {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

impl Pairs {
    fn push(&mut self, ours: f64, peer: f64) {
        self.ours.push(ours);
        self.peer.push(peer);
    }

    fn figure(&self, name: &str, unit: &str, peer: &str) -> Figure {
        Figure::beside(name, median(self.ours.clone()), unit, peer, median(self.peer.clone()))
    }
}

struct Appended {
    per_s: f64,
    syncs: u64,
    journal_syncs: u64,
    bytes: u64,
    directory: tempfile::TempDir,
}

struct Bench {
    env: Env,
    clock: Clock,
    batches: usize,
    directory: Option<std::path::PathBuf>,
    tokio: tokio::runtime::Runtime,
    values: Vec<[u8; RECORD_BYTES]>,
}

impl Bench {
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let env = Env::production();
        let mut rng = env.random.stream("bench");
        let values = (0..RECORDS_A_BATCH).map(|_| std::array::from_fn(|_| rng.u8(..))).collect();
        Ok(Self {
            clock: env.clock.clone(),
            env,
            batches: arguments.records.div_ceil(RECORDS_A_BATCH).max(1),
            directory: arguments.dir.clone(),
            tokio: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            values,
        })
    }

    fn fresh_directory(&self) -> std::io::Result<tempfile::TempDir> {
        match &self.directory {
            Some(directory) => tempfile::tempdir_in(directory),
            None => tempfile::tempdir(),
        }
    }

    fn open(&self, path: &Path) -> Result<(Arc<EmbeddedLog>, Arc<counted::Counts>), Failure> {
        let (storage, counts) = CountedStorage::new(Arc::new(DiskStorage::open(path)?));
        Ok((EmbeddedLog::open(&self.env, Arc::new(storage), SegmentLogConfig::default())?, counts))
    }

    fn topic(&self, log: &dyn Log, partitions: u32) -> Result<TopicId, Failure> {
        Ok(log.ensure_topic(&TopicConfig {
            name: "bench".into(),
            partitions,
            durability: Durability::Synced,
            retention_ms: None,
            compacted: false,
        })?)
    }

    /// Builds and appends batches to all partitions in turn, and waits until the last is durable.
    fn append(&self, partitions: u32) -> Result<Appended, Failure> {
        let directory = self.fresh_directory()?;
        let (log, counts) = self.open(directory.path())?;
        let topic = self.topic(&*log, partitions)?;
        let options = AppendOptions { group: log.producer_group("bench", BUDGET_BYTES), fence: None };
        let mut builder = BatchBuilder::new(Compression::None);
        let mut bytes = 0;
        let started_us = self.clock.mono_us();
        self.tokio.block_on(async {
            let mut in_flight = VecDeque::with_capacity(WINDOW);
            for n in 0..self.batches {
                self.fill(&mut builder)?;
                let batch = builder.finish();
                bytes += batch.len() as u64;
                let to = TopicPartition { topic, partition: n as u32 % partitions };
                if in_flight.len() >= WINDOW
                    && let Some(oldest) = in_flight.pop_front()
                {
                    settle(oldest).await?;
                }
                in_flight.push_back(log.append(to, batch, options));
            }
            for appending in in_flight {
                settle(appending).await?;
            }
            Ok::<_, Failure>(())
        })?;
        let per_s = self.per_s(started_us);
        let (syncs, journal_syncs) = counts.syncs();
        // Segments are complete for the scan; not timed, the bare loop does not do it either.
        self.tokio.block_on(log.close());
        Ok(Appended { per_s, syncs, journal_syncs, bytes, directory })
    }

    fn fill(&self, builder: &mut BatchBuilder) -> Result<(), Failure> {
        let now_ms = self.clock.wall_ms();
        for value in &self.values {
            builder.push(now_ms, None, Some(value), &[])?;
        }
        Ok(())
    }

    fn bare_append(&self, like: &Appended) -> Result<f64, Failure> {
        let directory = self.fresh_directory()?;
        let mut bare = bare::Appender::new(directory.path(), like.bytes, like.journal_syncs, like.syncs)?;
        let started_us = self.clock.mono_us();
        bare.run()?;
        Ok(self.per_s(started_us))
    }

    /// Reads everything through a reader of a log that was just opened: nothing is in its memory.
    fn scan(&self, path: &Path) -> Result<f64, Failure> {
        let (log, _) = self.open(path)?;
        let topic = self.topic(&*log, 1)?;
        let of = TopicPartition { topic, partition: 0 };
        let mut reader = log.reader(of, 0, Arc::new(Notify::new()))?;
        let mut events = 0;
        let started_us = self.clock.mono_us();
        while let Some(fetched) = reader.try_next(READ_BYTES)? {
            events += fetched.events as usize;
        }
        let per_s = self.per_s(started_us);
        if events != self.batches * RECORDS_A_BATCH {
            return Err(format!("{events} records read").into());
        }
        self.tokio.block_on(log.close());
        Ok(per_s)
    }

    fn bare_scan(&self, path: &Path) -> Result<f64, Failure> {
        let started_us = self.clock.mono_us();
        let events = bare::scan(&path.join("bench-0"), READ_BYTES)?;
        let per_s = self.per_s(started_us);
        if events != self.batches * RECORDS_A_BATCH {
            return Err(format!("{events} records read by the bare loop").into());
        }
        Ok(per_s)
    }

    /// One small batch at a time, a millisecond apart, in turns with a bare write and sync: p99 of both, ms.
    fn acknowledge(&self) -> Result<(f64, f64), Failure> {
        const ROUNDS: usize = 500;
        let directory = self.fresh_directory()?;
        let (log, _) = self.open(directory.path())?;
        let topic = self.topic(&*log, 1)?;
        let to = TopicPartition { topic, partition: 0 };
        let options = AppendOptions { group: log.producer_group("bench", BUDGET_BYTES), fence: None };
        let bare_directory = self.fresh_directory()?;
        let mut bare = bare::Syncer::new(bare_directory.path())?;
        let mut builder = BatchBuilder::new(Compression::None);
        let (mut ours, mut peer) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        self.tokio.block_on(async {
            for _ in 0..ROUNDS {
                builder.push(0, None, Some(&self.values[0]), &[])?;
                let batch = builder.finish();
                let started_us = self.clock.mono_us();
                settle(log.append(to, batch, options)).await?;
                ours.push(self.clock.mono_us() - started_us);
                self.clock.sleep(Duration::from_millis(1)).await;
                let started_us = self.clock.mono_us();
                bare.write_and_sync()?;
                peer.push(self.clock.mono_us() - started_us);
                self.clock.sleep(Duration::from_millis(1)).await;
            }
            log.close().await;
            Ok::<_, Failure>(())
        })?;
        Ok((p99_ms(ours), p99_ms(peer)))
    }

    fn per_s(&self, started_us: u64) -> f64 {
        let elapsed_us = self.clock.mono_us() - started_us;
        (self.batches * RECORDS_A_BATCH) as f64 * 1e6 / elapsed_us.max(1) as f64
    }
}

async fn settle(appending: runtime::log::Appending) -> Result<(), Failure> {
    appending.await?;
    Ok(())
}

fn p99_ms(mut values_us: Vec<u64>) -> f64 {
    values_us.sort_unstable();
    let at = (values_us.len() * 99).div_ceil(100).saturating_sub(1);
    values_us.get(at).map_or(f64::NAN, |us| *us as f64 / 1000.0)
}

/// Checks that a batch is whole and its CRC right: what both scans do for each.
fn check(bytes: &[u8]) -> Result<Option<(usize, usize)>, Failure> {
    match Batch::parse(bytes) {
        Ok((batch, _)) => {
            batch.check_crc()?;
            Ok(Some((batch.bytes().len(), batch.count() as usize)))
        }
        Err(runtime::log::CorruptBatch::Truncated { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
