//! Kafka's own command line tools and our log, both ways: keys lie on the partitions where each side looks for them; values,
//! headers and our times arrive as they were (the tool that produces sets none of its own). (That Java reads our Avro frames is shown by `bench kafka`, whose peers do.)

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use runtime::env::Env;
use runtime::log::kafka::{KafkaConfig, KafkaLog};
use runtime::log::{
    AppendOptions, BatchBuilder, Compression, Durability, FetchError, Log, TopicConfig, TopicPartition, partitioner,
};
use tests::kafka;
use tokio::sync::Notify;

const PARTITIONS: u32 = 4;
const RECORDS: u32 = 40;
const EPOCH_MS: i64 = 1_700_000_000_000;

/// One of Kafka's tools; its output, and what it said if it failed.
fn tool(class: &str, args: &[&str], stdin: &str) -> String {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kafka/lib/*");
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(lib).arg(class).args(args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("java starts");
    child.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("taken");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{class}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn key(n: u32) -> String {
    format!("user-{n}-{}", "x".repeat(n as usize % 7))
}

#[test]
fn the_tools_of_kafka_and_we_read_each_other() {
    if std::env::var("BULKHEAD_KAFKA").is_ok() {
        println!("SKIPPED: the broker is somebody else's, and Kafka's tools are not at hand");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(both_ways());
}

async fn both_ways() {
    let (brokers, prefix) = (kafka::brokers(), kafka::fresh_prefix());
    let config = KafkaConfig {
        brokers: brokers.to_owned(),
        topic_prefix: prefix.clone(),
        create_with_replicas: Some(1),
        ..KafkaConfig::default()
    };
    let log: Arc<dyn Log> = KafkaLog::open(&Env::production(), config).expect("the cluster answers");
    let topic = |name: &str| TopicConfig {
        name: name.into(),
        partitions: PARTITIONS,
        durability: Durability::Synced,
        retention_ms: None,
        compacted: false,
    };
    let (ours, theirs) =
        (log.ensure_topic(&topic("ours")).expect("made"), log.ensure_topic(&topic("theirs")).expect("made"));

    let options = AppendOptions { group: log.producer_group("test", 1 << 20), fence: None };
    for n in 0..RECORDS {
        let (key, value, partition) =
            (key(n), format!("value {n}"), partitioner::partition(key(n).as_bytes(), PARTITIONS));
        let mut batch = BatchBuilder::new(Compression::None);
        let headers: [(&[u8], &[u8]); 1] = [(b"trace", b"abc")];
        batch.push(EPOCH_MS + i64::from(n), Some(key.as_bytes()), Some(value.as_bytes()), &headers).expect("small");
        log.append(TopicPartition { topic: ours, partition }, batch.finish(), options).await.expect("appended");
    }
    let on =
        |name: &str| ["--bootstrap-server".to_owned(), brokers.to_owned(), "--topic".into(), format!("{prefix}{name}")];
    let mut args: Vec<String> = on("ours").to_vec();
    args.extend(["--from-beginning", "--max-messages", "40", "--timeout-ms", "20000"].map(str::to_owned));
    for shown in ["partition", "timestamp", "headers", "key"] {
        args.extend(["--formatter-property".to_owned(), format!("print.{shown}=true")]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let read = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &args, "");
    let mut lines: Vec<&str> = read.lines().collect();
    let mut expected: Vec<String> = (0..RECORDS)
        .map(|n| {
            let partition = partitioner::partition(key(n).as_bytes(), PARTITIONS);
            format!("CreateTime:{}\tPartition:{partition}\ttrace:abc\t{}\tvalue {n}", EPOCH_MS + i64::from(n), key(n))
        })
        .collect();
    lines.sort_unstable();
    expected.sort_unstable();
    assert_eq!(lines, expected);

    let sent: String = (0..RECORDS).map(|n| format!("trace:abc,other:{n}\t{}\tvalue {n}\n", key(n))).collect();
    let mut args: Vec<String> = on("theirs").to_vec();
    for property in ["parse.key=true", "parse.headers=true"] {
        args.extend(["--reader-property".to_owned(), property.to_owned()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    tool("org.apache.kafka.tools.ConsoleProducer", &args, &sent);
    let mut found = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let at = TopicPartition { topic: theirs, partition };
        let mut reader = log.reader(at, 0, Arc::new(Notify::new())).expect("a reader");
        let expected = (0..RECORDS).filter(|n| partitioner::partition(key(*n).as_bytes(), PARTITIONS) == partition);
        let end = expected.count() as i64;
        // It waits for what it reads; the log has threads of its own.
        let read = runtime::log::walk(reader.as_mut(), "theirs", end, |record| -> Result<(), FetchError> {
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("text");
            assert!(record.timestamp_ms > EPOCH_MS && record.headers.get(b"trace") == Some(b"abc"));
            let other = text(record.headers.get(b"other"));
            found.insert(text(record.key), (partition, text(record.value), other));
            Ok(())
        });
        read.expect("what Java sent lies where we look for it");
    }
    for n in 0..RECORDS {
        let partition = partitioner::partition(key(n).as_bytes(), PARTITIONS);
        assert_eq!(found.get(&key(n)), Some(&(partition, format!("value {n}"), n.to_string())), "{}", key(n));
    }
    assert_eq!(found.len(), RECORDS as usize);
}
