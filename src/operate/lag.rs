//! How far each service is behind, in records and seconds: of a platform that runs, or of a directory at rest.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use runtime::commit::Entry;
use runtime::commit::standing::{Standing, Verdict};
use runtime::log::{Log, Offset, TopicPartition};
use serde_json::{Value, json};

use super::OperateError;
use super::values::services;
use crate::demo::scan::Scan;
use crate::platform::Composed;

/// One input of one shard.
fn row(
    log: &dyn Log,
    service: &str,
    topic: &str,
    at: TopicPartition,
    next: Offset,
    now_ms: i64,
) -> Result<Value, OperateError> {
    let extent = log.extent(at).map_err(OperateError::failed)?;
    let next = next.max(extent.start);
    let records = (extent.high_watermark - next).max(0);
    // How long the oldest record that is not settled has been waiting, by its event time.
    let oldest_ms = if records > 0 { log.timestamp_at(at, next) } else { None };
    let seconds = oldest_ms.map_or(0.0, |ms| (now_ms - ms).max(0) as f64 / 1_000.0);
    Ok(json!({
        "service": service, "topic": topic, "partition": at.partition,
        "next": next, "end": extent.high_watermark, "records": records, "seconds": seconds,
    }))
}

/// Lag of a platform that runs; of the shards that are this process's.
///
/// # Errors
/// The log refuses.
pub fn live(up: &Composed) -> Result<Value, OperateError> {
    let now_ms = up.env.clock.wall_ms();
    let mut rows = Vec::new();
    for bulkhead in &up.platform.bulkheads {
        let owned = bulkhead.shards.iter().filter(|shard| shard.ctx.is_owned());
        for input in owned.flat_map(|shard| &shard.ctx.inputs) {
            let next = input.position.load(Ordering::Relaxed);
            rows.push(row(up.log.as_ref(), bulkhead.spec.name, input.topic.name, input.at, next, now_ms)?);
        }
    }
    Ok(summed(rows))
}

/// Lag of a directory at rest, from what stands in the commit topics.
///
/// # Errors
/// The log refuses, or holds what no service wrote.
pub fn at_rest(log: &dyn Log, now_ms: i64) -> Result<Value, OperateError> {
    let mut rows = Vec::new();
    for spec in services() {
        for input in spec.reads() {
            let Some((id, config)) = log.topics().into_iter().find(|(_, config)| &*config.name == input.name) else {
                continue;
            };
            for partition in 0..config.partitions {
                let positions = positions(log, &spec.commit_topic(), partition)?;
                let next = positions.get(input.name).copied().unwrap_or(0);
                rows.push(row(log, spec.name, input.name, TopicPartition { topic: id, partition }, next, now_ms)?);
            }
        }
    }
    Ok(summed(rows))
}

/// Next offset of each input topic, by the standing records of one commit topic.
fn positions(log: &dyn Log, commits: &str, partition: u32) -> Result<BTreeMap<String, Offset>, OperateError> {
    let (mut standing, mut positions) = (None::<Standing>, BTreeMap::new());
    let scan = Scan { log, partitions: partition + 1 };
    let visited = scan.records(commits, partition, 0, |record| {
        let entry = Entry::parse(record.offset, record.value).map_err(|error| error.to_string())?;
        // Behind a trim the first record is a snapshot's chunk.
        let standing = standing.get_or_insert_with(|| match &entry {
            Entry::Chunk(chunk) => Standing::at_snapshot(chunk),
            _ => Standing::new(),
        });
        if !matches!(standing.admit(record.offset, &entry), Verdict::Stands) {
            return Ok(());
        }
        match &entry {
            Entry::Commit(commit) => {
                for input in commit.inputs.iter() {
                    positions.insert(input.topic.to_owned(), input.to);
                }
            }
            Entry::End(end) => {
                for position in end.positions.iter() {
                    positions.insert(position.topic.to_owned(), position.next);
                }
            }
            _ => {}
        }
        Ok(())
    });
    visited.map_err(OperateError::failed)?;
    Ok(positions)
}

fn summed(rows: Vec<Value>) -> Value {
    let mut services: BTreeMap<String, (i64, f64)> = BTreeMap::new();
    for row in &rows {
        let name = row["service"].as_str().unwrap_or_default().to_owned();
        let sum = services.entry(name).or_default();
        sum.0 += row["records"].as_i64().unwrap_or(0);
        sum.1 = sum.1.max(row["seconds"].as_f64().unwrap_or(0.0));
    }
    let services: Vec<Value> = services
        .into_iter()
        .map(|(service, (records, seconds))| json!({ "service": service, "records": records, "seconds": seconds }))
        .collect();
    let records: i64 = rows.iter().map(|row| row["records"].as_i64().unwrap_or(0)).sum();
    json!({ "records": records, "services": services, "partitions": rows })
}
