//! Follows every commit topic through its own reading of what stands, and keeps what the commits say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use runtime::commit::Entry;
use runtime::commit::provenance::service_id;
use runtime::commit::standing::{Standing, Verdict};
use runtime::invariant;
use runtime::log::{Batches, FetchError, Log, Record, TopicPartition};
use runtime::topology::ServiceSpec;
use schemas::events::{Commit, OutcomeKind, SnapshotChunk};

use super::{Findings, digest, each_from};

/// Output topic, its partition, producing service's id, producing partition.
pub type Stream = (String, u32, u32, u16);

/// What the standing commits of one shard say.
pub struct ShardAudit {
    spec: ServiceSpec,
    commit_topic: String,
    partition: u32,
    position: i64,
    standing: Standing,
    /// Next offset of each input.
    pub positions: BTreeMap<(String, u32), i64>,
    /// Rows of all tables, as the deltas make them.
    pub rows: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    pub commits: u64,
    pub voids: u64,
    pub claims: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
    /// Commit bytes, for information.
    pub bytes: u64,
    /// Why the topic could not be read on the last time, if so.
    pub unread: Option<String>,
    /// Sequences of commits with outputs that no published mark in the log covers.
    uncovered: BTreeSet<i64>,
    /// First chunks of snapshots since the last trim: offset and sequence.
    chunks: BTreeMap<i64, i64>,
    /// First chunks of complete snapshots.
    ended: BTreeSet<i64>,
}

/// Reads of a lying disk before it is left for later.
const READ_TRIES: usize = 3;

/// All shards.
pub struct Auditor {
    pub shards: BTreeMap<(&'static str, u32), ShardAudit>,
    /// Digest of each output that stands, by its `n`.
    pub outputs: BTreeMap<Stream, Vec<u64>>,
}

impl Auditor {
    pub fn new(specs: &[ServiceSpec], partitions: u32) -> Self {
        let mut shards = BTreeMap::new();
        for spec in specs {
            for partition in 0..partitions {
                let shard = ShardAudit {
                    spec: spec.clone(),
                    commit_topic: spec.commit_topic(),
                    partition,
                    position: 0,
                    standing: Standing::new(),
                    positions: BTreeMap::new(),
                    rows: BTreeMap::new(),
                    commits: 0,
                    voids: 0,
                    claims: 0,
                    duplicates: 0,
                    dead_letters: 0,
                    bytes: 0,
                    unread: None,
                    uncovered: BTreeSet::new(),
                    chunks: BTreeMap::new(),
                    ended: BTreeSet::new(),
                };
                shards.insert((spec.name, partition), shard);
            }
        }
        Self { shards, outputs: BTreeMap::new() }
    }

    /// Reads on. Before anything is trimmed this must have been called.
    pub fn advance(&mut self, log: &Arc<dyn Log>, findings: &mut Findings) {
        for shard in self.shards.values_mut() {
            shard.advance_bravely(log, &mut self.outputs, findings);
        }
    }

    /// What is about to go stands in a complete snapshot, and its outputs are known to be published (rule P18).
    pub fn trimmed(&mut self, log: &Arc<dyn Log>, of: TopicPartition, to: i64, findings: &mut Findings) {
        let partition = of.partition;
        let mut shards = self.shards.values_mut().filter(|shard| shard.partition == partition);
        let Some(shard) = shards.find(|shard| log.topic(&shard.commit_topic) == Some(of.topic)) else { return };
        shard.advance_bravely(log, &mut self.outputs, findings);
        let topic = &shard.commit_topic;
        if shard.unread.is_some() {
            return;
        }
        let sequence = shard.chunks.get(&to).copied().filter(|_| shard.ended.contains(&to));
        let uncovered = sequence.and_then(|sequence| shard.uncovered.range(..sequence).next().copied());
        findings.expect("trims_covered", sequence.is_some() && uncovered.is_none(), || match uncovered {
            Some(commit) => {
                format!("{topic}-{partition} is trimmed to {to}: no mark in the log covers commit {commit}")
            }
            None => format!("{topic}-{partition} is trimmed to {to}, where no complete snapshot begins"),
        });
        shard.chunks = shard.chunks.split_off(&to);
        shard.ended = shard.ended.split_off(&to);
    }

    /// What could not be read the last time is gone.
    pub fn finish(&mut self, findings: &mut Findings) {
        for shard in self.shards.values() {
            if let Some(error) = &shard.unread {
                let place = format!("{}-{}", shard.spec.name, shard.partition);
                findings.broken("acknowledged_survives", format!("commit topic of {place}: {error}"));
            }
        }
    }

    /// Commits that stand, void records, claims.
    pub fn totals(&self) -> (u64, u64, u64) {
        self.shards.values().fold((0, 0, 0), |(c, v, l), s| (c + s.commits, v + s.voids, l + s.claims))
    }
}

impl ShardAudit {
    /// Names of the topics that the service reads.
    pub fn inputs(&self) -> impl Iterator<Item = &'static str> {
        self.spec.reads().map(|topic| topic.name)
    }

    /// A disk that lies or a dead process's log: read again later. What can never be read is a finding at the end.
    fn advance_bravely(
        &mut self,
        log: &Arc<dyn Log>,
        outputs: &mut BTreeMap<Stream, Vec<u64>>,
        findings: &mut Findings,
    ) {
        for _ in 0..READ_TRIES {
            let result = self.advance(log, outputs, findings);
            self.unread = result.err().map(|error| error.to_string());
            if self.unread.is_none() {
                break;
            }
        }
    }

