//! What was published against what was committed: nothing more, nothing less, in order, byte for byte; repetitions are
//! allowed, other contents under a number that was used are not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runtime::commit::provenance::{HEADER, Provenance};
use runtime::log::Log;

use super::audit::{Auditor, Stream, digest_of};
use super::{Findings, each_record};

/// How output topics were read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    pub records: u64,
    pub repetitions: u64,
}

/// Reads every output topic to its end. Trimmed topics are none of the outputs, so all must be there.
pub fn check(log: &Arc<dyn Log>, auditor: &Auditor, partitions: u32, findings: &mut Findings) -> Published {
    let topics: BTreeSet<&str> = auditor.outputs.keys().map(|stream| stream.0.as_str()).collect();
    let mut result = Published::default();
    let mut next: BTreeMap<Stream, i64> = BTreeMap::new();
    for topic in topics {
        for partition in 0..partitions {
            let mut check = |record: &runtime::log::Record<'_>| {
                result.records += 1;
                let place = || format!("{topic}-{partition} at {}", record.offset);
                let header = record.headers.get(HEADER).and_then(Provenance::decode);
                let Some(from) = header else {
                    return findings.broken("published_is_committed", format!("{}: no provenance", place()));
                };
                let stream = (topic.to_owned(), partition, from.service, from.partition);
                let expected = auditor.outputs.get(&stream).and_then(|all| all.get(usize::try_from(from.n).ok()?));
                findings.expect("published_is_committed", expected == Some(&digest_of(record)), || {
                    let why = if expected.is_some() { "holds other contents" } else { "is in no commit that stands" };
                    format!("{}: output {} {why}", place(), from.n)
                });
                let next = next.entry(stream).or_insert(0);
                findings.expect("published_in_order", from.n <= *next, || {
                    format!("{}: output {} before {next}", place(), from.n)
                });
                result.repetitions += u64::from(from.n < *next);
                *next = (*next).max(from.n + 1);
            };
            if let Err(error) = each_record(log, topic, partition, &mut check) {
                findings.broken("everything_published", format!("{topic}-{partition}: {error}"));
            }
        }
    }
    for (stream, outputs) in &auditor.outputs {
        let found = next.get(stream).copied().unwrap_or(0);
        findings.expect("everything_published", found == outputs.len() as i64, || {
            format!("{}-{}: {found} of {} outputs of one producer", stream.0, stream.1, outputs.len())
        });
    }
    result
}

/// Every record of every input has ended, exactly once: the ranges reach the end and the waiting rows are gone.
pub fn ended(log: &Arc<dyn Log>, auditor: &Auditor, findings: &mut Findings) {
    for ((service, partition), shard) in &auditor.shards {
        for topic in shard.inputs() {
            let Some(id) = log.topic(topic) else { continue };
            let of = runtime::log::TopicPartition { topic: id, partition: *partition };
            let Ok(extent) = log.extent(of) else { continue };
            let next = shard.positions.get(&(topic.to_owned(), *partition)).copied().unwrap_or(0);
            findings.checked("every_event_ended", next.max(0) as u64);
            findings.expect("every_event_ended", next == extent.high_watermark, || {
                format!("{service}-{partition}: {topic} ends at {}, taken to {next}", extent.high_watermark)
            });
        }
        let waiting = shard.rows.get("~parked").map_or(0, BTreeMap::len);
        findings.expect("every_event_ended", waiting == 0, || format!("{service}-{partition}: {waiting} still wait"));
    }
}
