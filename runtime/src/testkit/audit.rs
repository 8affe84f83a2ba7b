//! What came of a service's inputs, from the log alone: each offset ended once, each output is there once, in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::events::OutcomeKind;

use crate::commit::Entry;
use crate::commit::provenance::{HEADER, Provenance, service_id};
use crate::commit::standing::{Standing, Verdict};
use crate::log::{Batches, Log, Record, TopicPartition};
use crate::topology::ServiceSpec;

/// How the events of a service ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub events: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
}

fn each(log: &dyn Log, at: TopicPartition, mut visit: impl FnMut(&Record<'_>)) {
    let mut reader = log.reader(at, 0, Arc::default()).expect("the partition is there");
    let mut scratch = Vec::new();
    while let Some(fetched) = reader.try_next(1 << 20).expect("readable") {
        for batch in Batches::new(&fetched.bytes) {
            for record in batch.expect("whole").records(&mut scratch).expect("readable") {
                let record = record.expect("readable");
                if record.offset >= fetched.from {
                    visit(&record);
                }
            }
        }
    }
}

/// Follows the commits of all shards; panics with what does not hold.
pub(super) fn account(log: &dyn Log, spec: &ServiceSpec, partitions: u32) -> Account {
    let mut account = Account::default();
    let commits = log.topic(&spec.commit_topic()).expect("made at start");
    // What each shard has to have sent: the next n, by producing shard, topic and partition.
    let mut sent: BTreeMap<(u32, String, u32), i64> = BTreeMap::new();
    for shard in 0..partitions {
        let (mut standing, mut next) = (Standing::new(), BTreeMap::<(String, i32), i64>::new());
        each(log, TopicPartition { topic: commits, partition: shard }, |record| {
            let entry = Entry::parse(record.offset, record.value).expect("a commit topic holds nothing else");
            if standing.admit(record.offset, &entry) == Verdict::Void {
                return;
            }
            let Entry::Commit(commit) = entry else { return };
            for range in commit.inputs {
                let at = next.entry((range.topic.to_string(), range.partition)).or_insert(0);
                assert_eq!(*at, range.from, "{}-{}: taken twice, or not at all", range.topic, range.partition);
                *at = range.to;
                account.events += (range.to - range.from) as u64;
            }
            for outcome in commit.outcomes {
                match outcome.kind {
                    OutcomeKind::Duplicate => account.duplicates += 1,
                    OutcomeKind::DeadLettered => account.dead_letters += 1,
                    OutcomeKind::Parked | OutcomeKind::DoneAfterParking => {}
                }
            }
            for output in commit.outputs {
                let to = (shard, output.topic.to_string(), output.partition as u32);
                let n = sent.entry(to).or_insert(output.first_n);
                assert_eq!(*n, output.first_n, "outputs to {}-{} are counted densely", output.topic, output.partition);
                *n += i64::from(output.count);
            }
        });
        for input in &spec.inputs {
            let topic = log.topic(input.name).expect("made at start");
            let end = log.extent(TopicPartition { topic, partition: shard }).expect("there").high_watermark;
            let at = next.get(&(input.name.to_string(), shard as i32)).copied().unwrap_or_default();
            assert_eq!(at, end, "{}-{shard}: events that have not ended", input.name);
        }
    }
    for ((shard, topic, partition), next) in &sent {
        let at = TopicPartition { topic: log.topic(topic).expect("made at start"), partition: *partition };
        let (mut mark, own) = (None, service_id(spec.name));
        each(log, at, |record| {
            let Some(Ok((HEADER, Some(header)))) = record.headers.clone().next() else { return };
            let Some(from) = Provenance::decode(header) else { return };
            if (from.service, u32::from(from.partition)) != (own, *shard) {
                return;
            }
            let last = *mark.get_or_insert(from.n - 1);
            assert!(from.n <= last + 1, "{topic}-{partition}: output {} of shard {shard} follows {last}", from.n);
            mark = Some(last.max(from.n));
        });
        assert_eq!(
            mark.map_or(*next, |mark| mark + 1),
            *next,
            "{topic}-{partition}: outputs of shard {shard} are missing"
        );
    }
    account
}
