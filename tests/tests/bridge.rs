//! `bulkhead bridge` between a data directory and a real Apache Kafka: killed on the way, begun again, and every record is
//! there once; and what was bridged to a cluster comes back into a new directory as it was.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use runtime::env::Env;
use runtime::log::kafka::{KafkaConfig, KafkaLog};
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use runtime::log::{FetchError, Log, Offset, TopicPartition, walk};
use serde_json::Value;
use tests::kafka;
use tokio::sync::Notify;

const TOPICS: [&str; 2] = ["impressions", "billing-events"];
const HEADER: &str = "bulkhead-bridge";
/// Time, key, value, headers but the bridge's.
type Fact = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

fn program() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PROGRAM.get_or_init(|| tests::program::built("bulkhead", "bulkhead")))
}

fn bridge(way: &str, topics: &[&str], data: &Path, prefix: &str) -> Command {
    let mut command = program();
    command.args(["bridge", way]).args(topics).arg("--data").arg(data);
    command.args(["--brokers", kafka::brokers(), "--topic-prefix", prefix, "--output", "json"]);
    command
}

fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{stderr}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{stderr}"))
}

/// Records of all partitions with their positions in the source, from a log that is at rest.
fn facts(log: &dyn Log, topic: &str, is_bridged: bool) -> Vec<(u32, Offset, Fact)> {
    let (id, config) = log.topics().into_iter().find(|(_, config)| &*config.name == topic).expect("there");
    let mut all = Vec::new();
    for partition in 0..config.partitions {
        let of = TopicPartition { topic: id, partition };
        let extent = log.extent(of).expect("there");
        let mut reader = log.reader(of, extent.start, Arc::new(Notify::new())).expect("readable");
        walk::<FetchError>(reader.as_mut(), topic, extent.high_watermark, |record| {
            let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
            for header in record.headers {
                let (name, value) = header.expect("whole");
                headers.push((String::from_utf8_lossy(name).into_owned(), value.unwrap_or_default().to_vec()));
            }
            let mut offset = record.offset;
            if is_bridged {
                let (name, position) = headers.pop().expect("a position");
                assert_eq!(name, HEADER);
                let position = String::from_utf8(position).expect("text");
                let place = format!("{topic}-{partition}@");
                offset = position.strip_prefix(&place).expect("its own lane").parse().expect("a number");
            }
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            all.push((partition, offset, (record.timestamp_ms, key, value, headers)));
            Ok(())
        })
        .expect("readable");
    }
    all
}

fn embedded(data: &Path) -> Arc<dyn Log> {
    let storage = Arc::new(DiskStorage::open(data).expect("a directory"));
    EmbeddedLog::open(&Env::production(), storage, SegmentLogConfig::default()).expect("a log at rest")
}

fn cluster(prefix: &str) -> Arc<dyn Log> {
    let config =
        KafkaConfig { brokers: kafka::brokers().to_owned(), topic_prefix: prefix.to_owned(), ..KafkaConfig::default() };
    let log = KafkaLog::open(&Env::production(), config).expect("the cluster answers");
    log.adopt_all().expect("topics");
    log
}

#[test]
fn topics_go_to_kafka_and_back_each_record_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let demo = ["demo", "--requests", "4000", "--speed", "max", "--no-fault", "--partitions", "2", "--output", "json"];
    json(&program().args(demo).arg("--data").arg(&data).output().expect("runs"));
    let prefix = kafka::fresh_prefix();

    let follows = bridge("to-kafka", &TOPICS, &data, &prefix).arg("--follow").output().expect("runs");
    assert_eq!(follows.status.code(), Some(2), "nothing more would come");
    let absent = bridge("to-kafka", &TOPICS, &data, &prefix).output().expect("runs");
    let stderr = String::from_utf8_lossy(&absent.stderr);
    assert!(absent.status.code() == Some(1) && stderr.contains("bulkhead topics create"), "{stderr}");
    let create = ["topics", "create", "--partitions", "2", "--brokers", kafka::brokers(), "--topic-prefix", &prefix];
    assert!(program().args(create).stdout(Stdio::null()).status().expect("runs").success());

    // Killed at different moments of its way; the last one ends by itself.
    for pause_ms in [150, 300, 450] {
        let mut killed = bridge("to-kafka", &TOPICS, &data, &prefix)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("runs");
        std::thread::sleep(Duration::from_millis(pause_ms));
        killed.kill().expect("killed");
        killed.wait().expect("gone");
    }
    let report = json(&bridge("to-kafka", &TOPICS, &data, &prefix).output().expect("runs"));
    assert_eq!((&report["ok"], report["partitions"].as_array().map(Vec::len)), (&Value::from(true), Some(4)));
    let again = json(&bridge("to-kafka", &TOPICS, &data, &prefix).output().expect("runs"));
    assert_eq!(again["records"], 0, "nothing is carried twice");

    let (source, target) = (embedded(&data), cluster(&prefix));
    for topic in TOPICS {
        let (were, are) = (facts(source.as_ref(), topic, false), facts(target.as_ref(), topic, true));
        assert!(were.len() > 500, "{topic}: {}", were.len());
        assert!(were == are, "{topic}: {} records were, {} are", were.len(), are.len());
    }
    drop(source);

    // A cluster's own topics come into a directory that does not exist yet.
    let theirs = kafka::fresh_prefix();
    let create = ["topics", "create", "--partitions", "2", "--brokers", kafka::brokers(), "--topic-prefix", &theirs];
    assert!(program().args(create).stdout(Stdio::null()).status().expect("runs").success());
    let demo = [&demo[..], &["--log", "kafka", "--brokers", kafka::brokers(), "--topic-prefix", &theirs]].concat();
    json(&program().args(demo).output().expect("runs"));
    let report = json(&bridge("from-kafka", &TOPICS, &copy, &theirs).output().expect("runs"));
    let (came, cluster) = (embedded(&copy), cluster(&theirs));
    let mut records = 0;
    for topic in TOPICS {
        let (were, are) = (facts(cluster.as_ref(), topic, false), facts(came.as_ref(), topic, true));
        assert!(were == are && were.len() > 500, "{topic}: {} records were, {} are", were.len(), are.len());
        records += are.len();
    }
    assert_eq!(report["records"], records);
}