    fn advance(
        &mut self,
        log: &Arc<dyn Log>,
        outputs: &mut BTreeMap<Stream, Vec<u64>>,
        findings: &mut Findings,
    ) -> Result<(), FetchError> {
        let Some(topic) = log.topic(&self.commit_topic) else { return Ok(()) };
        let of = TopicPartition { topic, partition: self.partition };
        let extent = log.extent(of)?;
        let position = self.position;
        findings.expect("acknowledged_survives", extent.high_watermark >= position, || {
            format!("{} records of {} were read before and are gone", position - extent.high_watermark, self.spec.name)
        });
        if extent.high_watermark <= position {
            return Ok(());
        }
        self.position = each_from(log, of, position, |record| self.record(record, outputs, findings))?;
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>, outputs: &mut BTreeMap<Stream, Vec<u64>>, findings: &mut Findings) {
        let place = || format!("{}-{} at {}", self.spec.name, self.partition, record.offset);
        let entry = match Entry::parse(record.offset, record.value) {
            Ok(entry) => entry,
            Err(error) => return findings.broken("sequences_dense", format!("{}: {error}", place())),
        };
        self.bytes += record.value.map_or(0, |value| value.len() as u64);
        if self.standing.admit(record.offset, &entry) == Verdict::Void {
            self.voids += 1;
            return;
        }
        findings.checked("sequences_dense", 1);
        match entry {
            Entry::Claim(_) => self.claims += 1,
            Entry::Commit(commit) => self.commit(record.offset, &commit, outputs, findings),
            Entry::Chunk(chunk) => {
                if chunk.index == 0 {
                    self.chunks.insert(record.offset, chunk.sequence);
                }
                self.chunk(record.offset, &chunk, findings);
            }
            Entry::End(end) => {
                self.ended.insert(end.first_chunk_offset);
            }
            Entry::Attempt(_) => {}
        }
    }

    fn commit(
        &mut self,
        offset: i64,
        commit: &Commit<'_>,
        outputs: &mut BTreeMap<Stream, Vec<u64>>,
        findings: &mut Findings,
    ) {
        self.commits += 1;
        if commit.outputs.iter().next().is_some() {
            self.uncovered.insert(commit.sequence);
        }
        self.uncovered = self.uncovered.split_off(&(commit.published + 1));
        let place = format!("{}-{} at {offset}", self.spec.name, self.partition);
        for range in commit.inputs {
            let key = (range.topic.to_owned(), range.partition as u32);
            let next = self.positions.get(&key).copied().unwrap_or(0);
            findings.expect(
                invariant::OFFSETS_CONTIGUOUS,
                invariant::offsets_contiguous(next, range.from, range.to),
                || {
                    format!(
                        "{place}: {}-{} from {} to {}, {next} was next",
                        range.topic, range.partition, range.from, range.to
                    )
                },
            );
            self.positions.insert(key, range.to);
        }
        for outcome in commit.outcomes {
            match outcome.kind {
                OutcomeKind::Duplicate => self.duplicates += 1,
                OutcomeKind::DeadLettered => self.dead_letters += 1,
                _ => {}
            }
        }
        for delta in commit.delta {
            let table = self.rows.entry(delta.table.to_owned()).or_default();
            for row in delta.rows {
                match row.value {
                    Some(value) => table.insert(row.key.to_vec(), value.to_vec()),
                    None => table.remove(row.key),
                };
            }
        }
        for output in commit.outputs {
            let producer = (service_id(self.spec.name), self.partition as u16);
            let stream = (output.topic.to_owned(), output.partition as u32, producer.0, producer.1);
            let known = outputs.entry(stream).or_default();
            findings.expect(
                invariant::OUTPUTS_DENSE,
                invariant::outputs_dense(known.len() as i64, output.first_n),
                || {
                    format!(
                        "{place}: output {} to {}-{}, {} was next",
                        output.first_n,
                        output.topic,
                        output.partition,
                        known.len()
                    )
                },
            );
            let digests = digests(output.batch);
            if digests.len() as i32 != output.count {
                findings.broken("outputs_dense", format!("{place}: {} records, not {}", digests.len(), output.count));
            }
            known.extend(digests);
        }
    }

    /// A chunk says what the deltas before it say.
    fn chunk(&mut self, offset: i64, chunk: &SnapshotChunk<'_>, findings: &mut Findings) {
        for delta in chunk.delta {
            let table = self.rows.get(delta.table);
            for row in delta.rows {
                let known = table.and_then(|table| table.get(row.key)).map(Vec::as_slice);
                findings.expect("snapshots_true", known == row.value, || {
                    format!(
                        "{}-{} at {offset}: a row of {} is not what its commits made",
                        self.spec.name, self.partition, delta.table
                    )
                });
            }
        }
    }
}

/// Digest of a record as published: key, value and time.
pub fn digest_of(record: &Record<'_>) -> u64 {
    let time = record.timestamp_ms.to_le_bytes();
    digest(&[record.key.unwrap_or_default(), record.value.unwrap_or(b"\0none"), &time])
}

fn digests(batch: &[u8]) -> Vec<u64> {
    let mut scratch = Vec::new();
    let mut all = Vec::new();
    for batch in Batches::new(batch).flatten() {
        if let Ok(records) = batch.records(&mut scratch) {
            all.extend(records.flatten().map(|record| digest_of(&record)));
        }
    }
    all
}
