//! The store on a log in memory: durability, compaction, and the router by itself.

use std::sync::Arc;

use runtime::env::Env;
use runtime::log::Log;
use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
use runtime::log::storage::DiskStorage;
use schemas::compat::Level;
use schemas::registry::{Config, Deleted, Submission, VersionSpec};

use super::store::{OpenError, TOPIC};
use super::*;

const TOPICS: [(&str, u32); 2] = [("impressions", 1), ("clicks", 2)];

fn log(env: &Env, directory: &std::path::Path) -> Arc<dyn Log> {
    let storage = Arc::new(DiskStorage::open(directory).expect("a directory"));
    EmbeddedLog::open(env, storage, SegmentLogConfig::small()).expect("a log")
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

#[test]
fn what_was_answered_outlives_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let env = Env::production();
    block(async {
        let log = log(&env, directory.path());
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("opens");
        registry.register_builtins(&TOPICS).await.expect("registers");
        let own = registry.write(|r| r.register("own", &Submission::of("\"int\""))).await.expect("kept");
        assert_eq!(own.id, schemas::registry::FIRST_FREE_ID);
        registry.write(|r| r.delete_version("own", VersionSpec::Latest, false)).await.expect("deleted");
        // No `close`: as if the process had been killed.
    });
    block(async {
        let log = log(&env, directory.path());
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("opens again");
        let extent =
            || log.extent(runtime::log::TopicPartition { topic: log.topic(TOPIC).expect("there"), partition: 0 });
        let before = extent().expect("extent");
        registry.register_builtins(&TOPICS).await.expect("registers");
        assert_eq!(extent().expect("extent"), before, "nothing is written twice");
        let state = registry.read().clone();
        assert_eq!(state.version("impressions-value", VersionSpec::Latest, Deleted::Without).expect("there").id, 1);
        assert_eq!(state.config("clicks-value").level, Level::FullTransitive);
        assert_eq!(state.versions("com.bulkhead.commit.Commit", Deleted::Without), Ok(vec![1]));
        assert_eq!(state.versions("own", Deleted::With), Ok(vec![1]));
        assert!(state.versions("own", Deleted::Without).is_err());
        log.close().await;
    });
}

#[test]
fn a_topic_of_old_records_is_written_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let env = Env::production();
    let state = block(async {
        let log = log(&env, directory.path());
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("opens");
        registry.register_builtins(&TOPICS).await.expect("registers");
        for i in 0..1_500 {
            let level = Level::ALL[i % 7];
            let many = |r: &schemas::registry::Registry| r.set_config(Some("own"), Config { level, normalize: None });
            registry.write(many).await.expect("kept");
        }
        log.close().await;
        registry.read().clone()
    });
    block(async {
        let log = log(&env, directory.path());
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("opens again");
        assert_eq!(*registry.read(), state);
        let at = runtime::log::TopicPartition { topic: log.topic(TOPIC).expect("there"), partition: 0 };
        let extent = log.extent(at).expect("extent");
        assert!(extent.start > 1_500 && extent.high_watermark - extent.start < 100, "{extent:?}");
        log.close().await;
    });
    block(async {
        let log = log(&env, directory.path());
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("opens a third time");
        assert_eq!(*registry.read(), state);
        log.close().await;
    });
}

#[test]
fn another_schema_under_a_built_in_id_refuses_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let env = Env::production();
    block(async {
        let log = log(&env, directory.path());
        let registry = EmbeddedRegistry::open(&env, log.clone()).await.expect("opens");
        registry.write(|r| r.place_builtin("impressions-value", 1, "\"int\"")).await.expect("kept");
        let error = registry.register_builtins(&TOPICS).await.expect_err("refused");
        assert!(matches!(error, OpenError::Builtin { .. }), "{error}");
        assert!(error.to_string().contains("Id 1 already means another schema"), "{error}");
        log.close().await;
    });
}

#[test]
fn usage_knows_what_a_topic_still_holds() {
    use runtime::log::{AppendOptions, BatchBuilder, Compression, TopicPartition};
    let directory = tempfile::tempdir().expect("a directory");
    let env = Env::production();
    let services = actors::catalogue::services(&actors::catalogue::Config::default());
    block(async {
        let log = log(&env, directory.path());
        let config = |name: &str| runtime::log::TopicConfig {
            name: name.into(),
            partitions: 1,
            durability: runtime::log::Durability::Synced,
            retention_ms: None,
            compacted: false,
        };
        let topic = log.ensure_topic(&config("clicks")).expect("a topic");
        let at = TopicPartition { topic, partition: 0 };
        let group = log.producer_group("test", 1 << 20);
        let append = async || {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.push(0, None, Some(b"x"), &[]).expect("small");
            log.append(at, batch.finish(), AppendOptions { group, fence: None }).await.expect("appended");
        };
        append().await;
        let report = usage::UsageReport::start(&env, &log, &services, "one").await.expect("starts");
        let manifest = report.manifest().expect("reads");
        let clicks = manifest.writers.iter().find(|w| w.topic == "clicks").expect("written").clone();
        assert_eq!((clicks.id, &clicks.from[..], &clicks.to[..], clicks.retained), (2, &[0][..], &[1][..], true));
        assert!(manifest.readers.iter().any(|r| r.topic == "clicks" && r.service == "attribution" && r.id == 2));
        // A process of another version, gone since long ago: its records count until the topic has dropped them.
        let words = |id: u32, to: i64| {
            let writer = usage::WriterUse { id, from: vec![0], to: vec![to], seen_ms: 0, ..clicks.clone() };
            serde_json::to_vec(&usage::Manifest { readers: vec![], writers: vec![writer] }).expect("JSON")
        };
        let usage_at = TopicPartition { topic: log.topic(usage::TOPIC).expect("there"), partition: 0 };
        for (name, value) in [("old", words(77, 1)), ("garbage", b"{".to_vec())] {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.push(0, Some(name.as_bytes()), Some(&value), &[]).expect("small");
            log.append(usage_at, batch.finish(), AppendOptions { group, fence: None }).await.expect("appended");
        }
        let retained = |id: u32| {
            let manifest = report.manifest().expect("reads");
            manifest.writers.iter().any(|w| w.topic == "clicks" && w.id == id && w.retained)
        };
        assert!(retained(77));
        append().await;
        log.trim(at, 1).await.expect("trimmed");
        assert!(!retained(77) && retained(2));
        log.close().await;
    });
}
