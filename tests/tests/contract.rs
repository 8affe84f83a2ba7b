//! Every service of the platform through the contract suite, over events of a real run. Who declares a service in the
//! catalogue has it here.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Arc;

use actors::catalogue;
use runtime::env::Env;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{Batches, Log, TopicPartition};
use runtime::service::ServiceDef;
use runtime::testkit::{Inputs, contract};
use runtime::topology::{Topic, TopicKind};
use tests::program::built;

const PARTITIONS: u32 = 4;
/// Of each input topic and partition.
const RECORDS: usize = 60;

/// The first events of every input, as the platform wrote them.
fn inputs(log: &dyn Log, def: &ServiceDef) -> (Inputs, Vec<&'static str>) {
    let (mut inputs, mut empty) = (Inputs::new(PARTITIONS), Vec::new());
    for topic in &def.spec.inputs {
        let before = inputs.len();
        for partition in 0..PARTITIONS {
            take(log, topic, partition, &mut inputs);
        }
        if inputs.len() == before {
            empty.push(topic.name);
        }
    }
    (inputs, empty)
}

fn take(log: &dyn Log, topic: &'static Topic, partition: u32, inputs: &mut Inputs) {
    let Some(id) = log.topic(topic.name) else { return };
    let mut reader = log.reader(TopicPartition { topic: id, partition }, 0, Arc::default()).expect("a reader");
    let (mut taken, mut scratch) = (0, Vec::new());
    while let Some(fetched) = reader.try_next(1 << 20).expect("readable") {
        for batch in Batches::new(&fetched.bytes) {
            for record in batch.expect("a batch").records(&mut scratch).expect("records") {
                if taken == RECORDS {
                    return;
                }
                inputs.push_record(topic, partition, &record.expect("a record"));
                taken += 1;
            }
        }
    }
}

#[test]
fn every_service_keeps_the_contract() {
    let data = tempfile::tempdir().expect("a directory");
    let status = Command::new(built("bulkhead", "bulkhead"))
        .args(["demo", "--requests", "6000", "--speed", "max", "--no-fault", "--data"])
        .arg(data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(status.success(), "demo: {status}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let recorded: Vec<_> = {
        let _inside = runtime.enter();
        let storage = Arc::new(DiskStorage::open(data.path()).expect("a directory"));
        let log = EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::default()).expect("a log");
        let recorded = catalogue::services(&catalogue::Config::default()).into_iter().map(|def| {
            let (inputs, empty) = inputs(log.as_ref(), &def);
            (def, inputs, empty)
        });
        let recorded = recorded.collect();
        runtime.block_on(log.close());
        recorded
    };
    let mut without: BTreeSet<&'static str> = BTreeSet::new();
    for (def, inputs, empty) in &recorded {
        without.extend(empty.iter().copied());
        contract::check(def, inputs);
    }
    // Topics that a short run leaves empty are filled by their own services' tests.
    for topic in recorded.iter().flat_map(|(def, ..)| &def.spec.inputs).filter(|topic| without.contains(topic.name)) {
        assert!(topic.kind != TopicKind::Internal, "{}: nothing was written", topic.name);
    }
}
