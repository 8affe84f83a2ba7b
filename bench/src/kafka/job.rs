//! The job through the whole runtime, with commits to the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::commit::Entry;
use runtime::env::Env;
use runtime::log::kafka::KafkaLog;
use runtime::log::{Batches, TopicPartition};
use runtime::platform::{Platform, PlatformConfig};
use runtime::state::row::decode_exact;
use tokio::sync::Notify;

use super::{Clocks, Measured, PARTITIONS, Step, config};
use crate::Failed;
use crate::minutes::{self, Minute, Totals};

/// Longer than any run takes: a bench that hangs ends.
const LIMIT: Duration = Duration::from_secs(240);

pub fn through_the_runtime(step: &Step) -> Result<Measured, Failed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(step))
}

async fn run(step: &Step) -> Result<Measured, Failed> {
    let env = Env::production();
    let log = KafkaLog::open(&env, config(&step.brokers, &step.prefix))?;
    let platform_config = PlatformConfig { partitions: PARTITIONS, threads: 1, ..PlatformConfig::default() };
    let mut clocks = Clocks::start();
    let platform = Platform::start(env.clone(), log, vec![minutes::service()?], platform_config).await?;
    let bulkhead = platform.bulkhead("minutes").ok_or("the service is not there")?;
    let until_us = env.clock.mono_us() + LIMIT.as_micros() as u64;
    loop {
        let done = bulkhead.stats.tally().done;
        clocks.look(done, step.events);
        if done >= step.events {
            break;
        }
        if env.clock.mono_us() > until_us {
            return Err(format!("not done after {LIMIT:?}: {}", bulkhead.stats.last_error()).into());
        }
        env.clock.sleep(Duration::from_millis(2)).await;
    }
    // The clocks stop when the last event is handled: reading the commits again is our own check.
    let measured = clocks.end(step.events);
    let totals = totals(&platform).await?;
    platform.drain(Duration::from_secs(10), |_| {}).await;
    Ok(measured.of(totals))
}

/// What the commit topics say: the table as a restart would find it.
async fn totals(platform: &Platform) -> Result<Totals, Failed> {
    let started = std::time::Instant::now();
    // What was handled last is committed a moment later.
    while platform.bulkheads.iter().any(|bulkhead| bulkhead.lag() > 0) {
        if started.elapsed() > LIMIT {
            return Err("the last events were not committed".into());
        }
        platform.env.clock.sleep(Duration::from_millis(2)).await;
    }
    let bulkhead = platform.bulkhead("minutes").ok_or("the service is not there")?;
    let topic = platform.log.topic(&bulkhead.spec.commit_topic()).ok_or("there is no commit topic")?;
    let mut totals = Totals::default();
    for partition in 0..PARTITIONS {
        let mut rows: BTreeMap<Vec<u8>, Minute> = BTreeMap::new();
        let at = TopicPartition { topic, partition };
        let end = platform.log.extent(at)?.high_watermark;
        let mut reader = platform.log.reader(at, platform.log.extent(at)?.start, Arc::new(Notify::new()))?;
        let mut scratch = Vec::new();
        while reader.position() < end {
            let Some(fetched) = reader.try_next(1 << 20)? else {
                platform.env.clock.sleep(Duration::from_millis(2)).await;
                continue;
            };
            for batch in Batches::new(&fetched.bytes) {
                for record in batch?.records(&mut scratch)? {
                    let record = record?;
                    let deltas = match Entry::parse(record.offset, record.value)? {
                        Entry::Commit(commit) => commit.delta,
                        Entry::Chunk(chunk) => chunk.delta,
                        _ => continue,
                    };
                    for row in deltas.iter().flat_map(|delta| delta.rows.iter()) {
                        if let Some(value) = row.value {
                            rows.insert(row.key.to_vec(), decode_exact(value)?);
                        }
                    }
                }
            }
        }
        totals.count += rows.values().map(|row| row.count).sum::<i64>();
        totals.micros += rows.values().map(|row| row.micros).sum::<i64>();
    }
    Ok(totals)
}
