//! `restore_s`: a shard with many rows, from the start of the platform until it is ready.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::log::{AppendOptions, BatchBuilder, Compression, TopicPartition};
use runtime::outcome::{Failure, Handled};
use runtime::platform::{Platform, PlatformConfig};
use runtime::service::{Effects, Event, Service, ServiceDef};
use runtime::shard::ShardMessage;
use runtime::state::Table;
use runtime::topology::{Class, Order, ServiceSpec, Topic};
use schemas::codec::Encode as _;
use schemas::events::ImpressionEvent;

use super::{LIMIT, open};
use crate::{Failed, usage};

static ROWS: Topic = Topic::external("bench-rows", "key", ImpressionEvent::SCHEMA_ID, None);

runtime::row! {
    /// As large as a row of the minute table of analytics.
    struct Row version 1 { count: i64, micros: i64, clicks: i64, revision: u32 }
}
runtime::tables! {
    struct State { rows: Table<([u8; 16], i64), Row> = Table::new("rows") }
}

/// Makes one row an event, from the bytes of its key.
struct Fill;

impl Service for Fill {
    type State = State;

    fn spec() -> ServiceSpec {
        let (inputs, outputs) = (vec![&ROWS], Vec::new());
        ServiceSpec { name: "restore", inputs, outputs, order: Order::PerKey, class: Class::Serving }
    }

    fn handle(&mut self, state: &mut State, event: &Event<'_>, _: &mut Effects<'_>) -> Result<Handled, Failure> {
        let key = event.key.try_into().map_err(|_| Failure::semantic("keys of this bench have sixteen bytes"))?;
        let row = Row { count: 1, micros: event.timestamp_ms, clicks: 0, revision: 1 };
        state.rows.insert((key, event.timestamp_ms), row);
        Ok(Handled::Done)
    }
}

/// A directory whose commit topic holds the rows.
pub struct Restore {
    directory: tempfile::TempDir,
    rows: u64,
}

impl Restore {
    pub async fn fill(rows: u64, dir: Option<PathBuf>) -> Result<Self, Failed> {
        let directory = tempfile::tempdir_in(dir.unwrap_or_else(std::env::temp_dir))?;
        let restore = Self { directory, rows };
        let platform = restore.start().await?;
        let topic = platform.log.topic(ROWS.name).ok_or("the topic is not there")?;
        let options = AppendOptions { group: platform.log.producer_group("fill", 8 << 20), fence: None };
        let mut builder = BatchBuilder::new(Compression::None);
        let mut written = 0;
        while written < rows {
            for _ in 0..(rows - written).min(1_000) {
                let key = format!("{:016x}", written.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                builder.push(written as i64, Some(key.as_bytes()), Some(&[]), &[])?;
                written += 1;
            }
            let to = TopicPartition { topic, partition: 0 };
            platform.log.append(to, builder.finish(), options).await?;
        }
        if !platform.idle(LIMIT).await {
            return Err("filling the table took too long".into());
        }
        platform.drain(Duration::from_secs(10), |_| {}).await;
        Ok(restore)
    }

    async fn start(&self) -> Result<Platform, Failed> {
        let (env, log) = open(self.directory.path())?;
        let config = PlatformConfig { partitions: 1, threads: 1, ..PlatformConfig::default() };
        Ok(Platform::start(env, log, vec![ServiceDef::new(|| Fill)], config).await?)
    }

    /// Seconds until the shard answers with all its rows, and seconds of CPU.
    pub async fn measure(&self) -> Result<(f64, f64), Failed> {
        let (started, from) = (Instant::now(), usage::process());
        let platform = self.start().await?;
        let shard = &platform.bulkhead("restore").ok_or("the service is not there")?.shards[0];
        let rows = loop {
            if started.elapsed() > LIMIT {
                return Err("the restore took too long".into());
            }
            platform.env.clock.sleep(Duration::from_millis(1)).await;
            let Some(actor) = shard.actor() else { continue };
            let answer = actor.call(ShardMessage::Inspect, Some(LIMIT)).await?;
            if let ractor::rpc::CallResult::Success(tables) = answer {
                break tables.iter().find(|(name, ..)| *name == "rows").map_or(0, |(_, rows, _)| *rows);
            }
        };
        let (took, cpu) = (started.elapsed(), usage::process() - from);
        assert_eq!(rows as u64, self.rows, "every row is back");
        platform.drain(Duration::from_secs(10), |_| {}).await;
        Ok((took.as_secs_f64(), cpu.as_secs_f64()))
    }
}
